"""Bringing a lease's books up to what the ledger and its receipts say.

Nothing is handed over when a receipt is cut or acknowledged: this looks, so that no crash between
the two can lose anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from agent.core import availability, rebate
from agent.core.availability import Span, Standing
from agent.core.bill import Account
from agent.core.lease import CloseReason, LeaseState
from agent.core.rebate import Rebate
from agent.core.settlement import open_account
from agent.core.settling import Acked, Ended, Event, Issued, Judged, Tick
from agent.journal import settlement
from agent.journal.ledger import Stored
from agent.journal.settlement import Desk
from agent.journal.store import Transaction, View
from agent.wire import money
from agent.wire.money import Agreed
from attest.formats import decode_envelope

SETTLING = (
    LeaseState.COMMITTED,
    LeaseState.ACTIVE,
    LeaseState.SUSPENDED,
    LeaseState.RECLAIMING,
    LeaseState.CLOSING,
    LeaseState.CLOSED,
)
OVER = (LeaseState.CLOSED, LeaseState.SETTLED)
_NEVER_BEGAN = (LeaseState.EXPIRED, LeaseState.FAILED)
# Ends that the node is not to blame for: the window ends with the lease.
_NOT_OURS = (CloseReason.TENANT_DONE, CloseReason.CREDIT_LIMIT, CloseReason.ACK_TIMEOUT)


@dataclass(frozen=True, slots=True)
class Delivered:
    """All receipts of a lease, and the outages in them."""

    standings: tuple[Standing, ...]
    outages: tuple[Span, ...]


def agreed(view: View, stored: Stored) -> Agreed | None:
    """What the lease's agreement says; None while there is none."""
    row = view.one(
        "SELECT idx FROM answers WHERE exchange = ? AND request_sha256 = ?",
        stored.exchange,
        stored.lease.agreement_sha256,
    )
    if row is None or row[0] is None:
        return None
    return money.agreed(decode_envelope(view.envelope(int(row[0]))).payload)


def receipt(view: View, stored: Stored, sequence: int) -> Standing:
    """Where the lease stood after one receipt."""
    (index,) = view.one(
        "SELECT idx FROM receipts WHERE lease = ? AND sequence = ?", stored.row, sequence
    ) or (0,)
    payload = decode_envelope(view.envelope(int(index))).payload
    return money.standing(payload, stored.lease.units)[0]


def delivered(view: View, stored: Stored) -> Delivered:
    """Read all receipts of a lease."""
    standings: list[Standing] = []
    outages: list[Span] = []
    for (index,) in view.all(
        "SELECT idx FROM receipts WHERE lease = ? ORDER BY sequence", stored.row
    ):
        payload = decode_envelope(view.envelope(int(index))).payload
        standing, found = money.standing(payload, stored.lease.units)
        standings.append(standing)
        outages += found
    return Delivered(tuple(standings), tuple(outages))


def span(stored: Stored, contract: Agreed, last: Standing) -> Span:
    """The lease's time as its windows see it."""
    if stored.lease.state in OVER and stored.lease.reason in _NOT_OURS:
        return Span(contract.lease.start_ns, min(contract.lease.end_ns, last.span.end_ns))
    return contract.lease


def judged(view: View, stored: Stored, first: int) -> Iterator[tuple[int, Rebate]]:
    """The rebates of all windows from `first` on that have closed."""
    contract = agreed(view, stored)
    if contract is None or not stored.lease.receipt_sequence:
        return
    last = receipt(view, stored, stored.lease.receipt_sequence)
    whole = span(stored, contract, last)
    over = stored.lease.state in OVER
    index, length = first, contract.level.window_ns
    known: Delivered | None = None
    while True:
        window = availability.window(whole, length, index)
        began = window.start_ns < window.end_ns and window.start_ns < last.span.end_ns
        if not began or (window.end_ns > last.span.end_ns and not over):
            return
        known = known or delivered(view, stored)
        yield index, rebate.state(contract.level, whole, index, known.standings, known.outages)
        index += 1


def events(view: View, stored: Stored, books: Account) -> Iterator[Event]:
    """What the ledger knows and the books do not, in the order in which it matters."""
    lease = stored.lease
    if lease.receipt_sequence > books.issued:
        newest = receipt(view, stored, lease.receipt_sequence)
        yield Issued(lease.receipt_sequence, newest.gross_msat)
        # Rebates come before the final acknowledgement, so that the last invoice can net them.
    if lease.receipt_sequence > books.issued or (lease.state in OVER and not books.final):
        for index, found in judged(view, stored, books.windows):
            yield Judged(index, found)
    if stored.acked_through:
        at = receipt(view, stored, stored.acked_through)
        final = lease.state in OVER and stored.acked_through == lease.receipt_sequence
        yield Acked(stored.acked_through, at.sha256, at.gross_msat, stored.acked_msat, final)
    if lease.state in _NEVER_BEGAN and not lease.receipt_sequence and not books.final:
        yield Ended()


def look(change: Transaction, desk: Desk, stored: Stored) -> Account | None:
    """Bring the books of a lease up to date; None while there are none to keep."""
    books = settlement.account(change, stored.row)
    if books is None:
        contract = agreed(change, stored)
        if contract is None:
            return None
        books = open_account(stored.lease.key, contract.terms, contract.level)
        settlement.keep(change, stored.row, books)
    for event in list(events(change, stored, books)):
        books = settlement.enter(change, desk, stored, books, event)
    books = settlement.enter(change, desk, stored, books, Tick())
    settlement.caught_up(change, stored)
    return books
