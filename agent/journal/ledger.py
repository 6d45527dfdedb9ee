"""The ledger's rows: the only place where units are held. Rules are in `core.ledger`.

Every function that grants something runs inside one transaction of the one writer, so that what was
checked is what is written.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace

import msgspec

from agent.core import ledger as rules
from agent.core.lease import (
    HOLDING,
    Agreement,
    CloseReason,
    Decision,
    Lease,
    LeaseKey,
    LeaseState,
    Outcome,
    ReserveRequest,
    Units,
)
from agent.core.ledger import OfferTerms
from agent.core.receipt import Receipt
from agent.errors import JournalError
from agent.journal.scribe import Scribe, append
from agent.journal.store import Transaction, View, any_of
from agent.wire.requests import offered
from agent.wire.statements import encode_decision, encode_receipt, encode_update
from attest.envelope import Envelope
from attest.formats import decode_envelope, encode_envelope
from probes.reading import Instant

REFUSAL_LIFE_NS = 3600 * 1_000_000_000


@dataclass(frozen=True, slots=True)
class Stored:
    """A lease with what the journal keeps beside it."""

    row: int
    exchange: int
    lease: Lease
    closed_ns: int  # the meter's reserved time at its last receipt
    acked_through: int
    acked_msat: int


class _Held(msgspec.Struct):
    """As much of a lease as it takes to count units: all of them are counted all the time."""

    state: LeaseState
    units: dict[str, int]
    hold_until_ns: int
    hold_boot_id: str


_HELD = msgspec.msgpack.Decoder(_Held)
_LEASE = msgspec.msgpack.Decoder(Lease)
_SELECT = "SELECT id, exchange, body, closed_ns, acked_through, acked_msat FROM leases"
_LISTED = "(SELECT value FROM json_each(?))"


def _stored(row: tuple[int, int, bytes, int, int, int]) -> Stored:
    lease = _LEASE.decode(row[2])
    return Stored(row[0], row[1], lease, row[3], row[4], row[5])


def find(view: View, exchange: int, lease_id: str) -> Stored | None:
    """One lease of one exchange."""
    row = view.one(_SELECT + " WHERE exchange = ? AND lease_id = ?", exchange, lease_id)
    return None if row is None else _stored(row)


def by_row(view: View, row: int) -> Stored | None:
    """One lease by its row."""
    found = view.one(_SELECT + " WHERE id = ?", row)
    return None if found is None else _stored(found)


def leases(view: View, states: Iterable[LeaseState] | None = None) -> list[Stored]:
    """All leases in these states, oldest first; None: in any."""
    if states is None:
        return [_stored(row) for row in view.all(_SELECT + " ORDER BY id")]
    query = _SELECT + " WHERE state IN " + _LISTED + " ORDER BY id"
    return [_stored(row) for row in view.all(query, any_of(states))]


def newest(view: View, ended: int) -> list[Stored]:
    """All leases that hold units and the last `ended` of the others, oldest first."""
    others = (
        "(SELECT id FROM leases WHERE state NOT IN (SELECT value FROM json_each(?))"
        " ORDER BY id DESC LIMIT ?)"
    )
    query = _SELECT + " WHERE state IN " + _LISTED + " OR id IN " + others + " ORDER BY id"
    holding = any_of(HOLDING)
    return [_stored(row) for row in view.all(query, holding, holding, ended)]


def unacknowledged(view: View, exchange: int, states: Iterable[LeaseState]) -> list[Stored]:
    """Leases of one exchange in these states with a receipt that it has not acknowledged."""
    issued = "(SELECT max(sequence) FROM receipts WHERE lease = leases.id)"
    query = _SELECT + " WHERE exchange = ? AND state IN " + _LISTED + " AND acked_through < "
    rows = view.all(query + issued + " ORDER BY id", exchange, any_of(states))
    return [_stored(row) for row in rows]


def put(change: Transaction, exchange: int, lease: Lease) -> None:
    """Write a lease as it is now."""
    change.execute(
        "INSERT INTO leases (exchange, lease_id, state, body) VALUES (?, ?, ?, ?) "
        "ON CONFLICT (exchange, lease_id)"
        " DO UPDATE SET state = excluded.state, body = excluded.body",
        exchange,
        lease.key.lease_id,
        int(lease.state),
        msgspec.msgpack.encode(lease),
    )


def free(view: View, total: Units, now: Instant) -> dict[str, int]:
    """What may still be granted of `total`, by what all leases of all exchanges hold."""
    query = "SELECT body FROM leases WHERE state IN (SELECT value FROM json_each(?))"
    rows = view.all(query, any_of(HOLDING))
    held = [_HELD.decode(body) for (body,) in rows]
    return rules.available(total, [item.units for item in held if rules.holds(item, now)])


def offer_terms(view: View, exchange: int, offer_id: str, sequence: int) -> OfferTerms | None:
    """What one revision of an offer to this exchange binds the node to; None: there is none."""
    row = view.one(
        "SELECT idx, sequence ="
        " (SELECT max(sequence) FROM offers WHERE exchange = ?1 AND offer_id = ?2)"
        " FROM offers WHERE exchange = ?1 AND offer_id = ?2 AND sequence = ?3",
        exchange,
        offer_id,
        sequence,
    )
    return None if row is None else _terms_at(view, int(row[0]), newest=bool(row[1]))


def _terms_at(view: View, index: int, *, newest: bool) -> OfferTerms:
    return offered(decode_envelope(view.envelope(index)).payload, index, newest=newest)


def answered_before(change: Transaction, exchange: int, request_sha256: bytes) -> bool:
    """Send the stored answer again if this very request was answered; whether it was."""
    row = change.one(
        "SELECT idx, envelope FROM answers WHERE exchange = ? AND request_sha256 = ?",
        exchange,
        request_sha256,
    )
    if row is None:
        return False
    if row[0] is not None:
        change.enqueue(exchange, int(row[0]))
    else:
        change.enqueue_unlogged(exchange, bytes(row[1]))
    return True


def _answer(
    change: Transaction, exchange: int, request_sha256: bytes, index: int, wall_ns: int
) -> None:
    change.execute(
        "INSERT OR REPLACE INTO answers VALUES (?, ?, ?, NULL, ?)",
        exchange,
        request_sha256,
        index,
        wall_ns,
    )


def refuse(
    change: Transaction,
    scribe: Scribe,
    exchange: int,
    lease_id: str,
    request_sha256: bytes,
    decision: Decision,
    now: Instant,
) -> None:
    """Send and keep a refusal. It is no leaf of the log, and it expires."""
    payload = encode_decision(lease_id, request_sha256, decision)
    envelope = encode_envelope(scribe.seal("LeaseDecision", payload))
    change.enqueue_unlogged(exchange, envelope)
    change.execute(
        "INSERT OR REPLACE INTO answers VALUES (?, ?, NULL, ?, ?)",
        exchange,
        request_sha256,
        envelope,
        now.wall_ns,
    )
    change.execute(
        "DELETE FROM answers WHERE idx IS NULL AND wall_ns < ?", now.wall_ns - REFUSAL_LIFE_NS
    )


def reserve(
    change: Transaction,
    scribe: Scribe,
    exchange: int,
    key: LeaseKey,
    request: ReserveRequest,
    request_sha256: bytes,
    token: bytes,
    total: Units,
    now: Instant,
    exchange_ns: int,
    *,
    draining: bool,
    trusted: bool = True,
) -> Decision:
    """Grant or refuse a hold, and answer; the grant is a leaf of the log."""
    offer = offer_terms(change, exchange, request.offer_id, request.offer_sequence)
    decision = rules.decide_reserve(
        request,
        offer,
        free(change, total, now),
        exchange_ns,
        draining=draining,
        trusted=trusted,
    )
    if find(change, exchange, key.lease_id) is not None:
        decision = Decision(Outcome.INVALID, "this lease id was used before; choose a new one")
    if not decision.accepted or offer is None:
        refuse(change, scribe, exchange, key.lease_id, request_sha256, decision, now)
        return decision
    hold = rules.bounded_hold(request.hold_ns)
    lease = Lease(
        key=key,
        state=LeaseState.RESERVED,
        units=dict(request.units),
        fencing_token=token,
        request_sha256=request_sha256,
        offer_index=offer.log_index,
        hold_until_ns=now.boottime_ns + hold,
        hold_boot_id=now.boot_id,
    )
    put(change, exchange, lease)
    payload = encode_decision(key.lease_id, request_sha256, decision, token, hold)
    index = scribe.append(change, "LeaseDecision", payload, [exchange])
    _answer(change, exchange, request_sha256, index, now.wall_ns)
    return decision


def commit(
    change: Transaction,
    scribe: Scribe,
    exchange: int,
    node_id: str,
    agreement: Agreement,
    envelope: Envelope,
    agreement_sha256: bytes,
    now: Instant,
    exchange_ns: int,
) -> Decision:
    """Countersign an agreement, or refuse it; the countersigned one is a leaf of the log."""
    stored = find(change, exchange, agreement.lease_id)
    offer = None
    if stored is not None:
        offer = _terms_at(change, stored.lease.offer_index, newest=True)
    lease = None if stored is None else stored.lease
    decision = rules.decide_commit(lease, agreement, offer, node_id, now, exchange_ns)
    if not decision.accepted or lease is None:
        refuse(change, scribe, exchange, agreement.lease_id, agreement_sha256, decision, now)
        return decision
    put(
        change,
        exchange,
        replace(
            lease,
            state=LeaseState.COMMITTED,
            agreement_sha256=agreement_sha256,
            prices=agreement.prices,
            receipt_interval_ns=agreement.receipt_interval_ns,
            start_ns=agreement.start_ns,
            end_ns=agreement.end_ns,
            job_id=agreement.job_id,
        ),
    )
    index = append(change, scribe.countersign(envelope), [exchange])
    _answer(change, exchange, agreement_sha256, index, now.wall_ns)
    return decision


def move(
    change: Transaction,
    scribe: Scribe,
    stored: Stored,
    state: LeaseState,
    reason: CloseReason,
    exchange_ns: int,
) -> Lease:
    """Put a lease into another state and tell its exchange.

    One that is CLOSING ends now, if not before: nothing later is reserved, however long it takes
    until all of it has stopped.
    """
    lease = stored.lease
    ends = lease.end_ns
    if state is LeaseState.CLOSING:
        ends = max(lease.start_ns, min(ends, exchange_ns))
    moved = replace(lease, state=state, reason=reason, end_ns=ends)
    put(change, stored.exchange, moved)
    payload = encode_update(moved.key.lease_id, state, reason, exchange_ns)
    scribe.append(change, "LeaseUpdate", payload, [stored.exchange])
    return moved


def one_lease(view: View, named: str) -> tuple[int, str]:
    """Row and id of the one lease that somebody means.

    :param named: a lease id or the beginning of one; two exchanges may use the same id: the
        beginning of the exchange's id and a slash before it tell them apart.
    :raises JournalError: when there is none, or more than one lease begins like that.
    """
    exchange, _, lease = named.rpartition("/")
    rows = view.all(
        "SELECT leases.id, lease_id FROM leases JOIN exchanges ON exchanges.id = leases.exchange"
        " WHERE substr(lease_id, 1, ?1) = ?2 AND substr(exchange_id, 1, ?3) = ?4",
        len(lease),
        lease,
        len(exchange),
        exchange,
    )
    if len(rows) != 1:
        raise JournalError(
            f"{len(rows)} leases begin with {named!r}; see them with: hearth receipts list, and"
            " name one as EXCHANGE/LEASE"
        )
    return int(rows[0][0]), str(rows[0][1])


def end(
    change: Transaction, scribe: Scribe, stored: Stored, reason: CloseReason, exchange_ns: int
) -> None:
    """Begin the end of a lease: a hold is given back at once, what runs gets its final receipt."""
    state = stored.lease.state
    if state is LeaseState.RESERVED or state is LeaseState.COMMITTED:
        move(change, scribe, stored, LeaseState.EXPIRED, reason, exchange_ns)
    elif state in (LeaseState.ACTIVE, LeaseState.SUSPENDED, LeaseState.RECLAIMING):
        move(change, scribe, stored, LeaseState.CLOSING, reason, exchange_ns)


def record_receipt(
    change: Transaction, scribe: Scribe, stored: Stored, receipt: Receipt, reserved_ns: int
) -> Lease:
    """Append a receipt to the log and move its lease's chain on.

    `reserved_ns` is the meter's reserved time that the receipt ends at.
    """
    payload = encode_receipt(receipt)
    index = scribe.append(change, "Receipt", payload, [stored.exchange])
    lease = replace(
        stored.lease,
        receipt_sequence=receipt.sequence,
        receipt_sha256=hashlib.sha256(payload).digest(),
    )
    put(change, stored.exchange, lease)
    change.execute("UPDATE leases SET closed_ns = ? WHERE id = ?", reserved_ns, stored.row)
    change.execute("INSERT INTO receipts VALUES (?, ?, ?)", stored.row, receipt.sequence, index)
    return lease


def acknowledge(
    change: Transaction, exchange: int, lease_id: str, through: int, sha256: bytes, msat: int
) -> bool:
    """Take an acknowledgement if it names a receipt that was issued; whether it did."""
    stored = find(change, exchange, lease_id)
    if stored is None:
        return False
    row = change.one(
        "SELECT idx FROM receipts WHERE lease = ? AND sequence = ?", stored.row, through
    )
    if row is None:
        return False
    issued = decode_envelope(change.envelope(int(row[0]))).payload
    if hashlib.sha256(issued).digest() != sha256:
        return False
    if through >= stored.acked_through:  # the same again: a dispute began or ended since
        change.execute(
            "UPDATE leases SET acked_through = ?, acked_msat = ? WHERE id = ?",
            through,
            msat,
            stored.row,
        )
    return True
