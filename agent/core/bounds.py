"""What a lease could come to at most: none is agreed whose receipts could not be written. Pure.

Totals of a receipt are 64 bits on the wire and 63 in the journal (SQLite has no unsigned ones).
"""

from __future__ import annotations

from collections.abc import Sequence

from agent.core import amount
from agent.core.amount import Delivered, Price
from agent.core.energy import MOST_MILLIWATTS
from agent.core.lease import Units

MILLISECOND_NS = 1_000_000
MOST_TOTAL = (1 << 63) - 1
# All the bitcoin there will ever be, below 2^61: four such amounts together fit 63 bits.
MOST_MSAT = 21_000_000 * 100_000_000 * 1000
MOST_METERS = 16  # of one host; none of them is believed to turn faster than MOST_MILLIWATTS


def most_delivered(units: Units, length_ns: int) -> Delivered:
    """Return what a lease gets when all of it is delivered for `length_ns`."""
    milliseconds = max(0, -(-length_ns // MILLISECOND_NS))
    return Delivered(
        units=units,
        unit_milliseconds={name: count * milliseconds for name, count in units.items()},
        energy_millijoules=MOST_METERS * MOST_MILLIWATTS * milliseconds // 1000,
    )


def writable(prices: Sequence[Price], units: Units, length_ns: int) -> bool:
    """Whether every receipt of such a lease can be written, and what it owes be added up."""
    most = most_delivered(units, length_ns)
    totals = (*most.unit_milliseconds.values(), most.energy_millijoules)
    return max(totals) <= MOST_TOTAL and amount.gross(amount.lines(prices, most)) <= MOST_MSAT
