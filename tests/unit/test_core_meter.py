"""One test for each thing that can happen between two samples of a lease."""

from __future__ import annotations

import msgspec
import pytest

from agent.core.meter import (
    ClockEvent,
    EventKind,
    LeaseMeter,
    LeaseSample,
    Quality,
    advance,
    close_interval,
    delta,
    open_meter,
)
from probes.reading import Counter, Instant, Unit

SECOND = 1_000_000_000
HOUR = 3600 * SECOND
WALL = 1_800_000_000 * SECOND
START = Instant(1000 * SECOND, 900 * SECOND, WALL, "boot-1")
THREADS = 4


def after(seconds: float, at: Instant = START, asleep: float = 0, step: float = 0) -> Instant:
    """So many seconds later, part of them asleep, and perhaps the wall clock was set."""
    span, suspended = int(seconds * SECOND), int(asleep * SECOND)
    return Instant(
        at.boottime_ns + span,
        at.monotonic_ns + span - suspended,
        at.wall_ns + span + int(step * SECOND),
        at.boot_id,
    )


def rebooted(off_s: int, at: Instant, boot_id: str = "boot-2") -> Instant:
    return Instant(30 * SECOND, 30 * SECOND, at.wall_ns + off_s * SECOND, boot_id)


def sample(usage_us: int, cgroup: int = 7, **parts: object) -> LeaseSample:
    good = LeaseSample(cgroup, usage_us, None, None, None, frozen=False, limits_in_force=True)
    return msgspec.structs.replace(good, **parts)


@pytest.fixture
def meter() -> LeaseMeter:
    """A lease whose counters stand at one second of use, one second after its start."""
    return advance(open_meter(START), sample(1_000_000), after(1), THREADS)


def kinds(meter: LeaseMeter) -> list[EventKind]:
    return [event.kind for event in meter.events]


def test_a_first_reading_bills_nothing(meter: LeaseMeter) -> None:
    assert meter.used_cpu_us == 0
    assert (meter.reserved_ns, meter.delivered_ns, meter.missing_ns) == (SECOND, 0, SECOND)
    assert meter.quality is Quality.MEASURED
    assert meter.counter_epoch == 1


def test_a_reading_at_the_very_start_is_the_first() -> None:
    meter = advance(open_meter(START), sample(1_000_000), START, THREADS)
    assert meter.reserved_ns == 0
    now = advance(meter, sample(1_400_000), after(1), THREADS)
    assert (now.used_cpu_us, now.delivered_ns, now.missing_ns) == (400_000, SECOND, 0)


def test_a_late_start_is_reserved_and_missing() -> None:
    late = open_meter(START, 5 * SECOND)
    assert (late.reserved_ns, late.delivered_ns, late.missing_ns) == (5 * SECOND, 0, 5 * SECOND)
    early = open_meter(START, -5 * SECOND)
    assert early.reserved_ns == 0


def test_a_counter_that_grew_is_used_and_delivered(meter: LeaseMeter) -> None:
    now = advance(meter, sample(2_500_000), after(2), THREADS)
    assert now.used_cpu_us == 1_500_000
    assert (now.reserved_ns, now.delivered_ns) == (2 * SECOND, SECOND)
    assert now.events == ()


def test_a_counter_that_fell_is_a_gap(meter: LeaseMeter) -> None:
    now = advance(meter, sample(10), after(2), THREADS)
    assert now.used_cpu_us == 0
    assert (now.delivered_ns, now.missing_ns) == (0, 2 * SECOND)
    assert now.quality is Quality.PARTIAL
    assert now.counter_epoch == meter.counter_epoch + 1
    on = advance(now, sample(30), after(3), THREADS)
    assert on.used_cpu_us == 20


def test_another_cgroup_of_the_same_name_is_a_gap(meter: LeaseMeter) -> None:
    now = advance(meter, sample(1_200_000, cgroup=8), after(2), THREADS)
    assert now.used_cpu_us == 0
    assert now.delivered_ns == 0
    assert advance(now, sample(1_300_000, cgroup=8), after(3), THREADS).used_cpu_us == 100_000


def test_more_than_the_host_has_is_not_believed(meter: LeaseMeter) -> None:
    """Twice all threads for a second, with a second of leeway: above it is no CPU time."""
    most = 1_000_000 + 2 * THREADS * 2_000_000
    assert advance(meter, sample(most), after(2), THREADS).used_cpu_us == most - 1_000_000
    assert advance(meter, sample(most + 1), after(2), THREADS).used_cpu_us == 0


@pytest.mark.parametrize("fault", [{"frozen": True}, {"limits_in_force": False}])
def test_frozen_or_unlimited_is_used_and_not_delivered(
    meter: LeaseMeter, fault: dict[str, bool]
) -> None:
    now = advance(meter, sample(1_500_000, **fault), after(2), THREADS)
    assert now.used_cpu_us == 500_000
    assert (now.reserved_ns, now.delivered_ns) == (2 * SECOND, 0)


def test_a_sample_that_failed_is_missing_and_the_counter_goes_on(meter: LeaseMeter) -> None:
    lost = advance(meter, None, after(2), THREADS)
    assert (lost.delivered_ns, lost.missing_ns) == (0, 2 * SECOND)
    assert lost.quality is Quality.MISSING
    found = advance(lost, sample(3_000_000), after(3), THREADS)
    assert found.used_cpu_us == 2_000_000
    assert (found.delivered_ns, found.missing_ns) == (SECOND, 2 * SECOND)
    assert found.quality is Quality.MISSING  # the worst of the interval


def test_an_agent_that_was_down_lost_nothing_the_kernel_counted(meter: LeaseMeter) -> None:
    now = advance(meter, sample(1_000_000 + 3600 * 2_000_000), after(3601), THREADS)
    assert now.used_cpu_us == 3600 * 2_000_000
    assert now.delivered_ns == HOUR
    assert now.quality is Quality.PARTIAL
    assert now.events == (ClockEvent(EventKind.AGENT_DOWN, SECOND, HOUR),)


def test_three_nominal_intervals_are_no_gap(meter: LeaseMeter) -> None:
    assert kinds(advance(meter, sample(1_000_000), after(4), THREADS)) == []
    assert kinds(advance(meter, sample(1_000_000), after(4.1), THREADS)) == [EventKind.AGENT_DOWN]


def test_memory_is_integrated_where_it_was_seen(meter: LeaseMeter) -> None:
    half = 1 << 19
    now = advance(meter, sample(1_000_000, memory_bytes=half), after(2), THREADS)
    assert now.used_mb_ms == 500
    gap = advance(now, sample(1_000_000, memory_bytes=half), after(60), THREADS)
    assert gap.used_mb_ms == 500


def test_a_little_memory_adds_up_exactly(meter: LeaseMeter) -> None:
    for second in range(2, 1026):
        meter = advance(meter, sample(1_000_000, memory_bytes=1023), after(second), THREADS)
    assert meter.used_mb_ms == 1023 * 1024 * 1000 // (1 << 20)


def test_a_terabyte_for_a_year_fits_the_journal(meter: LeaseMeter) -> None:
    """The journal keeps integers of 64 bits; 18 GB for a second are more byte-nanoseconds."""
    meter = advance(meter, sample(1_000_000, memory_bytes=1 << 40), after(4), THREADS)
    assert meter.used_mb_ms == 3000 << 20
    year = msgspec.structs.replace(meter, used_mb_ms=(1 << 20) * 1000 * 366 * 86_400)
    again = msgspec.msgpack.decode(msgspec.msgpack.encode(year), type=LeaseMeter)
    assert again == year


def test_what_the_kernel_does_not_count_is_unknown(meter: LeaseMeter) -> None:
    now = advance(meter, sample(1_000_000), after(2), THREADS)
    assert (now.used_mb_ms, now.throttled_total_us, now.stalled_total_us) == (None, None, None)
    counted = advance(now, sample(1_000_000, throttled_us=500), after(3), THREADS)
    assert counted.throttled_total_us == 0  # from now on
    more = advance(counted, sample(1_000_000, throttled_us=700), after(4), THREADS)
    assert more.throttled_total_us == 200
    gone = advance(more, sample(1_000_000), after(5), THREADS)
    assert gone.throttled_total_us == 200


def test_suspend_is_reserved_and_not_delivered(meter: LeaseMeter) -> None:
    now = advance(meter, sample(1_000_000), after(602, asleep=600), THREADS)
    assert (now.reserved_ns, now.delivered_ns) == (602 * SECOND, SECOND)
    assert now.events == (ClockEvent(EventKind.SUSPEND, SECOND, 600 * SECOND),)


@pytest.mark.parametrize("seconds", [-86_400, -3, 3, 86_400])
def test_a_step_of_the_wall_clock_moves_no_total(meter: LeaseMeter, seconds: int) -> None:
    now = advance(meter, sample(1_000_000), after(2, step=seconds), THREADS)
    assert (now.reserved_ns, now.delivered_ns) == (2 * SECOND, SECOND)
    assert now.events == (ClockEvent(EventKind.STEP, SECOND, seconds * SECOND),)


def test_a_slewed_clock_is_no_step(meter: LeaseMeter) -> None:
    assert kinds(advance(meter, sample(1_000_000), after(2, step=1.9), THREADS)) == []


def test_clocks_are_read_one_after_another() -> None:
    """CLOCK_MONOTONIC may seem to run ahead by the time between two reads."""
    at = after(1)
    ahead = Instant(at.boottime_ns, at.monotonic_ns + 900, at.wall_ns, at.boot_id)
    meter = advance(open_meter(START), sample(0), START, THREADS)
    meter = advance(meter, sample(0), after(0.5), THREADS)
    now = advance(meter, sample(0), ahead, THREADS)
    assert now.delivered_ns <= now.reserved_ns


def test_the_same_instant_again_changes_nothing(meter: LeaseMeter) -> None:
    assert advance(meter, sample(9_000_000), after(1), THREADS) == meter
    assert advance(meter, sample(9_000_000), after(0.5), THREADS) == meter


# --- the power goes ---


def test_72_hours_of_outage_in_720_are_90_percent() -> None:
    """CLOCK_BOOTTIME stops with the power; the lease does not."""
    meter = advance(open_meter(START), sample(0), after(1), THREADS)
    start = meter.reserved_ns - meter.delivered_ns  # the first second, of no reading yet
    at = after(400 * 3600)
    meter = advance(meter, sample(0), at, THREADS)
    back = rebooted(72 * 3600, at)
    meter = advance(meter, sample(0, cgroup=9), back, THREADS)
    meter = advance(meter, sample(0, cgroup=9), after(248 * 3600, back), THREADS)
    assert meter.reserved_ns == 720 * HOUR
    assert meter.delivered_ns == 648 * HOUR - start
    assert meter.missing_ns == 72 * HOUR + start
    assert round(100 * meter.delivered_ns / meter.reserved_ns) == 90
    assert meter.events[1:3] == (
        ClockEvent(EventKind.REBOOT, 400 * HOUR, 0),
        ClockEvent(EventKind.OUTAGE, 400 * HOUR, 72 * HOUR),
    )


def test_a_reboot_bills_nothing_of_the_counters_before_it(meter: LeaseMeter) -> None:
    back = rebooted(60, after(1))
    now = advance(meter, sample(50_000_000), back, THREADS)
    assert now.used_cpu_us == meter.used_cpu_us
    assert now.quality is Quality.MISSING
    on = advance(now, sample(50_000_100), after(1, back), THREADS)
    assert on.used_cpu_us == meter.used_cpu_us + 100


def test_a_hardware_clock_that_went_back_takes_nothing_away(meter: LeaseMeter) -> None:
    back = rebooted(-86_400, after(1))
    now = advance(meter, sample(0), back, THREADS)
    assert now.reserved_ns == meter.reserved_ns


def test_the_exchange_knows_better_than_the_hardware_clock(meter: LeaseMeter) -> None:
    back = rebooted(-86_400, after(1))
    now = advance(meter, sample(0), back, THREADS, outage_ns=HOUR)
    assert now.reserved_ns == meter.reserved_ns + HOUR
    assert now.missing_ns == meter.missing_ns + HOUR
    assert now.events[-1] == ClockEvent(EventKind.OUTAGE, SECOND, HOUR)


def test_a_reboot_whose_cgroup_is_not_there_yet(meter: LeaseMeter) -> None:
    back = rebooted(60, after(1))
    gone = advance(meter, None, back, THREADS)
    assert gone.missing_ns == meter.missing_ns + 60 * SECOND
    first = advance(gone, sample(500, cgroup=9), after(1, back), THREADS)
    assert (first.used_cpu_us, first.delivered_ns) == (0, 0)
    assert advance(first, sample(700, cgroup=9), after(2, back), THREADS).used_cpu_us == 200


# --- the end ---


def test_nothing_is_reserved_or_delivered_after_the_end(meter: LeaseMeter) -> None:
    now = advance(meter, sample(1_000_000), after(10), THREADS, until_ns=3 * SECOND)
    assert (now.reserved_ns, now.delivered_ns) == (3 * SECOND, 2 * SECOND)
    late = advance(now, sample(1_000_000), after(100), THREADS, until_ns=3 * SECOND)
    assert (late.reserved_ns, late.delivered_ns) == (3 * SECOND, 2 * SECOND)


def test_an_outage_lasts_to_the_end_at_most(meter: LeaseMeter) -> None:
    now = advance(meter, None, rebooted(86_400, after(1)), THREADS, until_ns=HOUR)
    assert now.reserved_ns == HOUR
    assert now.events[-1].magnitude_ns == HOUR - SECOND


# --- intervals ---


def test_a_new_interval_keeps_the_totals_and_forgets_the_events(meter: LeaseMeter) -> None:
    gap = advance(meter, sample(1_000_000), after(100), THREADS)
    fresh = close_interval(gap)
    assert (fresh.events, fresh.quality) == ((), Quality.MEASURED)
    assert fresh.reserved_ns == gap.reserved_ns


def test_the_state_survives_the_journal(meter: LeaseMeter) -> None:
    raw = msgspec.msgpack.encode(advance(meter, None, rebooted(60, after(1)), THREADS))
    again = msgspec.msgpack.decode(raw, type=LeaseMeter)
    assert msgspec.msgpack.encode(again) == raw


# --- counters of other devices ---


def counter(total: int, modulus: int | None = None, epoch: str = "") -> Counter:
    return Counter(total, Unit.MILLIJOULE, modulus, epoch)


@pytest.mark.parametrize(
    ("before", "now", "grown"),
    [
        (counter(10), counter(15), 5),
        (counter(10), counter(10), 0),
        (counter(10), counter(9), None),  # a fall without a modulus is a reset
        (counter(990, 1000), counter(5, 1000), 15),
        (counter(990, 1000), counter(5, 900), None),  # another device
        (counter(990, 1000), counter(995, 1000, "new driver"), None),
        (counter(10), counter(10 + 201), None),  # faster than anything can
        (counter(385, 390), counter(5, 390), None),  # more than half a wrap could have gone by
        (counter(395, 400), counter(5, 400), 10),
        (counter(10), Counter(15, Unit.MICROJOULE), None),
    ],
)
def test_how_much_a_counter_grew(before: Counter, now: Counter, grown: int | None) -> None:
    """At most 100 a second, and one second of leeway, over one second."""
    assert delta(before, now, SECOND, 100) == grown


def test_no_time_no_delta() -> None:
    assert delta(counter(1), counter(2), 0, 100) is None
    assert delta(counter(1), counter(2), -SECOND, 100) is None
