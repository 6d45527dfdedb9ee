"""What the books of several exchanges say together: was a unit of the host ever sold twice? Pure.

No exchange can see this alone; whoever has all books (the demo, a test, an auditor) can.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

# Stages of a lease that nothing follows, by both sides' names.
ENDED = ("CLOSED", "SETTLED", "EXPIRED", "REFUSED", "FAILED")


def oversold(capacity: Mapping[str, int], books: Sequence[Mapping[str, Any]], now_ns: int) -> int:
    """Units that were sold twice: what all exchanges together held at one time, above capacity.

    :param capacity: sellable units of the host by class.
    :param books: what each exchange says of its leases, {lease id: figures}.
    :returns: the largest excess over all times and classes; 0: nothing was sold twice.
    """
    changes: list[tuple[int, int, str]] = []
    for book in books:
        for lease in book.values():
            if not lease["units"]:
                continue  # never agreed: nothing was held
            end_ns = held_until(lease, now_ns)
            for name, count in lease["units"].items():
                changes.append((lease["start_unix_ns"], count, name))
                changes.append((end_ns, -count, name))
    worst = 0
    held: dict[str, int] = {}
    for _, change, name in sorted(changes):  # at the same instant what ends goes first
        held[name] = held.get(name, 0) + change
        worst = max(worst, held[name] - capacity.get(name, 0))
    return worst


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
