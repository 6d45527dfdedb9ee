"""What a receipt says of a lease and its meter."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from agent.core.amount import Price, PriceUnit
from agent.core.availability import Span, availability_ppm, gather
from agent.core.lease import Lease, LeaseKey, LeaseState
from agent.core.meter import (
    ClockEvent,
    EventKind,
    LeaseMeter,
    LeaseSample,
    Quality,
    advance,
    close_interval,
    open_meter,
)
from agent.core.receipt import Receipt, Sources, close
from agent.wire.money import standing
from agent.wire.statements import encode_receipt
from probes.reading import Instant, SourceClass

SECOND = 1_000_000_000
HOUR = 3600 * SECOND
START = 1_800_000_000 * SECOND
AT = Instant(100 * SECOND, 100 * SECOND, START, "boot-1")
LEASE = Lease(
    key=LeaseKey("exchange", "lease"),
    state=LeaseState.ACTIVE,
    units={"MEMORY_MB": 512, "VCPU": 2},
    fencing_token=b"",
    request_sha256=b"",
    offer_index=5,
    hold_until_ns=0,
    hold_boot_id="boot-1",
    agreement_sha256=b"a" * 32,
    prices=(
        Price(15, 1, PriceUnit.DELIVERED_UNIT_SECOND, "VCPU"),
        Price(7, 3, PriceUnit.DELIVERED_LEASE_SECOND),
        Price(1, 2, PriceUnit.JOULE),
    ),
    start_ns=START,
    end_ns=START + 3600 * SECOND,
    job_id="job",
)
METER = LeaseMeter(
    at=AT,
    reserved_ns=60 * SECOND + 1,
    delivered_ns=50 * SECOND,
    missing_ns=10 * SECOND,
    used_cpu_us=1_234_567,
    counter_epoch=3,
)


def cut(
    meter: LeaseMeter, before_ns: int = 0, sources: Sources | None = None, final: bool = False
) -> Receipt:
    return close(LEASE, meter, before_ns, "node", "log", sources or Sources(), final=final)


def test_totals_are_units_times_time() -> None:
    receipt = cut(METER)
    memory, processor = receipt.totals
    assert (memory.resource_class, memory.reserved, memory.delivered) == (
        "MEMORY_MB",
        512 * 60_000,
        512 * 50_000,
    )
    assert (processor.reserved, processor.delivered, processor.used) == (120_000, 100_000, 1234)
    assert (memory.missing_ms, memory.used, memory.throttled_ms) == (10_000, None, None)
    assert processor.counter_epoch == 3


def test_what_the_kernel_counts_is_in_the_receipt() -> None:
    meter = msgspec.structs.replace(
        METER, used_mb_ms=99, throttled_total_us=5_999, stalled_total_us=1_000
    )
    memory, processor = cut(meter).totals
    assert (memory.used, memory.throttled_ms, memory.stalled_ms) == (99, None, None)
    assert (processor.throttled_ms, processor.stalled_ms) == (5, 1)


def test_amounts_follow_the_lease_and_not_the_offer_of_today() -> None:
    meter = msgspec.structs.replace(METER, energy_mj=2_001)
    receipt = cut(meter, sources=Sources(SourceClass.PDU))
    assert [line.quantity for line in receipt.lines] == [100_000, 50_000, 2_001]
    assert [line.msat for line in receipt.lines] == [1500, 50 * 7 // 3, 1]
    assert receipt.gross_msat == 1500 + 116 + 1


def test_no_meter_no_figure() -> None:
    assert cut(METER).energy is None
    silent = cut(METER, sources=Sources(SourceClass.PDU, 10, SourceClass.PDU, 20))
    assert silent.energy is None
    assert silent.heat is None
    meter = msgspec.structs.replace(METER, energy_mj=5, energy_missing_ns=2 * SECOND, heat_mj=3)
    assert cut(meter).heat is None
    receipt = cut(meter, sources=Sources(SourceClass.PDU, 10, SourceClass.BILLING_METER, 20))
    assert receipt.energy is not None
    assert receipt.heat is not None
    assert receipt.energy.quality is Quality.PARTIAL
    assert (receipt.energy.missing_ms, receipt.energy.uncertainty_permille) == (2000, 10)
    assert (receipt.heat.reused_mj, receipt.heat.reverse_mj) == (3, 0)


def test_energy_has_the_source_that_the_lease_had_and_not_that_of_today() -> None:
    kept = {"energy_class": SourceClass.RAPL_NVML, "energy_uncertainty_permille": 30}
    meter = msgspec.structs.replace(METER, energy_mj=5, **kept)
    for today in (Sources(), Sources(SourceClass.BILLING_METER, 10), Sources(SourceClass.DECLARED)):
        receipt = cut(meter, sources=today)
        assert receipt.energy is not None
        assert receipt.energy.source is SourceClass.RAPL_NVML
        assert receipt.energy.uncertainty_permille == 30


def test_an_event_is_placed_in_the_exchanges_time() -> None:
    event = ClockEvent(EventKind.SUSPEND, 7 * SECOND, 5)
    receipt = cut(msgspec.structs.replace(METER, events=(event,)))
    assert receipt.events == ((START + 7 * SECOND, event),)


def test_a_receipt_names_the_one_before_it() -> None:
    lease = replace(LEASE, receipt_sequence=4, receipt_sha256=b"p" * 32)
    receipt = close(lease, METER, 20 * SECOND, "node", "log", Sources(), final=True)
    assert (receipt.sequence, receipt.previous_sha256, receipt.final) == (5, b"p" * 32, True)
    assert receipt.start_ns == START + 20 * SECOND
    assert receipt.end_ns == START + 60 * SECOND + 1
    assert receipt.monotonic_ns == 40 * SECOND + 1


STEPS = st.lists(
    st.tuples(
        st.integers(1, 7200 * SECOND),  # time
        st.integers(-86_400 * SECOND, 86_400 * SECOND),  # and what somebody does to the clock
        st.sampled_from(["sample", "lost", "reboot"]),
        st.booleans(),  # a receipt is cut
    ),
    min_size=1,
    max_size=20,
)


@given(STEPS)
def test_intervals_join_whatever_the_clocks_do(steps: list[tuple[int, int, str, bool]]) -> None:
    meter, at, closed = open_meter(AT), AT, 0
    usage, boots = 0, 1
    receipts: list[Receipt] = []
    for span, step, kind, with_receipt in steps:
        usage += 1000
        if kind == "reboot":
            boots += 1
            at = Instant(SECOND, SECOND, at.wall_ns + span + step, f"boot-{boots}")
        else:
            at = Instant(
                at.boottime_ns + span, at.monotonic_ns + span, at.wall_ns + span + step, at.boot_id
            )
        sample = LeaseSample(1, usage, None, None, None, False, True)
        meter = advance(meter, None if kind == "lost" else sample, at, 4)
        if with_receipt:
            receipts.append(cut(meter, closed))
            closed = meter.reserved_ns
            meter = close_interval(meter)
    receipts.append(cut(meter, closed, final=True))
    assert receipts[0].start_ns == START
    for before, after in pairwise(receipts):
        assert after.start_ns == before.end_ns <= after.end_ns
        assert after.gross_msat >= before.gross_msat
        for was, now in zip(before.totals, after.totals, strict=True):
            assert now.reserved >= was.reserved
            assert now.delivered >= was.delivered
            assert now.delivered <= now.reserved
    assert receipts[-1].end_ns == START + meter.reserved_ns
    assert sum(receipt.monotonic_ns for receipt in receipts) == meter.reserved_ns


@given(STEPS)
def test_an_amount_does_not_depend_on_how_often_receipts_were_cut(
    steps: list[tuple[int, int, str, bool]],
) -> None:
    """Quantities are cumulative and each price is floored once: the last receipt says it all."""
    meter, closed = open_meter(AT), 0
    at = AT
    for place, (span, _, _, with_receipt) in enumerate(steps):
        at = Instant(at.boottime_ns + span, at.monotonic_ns + span, at.wall_ns + span, "boot-1")
        meter = advance(meter, LeaseSample(1, place, None, None, None, False, True), at, 4)
        if with_receipt:
            cut(meter, closed)
            closed, meter = meter.reserved_ns, close_interval(meter)
    often, once = cut(meter, closed, final=True), cut(meter, 0, final=True)
    assert often.lines == once.lines
    assert often.gross_msat == once.gross_msat


def test_half_a_day_without_a_receipt_fits_the_next_one() -> None:
    """The disk is full, the host sleeps a little every second, and its wall clock does not hold."""
    seconds = 12 * 3600
    meter, at = open_meter(AT), AT
    sample = LeaseSample(7, 0, None, None, None, frozen=False, limits_in_force=True)
    for place in range(seconds):
        meter = advance(meter, sample, at, 2)
        at = Instant(
            at.boottime_ns + SECOND,
            at.monotonic_ns + SECOND // 2,
            at.wall_ns + (4 if place % 2 else 5) * SECOND,
            at.boot_id,
        )
    payload = encode_receipt(cut(meter))
    assert len(payload) < 8 * 1024  # of 1 MiB that a proof file may have
    stood, outages = standing(payload, LEASE.units)
    assert sum(end - start for start, end in outages) == (seconds - 1) * SECOND // 2
    assert outages[-1].end_ns <= START + meter.reserved_ns
    for hour in range(12):  # half of each window was slept, though one receipt tells all
        window = Span(START + hour * HOUR, START + (hour + 1) * HOUR)
        ppm = availability_ppm(gather(window, [stood], outages, ()))
        assert 400_000 < ppm < 600_000
    steps = [event.magnitude_ns for event in meter.events if event.kind is EventKind.STEP]
    assert sum(steps) == meter.at.wall_ns - START - meter.reserved_ns
