"""The life of a lease on this host: placed, sampled, billed, ended.

The meter's state lives in memory between commits and is written in the transaction of every receipt
that follows from it: after a crash metering goes on from the last receipts, on counters that the
kernel kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import msgspec
import structlog

from agent import recovery
from agent.clock import SECOND
from agent.core import meter as metering
from agent.core import receipt as receipts
from agent.core.account import MeterState, last_attribution, take_readings
from agent.core.energy import Sharing
from agent.core.lease import CloseReason, LeaseKey, LeaseState
from agent.core.ledger import hold_expired
from agent.core.offer import Environment
from agent.errors import CgroupError, Overloaded
from agent.journal import ledger
from agent.journal.store import Transaction
from agent.lease_sampler import LeaseSampler
from agent.leases import Places, enforceable
from agent.market import Market
from agent.node import Node
from agent.sampler import Batch
from probes.hostcpu import BUSY
from probes.reading import Counter, Gauge, Instant

logger = structlog.get_logger()

LIMITS_EVERY = 10  # samples between two looks at the limits
REPLACE_AFTER = 10  # samples without a cgroup before it is made again
AGAIN_NS = 10 * SECOND  # until what does not end is tried to be ended again
OUTAGE_PATIENCE_NS = 60 * SECOND  # for an exchange to say how long the power was off
STEPPING = (LeaseState.RESERVED, LeaseState.COMMITTED, LeaseState.CLOSING)

key_of = recovery.key_of


@dataclass(slots=True)
class _Running:
    """A lease that is metered."""

    stored: ledger.Stored
    sampler: LeaseSampler
    limits_in_force: bool
    samples: int = 0
    unread: int = 0  # samples since the cgroup was last read
    again_ns: int = 0  # CLOCK_BOOTTIME before which ending it is not tried again


@dataclass(slots=True)
class Delivery:
    """Everything that is delivered on this host, and what it used."""

    node: Node
    market: Market
    places: Places
    want_checkpoint: Callable[[], None]
    state: MeterState = field(default_factory=MeterState)
    restored: MeterState = field(default_factory=MeterState)  # as this start found it
    running: dict[str, _Running] = field(default_factory=dict)
    busy_us: int = 0
    started: Instant | None = None
    supply_millicelsius: int | None = None
    return_millicelsius: int | None = None
    progress: int = 0  # samples taken, for the watchdog

    async def restore(self) -> None:
        """Take up what was metered before this start."""
        self.started = self.node.clock.now()
        self.state, going_on = await self.node.journal.read(recovery.meters)
        self.restored = self.state
        for stored in going_on:
            await self._replace(stored)
            self._attach(stored)
        for key in await self.node.journal.read(
            lambda view: recovery.left_behind(view, self.places)
        ):
            await self._clear(key)

    async def _replace(self, stored: ledger.Stored) -> None:
        """Make a lease's cgroup again where a reboot has taken it: another one, a new count."""
        lease = stored.lease
        if lease.state is LeaseState.CLOSING or self.places.directory(lease.key).exists():
            return
        try:
            await asyncio.to_thread(self.places.create, lease.key, lease.units)
        except CgroupError as error:
            logger.warning("cgroup_missing", lease=lease.key.lease_id, error=str(error))

    async def _clear(self, key: LeaseKey) -> None:
        """Remove the cgroup of a lease that ended."""
        try:
            await asyncio.to_thread(self.places.empty, key)
            await asyncio.to_thread(self.places.remove, key)
        except CgroupError as error:
            logger.warning("cgroup_left", lease=key.lease_id, error=str(error))

    @property
    def sharing(self) -> Sharing:
        """How energy is divided, by the inventory as it is."""
        config = self.node.config
        return Sharing(
            vcpus=max(1, self.node.capacity.get(receipts.VCPU, 1)),
            site_share_ppm=config.site.share_ppm,
            idle_milliwatts=config.energy.idle_milliwatts,
        )

    # --- sampling ------------------------------------------------------------------------------

    def _attach(self, stored: ledger.Stored) -> None:
        lease = stored.lease
        limits = enforceable(self.places, lease.units)
        sampler = LeaseSampler(self.node.host, self.places.directory(lease.key), limits)
        self.running[key_of(stored)] = _Running(stored, sampler, sampler.limits_in_force())

    def sample(self) -> None:
        """Read every lease's cgroup once and take it into the meter's state."""
        at = self.node.clock.now()
        threads = self.sharing.vcpus
        meters = dict(self.state.leases)
        for key, item in self.running.items():
            if item.stored.lease.state is LeaseState.CLOSING or self._awaits_time(
                meters[key], item, at
            ):
                continue
            meters[key] = self._advance(meters[key], item, at, threads)
        self.state = msgspec.structs.replace(self.state, leases=meters)
        self.progress += 1

    def _advance(
        self, meter: metering.LeaseMeter, item: _Running, at: Instant, threads: int
    ) -> metering.LeaseMeter:
        item.samples += 1
        if item.samples % LIMITS_EVERY == 0:
            item.limits_in_force = item.sampler.limits_in_force()
        reading = item.sampler.read(limits_in_force=item.limits_in_force)
        item.unread = 0 if reading is not None else item.unread + 1
        lease = item.stored.lease
        outage = None
        if meter.at.boot_id != at.boot_id and self.market.heard(lease.key.exchange_id):
            exchange_ns = self.market.now_at(lease.key.exchange_id, at)
            outage = exchange_ns - lease.start_ns - meter.reserved_ns
        return metering.advance(
            meter,
            reading,
            at,
            threads,
            until_ns=lease.end_ns - lease.start_ns,
            outage_ns=outage,
        )

    def _awaits_time(self, meter: metering.LeaseMeter, item: _Running, at: Instant) -> bool:
        """Whether the exchange may still say how long the power was off.

        It knows better than a hardware clock, and until then nothing of the lease is lost: it is
        all counted as outage.
        """
        if meter.at.boot_id == at.boot_id or self.started is None:
            return False
        waited = at.boottime_ns - self.started.boottime_ns
        exchange_id = item.stored.lease.key.exchange_id
        return waited < OUTAGE_PATIENCE_NS and not self.market.heard(exchange_id)

    def take(self, batch: Batch) -> None:
        """Take a probe's readings into the meter's state."""
        for reading in batch.readings:
            if reading.sensor == BUSY and isinstance(reading.value, Counter):
                self.busy_us = reading.value.total
            elif isinstance(reading.value, Gauge):
                if reading.sensor.quantity == "supply_temperature":
                    self.supply_millicelsius = reading.value.value
                elif reading.sensor.quantity == "return_temperature":
                    self.return_millicelsius = reading.value.value
        vcpus = {
            key: item.stored.lease.units.get(receipts.VCPU, 0) for key, item in self.running.items()
        }
        self.state = take_readings(self.state, batch.readings, self.busy_us, vcpus, self.sharing)

    def environment(self) -> Environment:
        """Power and heat since this start, for the offers."""
        state, before, started = self.state, self.restored, self.started
        now = self.node.clock.now()
        window = max(1, now.boottime_ns - started.boottime_ns) if started else 1
        energy_ns = state.host_energy_ns - before.host_energy_ns
        heat_ns = state.host_heat_ns - before.host_heat_ns
        measured = state.energy_class is not None and energy_ns > 0
        heated = state.heat_class is not None and heat_ns > 0
        return Environment(
            window_ns=window,
            energy_mj=state.host_energy_mj - before.host_energy_mj if measured else None,
            energy_measured_ns=energy_ns,
            energy_source=state.energy_class,
            heat_mj=state.host_heat_mj - before.host_heat_mj if heated else None,
            heat_measured_ns=heat_ns,
            heat_source=state.heat_class,
            supply_millicelsius=self.supply_millicelsius if heated else None,
            return_millicelsius=self.return_millicelsius if heated else None,
        )

    # --- receipts ------------------------------------------------------------------------------

    async def close_due(self) -> None:
        """Cut a receipt for every lease whose interval is over, all in one commit.

        While the disk is full intervals go on: totals are cumulative, and what room there is
        belongs to final receipts.
        """
        if self.node.journal.full:
            return
        due = [
            key
            for key, item in self.running.items()
            if item.stored.lease.state is not LeaseState.CLOSING
            and self.state.leases[key].reserved_ns - item.stored.closed_ns
            >= item.stored.lease.receipt_interval_ns
        ]
        if due:
            await self._cut(due)

    async def _cut(self, keys: Sequence[str]) -> None:
        """Cut a receipt for each of these leases as their meters stand now."""
        cut = {key: self.state.leases[key] for key in keys}
        # What happens from here on belongs to the next interval, even before the commit.
        kept = dict(self.state.leases)
        kept.update({key: metering.close_interval(meter) for key, meter in cut.items()})
        self.state = msgspec.structs.replace(self.state, leases=kept)
        durable = msgspec.msgpack.encode(self.state)
        sources = self._sources()
        running = {key: self.running[key] for key in keys}

        def write(change: Transaction) -> dict[str, ledger.Stored]:
            after = {}
            for key, item in running.items():
                lease_id = item.stored.lease.key.lease_id
                stored = ledger.find(change, item.stored.exchange, lease_id)
                if stored is None or stored.lease.state is not LeaseState.ACTIVE:
                    continue  # ended meanwhile: the final receipt says it all
                receipt = receipts.close(
                    stored.lease,
                    cut[key],
                    stored.closed_ns,
                    self.node.node_id,
                    self.node.log_id,
                    sources,
                    final=False,
                )
                ledger.record_receipt(
                    change, self.node.scribe, stored, receipt, cut[key].reserved_ns
                )
                after[key] = ledger.find(change, stored.exchange, lease_id) or stored
            change.execute("INSERT OR REPLACE INTO meter VALUES (1, ?)", durable)
            return after

        try:
            after = await self.node.journal.write(write)
        except Overloaded:
            self._reopen(cut)
            raise
        self._reopen({key: meter for key, meter in cut.items() if key not in after})
        for key, stored in after.items():
            if key in self.running:
                self.running[key].stored = stored

    def _reopen(self, cut: dict[str, metering.LeaseMeter]) -> None:
        """A receipt that could not be written: its interval goes on."""
        meters = dict(self.state.leases)
        for key, before in cut.items():
            if key not in meters:
                continue
            now = meters[key]
            meters[key] = msgspec.structs.replace(
                now,
                quality=max(now.quality, before.quality),
                events=before.events + now.events,
            )
        self.state = msgspec.structs.replace(self.state, leases=meters)

    def _sources(self) -> receipts.Sources:
        state = self.state
        return receipts.Sources(
            state.energy_class,
            state.energy_uncertainty_permille,
            state.heat_class,
            state.heat_uncertainty_permille,
        )

    # --- life of a lease -----------------------------------------------------------------------

    async def reconcile(self) -> None:
        """Bring every lease one step on: expire holds, activate, end what ended.

        This runs after every commit: leases that just go on are not read.
        """
        now = self.node.clock.now()
        steps = await self.node.journal.read(lambda view: ledger.leases(view, STEPPING))
        for stored in steps:  # first of all, for what follows may take its time
            if key_of(stored) in self.running:
                self.running[key_of(stored)].stored = stored
        for item in list(self.running.values()):
            lease = item.stored.lease
            over = self.market.now_at(lease.key.exchange_id, now) >= lease.end_ns
            if lease.state is LeaseState.ACTIVE and over:
                await self._end(item.stored, CloseReason.END_TIME)
            elif item.unread >= REPLACE_AFTER:  # not made at the start, or somebody removed it
                item.unread = 0
                await self._replace(item.stored)
        for stored in steps:
            now = self.node.clock.now()
            exchange_ns = self.market.now_at(stored.lease.key.exchange_id, now)
            match stored.lease.state:
                case LeaseState.RESERVED if hold_expired(stored.lease, now):
                    await self._move(stored, LeaseState.EXPIRED, CloseReason.NONE)
                case LeaseState.COMMITTED if exchange_ns >= stored.lease.start_ns:
                    await self._activate(stored)
                case LeaseState.CLOSING:
                    await self._close(stored, now)
                case _:
                    pass

    async def _move(self, stored: ledger.Stored, state: LeaseState, reason: CloseReason) -> None:
        at = self.market.now_at(stored.lease.key.exchange_id)

        def write(change: Transaction) -> None:
            again = ledger.find(change, stored.exchange, stored.lease.key.lease_id)
            if again is not None and again.lease.state is stored.lease.state:
                ledger.move(change, self.node.scribe, again, state, reason, at)

        await self.node.journal.write(write)
        logger.info("lease_moved", lease=stored.lease.key.lease_id, state=state.name)

    async def _end(self, stored: ledger.Stored, reason: CloseReason) -> None:
        at = self.market.now_at(stored.lease.key.exchange_id)

        def write(change: Transaction) -> None:
            again = ledger.find(change, stored.exchange, stored.lease.key.lease_id)
            if again is not None:  # as it is by now: the exchange may have ended it meanwhile
                ledger.end(change, self.node.scribe, again, reason, at)

        await self.node.journal.write(write)

    async def _activate(self, stored: ledger.Stored) -> None:
        lease = stored.lease
        try:
            await asyncio.to_thread(self.places.create, lease.key, lease.units)
        except CgroupError as error:
            logger.warning("lease_failed", lease=lease.key.lease_id, error=str(error))
            await self._move(stored, LeaseState.FAILED, CloseReason.OPERATOR_FAULT)
            return
        key = key_of(stored)
        at = self.node.clock.now()
        late = self.market.now_at(lease.key.exchange_id, at) - lease.start_ns
        meter = metering.open_meter(at, min(late, lease.end_ns - lease.start_ns))
        self._attach(stored)
        item = self.running[key]
        meter = self._advance(meter, item, at, self.sharing.vcpus)
        self.state = msgspec.structs.replace(self.state, leases={**self.state.leases, key: meter})
        durable = msgspec.msgpack.encode(self.state)

        def write(change: Transaction) -> ledger.Stored | None:
            again = ledger.find(change, stored.exchange, lease.key.lease_id)
            if again is None or again.lease.state is not LeaseState.COMMITTED:
                return None
            at = self.market.now_at(lease.key.exchange_id)
            ledger.move(change, self.node.scribe, again, LeaseState.ACTIVE, CloseReason.NONE, at)
            change.execute("INSERT OR REPLACE INTO meter VALUES (1, ?)", durable)
            return ledger.find(change, stored.exchange, lease.key.lease_id)

        active: ledger.Stored | None = None
        try:
            active = await self.node.journal.write(write)
        finally:
            if active is None:  # not written, or released meanwhile: it never began
                self._detach(key)
        if active is None:
            await self._clear(lease.key)
            return
        item.stored = active
        logger.info("lease_moved", lease=lease.key.lease_id, state="ACTIVE")

    def _detach(self, key: str) -> None:
        """Meter a lease no longer. Only this one leaves; others were sampled meanwhile."""
        left = {name: meter for name, meter in self.state.leases.items() if name != key}
        self.state = msgspec.structs.replace(self.state, leases=left)
        self.running.pop(key).sampler.close()

    async def _close(self, stored: ledger.Stored, now: Instant) -> None:
        """End what runs, read it for the last time, cut the final receipt."""
        key = key_of(stored)
        if key not in self.running:
            self._attach(stored)
        item = self.running[key]
        item.stored = stored
        if now.boottime_ns < item.again_ns:
            return
        try:
            await asyncio.to_thread(self.places.empty, stored.lease.key)
        except CgroupError as error:
            logger.warning("lease_still_runs", lease=stored.lease.key.lease_id, error=str(error))
            item.again_ns = now.boottime_ns + AGAIN_NS
            return
        meter = self.state.leases[key]
        meter = self._advance(meter, item, self.node.clock.now(), self.sharing.vcpus)
        meter = last_attribution(self.state, key, meter)
        left = {name: value for name, value in self.state.leases.items() if name != key}
        state = msgspec.structs.replace(self.state, leases=left)
        durable = msgspec.msgpack.encode(state)
        sources = self._sources()

        def write(change: Transaction) -> None:
            again = ledger.find(change, stored.exchange, stored.lease.key.lease_id)
            if again is None or again.lease.state is not LeaseState.CLOSING:
                return
            final = receipts.close(
                again.lease,
                meter,
                again.closed_ns,
                self.node.node_id,
                self.node.log_id,
                sources,
                final=True,
            )
            ledger.record_receipt(change, self.node.scribe, again, final, meter.reserved_ns)
            done = ledger.find(change, stored.exchange, stored.lease.key.lease_id)
            if done is not None:
                at = self.market.now_at(stored.lease.key.exchange_id)
                ledger.move(
                    change, self.node.scribe, done, LeaseState.CLOSED, stored.lease.reason, at
                )
            change.execute("INSERT OR REPLACE INTO meter VALUES (1, ?)", durable)

        await self.node.journal.write(write)
        self._detach(key)
        await self._clear(stored.lease.key)
        self.want_checkpoint()
        logger.info("lease_moved", lease=stored.lease.key.lease_id, state="CLOSED")
