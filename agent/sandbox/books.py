"""What the books of several exchanges say together: was a unit of the host ever sold twice?

No exchange can see this alone; whoever has all books (the demo, a test, an auditor) can.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from hearth.v1 import lease_pb2

FOREVER = 1 << 63


@dataclass(frozen=True, slots=True)
class Holding:
    """Units that one lease held, from its agreed start to the end of its final receipt."""

    lease_id: str
    units: Mapping[str, int]
    start_ns: int
    end_ns: int


def holdings(directory: Path) -> list[Holding]:
    """Read one exchange's leases that both sides signed and that began.

    One that runs is held without end; one that was given back before it began was never delivered.
    """
    uri = f"{(directory / 'exchange.sqlite').absolute().as_uri()}?mode=ro"
    with closing(sqlite3.connect(uri, uri=True)) as books:
        rows = books.execute(
            "SELECT lease_id, agreement, receipt FROM lease WHERE countersigned != x''"
            " AND NOT (receipt = x'' AND stage IN ('EXPIRED', 'REFUSED', 'FAILED'))"
        ).fetchall()
    found = []
    for lease_id, agreed, receipt in rows:
        agreement = lease_pb2.LeaseAgreement.FromString(agreed)
        last = lease_pb2.Receipt.FromString(receipt)
        found.append(
            Holding(
                lease_id,
                {item.resource_class: item.units for item in agreement.units},
                agreement.start_time.ToNanoseconds(),
                last.interval.end_time.ToNanoseconds() if last.final else FOREVER,
            )
        )
    return found


def oversold(held: Iterable[Holding], capacity: Mapping[str, int]) -> int:
    """Return how many units, over all classes, were at some time held beyond the capacity."""
    steps = sorted(
        (at, sign, name, sign * count)
        for item in held
        for name, count in item.units.items()
        for at, sign in ((item.start_ns, 1), (item.end_ns, -1))
    )
    now: dict[str, int] = {}
    most: dict[str, int] = {}
    for _, _, name, step in steps:  # at one instant, what ends comes before what begins
        now[name] = now.get(name, 0) + step
        most[name] = max(most.get(name, 0), now[name])
    return sum(max(0, count - capacity.get(name, 0)) for name, count in most.items())
