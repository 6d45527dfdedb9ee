"""probes.modbus_maps: the arithmetic of a row, with registers as the meters' manuals give them."""

from __future__ import annotations

import struct
from decimal import Decimal

import pytest

from probes.decimals import shortest_single
from probes.errors import Malformed
from probes.modbus import ModbusMeter
from probes.modbus_maps import MAPS, Kind, Register, decode
from probes.reading import Counter, Gauge, Unit

KWH = 3_600_000_000  # mJ


def row(name: str, quantity: str) -> Register:
    return next(found for found in MAPS[name].rows if found.quantity == quantity)


def words(form: str, number: float) -> list[int]:
    raw = struct.pack(form, number)
    return list(struct.unpack(f">{len(raw) // 2}H", raw))


@pytest.mark.parametrize(
    ("name", "quantity", "registers", "expected"),
    [
        # SDM630 manual: 0x4366, 0x3334 is 230.2
        ("eastron-sdm630", "power", [0x4366, 0x3334], 230_200),
        ("eastron-sdm630", "energy", words(">f", 12_345.67), 12_345_670 * KWH // 1000),
        ("abb-b23", "energy", [0, 0, 0x0001, 0xE240], 123_456 * KWH // 100),
        ("abb-b23", "power", [0xFFFF, 0xFF9C], -1_000),  # -1.00 W
        ("abb-b23", "power", [0x0001, 0x86A0], 1_000_000),  # 1000.00 W
        # low word first: 0x0001_E240 comes as E240 0001
        ("carlo-gavazzi-em340", "energy", [0xE240, 0x0001], 123_456 * KWH // 10),
        ("carlo-gavazzi-em340", "power", [0xFFF6, 0xFFFF], -1_000),  # -1.0 W
        ("schneider-iem3155", "energy", [0, 0, 0x0001, 0xE240], 123_456 * KWH // 1000),
        ("schneider-iem3155", "power", words(">f", 1.2345), 1_234_500),
        ("siemens-pac", "energy", words(">d", 4_321_000.123), 4_321_000_123 * KWH // 1_000_000),
        ("siemens-pac", "power", words(">f", 62.8), 62_800),
    ],
)
def test_rows(name: str, quantity: str, registers: list[int], expected: int) -> None:
    value = decode(row(name, quantity), registers)
    if quantity == "energy":
        assert value == Counter(expected, Unit.MILLIJOULE)
    else:
        assert value == Gauge(expected, Unit.MILLIWATT)


@pytest.mark.parametrize(
    ("name", "quantity", "registers"),
    [
        ("abb-b23", "energy", [0xFFFF] * 4),
        ("abb-b23", "power", [0x7FFF, 0xFFFF]),
        ("carlo-gavazzi-em340", "power", [0xFFFF, 0x7FFF]),
        ("schneider-iem3155", "energy", [0x8000, 0, 0, 0]),
        ("schneider-iem3155", "power", [0xFFC0, 0]),
        ("eastron-sdm630", "energy", [0x7FC0, 0]),
        ("siemens-pac", "energy", [0x7FF0, 0, 0, 0]),
    ],
)
def test_not_available_is_nothing_and_never_zero(
    name: str, quantity: str, registers: list[int]
) -> None:
    assert decode(row(name, quantity), registers) is None


@pytest.mark.parametrize(
    ("name", "quantity", "registers"),
    [
        ("abb-b23", "energy", [0, 0, 1]),
        ("abb-b23", "energy", [0, 0, 1, 0x1_0000]),
        ("carlo-gavazzi-em340", "energy", [0xFFFF, 0xFFFF]),  # -0.1 kWh is no total
        ("eastron-sdm630", "energy", words(">f", -0.5)),
        ("eastron-sdm630", "power", words(">f", 1e30)),
    ],
)
def test_refused(name: str, quantity: str, registers: list[int]) -> None:
    with pytest.raises(Malformed):
        decode(row(name, quantity), registers)


@pytest.mark.parametrize("text", ["230.1", "0.1", "49.99", "12345.67", "1e-30", "16777217", "0"])
def test_a_float_is_what_its_meter_displays(text: str) -> None:
    (single,) = struct.unpack(">f", struct.pack(">f", float(text)))
    expected = "16777216" if text == "16777217" else text  # binary32 ends at 2**24
    assert shortest_single(single) == Decimal(expected)


def test_the_largest_float_has_a_decimal() -> None:
    (largest,) = struct.unpack(">f", b"\x7f\x7f\xff\xff")
    assert float(shortest_single(largest)) == pytest.approx(largest)


def test_every_map_has_energy_and_power_and_no_row_twice() -> None:
    assert len(MAPS) >= 3
    for name, entry in MAPS.items():
        quantities = [found.quantity for found in entry.rows]
        assert len(quantities) == len(set(quantities)), name
        assert {"energy", "power"} <= set(quantities), name
        for found in entry.rows:
            assert found.counts == (found.unit is Unit.MILLIJOULE)
            assert 0 <= found.address <= 0xFFFF - found.kind.registers


def test_kinds_agree_with_their_length() -> None:
    for kind in Kind:
        assert struct.calcsize(kind.code) == 2 * kind.registers


@pytest.mark.parametrize(
    "wrong", [{"map": "no-such-meter"}, {"unit": 256}, {"interval_seconds": 0}, {"deadline_ms": 0}]
)
def test_configuration_says_what_is_wrong(wrong: dict[str, object]) -> None:
    right: dict[str, object] = {"name": "feed", "host": "192.0.2.1", "map": "abb-b23"}
    with pytest.raises(ValueError, match=next(iter(wrong))):
        ModbusMeter(**(right | wrong))  # type: ignore[arg-type]  # wrong on purpose
