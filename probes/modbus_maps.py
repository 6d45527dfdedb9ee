"""Register maps of energy meters, one row a quantity, and the arithmetic of a row. Pure.

A meter is added by adding a `RegisterMap`. Addresses are those on the wire, from 0; manuals that
count registers from 1 are off by one from them. Integer registers stay exact; a float register is
taken as the shortest decimal number that is that float, which is what its meter displays.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal
from enum import Enum
from math import isfinite

from probes.decimals import shortest_single
from probes.errors import Malformed
from probes.reading import Counter, Gauge, Unit

MAX_FLOAT = 1e18  # beyond what any register of ours can mean; keeps the decimals finite


class Table(Enum):
    """Which of the two register tables (Modbus Application Protocol V1.1b3, 6.3 and 6.4)."""

    HOLDING = 3
    INPUT = 4


class Kind(Enum):
    """How a row's registers make a number: struct code and length in registers."""

    UINT16 = ("H", 1)
    INT16 = ("h", 1)
    UINT32 = ("I", 2)
    INT32 = ("i", 2)
    UINT64 = ("Q", 4)
    INT64 = ("q", 4)
    FLOAT32 = ("f", 2)
    FLOAT64 = ("d", 4)

    @property
    def code(self) -> str:
        """The struct code, big-endian."""
        return f">{self.value[0]}"

    @property
    def registers(self) -> int:
        """How many registers of 16 bits."""
        return self.value[1]


@dataclass(frozen=True, slots=True)
class Register:
    """One quantity.

    `scale` is how many of `unit` one step of the register is. `low_word_first` is for meters that
    send the least significant register first. `modulus` is in `unit`, and only where the meter's
    document says where it rolls over.
    """

    quantity: str
    address: int
    kind: Kind
    scale: int
    unit: Unit
    counts: bool
    low_word_first: bool = False
    modulus: int | None = None


@dataclass(frozen=True, slots=True)
class RegisterMap:
    """One family of meters: its document, its table, its rows."""

    device: str
    document: str
    table: Table
    rows: tuple[Register, ...]


WATT = 1_000  # mW
WATT_HOUR = 3_600_000  # mJ
KILOWATT_HOUR = 1_000 * WATT_HOUR


def _energy(
    address: int, kind: Kind, scale: int, quantity: str = "energy", *, low_word_first: bool = False
) -> Register:
    return Register(quantity, address, kind, scale, Unit.MILLIJOULE, True, low_word_first)


def _power(address: int, kind: Kind, scale: int, *, low_word_first: bool = False) -> Register:
    return Register("power", address, kind, scale, Unit.MILLIWATT, False, low_word_first)


MAPS: Mapping[str, RegisterMap] = {
    "eastron-sdm630": RegisterMap(
        "Eastron SDM630-Modbus V2",
        "SDM630Modbus Protocol: input registers 30053, 30073, 30075",
        Table.INPUT,
        (
            _energy(0x0048, Kind.FLOAT32, KILOWATT_HOUR),
            _energy(0x004A, Kind.FLOAT32, KILOWATT_HOUR, "energy_export"),
            _power(0x0034, Kind.FLOAT32, WATT),
        ),
    ),
    "abb-b23": RegisterMap(
        "ABB B23 and B24",
        "B23/B24 User Manual 2CMC485003M0201, mapping tables 'Total energy accumulators' "
        "(0.01 kWh) and 'Instantaneous values' (0.01 W)",
        Table.HOLDING,
        (
            _energy(0x5000, Kind.UINT64, KILOWATT_HOUR // 100),
            _energy(0x5004, Kind.UINT64, KILOWATT_HOUR // 100, "energy_export"),
            _power(0x5B14, Kind.INT32, WATT // 100),
        ),
    ),
    "carlo-gavazzi-em340": RegisterMap(
        "Carlo Gavazzi EM330, EM340, ET330, ET340 and EM24-E1",
        "EM330-EM340-ET330-ET340 Communication Protocol: INT32, low word first, kWh x 10, W x 10",
        Table.INPUT,
        (
            _energy(0x0034, Kind.INT32, KILOWATT_HOUR // 10, low_word_first=True),
            _energy(0x004E, Kind.INT32, KILOWATT_HOUR // 10, "energy_export", low_word_first=True),
            _power(0x0028, Kind.INT32, WATT // 10, low_word_first=True),
        ),
    ),
    "schneider-iem3155": RegisterMap(
        "Schneider Electric iEM3155, iEM3255, iEM3355",
        "iEM3000 Series User Manual DOCA0005: registers 3204, 3208 (INT64, Wh), 3060 (FLOAT32, kW)",
        Table.HOLDING,
        (
            _energy(3203, Kind.INT64, WATT_HOUR),
            _energy(3207, Kind.INT64, WATT_HOUR, "energy_export"),
            _power(3059, Kind.FLOAT32, 1_000 * WATT),
        ),
    ),
    "siemens-pac": RegisterMap(
        "Siemens SENTRON PAC2200, PAC3200, PAC4200",
        "SENTRON PAC manuals, measured variables at offset 65 (float, W), 801 and 809 (double, Wh)",
        Table.HOLDING,
        (
            _energy(801, Kind.FLOAT64, WATT_HOUR),
            _energy(809, Kind.FLOAT64, WATT_HOUR, "energy_export"),
            _power(65, Kind.FLOAT32, WATT),
        ),
    ),
}


def decode(row: Register, words: Sequence[int]) -> Counter | Gauge | None:
    """Turn a row's registers into its value, None where the meter says "not available".

    Not available: all ones for unsigned, the largest or smallest number for signed registers (ABB
    B23 manual, SunSpec), NaN and infinities for floats.

    :raises Malformed: a wrong number of registers, or a total below zero.
    """
    if len(words) != row.kind.registers or not all(0 <= word <= 0xFFFF for word in words):
        raise Malformed(f"{row.quantity}: {len(words)} registers instead of {row.kind.registers}")
    ordered = reversed(words) if row.low_word_first else words
    raw = b"".join(word.to_bytes(2, "big") for word in ordered)
    (number,) = struct.unpack(row.kind.code, raw)
    if isinstance(number, float):
        if not isfinite(number):
            return None
        if abs(number) > MAX_FLOAT:
            raise Malformed(f"{row.quantity}: {number!r}")
        single = row.kind is Kind.FLOAT32
        exact = shortest_single(number) if single else Decimal(repr(number))
        value = int((exact * row.scale).to_integral_value(ROUND_HALF_EVEN))
    else:
        if _not_available(raw, signed=row.kind.code.islower()):
            return None
        value = number * row.scale
    if not row.counts:
        return Gauge(value, row.unit)
    if value < 0:
        raise Malformed(f"{row.quantity}: a total of {value} {row.unit.value}")
    return Counter(value, row.unit, row.modulus)


def _not_available(raw: bytes, *, signed: bool) -> bool:
    if not signed:
        return raw == b"\xff" * len(raw)
    return raw[0] in (0x7F, 0x80) and raw[1:] == (b"\xff" if raw[0] == 0x7F else b"\0") * (
        len(raw) - 1
    )
