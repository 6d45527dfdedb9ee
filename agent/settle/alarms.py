"""What the operator should know about money at once, read off the journal."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from agent.core.bill import Account, BillState
from agent.core.credit import CreditLevel
from agent.core.payout import OWED, PayoutState
from agent.journal import settlement
from agent.journal.store import View

SECOND_NS = 1_000_000_000
STUCK_NS = 3600 * SECOND_NS  # what is on its way for longer is said,
WAITING_NS = 86_400 * SECOND_NS  # and a payout that nothing takes with it any more
_LEVELS = {
    CreditLevel.WARNED: "is past its credit limit",
    CreditLevel.NOT_RENEWED: "is past its credit limit for long: no new leases of its exchange",
    CreditLevel.STOPPED: "was ended: its credit limit was passed and nothing paid",
}


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something that needs somebody. Name and subject stay while it lasts, the text may change."""

    name: str  # rail-down, credit-warned, ...
    subject: str  # the lease, dispute or label it is about; empty: the node
    text: str


def alarms(view: View, unix_ns: int) -> list[Alarm]:
    """Return everything that needs somebody, most important first."""
    found: list[Alarm] = []
    row = view.one("SELECT down_since_ns, error, warnings FROM rail")
    if row is not None and row[0]:
        minutes = (unix_ns - int(row[0])) // (60 * SECOND_NS)
        found.append(Alarm("rail-down", "", f"the rail is down for {minutes} min: {row[1]}"))
    for _, books in settlement.open_accounts(view):
        found += _of_lease(books, unix_ns)
    for dispute, lease, contested in view.all(
        "SELECT dispute_id, lease_id, contested_msat FROM disputes d JOIN leases ON"
        " leases.id = d.lease WHERE ended = '' ORDER BY dispute_id"
    ):
        text = f"lease {lease}: dispute {dispute} contests {contested} msat"
        found.append(Alarm("dispute-open", dispute, text))
    if row is not None and row[2]:
        found += [Alarm("rail-warning", "", line) for line in str(row[2]).splitlines()]
    return found


def _of_lease(books: Account, unix_ns: int) -> Iterator[Alarm]:
    name, level = f"lease {books.lease_id}", books.credit.level
    if level in _LEVELS:
        yield Alarm(
            f"credit-{level.name.lower().replace('_', '-')}",
            books.lease_id,
            f"{name} {_LEVELS[level]}: {books.exposure} msat unpaid",
        )
    for bill in books.bills:
        if bill.state is BillState.DUE and unix_ns - bill.since_ns > STUCK_NS:
            yield Alarm(
                "invoice-stuck",
                bill.label,
                f"{name}: the invoice {bill.label} ({bill.msat} msat) cannot be made; why is in the"
                " daemon's log (errand_failed, rail_down)",
            )
        if bill.state is BillState.LOST:
            yield Alarm(
                "invoice-lost",
                bill.label,
                f"{name}: the node no longer knows the invoice {bill.label} ({bill.msat} msat);"
                " whether it was paid only the exchange can show",
            )
    for item in books.payouts:
        if item.state is PayoutState.PAYING and unix_ns - item.since_ns > STUCK_NS:
            yield Alarm(
                "payout-stuck",
                f"{books.lease_id}/{item.key}",
                f"{name}: payout {item.key} of {item.msat} msat is stuck on its way",
            )
        if item.state in OWED and books.final and unix_ns - item.since_ns > WAITING_NS:
            yield Alarm(
                "payout-open",
                f"{books.lease_id}/{item.key}",
                f"{name} is over, and its payout {item.key} of {item.msat} msat waits: the exchange"
                " did not ask for it, or settlement.caps or the rail do not let it be paid",
            )
