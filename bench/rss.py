"""Resident memory of the daemon at its highest: TPM, two exchanges, two leases, receipts, quotes.

With the sensor drivers as in the demo, and without. VmHWM counts the start as well, and every page
of a library that several processes share.
"""

from __future__ import annotations

import json
import time

from bench.world import pid_of, place, world

BUSY = "[offer]\nreceipt_seconds = 2\n[log]\ncheckpoint_seconds = 3\n"
OPTIONS = ("--challenge-interval", "3", "--heartbeat", "2")
SECONDS = 12.0


def peak_mib(*, drivers: bool) -> float:
    with world(BUSY, options=OPTIONS, meters=(2, 2) if drivers else None) as there:
        for exchange in there.exchanges:
            place(exchange, 1, {"MEMORY_MB": 256})
        time.sleep(SECONDS)
        for exchange in there.exchanges:
            figures = exchange.figures()
            assert figures["receipts_final"] and figures["challenges_passed"], figures
        assert pid_of(there.agent)
        status = there.agent.status()
        assert bool(status.heat_millijoules) is drivers
        return status.resident_kibibytes_peak / 1024


def rows() -> list[dict[str, object]]:
    """Two rows; no peer: what a peer leaves out is not comparable."""
    return [
        {
            "name": name,
            "value": round(peak_mib(drivers=drivers), 1),
            "unit": "MiB",
            "bar": bar,
            "peer": None,
            "peer_value": None,
            "ratio": None,
        }
        for name, drivers, bar in (("rss", False, "<= 72"), ("rss-drivers", True, "<= 80"))
    ]


if __name__ == "__main__":
    for row in rows():
        print(json.dumps(row))
