"""What holds of a lease's totals whatever the kernel, the clocks and the power do."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.core.meter import (
    MOST_EVENTS,
    ClockEvent,
    EventKind,
    LeaseMeter,
    LeaseSample,
    Quality,
    advance,
    close_interval,
    delta,
    open_meter,
    with_events,
)
from probes.reading import Counter, Instant, Unit

SECOND = 1_000_000_000
THREADS = 4
TOTALS = (
    "reserved_ns",
    "delivered_ns",
    "missing_ns",
    "used_cpu_us",
    "used_mb_ms",
    "throttled_total_us",
    "stalled_total_us",
    "counter_epoch",
)


@dataclass(frozen=True)
class Step:
    """What happens between two samples."""

    awake_ns: int
    asleep_ns: int
    wall_step_ns: int
    reboot: bool
    jitter_ns: int  # between two clock reads
    lost: bool
    cgroup: int
    frozen: bool
    limits: bool
    memory: int | None
    used_us: int
    reset: bool


def nanoseconds(most: int) -> st.SearchStrategy[int]:
    return st.one_of(st.integers(0, most), st.sampled_from([0, 1, SECOND, 3 * SECOND]))


STEPS = st.lists(
    st.builds(
        Step,
        awake_ns=nanoseconds(3600 * SECOND),
        asleep_ns=st.one_of(st.just(0), st.integers(0, 3600 * SECOND)),
        wall_step_ns=st.one_of(st.just(0), st.integers(-(10**15), 10**15)),
        reboot=st.integers(0, 9).map(lambda n: n == 0),
        jitter_ns=st.integers(-5000, 5000),
        lost=st.booleans(),
        cgroup=st.integers(1, 2),
        frozen=st.integers(0, 4).map(lambda n: n == 0),
        limits=st.integers(0, 4).map(lambda n: n > 0),
        memory=st.one_of(st.none(), st.integers(0, 1 << 40)),
        used_us=st.integers(0, 20_000_000),
        reset=st.integers(0, 9).map(lambda n: n == 0),
    ),
    max_size=20,
)


@dataclass
class Machine:
    """Clocks and one cgroup's counter, as the kernel has them."""

    boot: int = 1
    boottime: int = 10 * SECOND
    monotonic: int = 10 * SECOND
    wall: int = 1_800_000_000 * SECOND
    usage: int = 0

    def take(self, step: Step) -> tuple[LeaseSample | None, Instant]:
        self.boottime += step.awake_ns + step.asleep_ns
        self.monotonic += step.awake_ns
        self.wall += step.awake_ns + step.asleep_ns + step.wall_step_ns
        if step.reboot:
            self.boot += 1
            self.boottime = self.monotonic = 3 * SECOND
        self.usage = 0 if step.reset or step.reboot else self.usage + step.used_us
        at = Instant(self.boottime, self.monotonic + step.jitter_ns, self.wall, f"boot-{self.boot}")
        if step.lost:
            return None, at
        sample = LeaseSample(
            step.cgroup, self.usage, step.memory, step.used_us, None, step.frozen, step.limits
        )
        return sample, at


def holds(meter: LeaseMeter) -> None:
    assert 0 <= meter.delivered_ns <= meter.reserved_ns
    assert 0 <= meter.missing_ns <= meter.reserved_ns
    assert meter.delivered_ns + meter.missing_ns <= meter.reserved_ns
    assert meter.used_cpu_us >= 0


def falls(before: LeaseMeter, after: LeaseMeter) -> list[str]:
    return [
        name
        for name in TOTALS
        if getattr(before, name) is not None
        and (getattr(after, name) is None or getattr(after, name) < getattr(before, name))
    ]


@given(STEPS, st.integers(0, 10 * SECOND))
def test_totals_never_fall_and_never_exceed_what_was_reserved(steps: list[Step], late: int) -> None:
    machine = Machine()
    meter = open_meter(Instant(machine.boottime, machine.monotonic, machine.wall, "boot-1"), late)
    holds(meter)
    for step in steps:
        sample, at = machine.take(step)
        after = advance(meter, sample, at, THREADS)
        assert falls(meter, after) == []
        holds(after)
        meter = after


@given(STEPS)
def test_reserved_is_the_time_that_passed(steps: list[Step]) -> None:
    """Within a boot CLOCK_BOOTTIME, between two the wall clock, to the nanosecond."""
    machine = Machine()
    at = Instant(machine.boottime, machine.monotonic, machine.wall, "boot-1")
    meter, expected = open_meter(at), 0
    for step in steps:
        sample, now = machine.take(step)
        at = meter.at
        if now.boot_id == at.boot_id:
            expected += max(0, now.boottime_ns - at.boottime_ns)
        else:
            expected += max(0, now.wall_ns - at.wall_ns)
        meter = advance(meter, sample, now, THREADS)
    assert meter.reserved_ns == expected


@given(STEPS, st.integers(0, 4 * 3600 * SECOND), st.integers(0, 10 * SECOND))
def test_nothing_counts_beyond_the_end(steps: list[Step], until: int, late: int) -> None:
    machine = Machine()
    meter = open_meter(Instant(machine.boottime, machine.monotonic, machine.wall, "boot-1"), late)
    for step in steps:
        sample, at = machine.take(step)
        after = advance(meter, sample, at, THREADS, until_ns=until)
        assert falls(meter, after) == []
        holds(after)
        meter = after
    assert meter.reserved_ns <= max(until, late)


@settings(max_examples=200)
@given(STEPS, st.data())
def test_a_replay_from_an_earlier_state_bills_nothing_twice(
    steps: list[Step], data: st.DataObject
) -> None:
    """After a crash metering goes on from an older state, on the counters the kernel kept."""
    machine = Machine()
    meter = open_meter(Instant(machine.boottime, machine.monotonic, machine.wall, "boot-1"))
    states, samples = [meter], []
    for step in steps:
        sample, at = machine.take(step)
        samples.append((sample, at))
        meter = advance(meter, sample, at, THREADS)
        states.append(meter)
    if not samples:
        return
    crashed = data.draw(st.integers(0, len(samples) - 1), "state")
    durable = msgspec.msgpack.decode(msgspec.msgpack.encode(states[crashed]), type=LeaseMeter)
    seen = data.draw(st.integers(crashed, len(samples) - 1), "first sample seen again")
    again = durable
    for sample, at in samples[seen:]:
        again = advance(again, sample, at, THREADS)
    holds(again)
    assert again.used_cpu_us <= most_used(samples)
    if all(at.boot_id == "boot-1" for _, at in samples):
        assert again.reserved_ns == meter.reserved_ns


def most_used(samples: list[tuple[LeaseSample | None, Instant]]) -> int:
    """All that the counter ever grew by: no bill may be higher."""
    total = last = 0
    for sample, _ in samples:
        if sample is not None:
            total += max(0, sample.usage_us - last) if sample.usage_us >= last else sample.usage_us
            last = sample.usage_us
    return total


@given(STEPS, st.sets(st.integers(0, 19)))
def test_where_receipts_are_cut_changes_no_total(steps: list[Step], cuts: set[int]) -> None:
    machine = Machine()
    at = Instant(machine.boottime, machine.monotonic, machine.wall, "boot-1")
    whole = parts = open_meter(at)
    for place, step in enumerate(steps):
        sample, at = machine.take(step)
        whole = advance(whole, sample, at, THREADS)
        if place in cuts:
            parts = close_interval(parts)
        parts = advance(parts, sample, at, THREADS)
    same = {"quality": Quality.MEASURED, "events": ()}
    assert msgspec.structs.replace(whole, **same) == msgspec.structs.replace(parts, **same)


EVENTS = st.lists(
    st.builds(
        ClockEvent,
        st.sampled_from(EventKind),
        st.integers(0, 10**15),
        st.integers(-(10**15), 10**15),
    ),
    max_size=MOST_EVENTS,
)


@given(EVENTS, EVENTS)
def test_events_are_bounded_and_each_kind_keeps_its_sum(
    before: list[ClockEvent], news: list[ClockEvent]
) -> None:
    kept = with_events(tuple(before), tuple(news))
    if len(before) + len(news) <= MOST_EVENTS:
        assert kept == (*before, *news)
    assert len(kept) <= MOST_EVENTS
    for kind in EventKind:
        happened = [one.magnitude_ns for one in (*before, *news) if one.kind is kind]
        told = [one.magnitude_ns for one in kept if one.kind is kind]
        assert sum(told) == sum(happened)
        assert bool(told) is bool(happened)


COUNTERS = st.builds(
    Counter,
    total=st.integers(0, 1 << 40),
    unit=st.just(Unit.MILLIJOULE),
    modulus=st.one_of(st.none(), st.integers(1, 1 << 41)),
    epoch=st.sampled_from(["", "a"]),
)


@given(COUNTERS, COUNTERS, st.integers(-SECOND, 3600 * SECOND), st.integers(1, 10**9))
def test_a_delta_is_never_negative_and_never_above_the_bound(
    before: Counter, now: Counter, elapsed: int, most: int
) -> None:
    grown = delta(before, now, elapsed, most)
    if grown is not None:
        assert 0 <= grown <= most * (elapsed + SECOND) // SECOND
        assert before.epoch == now.epoch
        assert (before.total + grown - now.total) % (now.modulus or 1 << 99) == 0


@given(
    st.integers(0, 9_999),
    st.integers(0, 2_000),
    st.integers(10_000, 20_000),
    st.integers(1, 10 * SECOND),
)
def test_a_believed_wrap_is_the_truth(start: int, used: int, modulus: int, elapsed: int) -> None:
    """Whoever keeps to the bound is billed what was used, or nothing: never something else."""
    most = 500  # a second
    used = min(used, most * (elapsed + SECOND) // SECOND)
    before = Counter(start % modulus, Unit.MILLIJOULE, modulus)
    now = Counter((start + used) % modulus, Unit.MILLIJOULE, modulus)
    assert delta(before, now, elapsed, most) in (None, used)
