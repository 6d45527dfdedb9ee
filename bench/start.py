"""From the start of `hearth run` to the first offer that an exchange accepted, TPM and all.

`start`: a node that is enrolled, started again and again; each time its configuration keeps one MiB
more for the operator, so that it has something new to offer. `start-new`: a node that knows no
exchange yet, from its start through two enrolments to the first offer, as in the demo.
The end is the instant at which the exchange stored the offer, by its own books.
"""

from __future__ import annotations

import json
import re
import sqlite3
import statistics
import tempfile
from contextlib import closing
from pathlib import Path

from agent.sandbox import bed
from agent.sandbox.bed import Bed, ExchangeProcess
from bench.world import until

RESTARTS = 5
CONFIGURATION = "[reserve]\nmemory_mb = {}\n"


def accepted_ns(exchange: ExchangeProcess) -> int:
    """When the exchange stored the newest offer; 0: none is there."""
    file = exchange.directory / "exchange.sqlite"
    with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as books:
        found = books.execute("SELECT max(accept_ns) FROM offer").fetchone()[0]
    return int(found or 0)


def first_offer_s(there: Bed) -> float:
    """Wait for an offer since the agent's start, and return how long it took."""
    begun = there.agent.started_ns
    until(lambda: any(accepted_ns(one) > begun for one in there.exchanges), every=0.02)
    ends = [at for at in map(accepted_ns, there.exchanges) if at > begun]
    return (min(ends) - begun) / 1e9


def measure() -> tuple[float, float]:
    with tempfile.TemporaryDirectory(prefix="hearth-bench-") as name:
        there = bed.make(Path(name), CONFIGURATION.format(512))
        try:
            there.agent.start()
            there.agent.wait()
            for exchange in there.exchanges:
                there.agent.enroll(exchange)
            new = first_offer_s(there)
            found = []
            for turn in range(1, RESTARTS + 1):
                there.agent.stop()
                there.agent.configuration = re.sub(
                    r"memory_mb = \d+", f"memory_mb = {512 + turn}", there.agent.configuration
                )
                there.agent.start()
                found.append(first_offer_s(there))
            return statistics.median(found), new
        finally:
            there.close()


def rows() -> list[dict[str, object]]:
    """Two rows; the bar is a person's patience, not a peer's time."""
    again, new = measure()
    return [
        {
            "name": name,
            "value": round(value, 2),
            "unit": "s",
            "bar": "<= 1.5",
            "peer": None,
            "peer_value": None,
            "ratio": None,
        }
        for name, value in (("start", again), ("start-new", new))
    ]


if __name__ == "__main__":
    for row in rows():
        print(json.dumps(row))
