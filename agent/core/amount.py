"""What a lease owes, from cumulative quantities. Published: both sides compute it. Pure.

Quantities are cumulative since the lease's start, in the smallest unit (unit-milliseconds,
millijoules, bytes); each price is floored once, on that cumulative quantity, so that no amount
depends on how often receipts were cut. Golden vectors: proto/vectors/.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

MAX_U64 = (1 << 64) - 1


class PriceUnit(IntEnum):
    """hearth.v1.PriceUnit. Nothing is priced by mere reservation."""

    DELIVERED_LEASE_SECOND = 1
    DELIVERED_UNIT_SECOND = 2
    JOULE = 3
    EGRESS_BYTE = 4


@dataclass(frozen=True, slots=True)
class Price:
    """An exact rational: `numerator` / `denominator` msat per unit."""

    numerator: int
    denominator: int
    unit: PriceUnit
    resource_class: str = ""  # for DELIVERED_UNIT_SECOND only

    def __post_init__(self) -> None:
        if not 0 <= self.numerator <= MAX_U64 or not 0 < self.denominator <= MAX_U64:
            raise ValueError(f"price {self.numerator}/{self.denominator} msat: out of range")
        if (self.unit is PriceUnit.DELIVERED_UNIT_SECOND) != bool(self.resource_class):
            raise ValueError(f"price per {self.unit.name}: resource class {self.resource_class!r}")


class Delivered(NamedTuple):
    """What a lease got since its start."""

    units: Mapping[str, int]  # contract units per resource class
    unit_milliseconds: Mapping[str, int]  # delivered, per resource class
    energy_millijoules: int = 0
    egress_bytes: int = 0


class Line(NamedTuple):
    """One price applied to one cumulative quantity."""

    price_index: int
    quantity: int
    msat: int


def quantity(price: Price, delivered: Delivered) -> int:
    """Return what `price` is applied to, in lease-ms, unit-ms, mJ or bytes.

    A lease-second counts only while every class of the lease is delivered: the least delivered
    class decides.
    """
    match price.unit:
        case PriceUnit.DELIVERED_UNIT_SECOND:
            return delivered.unit_milliseconds.get(price.resource_class, 0)
        case PriceUnit.DELIVERED_LEASE_SECOND:
            return min(
                (
                    delivered.unit_milliseconds.get(name, 0) // units
                    for name, units in delivered.units.items()
                    if units
                ),
                default=0,
            )
        case PriceUnit.JOULE:
            return delivered.energy_millijoules
        case PriceUnit.EGRESS_BYTE:
            return delivered.egress_bytes


def msat(price: Price, amount: int) -> int:
    """Return floor(amount x price) in msat, for a quantity as `quantity` returns it."""
    scale = 1 if price.unit is PriceUnit.EGRESS_BYTE else 1000  # else quantities are in thousandths
    return amount * price.numerator // (price.denominator * scale)


def lines(prices: Sequence[Price], delivered: Delivered) -> tuple[Line, ...]:
    """Return one line per price, in the order of the lease's prices."""
    parts = []
    for index, price in enumerate(prices):
        amount = quantity(price, delivered)
        parts.append(Line(index, amount, msat(price, amount)))
    return tuple(parts)


def gross(parts: Sequence[Line]) -> int:
    """Return the sum of all lines in msat."""
    return sum([line.msat for line in parts])
