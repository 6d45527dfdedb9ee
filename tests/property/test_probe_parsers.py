"""Foreign bytes: whatever a kernel, a meter or a gateway sends, only a ProbeError comes out."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.sandbox import heat_meter
from probes import cgroup, hostcpu, hwmon, rapl
from probes.decimals import shortest_single
from probes.errors import Malformed, ProbeError
from probes.mbus import MEDIA, interpret
from probes.mbus_telegram import decode as decode_telegram
from probes.mbus_telegram import long_frame_length
from probes.modbus_maps import MAPS, Kind, Register
from probes.modbus_maps import decode as decode_row
from probes.reading import Counter, Gauge, Unit

TELEGRAMS = [
    bytes.fromhex(path.read_text())
    for path in sorted((Path(__file__).parents[1] / "hosts" / "mbus").glob("*.hex"))
]
ROWS = [row for entry in MAPS.values() for row in entry.rows]

KERNEL_TEXT = st.one_of(
    st.binary(max_size=300),
    st.text("0123456789 \n=:.+-_", max_size=200).map(str.encode),
    st.lists(
        st.sampled_from(
            [
                *(b"usage_usec", b"user_usec", b"system_usec", b"nr_throttled", b"throttled_usec"),
                *(b"frozen", b"full", b"total=", b"rbytes=", b"wbytes=7", b"cpu", b"1", b"-1"),
                *(b"99999999999999999999999", b"1_0", b"\xb2", b"\n"),
            ]
        ),
        max_size=20,
    ).map(b" ".join),
)


@pytest.mark.parametrize(
    "parser",
    [
        cgroup.parse_integer,
        cgroup.parse_cpu_stat,
        cgroup.parse_io_stat,
        cgroup.parse_pressure,
        cgroup.parse_frozen,
        hostcpu.parse_proc_stat,
        lambda raw: rapl.parse_energy(raw, 1000),
        *(lambda raw, kind=kind: hwmon.parse(kind, "x", raw, "") for kind in hwmon.QUANTITIES),
    ],
)
@given(raw=KERNEL_TEXT)
def test_kernel_files(parser: Callable[[bytes], object], raw: bytes) -> None:
    with contextlib.suppress(ProbeError):
        parser(raw)


@given(
    row=st.sampled_from(ROWS),
    registers=st.lists(st.integers(-1, 0x1_0000), min_size=1, max_size=5),
)
def test_registers(row: Register, registers: list[int]) -> None:
    with contextlib.suppress(ProbeError):
        value = decode_row(row, registers)
        if isinstance(value, Counter):
            assert value.total >= 0


@given(number=st.integers(0, 2**64 - 2), scale=st.integers(1, 10**12))
def test_integer_registers_stay_exact(number: int, scale: int) -> None:
    row = Register("energy", 0, Kind.UINT64, scale, Unit.MILLIJOULE, True)
    registers = list(struct.unpack(">4H", number.to_bytes(8, "big")))
    assert decode_row(row, registers) == Counter(number * scale, Unit.MILLIJOULE)
    swapped = Register("energy", 0, Kind.UINT64, scale, Unit.MILLIJOULE, True, low_word_first=True)
    assert decode_row(swapped, registers[::-1]) == Counter(number * scale, Unit.MILLIJOULE)


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_shortest_decimal_is_the_same_float(number: float) -> None:
    text = shortest_single(number)
    assert struct.unpack(">f", struct.pack(">f", float(text)))[0] == number


@given(
    mj=st.integers(10**3, 10**15),
    more=st.integers(0, 10**9),
)
def test_a_float64_total_in_wh_never_falls(mj: int, more: int) -> None:
    row = Register("energy", 0, Kind.FLOAT64, 3_600_000, Unit.MILLIJOULE, True)
    totals = []
    for total in (mj, mj + more):
        value = decode_row(row, struct.unpack(">4H", struct.pack(">d", total / 3_600_000)))
        assert isinstance(value, Counter)
        assert abs(value.total - total) <= 1
        totals.append(value.total)
    assert totals[0] <= totals[1]


def interpret_all(raw: bytes) -> None:
    telegram = decode_telegram(raw)
    for medium in MEDIA:
        with contextlib.suppress(ProbeError):
            for value in interpret((telegram,), medium).values():
                if isinstance(value, Counter):
                    assert value.total >= 0


@given(st.binary(max_size=300))
def test_any_bytes_as_a_telegram(raw: bytes) -> None:
    with contextlib.suppress(ProbeError):
        long_frame_length(raw[:4])
    with contextlib.suppress(ProbeError):
        interpret_all(raw)


def framed(body: bytes) -> bytes:
    start = bytes((0x68, len(body), len(body), 0x68))
    return start + body + bytes((sum(body) & 0xFF, 0x16))


@given(st.binary(max_size=230))
def test_any_records_in_a_right_frame(records: bytes) -> None:
    header = bytes.fromhex("0801720100250293160104010000" + "00")
    with contextlib.suppress(ProbeError):
        interpret_all(framed(header + records))


@given(
    raw=st.sampled_from(TELEGRAMS),
    changes=st.lists(st.tuples(st.integers(4, 250), st.integers(0, 255)), max_size=6),
    cut=st.integers(0, 200),
)
def test_changed_records_in_a_right_frame(
    raw: bytes, changes: list[tuple[int, int]], cut: int
) -> None:
    body = bytearray(raw[4:-2])
    for position, value in changes:
        if 3 <= position < len(body):
            body[position] = value
    with contextlib.suppress(ProbeError):
        interpret_all(framed(bytes(body[: max(3, len(body) - cut)])))


@given(raw=st.sampled_from(TELEGRAMS), position=st.integers(0, 255), bit=st.integers(0, 7))
def test_any_flipped_bit_is_refused(raw: bytes, position: int, bit: int) -> None:
    position %= len(raw)
    spoiled = bytearray(raw)
    spoiled[position] ^= 1 << bit
    with pytest.raises(Malformed):
        decode_telegram(bytes(spoiled), raw[5])


@given(
    heat=st.integers(0, 2**47 - 1),
    power=st.integers(-(2**31) + 1, 2**31 - 1),
    supply=st.integers(-50_000, 200_000),
)
def test_what_the_heat_meter_sends_is_what_is_read(heat: int, power: int, supply: int) -> None:
    frame = heat_meter.respond(
        3,
        9,
        heat_meter.record(heat_meter.INT48, heat_meter.HEAT_J, heat)
        + heat_meter.record(heat_meter.INT32, heat_meter.POWER_MW, power)
        + heat_meter.record(heat_meter.INT32, heat_meter.SUPPLY_MC, supply),
    )
    readout = interpret((decode_telegram(frame, 3),), "heat")
    epoch = f"{heat_meter.IDENTIFICATION:08d}" + frame[11:15].hex()
    assert readout["heat"] == Counter(heat * 1000, Unit.MILLIJOULE, epoch=epoch)
    assert readout["power"] == Gauge(power, Unit.MILLIWATT)
    assert readout["supply_temperature"] == Gauge(supply, Unit.MILLICELSIUS)
