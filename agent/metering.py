"""What leases use and what receipts say of it: sampled, added up, cut into receipts.

The meter's state lives in memory between commits and is written in the transaction of every receipt
that follows from it: after a crash metering goes on from the last receipts, on counters that the
kernel kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from agent.clock import SECOND
from agent.core import receipt as receipts
from agent.core.account import MeterState, last_attribution, take_readings
from agent.core.energy import GONE_INTERVALS, GONE_NS, Sharing
from agent.core.lease import LeaseState
from agent.core.meter import LeaseMeter, advance, close_interval, open_meter, reopen_interval
from agent.core.offer import Environment
from agent.errors import Overloaded
from agent.journal import ledger
from agent.journal.store import Transaction
from agent.lease_sampler import LeaseSampler
from agent.market import Market
from agent.node import Node
from agent.recovery import key_of
from agent.sampler import Batch
from probes.hostcpu import BUSY
from probes.reading import Counter, Gauge, Instant

LIMITS_EVERY = 10  # samples between two looks at the limits
OUTAGE_PATIENCE_NS = 60 * SECOND  # for an exchange to say how long the power was off


@dataclass(slots=True)
class Running:
    """A lease that is metered."""

    stored: ledger.Stored
    sampler: LeaseSampler
    limits_in_force: bool
    samples: int = 0
    unread: int = 0  # samples since the cgroup was last read
    again_ns: int = 0  # CLOCK_BOOTTIME before which ending it is not tried again


@dataclass(slots=True)
class Metering:
    """Every lease that is metered, and the host's own meters."""

    node: Node
    market: Market
    state: MeterState = field(default_factory=MeterState)
    restored: MeterState = field(default_factory=MeterState)  # as this start found it
    running: dict[str, Running] = field(default_factory=dict)
    # Held from a look at the state until what follows from it is committed: two that cut receipts
    # from one state would each say what the other says, or neither.
    committing: asyncio.Lock = field(default_factory=asyncio.Lock)
    busy_us: int = 0
    started: Instant | None = None
    supply_millicelsius: int | None = None
    return_millicelsius: int | None = None
    progress: int = 0  # samples taken, for the watchdog

    @property
    def sharing(self) -> Sharing:
        """How energy is divided, by the inventory as it is."""
        config = self.node.config
        # A Modbus meter's are bounded, an M-Bus meter's may be what its battery allows.
        intervals = [meter.interval_seconds for meter in config.sensors.mbus]
        return Sharing(
            vcpus=max(1, self.node.capacity.get(receipts.VCPU, 1)),
            site_share_ppm=config.site.share_ppm,
            idle_milliwatts=config.energy.idle_milliwatts,
            asking_since_ns=self.started.monotonic_ns if self.started is not None else 0,
            gone_ns=max(GONE_NS, GONE_INTERVALS * max(intervals, default=0) * SECOND),
        )

    # --- which leases --------------------------------------------------------------------------

    def resume(self, state: MeterState, at: Instant) -> None:
        """Take up what was metered before this start."""
        self.state = self.restored = state
        self.started = at

    def attach(self, stored: ledger.Stored, directory: Path, limits: dict[str, str]) -> Running:
        """Meter a lease from here on.

        :param directory: of its cgroup, which may come later.
        :param limits: file -> what it holds while the sold limits are in force.
        """
        sampler = LeaseSampler(self.node.host, directory, limits)
        item = Running(stored, sampler, sampler.limits_in_force())
        self.running[key_of(stored)] = item
        return item

    def open(self, item: Running, at: Instant) -> None:
        """Begin a lease's meter with a first sample; the state is to be made durable."""
        lease = item.stored.lease
        late = self.market.now_at(lease.key.exchange_id, at) - lease.start_ns
        meter = open_meter(at, min(late, lease.end_ns - lease.start_ns))
        meter = self._advance(meter, item, at, self.sharing.vcpus)
        kept = {**self.state.leases, key_of(item.stored): meter}
        self.state = msgspec.structs.replace(self.state, leases=kept)

    def last(self, items: Iterable[Running]) -> dict[str, LeaseMeter]:
        """Sample leases for the last time; returns their meters.

        The state keeps them as they were until `detach`.
        """
        at = self.node.clock.now()
        meters = {}
        for item in items:
            key = key_of(item.stored)
            meter = self._advance(self.state.leases[key], item, at, self.sharing.vcpus)
            meters[key] = last_attribution(self.state, key, meter)
        return meters

    def detach(self, keys: Container[str]) -> None:
        """Meter these leases no longer. Only they leave; others were sampled meanwhile."""
        self.state = self._without(keys)
        for key in [key for key in self.running if key in keys]:
            self.running.pop(key).sampler.close()

    def durable(self, without: Container[str] = ()) -> bytes:
        """The state as the journal keeps it, in the transaction of what follows from it."""
        return msgspec.msgpack.encode(self._without(without))

    def _without(self, keys: Container[str]) -> MeterState:
        left = {name: meter for name, meter in self.state.leases.items() if name not in keys}
        return msgspec.structs.replace(self.state, leases=left)

    # --- sampling ------------------------------------------------------------------------------

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

    def _advance(self, meter: LeaseMeter, item: Running, at: Instant, threads: int) -> LeaseMeter:
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
        return advance(
            meter,
            reading,
            at,
            threads,
            until_ns=lease.end_ns - lease.start_ns,
            outage_ns=outage,
        )

    def _awaits_time(self, meter: LeaseMeter, item: Running, at: Instant) -> bool:
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
        async with self.committing:
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
        kept.update({key: close_interval(meter) for key, meter in cut.items()})
        self.state = msgspec.structs.replace(self.state, leases=kept)
        durable = self.durable()
        sources = self.sources()
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

    def _reopen(self, cut: dict[str, LeaseMeter]) -> None:
        """A receipt that could not be written: its interval goes on."""
        meters = dict(self.state.leases)
        for key, before in cut.items():
            if key not in meters:
                continue
            meters[key] = reopen_interval(meters[key], before)
        self.state = msgspec.structs.replace(self.state, leases=meters)

    def sources(self) -> receipts.Sources:
        """Where energy and heat come from by now."""
        state = self.state
        return receipts.Sources(
            state.energy_class,
            state.energy_uncertainty_permille,
            state.heat_class,
            state.heat_uncertainty_permille,
        )
