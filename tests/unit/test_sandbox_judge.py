"""The receipt judge: bytes in, verdict out. One test for each way to be wrong."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace

import pytest
from hearth.v1.lease_pb2 import Receipt
from hypothesis import given
from hypothesis import strategies as st

from agent.core import amount
from agent.sandbox.exchange.judge import (
    ABSENT,
    MAX_QUANTITY,
    TOLERANCE_MS,
    Contract,
    ReceiptRefused,
    Registers,
    Wrong,
    judge,
    nanoseconds,
    registers,
)

LOG = "10" * 32
START = 1_800_000_000_000_000_000
SECOND = 1_000_000_000
CONTRACT = Contract(
    node_id="aa" * 32,
    exchange_id="ee" * 32,
    lease_id="0190c1d2-0000-7000-8000-000000000001",
    job_id="job-1",
    agreement_sha256=bytes(range(32)),
    units={"MEMORY_MB": 512, "VCPU": 2},
    prices=(
        amount.Price(7001, 2, amount.PriceUnit.DELIVERED_UNIT_SECOND, "VCPU"),
        amount.Price(1, 3, amount.PriceUnit.JOULE),
    ),
    start_ns=START,
    end_ns=START + 3600 * SECOND,
)
NOW = START + 120 * SECOND


def receipt(sequence: int, previous: Registers | None = None) -> Receipt:
    """The good receipt of a lease a minute after the one before."""
    message = Receipt(
        node_id=CONTRACT.node_id,
        exchange_id=CONTRACT.exchange_id,
        lease_id=CONTRACT.lease_id,
        job_id=CONTRACT.job_id,
        log_id=LOG,
        sequence=sequence,
        previous_sha256=previous.sha256 if previous else b"",
        agreement_sha256=CONTRACT.agreement_sha256,
    )
    message.interval.start_time.FromNanoseconds(START + (sequence - 1) * 60 * SECOND)
    message.interval.end_time.FromNanoseconds(START + sequence * 60 * SECOND)
    for name, units in CONTRACT.units.items():
        message.totals.add(
            resource_class=name,
            reserved_unit_milliseconds=units * 60_000 * sequence,
            delivered_unit_milliseconds=units * 59_000 * sequence,
            used_unit_milliseconds=1000 * sequence,
            throttled_milliseconds=10 * sequence,
            missing_milliseconds=1000 * sequence,
        )
    message.energy.millijoules = 300_000 * sequence
    message.heat.reused_millijoules = 240_000 * sequence
    message.heat.reverse_millijoules = 10 * sequence
    return priced(message)


def priced(message: Receipt) -> Receipt:
    """Set lines and gross, by hand rather than by the function under test."""
    del message.lines[:]
    vcpu = message.totals[1].delivered_unit_milliseconds if len(message.totals) > 1 else 0
    joules = message.energy.millijoules
    message.lines.add(price_index=0, quantity=vcpu, msat=vcpu * 7001 // 2000)
    message.lines.add(price_index=1, quantity=joules, msat=joules // 3000)
    message.gross_msat_total = sum(line.msat for line in message.lines)
    return message


def verdict(
    message: Receipt, previous: Registers | None = None, contract: Contract = CONTRACT
) -> Registers:
    return judge(message.SerializeToString(), contract, previous, LOG, NOW)


def wrong(
    message: Receipt, previous: Registers | None = None, contract: Contract = CONTRACT
) -> Wrong:
    with pytest.raises(ReceiptRefused) as refused:
        verdict(message, previous, contract)
    return refused.value.wrong


@pytest.fixture
def first() -> Registers:
    """After one good receipt."""
    return verdict(receipt(1))


def test_good_receipts_move_the_registers(first: Registers) -> None:
    payload = receipt(2, first).SerializeToString()
    second = judge(payload, CONTRACT, first, LOG, NOW)
    assert (second.sequence, second.energy_mj, second.heat_mj) == (2, 600_000, 480_000)
    assert second.sha256 == hashlib.sha256(payload).digest()
    assert second.gross_msat == 2 * 59_000 * 2 * 7001 // 2000 + 200
    assert second.totals[1].delivered == 236_000
    assert second.totals[1].stalled == ABSENT
    assert registers(payload) == second


def test_not_a_receipt() -> None:
    with pytest.raises(ReceiptRefused) as refused:
        judge(b"\xff", CONTRACT, None, LOG, NOW)
    assert refused.value.wrong is Wrong.MALFORMED


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("node_id", Wrong.NODE),
        ("exchange_id", Wrong.EXCHANGE),
        ("lease_id", Wrong.LEASE),
        ("job_id", Wrong.JOB),
        ("log_id", Wrong.LOG),
    ],
)
def test_another_name(field: str, expected: Wrong) -> None:
    message = receipt(1)
    setattr(message, field, "another")
    assert wrong(message) is expected


def test_another_agreement() -> None:
    message = receipt(1)
    message.agreement_sha256 = bytes(32)
    assert wrong(message) is Wrong.AGREEMENT


def test_sequence_repeated(first: Registers) -> None:
    assert wrong(receipt(1), first) is Wrong.REPEATED


def test_sequence_gap(first: Registers) -> None:
    assert wrong(receipt(3, first), first) is Wrong.GAP


def test_first_sequence_is_not_one() -> None:
    assert wrong(receipt(2)) is Wrong.GAP


def test_digest_of_another_predecessor(first: Registers) -> None:
    assert wrong(receipt(2, first._replace(sha256=bytes(32))), first) is Wrong.CHAIN


def test_digest_before_the_first() -> None:
    message = receipt(1)
    message.previous_sha256 = bytes(32)
    assert wrong(message) is Wrong.CHAIN


def test_after_the_final_one(first: Registers) -> None:
    assert wrong(receipt(2, first), first._replace(final=True)) is Wrong.AFTER_FINAL


def test_interval_leaves_a_hole(first: Registers) -> None:
    message = receipt(2, first)
    message.interval.start_time.FromNanoseconds(first.end_ns + 1)
    assert wrong(message, first) is Wrong.INTERVAL


def test_interval_overlaps(first: Registers) -> None:
    message = receipt(2, first)
    message.interval.start_time.FromNanoseconds(first.end_ns - 1)
    assert wrong(message, first) is Wrong.INTERVAL


def test_interval_runs_backwards(first: Registers) -> None:
    message = receipt(2, first)
    message.interval.end_time.FromNanoseconds(first.end_ns - 1)
    assert wrong(message, first) is Wrong.INTERVAL


def test_interval_before_the_lease() -> None:
    message = receipt(1)
    message.interval.start_time.FromNanoseconds(START - (TOLERANCE_MS + 1) * 1_000_000)
    assert wrong(message) is Wrong.INTERVAL


def test_interval_that_is_no_time() -> None:
    message = receipt(1)
    message.interval.start_time.nanos = -1
    assert wrong(message) is Wrong.INTERVAL


def test_interval_ends_in_the_future() -> None:
    message = receipt(1)
    message.interval.end_time.FromNanoseconds(NOW + (TOLERANCE_MS + 1) * 1_000_000)
    assert wrong(message) is Wrong.FUTURE


@pytest.mark.parametrize("names", [["VCPU"], ["MEMORY_MB", "PGPU", "VCPU"], ["VCPU", "MEMORY_MB"]])
def test_other_classes_than_agreed(names: list[str]) -> None:
    message = receipt(1)
    del message.totals[:]
    for name in names:
        message.totals.add(resource_class=name)
    assert wrong(priced(message)) is Wrong.CLASSES


@pytest.mark.parametrize(
    "field",
    [
        "used_unit_milliseconds",
        "throttled_milliseconds",
        "missing_milliseconds",
        "delivered_unit_milliseconds",
        "reserved_unit_milliseconds",
    ],
)
def test_total_fell(first: Registers, field: str) -> None:
    message = receipt(2, first)
    before = getattr(receipt(1).totals[0], field)
    setattr(message.totals[0], field, before - 1)
    if field == "reserved_unit_milliseconds":
        message.totals[0].delivered_unit_milliseconds = 0
    assert wrong(message, first) is Wrong.TOTAL_FELL


def test_total_vanished(first: Registers) -> None:
    message = receipt(2, first)
    message.totals[0].ClearField("used_unit_milliseconds")
    assert wrong(message, first) is Wrong.TOTAL_FELL


def test_total_that_was_never_counted_may_begin(first: Registers) -> None:
    message = receipt(2, first)
    message.totals[0].stalled_milliseconds = 5
    assert verdict(message, first).totals[0].stalled == 5


def test_delivered_above_reserved() -> None:
    message = receipt(1)
    message.totals[0].delivered_unit_milliseconds = message.totals[0].reserved_unit_milliseconds + 1
    assert wrong(message) is Wrong.DELIVERED_ABOVE_RESERVED


def test_reserved_more_than_the_time_there_was() -> None:
    message = receipt(1)
    message.totals[1].reserved_unit_milliseconds = 2 * (60_000 + TOLERANCE_MS) + 1
    assert wrong(message) is Wrong.RESERVED_ABOVE_CONTRACT


def test_reserved_after_the_agreed_end() -> None:
    short = replace(CONTRACT, end_ns=START + 10 * SECOND)
    message = receipt(1)
    message.totals[1].reserved_unit_milliseconds = 2 * (10_000 + TOLERANCE_MS) + 1
    message.totals[1].delivered_unit_milliseconds = 0
    message.totals[0].reserved_unit_milliseconds = 0
    message.totals[0].delivered_unit_milliseconds = 0
    assert wrong(priced(message), contract=short) is Wrong.RESERVED_ABOVE_CONTRACT


def test_energy_fell(first: Registers) -> None:
    message = receipt(2, first)
    message.energy.millijoules = 299_999
    assert wrong(priced(message), first) is Wrong.ENERGY_FELL


def test_energy_vanished(first: Registers) -> None:
    message = receipt(2, first)
    message.ClearField("energy")
    assert wrong(priced(message), first) is Wrong.ENERGY_FELL


@pytest.mark.parametrize("field", ["reused_millijoules", "reverse_millijoules"])
def test_heat_fell(first: Registers, field: str) -> None:
    message = receipt(2, first)
    setattr(message.heat, field, 1)
    assert wrong(message, first) is Wrong.HEAT_FELL


def test_heat_vanished(first: Registers) -> None:
    message = receipt(2, first)
    message.ClearField("heat")
    assert wrong(message, first) is Wrong.HEAT_FELL


def test_without_energy_and_heat_from_the_start() -> None:
    message = receipt(1)
    message.ClearField("energy")
    message.ClearField("heat")
    after = verdict(priced(message))
    assert (after.energy_mj, after.heat_mj, after.reverse_mj) == (ABSENT, ABSENT, ABSENT)


def test_gross_fell(first: Registers) -> None:
    message = receipt(2, first)
    message.gross_msat_total = first.gross_msat - 1
    assert wrong(message, first) is Wrong.GROSS_FELL


@pytest.mark.parametrize("field", ["price_index", "quantity", "msat"])
def test_line_is_not_as_computed(field: str) -> None:
    message = receipt(1)
    setattr(message.lines[0], field, getattr(message.lines[0], field) + 1)
    assert wrong(message) is Wrong.AMOUNT


def test_line_is_missing() -> None:
    message = receipt(1)
    del message.lines[1]
    assert wrong(message) is Wrong.AMOUNT


def test_gross_is_not_the_sum() -> None:
    message = receipt(1)
    message.gross_msat_total += 1
    assert wrong(message) is Wrong.AMOUNT


def test_gross_that_no_database_holds() -> None:
    dear = replace(CONTRACT, prices=(amount.Price(10**6, 1, amount.PriceUnit.JOULE),))
    message = receipt(1)
    message.energy.millijoules = 10**16
    del message.lines[:]
    message.lines.add(price_index=0, quantity=10**16, msat=10**19)
    message.gross_msat_total = 10**19
    assert message.gross_msat_total > MAX_QUANTITY
    assert wrong(message, contract=dear) is Wrong.AMOUNT


GOOD = receipt(2, verdict(receipt(1))).SerializeToString()


@given(st.binary(max_size=200))
def test_any_bytes_are_judged(payload: bytes) -> None:
    judged(lambda: judge(payload, CONTRACT, None, LOG, NOW))


@given(st.integers(0, len(GOOD) - 1), st.integers(1, 255))
def test_any_changed_byte_is_judged(position: int, flip: int) -> None:
    changed = bytearray(GOOD)
    changed[position] ^= flip
    judged(lambda: judge(bytes(changed), CONTRACT, verdict(receipt(1)), LOG, NOW))


def judged(act: Callable[[], Registers]) -> None:
    """Either verdict will do; nothing else may escape."""
    try:
        assert act().sequence >= 1
    except ReceiptRefused as refused:
        assert refused.wrong in Wrong


def test_times_out_of_range() -> None:
    from google.protobuf.timestamp_pb2 import Timestamp

    assert nanoseconds(Timestamp(seconds=1, nanos=2)) == 1_000_000_002
    for time in (
        Timestamp(seconds=-1),
        Timestamp(seconds=1, nanos=1_000_000_000),
        Timestamp(seconds=MAX_QUANTITY // 10**9),
    ):
        with pytest.raises(ValueError, match="out of range"):
            nanoseconds(time)
