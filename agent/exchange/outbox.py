"""What waits for an exchange, from its own cursor on; a slow exchange delays only itself."""

from __future__ import annotations

from dataclasses import dataclass

from agent.core.lease import METERED, LeaseState
from agent.journal import ledger
from agent.journal.checkpoints import consistency, leaves_between, newest
from agent.journal.store import Transaction, View
from agent.wire.stream import BATCH_BYTES, Bundle, LeaseCursor, Waiting
from attest import merkle

UNSETTLED = (*METERED, LeaseState.CLOSED)


@dataclass(frozen=True, slots=True)
class Cursors:
    """Where one enrolment stands."""

    epoch: int
    last: int
    delivered_through: int
    applied_through: int
    leases: tuple[LeaseCursor, ...]


@dataclass(frozen=True, slots=True)
class Counts:
    """How many statements one exchange got, for people."""

    offers_delivered: int
    receipts_issued: int
    receipts_acked: int
    undelivered: int
    refused: int
    receipts_rejected: int


def begin_session(change: Transaction, exchange: int) -> Cursors:
    """Take the next session epoch, durably, and return the cursors."""
    change.execute("UPDATE exchanges SET epoch = epoch + 1 WHERE id = ?", exchange)
    row = change.one(
        "SELECT epoch, outbox_last, delivered_through, applied_through FROM exchanges WHERE id = ?",
        exchange,
    )
    epoch, last, delivered, applied = row or (0, 0, 0, 0)
    cursors = tuple(
        LeaseCursor(item.lease.key.lease_id, item.lease.receipt_sequence, item.lease.receipt_sha256)
        for item in ledger.unacknowledged(change, exchange, UNSETTLED)
    )
    return Cursors(epoch, last, delivered, applied, cursors)


def counts(view: View, exchange: int) -> Counts:
    """Count what went to an exchange, in time that grows with its offers and leases."""
    row = view.one("SELECT outbox_last, delivered_through FROM exchanges WHERE id = ?", exchange)
    end, through = row or (0, 0)
    # Left to itself SQLite holds each delivery against each offer, and each refusal against each
    # receipt: hours, after a year.
    counted = view.one(
        "SELECT (SELECT count(*) FROM offers WHERE exchange = ?1 AND idx NOT IN"
        "  (SELECT idx FROM outbox WHERE exchange = ?1 AND sequence > ?2 AND idx NOT NULL)),"
        " (SELECT coalesce(sum((SELECT max(sequence) FROM receipts WHERE lease = leases.id)), 0)"
        "  FROM leases WHERE exchange = ?1),"
        " (SELECT coalesce(sum(acked_through), 0) FROM leases WHERE exchange = ?1),"
        " (SELECT count(*) FROM nacks WHERE exchange = ?1),"
        " (SELECT count(*) FROM receipts WHERE idx IN (SELECT outbox.idx FROM nacks"
        "  CROSS JOIN outbox USING (exchange, sequence) WHERE nacks.exchange = ?1))",
        exchange,
        through,
    )
    offers, issued, acked, refused, rejected = counted or (0, 0, 0, 0, 0)
    return Counts(offers, issued, acked, end - through, refused, rejected)


def last(view: View, exchange: int) -> int:
    """Highest delivery sequence of an exchange."""
    row = view.one("SELECT outbox_last FROM exchanges WHERE id = ?", exchange)
    return int(row[0]) if row else 0


def pending(view: View, exchange: int, after: int, most: int) -> list[Waiting]:
    """The next envelopes after a sequence, at most `most` and together at most one batch."""
    rows = view.all(
        "SELECT o.sequence, coalesce(o.envelope, e.envelope), o.idx FROM outbox o"
        " LEFT JOIN entries e ON e.idx = o.idx"
        " WHERE o.exchange = ? AND o.sequence > ? ORDER BY o.sequence LIMIT ?",
        exchange,
        after,
        most,
    )
    found: list[Waiting] = []
    size = 0
    for sequence, envelope, index in rows:
        size += len(envelope) + 16
        if found and size > BATCH_BYTES:
            break
        found.append(Waiting(int(sequence), bytes(envelope), index))
    return found


def delivered(change: Transaction, exchange: int, through: int) -> bool:
    """Move the exchange's cursor; whether the newest offer to it lies before."""
    change.execute(
        "UPDATE exchanges SET delivered_through = max(delivered_through, ?) WHERE id = ?",
        through,
        exchange,
    )
    newest = change.one(
        "SELECT idx FROM offers WHERE exchange = ? ORDER BY offer_id DESC, sequence DESC LIMIT 1",
        exchange,
    )
    return newest is not None and (
        change.one(
            "SELECT 1 FROM outbox WHERE exchange = ? AND idx = ? AND sequence <= ?",
            exchange,
            newest[0],
            through,
        )
        is not None
    )


def settles(change: Transaction, exchange: int, *, settles: bool) -> None:
    """Note whether the exchange has said that it can be invoiced.

    Once said it stands: who cannot be invoiced is not cut off, and would be that by a word.
    """
    change.execute("UPDATE exchanges SET settles = settles OR ? WHERE id = ?", settles, exchange)


def bundle(view: View, exchange: int, witnessed: int, sent: int) -> Bundle | None:
    """What moves an exchange from the size it witnessed to the newest head; None: nothing would.

    Also None while leaves of this exchange under that head are not sent yet: they go first.
    """
    head = newest(view)
    if head is None or head.size <= witnessed:
        return None
    # The plus keeps SQLite from walking all that was ever sent, by the index over the leaves.
    ahead = view.one(
        "SELECT 1 FROM outbox WHERE exchange = ? AND sequence > ? AND +idx < ? LIMIT 1",
        exchange,
        sent,
        head.size,
    )
    if ahead is not None:
        return None
    indices = leaves_between(view, exchange, witnessed, head.size)
    return Bundle(
        note=head.note,
        old_size=witnessed,
        size=head.size,
        consistency=consistency(view, witnessed, head.size),
        indices=indices,
        inclusion=merkle.multiproof(indices, head.size, view.node),
    )
