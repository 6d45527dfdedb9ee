"""The second half of a journal check: receipts, deliveries and what is sold."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import msgspec

from agent.core.account import MeterState
from agent.core.lease import METERED, LeaseState
from agent.errors import HearthError
from agent.journal import ledger
from agent.journal.ledger import Stored
from agent.journal.store import View
from agent.wire import signed
from attest.envelope import message_name
from attest.errors import AttestError
from attest.formats import decode_envelope

ENDED = (LeaseState.CLOSED, LeaseState.SETTLED, LeaseState.EXPIRED, LeaseState.FAILED)
SETTLED = (LeaseState.CLOSED, LeaseState.SETTLED)


def indices(view: View, name: str) -> list[int]:
    """Indices of all leaves of one kind, ascending."""
    # The payload type stands in clear at the beginning of a serialised envelope.
    rows = view.all(
        "SELECT idx FROM entries WHERE instr(substr(envelope, 1, 160), ?) ORDER BY idx",
        f".{name}+protobuf".encode(),
    )
    return [int(row[0]) for row in rows]


# --- deliveries --------------------------------------------------------------------------------


def outbox(view: View) -> Iterator[str]:
    """Every delivery has its number, and something to deliver."""
    size = view.size()
    rows = view.all("SELECT id, outbox_last, delivered_through FROM exchanges ORDER BY id")
    for exchange, last, delivered in rows:
        counted = view.one(
            "SELECT count(*), coalesce(min(sequence), 1), coalesce(max(sequence), 0)"
            " FROM outbox WHERE exchange = ?",
            exchange,
        )
        if counted != (last, 1, last):
            yield f"outbox of exchange {exchange}: {counted} where 1 to {last} are due"
        if delivered > last:
            yield f"outbox of exchange {exchange}: {delivered} delivered of {last}"
    odd = view.all(
        "SELECT exchange, sequence FROM outbox"
        " WHERE (idx IS NULL) = (envelope IS NULL) OR idx >= ? OR idx < 0",
        size,
    )
    for exchange, sequence in odd:
        yield f"outbox of exchange {exchange}: delivery {sequence} has nothing to deliver"
    refusals = view.all(
        "SELECT exchange, sequence, envelope FROM outbox WHERE envelope IS NOT NULL"
    )
    for exchange, sequence, envelope in refusals:
        try:
            decode_envelope(envelope)
        except AttestError as error:
            yield f"outbox of exchange {exchange}: delivery {sequence}: {error}"


# --- receipts ----------------------------------------------------------------------------------


def receipts(view: View) -> Iterator[str]:
    """Every lease has an unbroken chain of receipts, and no receipt stands outside of one."""
    chained: set[int] = set()
    names = dict(view.all("SELECT id, exchange_id FROM exchanges"))
    for stored in ledger.leases(view):
        if stored.lease.key.exchange_id != names.get(stored.exchange):
            yield f"lease {stored.lease.key.lease_id}: under another exchange"
        yield from _chain(view, stored, chained)
    for index in indices(view, "Receipt"):
        if index not in chained:
            yield f"leaf {index}: a receipt that no lease has"


def _chain(view: View, stored: Stored, chained: set[int]) -> Iterator[str]:
    lease = stored.lease
    what = f"lease {lease.key.lease_id}"
    rows = view.all(
        "SELECT sequence, idx FROM receipts WHERE lease = ? ORDER BY sequence", stored.row
    )
    if [row[0] for row in rows] != list(range(1, lease.receipt_sequence + 1)):
        yield f"{what}: {len(rows)} receipts where 1 to {lease.receipt_sequence} are due"
        return
    digest = b""
    before: signed.Issued | None = None
    for sequence, index in rows:
        chained.add(index)
        envelope = decode_envelope(view.envelope(index))
        where = f"{what}, receipt {sequence} (leaf {index})"
        if message_name(envelope.payload_type) != "Receipt":
            yield f"{where}: not a receipt"
            return
        try:
            receipt = signed.issued(envelope.payload)
        except HearthError as error:
            yield f"{where}: {error}"
            return
        if (receipt.exchange_id, receipt.lease_id, receipt.sequence) != (*lease.key, sequence):
            yield f"{where}: of another lease or sequence"
        if receipt.agreement_sha256 != lease.agreement_sha256:
            yield f"{where}: of another agreement"
        if receipt.previous_sha256 != digest:
            yield f"{where}: does not name the receipt before it"
        yield from (f"{where}: {line}" for line in _follows(lease.start_ns, before, receipt))
        digest, before = hashlib.sha256(envelope.payload).digest(), receipt
    if digest != lease.receipt_sha256:
        yield f"{what}: the ledger names another last receipt"
    final = before is not None and before.final
    if final != (lease.state in SETTLED):
        yield f"{what}: is {lease.state.name}, {'with' if final else 'without'} a final receipt"


def _follows(start_ns: int, before: signed.Issued | None, now: signed.Issued) -> Iterator[str]:
    began = start_ns if before is None else before.end_ns
    if now.start_ns != began or now.end_ns < now.start_ns:
        yield f"begins at {now.start_ns} ns, due is {began} ns"
    for name, (delivered, reserved) in now.delivered.items():
        if delivered > reserved:
            yield f"{name}: {delivered} delivered of {reserved}"
    if before is None:
        return
    if before.final:
        yield "comes after the final one"
    for name, was in before.registers.items():
        is_now = now.registers.get(name)
        if was is not None and (is_now is None or is_now < was):
            yield f"{name} fell from {was} to {is_now}"


# --- what is sold ------------------------------------------------------------------------------


@dataclass(slots=True)
class _Sold:
    """The log's leaves in their order: what is held by leases that came to an agreement."""

    agreed: Mapping[tuple[int, str], Mapping[str, int]]
    sellable: Mapping[str, int] = field(default_factory=dict)
    held: dict[tuple[int, str], Mapping[str, int]] = field(default_factory=dict)

    def grant(self, key: tuple[int, str]) -> Iterator[str]:
        units = self.agreed.get(key)
        if units is None:
            return  # a hold that ran out: how long it kept its units only the clock knew
        self.held[key] = units
        for name, total in over(self.held.values(), self.sellable):
            yield f"lease {key[1]}: {total} {name} granted of {self.sellable.get(name, 0)}"


def over(held: Iterable[Mapping[str, int]], total: Mapping[str, int]) -> Iterator[tuple[str, int]]:
    """Classes of which more is held than there is, and how much."""
    sums: dict[str, int] = {}
    for units in held:
        for name, count in units.items():
            sums[name] = sums.get(name, 0) + count
    for name in sorted(sums):
        if sums[name] > total.get(name, 0):
            yield name, sums[name]


def leases(view: View) -> Iterator[str]:
    """No unit was sold twice at any moment of the log; what is metered has its meter."""
    places = {
        int(index): int(exchange)
        for index, exchange in view.all("SELECT idx, exchange FROM outbox WHERE idx IS NOT NULL")
    }

    def key(index: int, lease_id: str) -> tuple[int, str]:
        return places.get(index, 0), lease_id

    def payload(index: int) -> bytes:
        return decode_envelope(view.envelope(index)).payload

    agreed: dict[tuple[int, str], Mapping[str, int]] = {}
    for index in indices(view, "LeaseAgreement"):
        lease_id, units = signed.agreed(payload(index))
        agreed[key(index, lease_id)] = units
    kinds = ("Offer", "LeaseDecision", "LeaseUpdate")
    steps = sorted((index, kind) for kind in kinds for index in indices(view, kind))
    sold = _Sold(agreed)
    states: dict[tuple[int, str], LeaseState] = {}
    for index, kind in steps:
        if kind == "Offer":
            sold.sellable = signed.sellable(payload(index))
        elif kind == "LeaseDecision":
            granted = signed.granted(payload(index))
            if granted is not None:
                yield from sold.grant(key(index, granted))
        else:
            lease_id, state = signed.moved(payload(index))
            states[key(index, lease_id)] = state
            if state in ENDED:
                sold.held.pop(key(index, lease_id), None)
    yield from _ledger(view, agreed, states)


def _ledger(
    view: View,
    agreed: Mapping[tuple[int, str], Mapping[str, int]],
    states: Mapping[tuple[int, str], LeaseState],
) -> Iterator[str]:
    row = view.one("SELECT state FROM meter WHERE id = 1")
    try:
        meters = msgspec.msgpack.decode(row[0], type=MeterState).leases if row else {}
    except msgspec.MsgspecError as error:
        yield f"meter: {error}"
        return
    for stored in ledger.leases(view):
        lease = stored.lease
        key = (stored.exchange, lease.key.lease_id)
        expected = states.get(key, LeaseState.COMMITTED if key in agreed else LeaseState.RESERVED)
        if lease.state is not expected:
            yield f"lease {key[1]}: is {lease.state.name}, the log says {expected.name}"
        if key in agreed and dict(agreed[key]) != dict(lease.units):
            yield f"lease {key[1]}: holds other units than were agreed"
        meter = meters.get(f"{lease.key.exchange_id}/{lease.key.lease_id}")
        if lease.state in METERED and (meter is None or meter.reserved_ns < stored.closed_ns):
            yield f"lease {key[1]}: is {lease.state.name} and its meter is missing or behind"
