"""Readings -> usage -> totals of each lease. Pure.

Times are nanoseconds of CLOCK_BOOTTIME within one boot id. A first reading bills nothing; a counter
that fell is a reset; what was not seen is missing and not delivered, unless the same boot, the same
cgroup and its own cumulative counter show that the lease went on meanwhile.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum

import msgspec

from probes.reading import Counter, Instant, SourceClass

SECOND_NS = 1_000_000_000
NOMINAL_NS = SECOND_NS  # distance of two samples
GAP_NS = 3 * NOMINAL_NS  # a longer one is a gap
STEP_NS = 2 * SECOND_NS  # wall time that moved more than this against BOOTTIME was set
MB_MS = (1 << 20) * 1_000_000  # byte-nanoseconds in a MEMORY_MB-millisecond; its MB is a mebibyte
SUSPEND_NS = 100_000_000  # less is the distance of two clock reads and a slewed clock
MOST_EVENTS = 100  # of one interval; there are more than there are kinds


class Quality(IntEnum):
    """hearth.v1.Quality, best first: an interval has the worst of its samples."""

    MEASURED = 1
    PARTIAL = 2
    ESTIMATED = 3
    MISSING = 4


class EventKind(IntEnum):
    """hearth.v1.ClockEventKind."""

    STEP = 1
    SUSPEND = 2
    REBOOT = 3
    OUTAGE = 4
    UNSYNCHRONIZED = 5
    AGENT_DOWN = 6


class State(msgspec.Struct, frozen=True):
    """A value that is kept in the journal between two runs."""


class ClockEvent(State, frozen=True):
    """What happened to time; `at_ns` counts from the lease's start.

    See `with_events` for what one stands for where there were too many.
    """

    kind: EventKind
    at_ns: int
    magnitude_ns: int


class LeaseSample(State, frozen=True):
    """One lease's cgroup at one instant; None where the kernel has no such file."""

    cgroup_id: int  # inode of the directory
    usage_us: int
    memory_bytes: int | None
    throttled_us: int | None
    stalled_us: int | None
    frozen: bool
    limits_in_force: bool


class LeaseMeter(State, frozen=True):
    """Totals of one lease since its start, and the reading they rest on."""

    at: Instant
    cgroup_id: int = 0  # 0: no reading yet that a difference could rest on
    usage_us: int = 0
    throttled_us: int | None = None
    stalled_us: int | None = None
    counter_epoch: int = 0  # rises whenever the counters start anew
    reserved_ns: int = 0
    delivered_ns: int = 0
    missing_ns: int = 0
    used_cpu_us: int = 0
    used_mb_ms: int | None = None  # memory over time, in MEMORY_MB-milliseconds
    used_rest: int = 0  # byte-nanoseconds below one of those: 64 bits hold no more for a second
    throttled_total_us: int | None = None
    stalled_total_us: int | None = None
    energy_mj: int | None = None
    energy_class: SourceClass | None = None  # the worst that any of it was measured by
    energy_uncertainty_permille: int = 0
    energy_missing_ns: int = 0
    energy_missing_to_ns: int = (
        0  # reserved time up to which gaps were counted: two meters, one gap
    )
    heat_mj: int | None = None
    heat_reverse_mj: int | None = None
    quality: Quality = Quality.MEASURED  # of the interval that is open
    events: tuple[ClockEvent, ...] = ()  # of the interval that is open


def open_meter(at: Instant, late_ns: int = 0) -> LeaseMeter:
    """Start metering, `late_ns` after the lease's start: that much is reserved, not delivered."""
    late = max(0, late_ns)
    return LeaseMeter(at=at, reserved_ns=late, missing_ns=late)


def advance(
    meter: LeaseMeter,
    sample: LeaseSample | None,
    at: Instant,
    threads: int,
    *,
    until_ns: int | None = None,
    outage_ns: int | None = None,
) -> LeaseMeter:
    """Take one sample (None: the cgroup could not be read) into the totals.

    `threads` bounds what counters may claim: no lease uses more CPU time than the host has.
    `until_ns` is the lease's whole length: what comes after its end is neither reserved nor
    delivered. `outage_ns` is how long nothing counted where `at` is of another boot; None: as long
    as the wall clocks say.
    """
    room = None if until_ns is None else max(0, until_ns - meter.reserved_ns)
    if at.boot_id != meter.at.boot_id:
        outage = at.wall_ns - meter.at.wall_ns if outage_ns is None else outage_ns
        return _reboot(meter, sample, at, _within(outage, room))
    elapsed = at.boottime_ns - meter.at.boottime_ns
    awake = at.monotonic_ns - meter.at.monotonic_ns
    if elapsed < 0 or (elapsed == 0 and meter.cgroup_id):
        return meter
    reserved = _within(elapsed, room)
    events = with_events(meter.events, _time_events(meter, at, elapsed, awake))
    if sample is None:
        return msgspec.structs.replace(
            meter,
            at=at,
            reserved_ns=meter.reserved_ns + reserved,
            missing_ns=meter.missing_ns + reserved,
            quality=Quality.MISSING,
            events=events,
        )
    used = sample.usage_us - meter.usage_us
    if (
        sample.cgroup_id != meter.cgroup_id
        or used < 0
        or used * 1000 > (awake + NOMINAL_NS) * threads * 2
    ):
        first = meter.cgroup_id == 0
        return _rebase(
            msgspec.structs.replace(
                meter,
                reserved_ns=meter.reserved_ns + reserved,
                missing_ns=meter.missing_ns + reserved,
                quality=meter.quality if first else max(meter.quality, Quality.PARTIAL),
                events=events,
            ),
            sample,
            at,
        )
    gap = awake > GAP_NS  # a host that slept is no agent that was down
    if gap:
        events = with_events(events, (ClockEvent(EventKind.AGENT_DOWN, meter.reserved_ns, awake),))
    # The clocks are read one after another: awake may be the longer by some microseconds.
    ran = _within(awake, reserved)
    delivered = ran if sample.limits_in_force and not sample.frozen else 0
    memory, rest = meter.used_mb_ms, meter.used_rest
    if sample.memory_bytes is not None and not gap:
        more, rest = divmod(rest + sample.memory_bytes * ran, MB_MS)
        memory = (memory or 0) + more
    return LeaseMeter(
        at=at,
        cgroup_id=sample.cgroup_id,
        usage_us=sample.usage_us,
        throttled_us=sample.throttled_us,
        stalled_us=sample.stalled_us,
        counter_epoch=meter.counter_epoch,
        reserved_ns=meter.reserved_ns + reserved,
        delivered_ns=meter.delivered_ns + delivered,
        missing_ns=meter.missing_ns,
        used_cpu_us=meter.used_cpu_us + used,
        used_mb_ms=memory,
        used_rest=rest,
        throttled_total_us=_grown(
            meter.throttled_total_us, meter.throttled_us, sample.throttled_us
        ),
        stalled_total_us=_grown(meter.stalled_total_us, meter.stalled_us, sample.stalled_us),
        energy_mj=meter.energy_mj,
        energy_class=meter.energy_class,
        energy_uncertainty_permille=meter.energy_uncertainty_permille,
        energy_missing_ns=meter.energy_missing_ns,
        energy_missing_to_ns=meter.energy_missing_to_ns,
        heat_mj=meter.heat_mj,
        heat_reverse_mj=meter.heat_reverse_mj,
        quality=max(meter.quality, Quality.PARTIAL) if gap else meter.quality,
        events=events,
    )


def close_interval(meter: LeaseMeter) -> LeaseMeter:
    """Begin a new receipt interval: quality and events are its own, totals go on."""
    return msgspec.structs.replace(meter, quality=Quality.MEASURED, events=())


def reopen_interval(meter: LeaseMeter, before: LeaseMeter) -> LeaseMeter:
    """Undo `close_interval`, whose receipt is not cut: the interval of `before` goes on."""
    return msgspec.structs.replace(
        meter,
        quality=max(meter.quality, before.quality),
        events=with_events(before.events, meter.events),
    )


def with_events(
    events: tuple[ClockEvent, ...], news: tuple[ClockEvent, ...]
) -> tuple[ClockEvent, ...]:
    """Add to the events of an open interval, later ones to earlier ones.

    An interval that cannot be closed (a full disk) has no end, and its receipt must have one: of
    more than MOST_EVENTS the two of one kind that lie closest become one, with both magnitudes. So
    the sum of a kind stays what it was (time that was lost, or how far the wall clock was set in
    all), and each part of it about where it was: the windows of a lease rest on that.
    """
    kept = [*events, *news]
    while len(kept) > MOST_EVENTS:
        first, second = _closest(kept)
        sum_ns = kept[first].magnitude_ns + kept.pop(second).magnitude_ns
        kept[first] = msgspec.structs.replace(kept[first], magnitude_ns=sum_ns)
    return tuple(kept)


def _closest(events: Sequence[ClockEvent]) -> tuple[int, int]:
    """Places of two events of one kind, the second the next after the first, that begin closest."""
    last: dict[EventKind, int] = {}
    pairs = []
    for place, event in enumerate(events):
        if event.kind in last:
            before = last[event.kind]
            pairs.append((event.at_ns - events[before].at_ns, before, place))
        last[event.kind] = place
    _, first, second = min(pairs)
    return first, second


def _within(span_ns: int, room_ns: int | None) -> int:
    """A span of time that is not negative and fits where it has to."""
    span = max(0, span_ns)
    return span if room_ns is None else min(span, room_ns)


def _grown(total: int | None, before: int | None, now: int | None) -> int | None:
    """Add what an informational counter grew by; None stays None until the kernel counts."""
    if now is None:
        return total
    return (total or 0) + (max(0, now - before) if before is not None else 0)


def _rebase(meter: LeaseMeter, sample: LeaseSample, at: Instant) -> LeaseMeter:
    """Rest the next difference on this sample; nothing is billed for what lies before."""
    return msgspec.structs.replace(
        meter,
        at=at,
        cgroup_id=sample.cgroup_id,
        usage_us=sample.usage_us,
        throttled_us=sample.throttled_us,
        stalled_us=sample.stalled_us,
        counter_epoch=meter.counter_epoch + 1,
    )


def _reboot(meter: LeaseMeter, sample: LeaseSample | None, at: Instant, outage: int) -> LeaseMeter:
    """Across boots no counter of this host goes on: the time is reserved, never delivered."""
    news = (
        ClockEvent(EventKind.REBOOT, meter.reserved_ns, 0),
        ClockEvent(EventKind.OUTAGE, meter.reserved_ns, outage),
    )
    after = msgspec.structs.replace(
        meter,
        at=at,
        cgroup_id=0,
        reserved_ns=meter.reserved_ns + outage,
        missing_ns=meter.missing_ns + outage,
        quality=Quality.MISSING,
        events=with_events(meter.events, news),
    )
    return after if sample is None else _rebase(after, sample, at)


def _time_events(
    meter: LeaseMeter, at: Instant, elapsed: int, awake: int
) -> tuple[ClockEvent, ...]:
    suspended = elapsed - awake
    step = (at.wall_ns - meter.at.wall_ns) - elapsed
    if suspended <= SUSPEND_NS and abs(step) <= STEP_NS:
        return ()
    where = meter.reserved_ns
    found = []
    if suspended > SUSPEND_NS:
        found.append(ClockEvent(EventKind.SUSPEND, where, suspended))
    if abs(step) > STEP_NS:
        found.append(ClockEvent(EventKind.STEP, where, step))
    return tuple(found)


def delta(before: Counter, now: Counter, elapsed_ns: int, most_per_second: int) -> int | None:
    """Return how much a counter grew, or None where that cannot be known.

    A fall is a wrap only where the device declares its modulus, did not start anew, and could not
    have wrapped twice: the interval is shorter than half a wrap at the highest rate.
    """
    if before.epoch != now.epoch or before.unit is not now.unit or elapsed_ns <= 0:
        return None
    most = most_per_second * (elapsed_ns + SECOND_NS) // SECOND_NS
    grown = now.total - before.total
    if grown < 0:
        if now.modulus is None or before.modulus != now.modulus or most * 2 > now.modulus:
            return None
        grown += now.modulus
    return grown if 0 <= grown <= most else None
