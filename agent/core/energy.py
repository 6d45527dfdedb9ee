"""Dividing what a meter counted among leases. Pure.

Always: the sum over leases plus the operator's own share equals the meter's difference. Idle energy
is split by reserved share and time, unsold idle stays with the operator; the rest by CPU time. Heat
follows energy.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from agent.core.meter import LeaseMeter, Quality, State, delta
from probes.reading import Counter, Instant, SourceClass, Unit

# More than one meter of a source can mean. A processor's or a card's bound is tight, because a
# counter that wraps is believed only where half a wrap takes longer than the interval at this rate.
# A BMC has two bytes for its watts.
MOST_MILLIWATTS = 1_000_000_000
MOST_MILLIWATTS_OF = {"rapl": 4_000_000, "nvml": 4_000_000, "ipmi": 65_536_000}
PPM = 1_000_000
SECOND_NS = 1_000_000_000
GONE_NS = 900 * SECOND_NS  # a source that gave nothing for as long is not there any more
GONE_INTERVALS = 3  # nor before it was to be read as often
HEAT_CARRIED_NS = 300 * SECOND_NS  # heat is set against energy for this long at the most


class Basis(State, frozen=True):
    """One lease at the instant of a meter's last reading."""

    vcpus: int
    reserved_ns: int
    used_cpu_us: int
    energy_mj: int


_BEGAN_SINCE = Basis(0, 0, 0, 0)  # of a lease that a mark does not know: all of it came later


class Mark(State, frozen=True):
    """A meter's last reading, with what the host and its leases stood at then."""

    at: Instant
    counter: Counter
    busy_us: int
    host_energy_mj: int
    leases: dict[str, Basis]


class Sharing(State, frozen=True):
    """How this host takes part in a meter and how its energy is divided."""

    vcpus: int  # sellable and reserved hardware threads together
    site_share_ppm: int = PPM
    idle_milliwatts: int | None = None
    asking_since_ns: int = 0  # CLOCK_MONOTONIC at which the agent began to read the meters
    gone_ns: int = GONE_NS  # after so long without a reading a class gives way to a worse one


def in_millijoules(counter: Counter) -> Counter | None:
    """Return the counter in mJ, or None when it counts something else than energy."""
    if counter.unit is Unit.MILLIJOULE:
        return counter
    if counter.unit is Unit.MICROJOULE:
        return Counter(
            counter.total // 1000,
            Unit.MILLIJOULE,
            counter.modulus // 1000 if counter.modulus is not None else None,
            counter.epoch,
        )
    return None


def mark(
    at: Instant,
    counter: Counter,
    busy_us: int,
    host_energy_mj: int,
    leases: Mapping[str, LeaseMeter],
    vcpus: Mapping[str, int],
) -> Mark:
    """Remember a reading. `vcpus`: those of each lease; leases without any take no part."""
    return Mark(
        at,
        counter,
        busy_us,
        host_energy_mj,
        {
            key: Basis(
                vcpus.get(key, 0), meter.reserved_ns, meter.used_cpu_us, meter.energy_mj or 0
            )
            for key, meter in leases.items()
        },
    )


def grown(
    before: Mark, at: Instant, counter: Counter, share_ppm: int, source: str = ""
) -> int | None:
    """Return this host's part of what the meter counted since `before`, in mJ; None for a gap.

    `source` is the probe that read it, which bounds its rate.
    """
    if before.at.boot_id != at.boot_id:
        return None
    most = MOST_MILLIWATTS_OF.get(source, MOST_MILLIWATTS)
    step = delta(before.counter, counter, at.boottime_ns - before.at.boottime_ns, most)
    return None if step is None else step * share_ppm // PPM


def divide_energy(energy_mj: int, before: Mark, now: Mark, sharing: Sharing) -> dict[str, int]:
    """Return each lease's part of `energy_mj`, floored; what is left is the operator's."""
    elapsed = now.at.boottime_ns - before.at.boottime_ns
    if elapsed <= 0:
        return {}
    if sharing.idle_milliwatts is None:
        idle = energy_mj
    else:
        idle = min(energy_mj, sharing.idle_milliwatts * elapsed // SECOND_NS)
    dynamic = energy_mj - idle
    grew = {key: (basis, before.leases.get(key, _BEGAN_SINCE)) for key, basis in now.leases.items()}
    used = {key: max(0, end.used_cpu_us - start.used_cpu_us) for key, (end, start) in grew.items()}
    # The leases' own time is part of the host's; two samples of it may differ by a tick.
    busy = max(now.busy_us - before.busy_us, sum(used.values()))
    reserved = {
        key: min(max(0, end.reserved_ns - start.reserved_ns), elapsed) * end.vcpus
        for key, (end, start) in grew.items()
    }
    # More may be held than there is: leases stand when the inventory shrinks.
    whole = max(1, elapsed * sharing.vcpus, sum(reserved.values()))
    parts = {}
    for key in grew:
        part = idle * reserved[key] // whole
        if busy > 0:
            part += dynamic * used[key] // busy
        parts[key] = part
    return parts


def divide_heat(heat_mj: int, before: Mark, now: Mark) -> dict[str, int]:
    """Return each lease's part of the reused heat: as its energy to the host's since `before`."""
    whole = now.host_energy_mj - before.host_energy_mj
    if whole <= 0:
        return {}
    parts = {}
    for key, basis in now.leases.items():
        own = basis.energy_mj - before.leases.get(key, _BEGAN_SINCE).energy_mj
        parts[key] = heat_mj * min(whole, max(0, own)) // whole
    return parts


def credit_energy(
    meter: LeaseMeter, part_mj: int, source: SourceClass, uncertainty_permille: int
) -> LeaseMeter:
    """Add a lease's part of a meter's difference. A sum is as good as the worst of what it sums."""
    worst, uncertainty = meter.energy_class, meter.energy_uncertainty_permille
    if worst is None or source.value >= worst.value:
        worst, uncertainty = source, uncertainty_permille
    return msgspec.structs.replace(
        meter,
        energy_mj=(meter.energy_mj or 0) + part_mj,
        energy_class=worst,
        energy_uncertainty_permille=uncertainty,
    )


def credit_heat(meter: LeaseMeter, part_mj: int, *, reverse: bool) -> LeaseMeter:
    """Add a lease's part of the heat, to the forward or the reverse register."""
    if reverse:
        return msgspec.structs.replace(
            meter, heat_reverse_mj=(meter.heat_reverse_mj or 0) + part_mj
        )
    return msgspec.structs.replace(meter, heat_mj=(meter.heat_mj or 0) + part_mj)


def miss_energy(meter: LeaseMeter, since_ns: int) -> LeaseMeter:
    """Record that no energy was measured since `since_ns` of the lease's reserved time."""
    missing = meter.reserved_ns - max(since_ns, meter.energy_missing_to_ns)
    if missing <= 0:
        return meter
    return msgspec.structs.replace(
        meter,
        energy_missing_ns=meter.energy_missing_ns + missing,
        energy_missing_to_ns=meter.reserved_ns,
        quality=max(meter.quality, Quality.PARTIAL),
    )


def reserved_at(mark: Mark, lease: str) -> int:
    """A lease's reserved time when a meter was read; 0 for a lease that came later."""
    return mark.leases.get(lease, _BEGAN_SINCE).reserved_ns
