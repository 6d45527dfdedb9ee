"""The meter's whole state: leases, energy and heat meters, and how a reading moves it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from agent.core import energy
from agent.core.energy import Mark, Sharing
from agent.core.meter import LeaseMeter, State
from probes.reading import Counter, Instant, Reading, SourceClass

ENERGY = "energy"
HEAT = "heat"
HEAT_REVERSE = "heat_reverse"
SITE_SOURCES = ("modbus", "mbus")  # meters of the site: this host has a share of them
# Sources whose energy counters may be billed from; hwmon's repeat what RAPL says.
BILLED_SOURCES = ("rapl", "nvml", "ipmi", *SITE_SOURCES)


class MeterState(State, frozen=True):
    """All that is kept of metering between two runs."""

    leases: dict[str, LeaseMeter] = msgspec.field(default_factory=dict)
    marks: dict[str, Mark] = msgspec.field(default_factory=dict)  # sensor -> its last reading
    energy_class: SourceClass | None = None
    energy_uncertainty_permille: int = 0
    heat_class: SourceClass | None = None
    heat_uncertainty_permille: int = 0
    host_energy_mj: int = 0
    host_energy_ns: int = 0  # time in which it was measured
    host_heat_mj: int = 0
    host_heat_ns: int = 0


def take_readings(
    state: MeterState,
    readings: Iterable[Reading],
    busy_us: int,
    vcpus: Mapping[str, int],
    sharing: Sharing,
) -> MeterState:
    """Take a meter's readings into the state; readings that are not energy or heat are passed over.

    `busy_us`: the host's CPU time by now; `vcpus`: those of each lease.
    """
    for reading in readings:
        if reading.source is None or not isinstance(reading.value, Counter):
            continue
        if reading.sensor.source not in BILLED_SOURCES:
            continue
        counter = energy.in_millijoules(reading.value)
        if counter is None:
            continue
        if reading.sensor.quantity == ENERGY:
            state = _energy(state, reading, counter, busy_us, vcpus, sharing)
        elif reading.sensor.quantity in (HEAT, HEAT_REVERSE):
            state = _heat(state, reading, counter, busy_us, vcpus, sharing)
    return state


def _share(reading: Reading, sharing: Sharing) -> int:
    return sharing.site_share_ppm if reading.sensor.source in SITE_SOURCES else energy.PPM


def _energy(
    state: MeterState,
    reading: Reading,
    counter: Counter,
    busy_us: int,
    vcpus: Mapping[str, int],
    sharing: Sharing,
) -> MeterState:
    source = reading.source
    if source is None or _has_better(state, source, reading.at, sharing):
        return state  # a worse class is shown, never added to a better one
    key, uncertainty = str(reading.sensor), reading.uncertainty_permille or 0
    marks = dict(state.marks)
    leases = state.leases
    if state.energy_class is not source:
        # The first reading of this class: what the others' meters stood at is of no use any more.
        leases = _unmeasured(state)
        marks = {name: mark for name, mark in marks.items() if not name.endswith(f":{ENERGY}")}
    before = marks.get(key)
    host, measured = state.host_energy_mj, state.host_energy_ns
    if before is not None:
        step = energy.grown(
            before, reading.at, counter, _share(reading, sharing), reading.sensor.source
        )
        now = energy.mark(reading.at, counter, busy_us, host, leases, vcpus)
        if step is None:
            leases = {
                name: energy.miss_energy(meter, energy.reserved_at(before, name))
                for name, meter in leases.items()
            }
        else:
            host += step
            measured += reading.at.boottime_ns - before.at.boottime_ns
            parts = energy.divide_energy(step, before, now, sharing)
            leases = {
                name: energy.credit_energy(meter, parts[name], source, uncertainty)
                if name in parts
                else meter
                for name, meter in leases.items()
            }
    marks[key] = energy.mark(reading.at, counter, busy_us, host, leases, vcpus)
    return msgspec.structs.replace(
        state,
        leases=leases,
        marks=marks,
        energy_class=source,
        energy_uncertainty_permille=uncertainty,
        host_energy_mj=host,
        host_energy_ns=measured,
    )


def _has_better(state: MeterState, source: SourceClass, at: Instant, sharing: Sharing) -> bool:
    """Whether a better class is there: a meter that was taken away must not end all metering.

    One that nobody asked, while the agent or the host was asleep, was not silent.
    """
    if state.energy_class is None or source.value <= state.energy_class.value:
        return False
    marks = (mark.at for mark in _energy_marks(state) if mark.at.boot_id == at.boot_id)
    heard = max((mark.monotonic_ns for mark in marks), default=0)
    return at.monotonic_ns - max(heard, sharing.asking_since_ns) < sharing.gone_ns


def _heat(
    state: MeterState,
    reading: Reading,
    counter: Counter,
    busy_us: int,
    vcpus: Mapping[str, int],
    sharing: Sharing,
) -> MeterState:
    key = str(reading.sensor)
    reverse = reading.sensor.quantity == HEAT_REVERSE
    before = state.marks.get(key)
    now = energy.mark(reading.at, counter, busy_us, state.host_energy_mj, state.leases, vcpus)
    leases, host, measured = state.leases, state.host_heat_mj, state.host_heat_ns
    if before is not None:
        step = energy.grown(before, reading.at, counter, _share(reading, sharing))
        whole = now.host_energy_mj - before.host_energy_mj
        carried = reading.at.boottime_ns - before.at.boottime_ns < energy.HEAT_CARRIED_NS
        if step is not None and whole <= 0 and carried:
            return state  # no energy was read since: divide both heats once it was
        if step is not None:
            if not reverse:
                host += step
                measured += reading.at.boottime_ns - before.at.boottime_ns
            parts = energy.divide_heat(step, before, now)
            leases = {
                name: energy.credit_heat(meter, parts[name], reverse=reverse)
                if name in parts
                else meter
                for name, meter in leases.items()
            }
    return msgspec.structs.replace(
        state,
        leases=leases,
        marks={**state.marks, key: now},
        heat_class=reading.source,
        heat_uncertainty_permille=reading.uncertainty_permille or 0,
        host_heat_mj=host,
        host_heat_ns=measured,
    )


def last_attribution(state: MeterState, lease: str, meter: LeaseMeter) -> LeaseMeter:
    """A lease that ends: the time since its energy was last divided is missing, not zero."""
    marks = _energy_marks(state)
    if not marks:
        return meter
    return energy.miss_energy(meter, max(energy.reserved_at(mark, lease) for mark in marks))


def _energy_marks(state: MeterState) -> list[Mark]:
    return [mark for name, mark in state.marks.items() if name.endswith(f":{ENERGY}")]


def _unmeasured(state: MeterState) -> dict[str, LeaseMeter]:
    """All leases, with the time missing that no meter of the class before has divided."""
    marks = _energy_marks(state)
    return {
        name: energy.miss_energy(
            meter, max((energy.reserved_at(mark, name) for mark in marks), default=0)
        )
        for name, meter in state.leases.items()
    }
