"""What the operator should know about money at once, read off the journal."""

from __future__ import annotations

from agent.core.bill import BillState
from agent.core.credit import CreditLevel
from agent.core.payout import PayoutState
from agent.journal import settlement
from agent.journal.store import View

SECOND_NS = 1_000_000_000
STUCK_NS = 3600 * SECOND_NS  # a payout that is on its way for longer is said
_LEVELS = {
    CreditLevel.WARNED: "is past its credit limit",
    CreditLevel.NOT_RENEWED: "is past its credit limit for long: no new leases of its exchange",
    CreditLevel.STOPPED: "was ended: its credit limit was passed and nothing paid",
}


def alarms(view: View, unix_ns: int) -> list[str]:
    """Return one line for everything that needs somebody, most important first."""
    found: list[str] = []
    row = view.one("SELECT down_since_ns, error, warnings FROM rail")
    if row is not None and row[0]:
        minutes = (unix_ns - int(row[0])) // (60 * SECOND_NS)
        found.append(f"the rail is down for {minutes} min: {row[1]}")
    for _, books in settlement.open_accounts(view):
        name = f"lease {books.lease_id}"
        if books.credit.level in _LEVELS:
            found.append(f"{name} {_LEVELS[books.credit.level]}: {books.exposure} msat unpaid")
        for bill in books.bills:
            if bill.state is BillState.LOST:
                found.append(
                    f"{name}: the node no longer knows the invoice {bill.label} ({bill.msat} msat);"
                    " whether it was paid only the exchange can show"
                )
        for item in books.payouts:
            if item.state is PayoutState.PAYING and unix_ns - item.since_ns > STUCK_NS:
                found.append(f"{name}: payout {item.key} of {item.msat} msat is stuck on its way")
    for dispute, lease, contested in view.all(
        "SELECT dispute_id, lease_id, contested_msat FROM disputes d JOIN leases ON"
        " leases.id = d.lease WHERE ended = '' ORDER BY dispute_id"
    ):
        found.append(f"lease {lease}: dispute {dispute} contests {contested} msat")
    if row is not None and row[2]:
        found += str(row[2]).splitlines()
    return found
