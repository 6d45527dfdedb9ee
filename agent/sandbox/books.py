"""What the books of several exchanges say together: was a unit of the host ever sold twice? Pure.

No exchange can see this alone; whoever has all books (the demo, a test, an auditor) can.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

# Stages of a lease that nothing follows, by both sides' names.
ENDED = ("CLOSED", "SETTLED", "EXPIRED", "REFUSED", "FAILED")


class Claim(NamedTuple):
    """Units that were held from one instant to another."""

    start_ns: int
    end_ns: int
    units: Mapping[str, int]


def excess(capacity: Mapping[str, int], claims: Iterable[Claim]) -> dict[str, int]:
    """Units that were held at one time above what there is, by class; empty: none ever was.

    :param capacity: sellable units of the host by class.
    """
    changes: list[tuple[int, int, str]] = []
    for claim in claims:
        for name, count in claim.units.items():
            changes.append((claim.start_ns, count, name))
            changes.append((claim.end_ns, -count, name))
    worst: dict[str, int] = {}
    held: dict[str, int] = {}
    for _, change, name in sorted(changes):  # at the same instant what ends goes first
        held[name] = held.get(name, 0) + change
        over = held[name] - capacity.get(name, 0)
        if over > worst.get(name, 0):
            worst[name] = over
    return worst


def oversold(capacity: Mapping[str, int], books: Sequence[Mapping[str, Any]], now_ns: int) -> int:
    """Units that were sold twice, by what exchanges say of their leases.

    :param books: {lease id: figures} of each exchange.
    :returns: the largest excess over all times and classes; 0: nothing was sold twice.
    """
    claims = [
        Claim(lease["start_unix_ns"], held_until(lease, now_ns), lease["units"])
        for book in books
        for lease in book.values()
        if lease["units"]  # else never agreed: nothing was held
    ]
    return max(excess(capacity, claims).values(), default=0)


def held_until(lease: Mapping[str, Any], now_ns: int) -> int:
    """When a lease ended by an exchange's book: its final receipt says so; a running one, now.

    One that ended without any receipt was given back before it began: nothing was delivered.
    """
    receipt = lease["receipt"]
    if receipt and receipt["final"]:
        return int(receipt["end_unix_ns"])
    if lease["stage"] not in ENDED:
        return now_ns
    return int(lease["stage_unix_ns"] if receipt else lease["start_unix_ns"])
