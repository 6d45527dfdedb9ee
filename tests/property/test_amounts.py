"""The amount of a lease is a function of its cumulative quantities and of nothing else."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.amount import MAX_U64, Delivered, Price, PriceUnit, gross, lines, msat, quantity

CLASSES = ("MEMORY_MB", "PGPU", "VCPU")
PRICES = st.lists(
    st.one_of(
        st.builds(
            Price,
            st.integers(0, MAX_U64),
            st.integers(1, MAX_U64),
            st.just(PriceUnit.DELIVERED_UNIT_SECOND),
            st.sampled_from(CLASSES),
        ),
        st.builds(
            Price,
            st.integers(0, MAX_U64),
            st.integers(1, MAX_U64),
            st.sampled_from(
                [PriceUnit.DELIVERED_LEASE_SECOND, PriceUnit.JOULE, PriceUnit.EGRESS_BYTE]
            ),
        ),
    ),
    max_size=5,
)
UNITS = st.dictionaries(st.sampled_from(CLASSES), st.integers(1, 1 << 20))


@st.composite
def deliveries(draw: st.DrawFn) -> Delivered:
    units = draw(UNITS)
    return Delivered(
        units,
        {name: draw(st.integers(0, 1 << 50)) for name in units},
        draw(st.integers(0, 1 << 50)),
        draw(st.integers(0, 1 << 50)),
    )


@given(PRICES, deliveries())
def test_each_price_is_floored_once_and_exactly(prices: list[Price], delivered: Delivered) -> None:
    found = lines(prices, delivered)
    assert [line.price_index for line in found] == list(range(len(prices)))
    for price, line in zip(prices, found, strict=True):
        scale = 1 if price.unit is PriceUnit.EGRESS_BYTE else 1000
        exact = Fraction(line.quantity * price.numerator, price.denominator * scale)
        assert line.msat == exact.numerator // exact.denominator
        assert line.quantity == quantity(price, delivered)
    assert gross(found) == sum(line.msat for line in found)


@given(PRICES, deliveries(), st.integers(0, 1 << 40))
def test_more_delivered_never_costs_less(
    prices: list[Price], delivered: Delivered, more: int
) -> None:
    later = Delivered(
        delivered.units,
        {name: amount + more for name, amount in delivered.unit_milliseconds.items()},
        delivered.energy_millijoules + more,
        delivered.egress_bytes + more,
    )
    for before, after in zip(lines(prices, delivered), lines(prices, later), strict=True):
        assert after.msat >= before.msat


@given(
    st.integers(0, 1 << 40),
    st.integers(1, 1 << 40),
    st.lists(st.integers(0, 1 << 30), max_size=30),
)
def test_splitting_into_receipts_changes_nothing(
    numerator: int, denominator: int, parts: list[int]
) -> None:
    """The last receipt is floor(sum x price); a sum of floors would lose a msat for each."""
    price = Price(numerator, denominator, PriceUnit.JOULE)
    running, last = 0, 0
    for part in parts:
        running += part
        last = msat(price, running)
    assert last == msat(price, sum(parts))
    apart = sum(msat(price, part) for part in parts)
    assert apart <= last <= apart + len(parts)


def test_a_lease_second_counts_only_where_every_class_was_delivered() -> None:
    price = Price(1, 1, PriceUnit.DELIVERED_LEASE_SECOND)
    delivered = Delivered({"MEMORY_MB": 512, "VCPU": 2}, {"MEMORY_MB": 512_000, "VCPU": 1_000})
    assert quantity(price, delivered) == 500
    assert quantity(price, Delivered({"VCPU": 2}, {})) == 0
    assert quantity(price, Delivered({}, {})) == 0


@pytest.mark.parametrize(
    ("numerator", "denominator", "unit", "name"),
    [
        (-1, 1, PriceUnit.JOULE, ""),
        (1, 0, PriceUnit.JOULE, ""),
        (MAX_U64 + 1, 1, PriceUnit.JOULE, ""),
        (1, MAX_U64 + 1, PriceUnit.JOULE, ""),
        (1, 1, PriceUnit.JOULE, "VCPU"),
        (1, 1, PriceUnit.DELIVERED_UNIT_SECOND, ""),
    ],
)
def test_what_is_no_price(numerator: int, denominator: int, unit: PriceUnit, name: str) -> None:
    with pytest.raises(ValueError, match="price"):
        Price(numerator, denominator, unit, name)
