"""`make bench`: runs every measurement, writes bench/results.json, renews docs/performance.md.

A measurement is a module with `rows() -> list[dict]`; a row is `{name, value, unit, bar, peer,
peer_value, ratio}`. `bar` is like "<= 72", in the row's unit; `peer` says what `value` was held
against in the same run, and `ratio` is value / peer_value. What a row does not have is null.
A bar that is missed is shown, not raised: a busy machine is no broken commit.
"""

from __future__ import annotations

import datetime
import importlib
import json
import operator
import os
import platform
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

Row = Mapping[str, object]

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "bench" / "results.json"
PAGE = ROOT / "docs" / "performance.md"

MODULES = (
    "bench.rss",
    "bench.cpu",
    "bench.lease_read",
    "bench.receipt",
    "bench.drain",
    "bench.verify",
    "bench.start",
    "bench.ledger",
    "bench.disk",
)
# What the page owes, by the module that will measure it. A unit test wants each moved up once it is
# there.
OWED: dict[str, str] = {}
# The first word of a row's name (up to a dash) and what it is, in the order of the page.
MEANINGS = {
    "rss": "resident memory of `hearth run` (VmHWM)",
    "cpu": "steady CPU of the agent",
    "lease": "one more metered lease, a sample",
    "receipt": "receipts journaled durably",
    "drain": "backlog drained to one exchange, verified there",
    "verify": "one receipt verified against a verified checkpoint",
    "start": "start to first accepted offer",
    "ledger": "reservations in the ledger, durable",
    "disk": "a year of one lease's receipts, every 15 minutes",
}
FIELDS = ("name", "value", "unit", "bar", "peer", "peer_value", "ratio")
_BAR = re.compile(r"(<=|>=) (\d+(?:\.\d+)?)")
_COMPARE: dict[str, Callable[[float, float], bool]] = {"<=": operator.le, ">=": operator.ge}


def holds(row: Row) -> bool | None:
    """Whether the row is within its bar; None where it has none."""
    if not row["bar"]:
        return None
    found = _BAR.fullmatch(str(row["bar"]))
    if found is None:
        raise ValueError(f"{row['name']}: a bar is like '<= 72', not {row['bar']!r}")
    return _COMPARE[found[1]](_number(row, "value"), float(found[2]))


def checked(row: Row) -> Row:
    """The row, once it has exactly the fields of a row, a known name and a readable bar."""
    if tuple(row) != FIELDS:
        raise ValueError(f"a row has the fields {FIELDS}, not {tuple(row)}")
    if str(row["name"]).partition("-")[0] not in MEANINGS:
        raise ValueError(f"{row['name']}: say in bench/run.py, MEANINGS, what this is")
    _number(row, "value")
    holds(row)
    return row


def machine() -> str:
    """The machine in one line: what matters to the numbers, nothing that names it."""
    model = re.search(r"^model name\s*:\s*(.+)$", _text("/proc/cpuinfo"), re.MULTILINE)
    memory = re.search(r"^MemTotal:\s*(\d+) kB", _text("/proc/meminfo"), re.MULTILINE)
    return ", ".join(
        (
            model[1] if model else platform.machine(),
            f"{os.cpu_count()} hardware threads",
            f"{int(memory[1]) / 2**20:.0f} GiB" if memory else "memory unknown",
            f"Linux {platform.release().partition('-')[0]}",
            f"Python {platform.python_version()}",
        )
    )


def page(rows: Sequence[Row], owed: Iterable[str], where: str, day: datetime.date) -> str:
    """The performance page."""
    order = list(MEANINGS)
    lines = [
        "# Performance",
        "",
        "Written by `make bench`; the measurements are in `bench/`. A peer is measured in the same",
        "run as what is held against it, so the ratio says more than the figures, which are this",
        "machine's.",
        "",
        f"{day.isoformat()}, {where}.",
        "",
        "| name | what | measured | bar | | peer | peer measured | ratio |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in sorted(rows, key=lambda row: order.index(str(row["name"]).partition("-")[0])):
        verdict = {True: "holds", False: "**missed**", None: ""}[holds(row)]
        cells = (
            row["name"],
            MEANINGS[str(row["name"]).partition("-")[0]],
            f"{row['value']} {row['unit']}",
            f"{row['bar']} {row['unit']}" if row["bar"] else "",
            verdict,
            row["peer"] or "",
            f"{row['peer_value']} {row['unit']}" if row["peer_value"] is not None else "",
            row["ratio"] if row["ratio"] is not None else "",
        )
        lines.append("| " + " | ".join(str(cell) for cell in cells) + " |")
    if waiting := [name for name in MEANINGS if name in set(owed)]:
        lines += ["", f"Not measured yet: {', '.join(waiting)}."]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, write, say."""
    before = os.getloadavg()[0]
    rows: list[Row] = []
    for name in MODULES:
        print(f"== {name}", flush=True)
        for row in importlib.import_module(name).rows():
            rows.append(checked(row))
            verdict = {True: "holds", False: "MISSED", None: "no bar"}[holds(row)]
            print(f"{row['name']}: {row['value']} {row['unit']} (bar {row['bar']}: {verdict})")
    RESULTS.write_text(json.dumps(rows, indent=2) + "\n")
    today = datetime.datetime.now(datetime.UTC).date()
    where = f"{machine()}; load average {before:.1f} before the run"
    PAGE.write_text(page(rows, OWED.values(), where, today))
    print(f"written: {RESULTS.relative_to(ROOT)}, {PAGE.relative_to(ROOT)}", file=sys.stderr)


def _number(row: Row, field: str) -> float:
    value = row[field]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{row['name']}: {field} is not a number: {value!r}")
    return float(value)


def _text(path: str) -> str:
    return Path(path).read_text(encoding="utf-8", errors="replace")


if __name__ == "__main__":
    main()
