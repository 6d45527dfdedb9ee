"""What came of a demo: figures from the books, and whether all is well. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from agent.sandbox.moment import Moment, MoneyMoment, used_cpu_ms

# Used CPU of a final receipt against the kernel's own count, in permille.
MOST_DIFFERENCE_PERMILLE = 10
REMEDY = (
    "leases need a cgroup v2 directory to write to: run it as root, or as"
    " systemd-run --user --scope -p Delegate=yes hearth demo"
)


@dataclass(frozen=True, slots=True)
class CpuCheck:
    """One lease's used CPU: its final receipt at the exchange against the kernel's cpu.stat."""

    exchange: str
    lease_id: str
    used_cpu_ms: int
    kernel_cpu_ms: int

    @property
    def difference_permille(self) -> int:
        """Rounded up; of nothing used, any difference is all of it."""
        difference = abs(self.used_cpu_ms - self.kernel_cpu_ms) * 1000
        return -(-difference // max(1, self.kernel_cpu_ms))


@dataclass(frozen=True, slots=True)
class MoneyCheck:
    """One lease's money in the end: the exchange's books against the agent's. In msat."""

    exchange: str
    lease_id: str
    gross_msat: int  # by the last receipt at the exchange
    netted_msat: int  # rebates that were taken off invoices
    paid_msat: int  # the exchange says
    received_msat: int  # the agent says
    returned_msat: int  # rebates and refunds; the exchange says
    given_msat: int  # the same; the agent says

    @property
    def agrees(self) -> bool:
        """Whether both books are the same and nothing is open."""
        return (
            self.paid_msat == self.received_msat == self.gross_msat - self.netted_msat
            and self.returned_msat == self.given_msat
        )


@dataclass(frozen=True, slots=True)
class Proof:
    """One exported receipt and what `hearth verify` made of it."""

    file: Path
    roots: Path
    exit_code: int
    said: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """Everything that is known at the end."""

    last: Moment
    first_offer_ms: int | None  # from the agent's start to the first accepted offer
    cpu: tuple[CpuCheck, ...]
    money: tuple[MoneyCheck, ...]
    outage: bool  # one was staged, and lasted
    proof: Proof | None
    agent_exit_code: int

    def problems(self) -> list[str]:
        """Say everything that is not as it should be; empty when all is well."""
        last = self.last
        issued, acked = _sums(last, "receipts_issued"), _sums(last, "receipts_acked")
        rejected = _sums(last, "receipts_rejected")
        found = []
        ran = any(item.receipts for item in last.leases)
        if not ran:
            found.append(f"no lease ran, so there is no receipt; {REMEDY}")
        if rejected:
            found.append(f"{rejected} receipts were rejected")
        if acked != issued:
            found.append(f"{issued} receipts were issued and {acked} acknowledged")
        if verified := _sums(last, "receipts_verified") - issued:
            found.append(f"exchanges verified {verified:+} receipts of those issued")
        if last.oversold_units:
            found.append(f"{last.oversold_units} units were sold twice")
        if failed := _sums(last, "challenges_failed"):
            found.append(f"{failed} quote challenges failed")
        found += [
            f"lease {item.lease_id}: receipt says {item.used_cpu_ms} ms of CPU,"
            f" the kernel {item.kernel_cpu_ms} ms"
            for item in self.cpu
            if item.difference_permille >= MOST_DIFFERENCE_PERMILLE
        ]
        found += [
            f"lease {item.lease_id}: {item.gross_msat} msat due less {item.netted_msat} netted,"
            f" {item.paid_msat} paid and {item.received_msat} received,"
            f" {item.given_msat} given back and {item.returned_msat} taken"
            for item in self.money
            if not item.agrees
        ]
        if self.outage and not _money(last, "rebates_paid") + _money(last, "rebates_netted"):
            found.append("an outage was staged, and no rebate given for it")
        if ran and self.proof is None:
            found.append("no receipt could be exported")
        if self.proof is not None and self.proof.exit_code:
            found.append(f"hearth verify: exit {self.proof.exit_code}: {self.proof.said}")
        if self.agent_exit_code:
            found.append(f"the agent ended with exit code {self.agent_exit_code}")
        return found

    def as_json(self) -> dict[str, object]:
        """Return the object that `hearth demo --json` prints; counts and amounts are integers."""
        last = self.last
        proof = self.proof
        return {
            "ok": not self.problems(),
            "problems": self.problems(),
            "inventory_digest": last.identity.inventory_digest,
            "inventory_generation": last.identity.inventory_generation,
            "node_id": last.identity.node_id,
            "assurance": _assurance(last),
            "tpm": last.identity.tpm,
            "offers_accepted": {item.name: item.offers_accepted for item in last.exchanges},
            "leases": len([item for item in last.leases if item.receipts]),
            "receipts_issued": _sums(last, "receipts_issued"),
            "receipts_verified": _sums(last, "receipts_verified"),
            "receipts_acked": _sums(last, "receipts_acked"),
            "receipts_rejected": _sums(last, "receipts_rejected"),
            "checkpoints_verified": _sums(last, "checkpoints_verified"),
            "challenges_passed": _sums(last, "challenges_passed"),
            "oversold_units": last.oversold_units,
            "energy_mj": last.energy_mj,
            "heat_mj": last.heat_mj,
            "amount_due_msat": _sums(last, "amount_due_msat"),
            "lightning": last.network or "double",
            **{item.name: _money(last, item.name) for item in fields(MoneyMoment)},
            "used_cpu": [
                {
                    "exchange": item.exchange,
                    "lease_id": item.lease_id,
                    "used_cpu_ms": item.used_cpu_ms,
                    "kernel_cpu_ms": item.kernel_cpu_ms,
                    "difference_permille": item.difference_permille,
                }
                for item in self.cpu
            ],
            "seconds_to_first_offer": (
                None if self.first_offer_ms is None else self.first_offer_ms / 1000
            ),
            "peak_rss_mib": -(-last.peak_rss_kib // 1024),
            "agent_cpu_seconds": last.cpu_ms / 1000,
            "proof_file": None if proof is None else str(proof.file),
            "proof_roots": None if proof is None else str(proof.roots),
            "verify_exit_code": None if proof is None else proof.exit_code,
        }


def _sums(moment: Moment, field: str) -> int:
    return sum(getattr(item, field) for item in moment.exchanges)


def _money(moment: Moment, field: str) -> int:
    return sum(getattr(item.money, field) for item in moment.exchanges)


def _assurance(moment: Moment) -> str:
    """Return what all exchanges certified; where they differ, all of it, in their order."""
    return ", ".join(dict.fromkeys(item.assurance for item in moment.exchanges if item.assurance))


def cpu_checks(
    books: Sequence[tuple[str, Mapping[str, Any]]], kernel_cpu_ms: Mapping[str, int]
) -> tuple[CpuCheck, ...]:
    """Set the final receipts at the exchanges against the kernel.

    :param books: name of each exchange and its leases, {lease id: figures}.
    :param kernel_cpu_ms: by lease id, read when nothing ran in the lease any more.
    """
    return tuple(
        CpuCheck(name, lease_id, used_cpu_ms(lease["receipt"]), kernel_cpu_ms[lease_id])
        for name, book in books
        for lease_id, lease in book.items()
        if lease_id in kernel_cpu_ms and lease["receipt"]
    )


def money_checks(
    books: Sequence[tuple[str, Mapping[str, Any]]], agents: Sequence[Mapping[str, Any]]
) -> tuple[MoneyCheck, ...]:
    """Set the exchanges' books of money against the agent's.

    :param books: name of each exchange and its leases, {lease id: figures}.
    :param agents: leases as `hearth settlement status --json` prints them.
    """
    own = {(item["exchange_name"], item["lease_id"]): item for item in agents}
    return tuple(
        MoneyCheck(
            name,
            lease_id,
            gross_msat=lease["receipt"]["gross_msat"],
            netted_msat=sum(
                item["msat"] for item in lease["money"]["payouts"] if item["state"] == "NETTED"
            ),
            paid_msat=lease["money"]["paid_msat"],
            received_msat=own[name, lease_id]["received_msat"],
            returned_msat=lease["money"]["returned_msat"],
            given_msat=own[name, lease_id]["payouts_paid_msat"],
        )
        for name, book in books
        for lease_id, lease in book.items()
        if lease["receipt"]
    )
