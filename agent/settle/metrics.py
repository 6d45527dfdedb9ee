"""Where the money stands as metrics, in Prometheus' text format (exposition formats, 0.0.4)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from agent.core.payout import PayoutState
from agent.journal import settlement
from agent.journal.store import View
from agent.settle.alarms import alarms

Sample = tuple[Mapping[str, str], int]


@dataclass(slots=True)
class Family:
    """One metric with all its samples; amounts are in msat, as their names say."""

    name: str
    kind: str  # gauge, counter
    what: str
    samples: list[Sample] = field(default_factory=list)

    def lines(self) -> Iterator[str]:
        """Write it."""
        yield f"# HELP {self.name} {self.what}"
        yield f"# TYPE {self.name} {self.kind}"
        for labels, value in self.samples:
            inner = ",".join(f'{name}="{_escaped(text)}"' for name, text in labels.items())
            yield f"{self.name}{{{inner}}} {value}" if inner else f"{self.name} {value}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def exposition(view: View, rail: str, unix_ns: int) -> str:
    """Return all of it; `rail` is the configured one."""
    families = [_rail(view, rail), *_leases(view), *_payments(view), _alarms(view, unix_ns)]
    return "\n".join(line for family in families for line in family.lines()) + "\n"


def _rail(view: View, rail: str) -> Family:
    row = view.one("SELECT down_since_ns FROM rail")
    up = int(not (row is not None and row[0]))
    return Family(
        "hearth_settlement_rail_up",
        "gauge",
        "Whether the configured rail answers; absent without one.",
        [({"rail": rail}, up)] if rail != "none" else [],
    )


def _leases(view: View) -> Iterable[Family]:
    exposure = Family(
        "hearth_settlement_exposure_msat",
        "gauge",
        "Delivered and not paid, by lease that is not settled; below zero: a balance with us.",
    )
    limit = Family(
        "hearth_settlement_credit_limit_msat", "gauge", "Exposure from which the agent warns."
    )
    level = Family(
        "hearth_settlement_credit_level",
        "gauge",
        "1 within the limit, 2 warned, 3 not renewed, 4 stopped.",
    )
    invoiced = Family(
        "hearth_settlement_invoiced_msat", "gauge", "Of invoices that may still be paid."
    )
    owed = Family(
        "hearth_settlement_payouts_open_msat", "gauge", "Rebates and refunds not given back yet."
    )
    done = (PayoutState.PAID, PayoutState.NETTED)
    for _, books in settlement.open_accounts(view):
        names = {"exchange": books.exchange_id, "lease": books.lease_id}
        exposure.samples.append((names, books.exposure))
        limit.samples.append((names, books.terms.credit_limit_msat))
        level.samples.append((names, int(books.credit.level)))
        invoiced.samples.append((names, books.pending))
        open_msat = sum(item.msat for item in books.payouts if item.state not in done)
        owed.samples.append((names, open_msat))
    return exposure, limit, level, invoiced, owed


def _payments(view: View) -> Iterable[Family]:
    received = Family(
        "hearth_settlement_received_msat_total", "counter", "Paid to us, by exchange."
    )
    returned = Family(
        "hearth_settlement_returned_msat_total", "counter", "Rebates and refunds that we paid."
    )
    fees = Family("hearth_settlement_fees_msat_total", "counter", "What these cost in routing.")
    for exchange, came, went, fee in view.all(
        "SELECT exchange_id, sum(max(msat, 0)), -sum(min(msat, 0)), sum(fee_msat)"
        " FROM payments p JOIN exchanges e ON e.id = p.exchange GROUP BY p.exchange"
        " ORDER BY exchange_id"
    ):
        for family, value in ((received, came), (returned, went), (fees, fee)):
            family.samples.append(({"exchange": str(exchange)}, int(value)))
    return received, returned, fees


def _alarms(view: View, unix_ns: int) -> Family:
    found = dict.fromkeys((item.name, item.subject) for item in alarms(view, unix_ns))
    return Family(
        "hearth_settlement_alarm",
        "gauge",
        "1 for everything that needs somebody; `hearth settlement status` says it in words.",
        [({"alarm": name, "subject": subject}, 1) for name, subject in found],
    )
