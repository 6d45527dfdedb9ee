"""Our decoder on telegrams of 38 real meters, against what libmbus makes of them."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from probes.errors import Malformed
from probes.mbus import MEDIA, interpret
from probes.mbus_telegram import decode
from probes.reading import Counter, Gauge

RECORDED = Path(__file__).parent / "mbus"
TELEGRAMS = sorted(path.stem for path in RECORDED.glob("*.hex"))

# A fixed-data answer (CI 73h), a format that EN 13757-3 dropped; pyMeterBus does not read it.
FIXED_DATA = {"sen_pollusonic_2"}

# libmbus' spelling of a unit -> ours.
UNITS = {"°C": "C", "s": "seconds", "Units for H.C.A.": "H.C.A"}
NUMERIC = {"Wh", "J", "W", "J/h", "m^3", "m^3/h", "°C", "K", "s", "V", "A", "Units for H.C.A."}


def frame(name: str) -> bytes:
    return bytes.fromhex((RECORDED / f"{name}.hex").read_text())


def expected_records(name: str) -> list[ET.Element]:
    tree = ET.parse(RECORDED / f"{name}.norm.xml").getroot()  # noqa: S314 - our own recording
    special = ("Manufacturer specific", "More records follow")
    return [
        record
        for record in tree.findall("DataRecord")
        if record.findtext("Function") not in special
    ]


def test_all_recordings_are_here() -> None:
    assert len(TELEGRAMS) == 38


@pytest.mark.parametrize("name", sorted(set(TELEGRAMS) - FIXED_DATA))
def test_every_record_agrees(name: str) -> None:
    telegram, expected = decode(frame(name)), expected_records(name)
    assert len(telegram.records) == len(expected)
    compared = 0
    for record, told in zip(telegram.records, expected, strict=True):
        assert record.storage == int(told.findtext("StorageNumber") or 0)
        assert record.tariff == int(told.findtext("Tariff") or 0)
        assert record.device == int(told.findtext("Device") or 0)
        unit, text = told.findtext("Unit") or "", told.findtext("Value") or ""
        if unit not in NUMERIC:
            continue
        compared += 1
        assert record.unit == UNITS.get(unit, unit)
        assert record.value is not None
        # libmbus prints six decimals, and a binary32 with more digits than it has.
        exact = Fraction(Decimal(text))
        assert abs(record.value - exact) <= max(Fraction(1, 10**6), abs(exact) / 10**7)
    assert compared or name in ("GWF-MTKcoder", "siemens_rvd235", "tecson")


@pytest.mark.parametrize("name", sorted(FIXED_DATA))
def test_fixed_data_is_refused_by_name(name: str) -> None:
    with pytest.raises(Malformed, match="CI field 0x73"):
        decode(frame(name))


@pytest.mark.parametrize("name", sorted(set(TELEGRAMS) - FIXED_DATA))
def test_every_truncation_is_refused(name: str) -> None:
    whole = frame(name)
    for length in range(len(whole)):
        with pytest.raises(Malformed):
            decode(whole[:length])


# name -> quantity -> value, from the .norm.xml files by hand: Wh x 3,600,000, W x 1000, ...
READOUTS = {
    "engelmann_sensostar2c": {
        "heat": 800_000 * 3_600_000,
        "volume": 12_900_000_000,
        "flow": 0,
        "power": 0,
        "supply_temperature": 95_000,
        "return_temperature": 43_000,
        "status": "ok",
    },
    "EDC": {  # registers for both directions (VIFE 3Bh, 3Ch), floats, a second device
        "heat": 35_000 * 3_600_000,
        "heat_reverse": 465_000 * 3_600_000,
        "supply_temperature": 21_537,
        "return_temperature": 21_605,
        "flow": 707,
        "power": 0,
        "status": "ok",
    },
    "SEN_Pollustat": {
        "heat": 39_831_000 * 3_600_000,
        "volume": 6_162_878_000_000,
        "power": -170_722,
        "flow": 3_230_039,
        "supply_temperature": 31_147,
        "return_temperature": 31_193,
        "status": "ok",
    },
    "svm_f22_telegram1": {
        "heat": 28_014_000 * 3_600_000,
        "volume": 640_581_000_000,
        "flow": 0,
        "power": 0,
        "status": "temporary-error",  # both temperatures stand at 243 °C: no sensors
    },
}


@pytest.mark.parametrize("name", sorted(READOUTS))
def test_readout(name: str) -> None:
    readout = interpret((decode(frame(name)),), "heat")
    shown = {
        quantity: value.total if isinstance(value, Counter) else value.value
        for quantity, value in readout.items()
    }
    assert shown == READOUTS[name]


def test_a_meter_of_another_medium_is_refused() -> None:
    water = decode(frame("els_falcon"))
    assert water.medium not in MEDIA["heat"]
    with pytest.raises(Malformed, match="medium"):
        interpret((water,), "heat")


def test_readout_of_an_electricity_meter() -> None:
    readout = interpret((decode(frame("kamstrup_382_005")),), "electricity")
    assert isinstance(readout["energy"], Counter)
    assert isinstance(readout["power"], Gauge)


def test_temperatures_of_sensors_that_are_not_there_are_left_out() -> None:
    readout = interpret((decode(frame("svm_f22_telegram1")),), "heat")
    assert "supply_temperature" not in readout
    assert "return_temperature" not in readout
