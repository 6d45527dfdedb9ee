"""What a year of one lease's receipts, every 15 minutes, takes on the disk: MB before archiving.

Receipts of a lease of two classes with energy and heat, cut and logged as the daemon does, on their
way to one exchange and acknowledged; the growth of the file between two sizes, counted in pages.
Checkpoints every minute are the host's, not a lease's.
"""

from __future__ import annotations

import asyncio
import json

from agent.core import receipt as receipts
from agent.journal import ledger
from agent.journal.store import Transaction
from bench import standing

A_YEAR = 365 * 24 * 4
LEASES = 20
ROUNDS = 100  # receipts of each lease in one measure
MB = 1_000_000


def rows() -> list[dict[str, object]]:
    """One row, megabytes."""
    loop = asyncio.new_event_loop()
    with standing.node(loop) as (node, row):
        meter = standing.meter(node)
        leases = [
            node.journal.submit(lambda change, n=n: standing.keep(change, row, n)).result()
            for n in range(LEASES)
        ]

        def cut(change: Transaction) -> int:
            for _ in range(ROUNDS):
                for stored in leases:
                    again = ledger.find(change, row, stored.lease.key.lease_id) or stored
                    receipt = receipts.close(
                        again.lease,
                        meter,
                        0,
                        node.node_id,
                        node.log_id,
                        standing.SOURCES,
                        final=False,
                    )
                    ledger.record_receipt(change, node.scribe, again, receipt, meter.reserved_ns)
            pages = change.one("PRAGMA page_count")
            size = change.one("PRAGMA page_size")
            assert pages is not None
            assert size is not None
            return int(pages[0]) * int(size[0])

        before = node.journal.submit(cut).result()
        for _ in range(3):
            after = node.journal.submit(cut).result()
    loop.close()
    each = (after - before) / (3 * ROUNDS * LEASES)
    return [
        {
            "name": "disk",
            "value": round(each * A_YEAR / MB, 1),
            "unit": "MB",
            "bar": "<= 35",
            "peer": None,
            "peer_value": None,
            "ratio": None,
        }
    ]


if __name__ == "__main__":
    for line in rows():
        print(json.dumps(line))
