"""What a start finds: meters, leases, and cgroups that a crash left behind."""

from __future__ import annotations

import msgspec
import structlog

from agent.core.account import MeterState
from agent.core.lease import METERED, LeaseKey, LeaseState
from agent.core.meter import LeaseMeter, Quality
from agent.core.receipt import MILLISECOND_NS, VCPU
from agent.journal import ledger
from agent.journal.ledger import Stored
from agent.journal.store import View, any_of
from agent.leases import Places, name_of
from agent.wire import signed
from attest.formats import decode_envelope
from probes.reading import Instant

logger = structlog.get_logger()

ENDED = (LeaseState.CLOSED, LeaseState.SETTLED, LeaseState.EXPIRED, LeaseState.FAILED)


def key_of(stored: Stored) -> str:
    """Name of a lease within the meter's state."""
    return f"{stored.lease.key.exchange_id}/{stored.lease.key.lease_id}"


def meters(view: View) -> tuple[MeterState, list[Stored]]:
    """What was metered before, and the leases that go on; neither has one that the other lacks."""
    row = view.one("SELECT state FROM meter WHERE id = 1")
    state = MeterState()
    if row is not None:
        try:
            state = msgspec.msgpack.decode(row[0], type=MeterState)
        except msgspec.MsgspecError:
            logger.exception("meter_unreadable")
    going_on = ledger.leases(view, METERED)
    kept = {}
    for stored in going_on:
        key = key_of(stored)
        meter = state.leases.get(key)
        if meter is None:
            logger.error("meter_lost", lease=stored.lease.key.lease_id)
            meter = _reopened(view, stored)
        kept[key] = meter
    return msgspec.structs.replace(state, leases=kept), going_on


def _reopened(view: View, stored: Stored) -> LeaseMeter:
    """A meter from the lease's last receipt: no total falls, all that came after it is missing."""
    lease = stored.lease
    # Of no boot at all: whatever comes next is an outage until then.
    at = Instant(0, 0, lease.start_ns + stored.closed_ns, "")
    row = view.one(
        "SELECT idx FROM receipts WHERE lease = ? ORDER BY sequence DESC LIMIT 1", stored.row
    )
    if row is None:
        return LeaseMeter(at=at, quality=Quality.MISSING)
    last = signed.issued(decode_envelope(view.envelope(int(row[0]))).payload)
    registers = last.registers
    # Up: what was billed in whole milliseconds of a class is not to be billed lower.
    delivered = [
        -(-(registers.get(f"{name} delivered") or 0) * MILLISECOND_NS // units)
        for name, units in lease.units.items()
    ]
    missing = [(registers.get(f"{name} missing") or 0) * MILLISECOND_NS for name in lease.units]
    return LeaseMeter(
        at=at,
        reserved_ns=stored.closed_ns,
        delivered_ns=min(stored.closed_ns, max(delivered, default=0)),
        missing_ns=max(missing, default=0),
        used_cpu_us=(registers.get(f"{VCPU} used") or 0) * 1000,
        used_mb_ms=registers.get("MEMORY_MB used"),
        energy_mj=registers.get("energy"),
        heat_mj=registers.get("heat"),
        heat_reverse_mj=registers.get("heat reverse"),
        quality=Quality.MISSING,
    )


def left_behind(view: View, places: Places) -> list[LeaseKey]:
    """Leases of this host that have ended and whose cgroups are still there."""
    try:
        there = {path.name for path in places.root.iterdir()}
    except OSError:
        return []
    rows = view.all(
        "SELECT exchange_id, lease_id FROM leases JOIN exchanges ON exchanges.id = exchange"
        " WHERE state IN (SELECT value FROM json_each(?))",
        any_of(ENDED),
    )
    ended = (LeaseKey(exchange_id, lease_id) for exchange_id, lease_id in rows)
    return [key for key in ended if name_of(key) in there]
