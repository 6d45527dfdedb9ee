"""Receipts journaled durably in bulk: a thousand a commit, and on their way to one exchange.

`receipt` is what the journal itself takes: leaf hash, tree, envelope, outbox, commit. It is given
receipts that are encoded and signed. `receipt-signed` signs each with the envelope key as well.
`receipt-cut` is all of it, from a lease's meter: price, encode, sign, and move the lease on.
`receipt-slow-tpm` is `receipt` while the log's head is signed again and again by a root of trust
that takes 300 ms, against one that answers at once.

Short rounds in turns, and of each the best: a busy neighbour only ever takes away.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

from agent.core import receipt as receipts
from agent.journal import checkpoints, ledger
from agent.journal.scribe import Scribe
from agent.journal.store import Transaction
from agent.node import Node
from agent.wire.statements import encode_receipt
from attest import envelope as dsse
from attest.envelope import Envelope
from attest.formats import encode_envelope
from attest.keys import SoftwareKey
from attest.software import SoftwareRoot
from bench import standing

COMMIT = 1000
COMMITS = 4
ROUNDS = 20
COMMITS_CUT = 1
COMMITS_SIGNING = 20  # long enough for several heads
ROUNDS_SIGNING = 5
TPM_S = 0.3
TYPE = dsse.payload_type("Receipt")


class SlowRoot(SoftwareRoot):
    """A TPM that takes its time, in a thread of its own."""

    def sign_note(self, text: bytes) -> Future[bytes]:
        """As `SoftwareRoot`, later."""
        future: Future[bytes] = Future()
        ready = super().sign_note(text)
        threading.Timer(TPM_S, lambda: future.set_result(ready.result())).start()
        return future


def rate(node: Node, change: Callable[[Transaction, int], object], commits: int = COMMITS) -> float:
    """Receipts a second when so many changes of COMMIT receipts each are handed in one by one."""
    begin = time.perf_counter()
    for turn in range(commits):
        node.journal.submit(lambda open_, turn=turn: change(open_, turn)).result()
    return commits * COMMIT / (time.perf_counter() - begin)


def alone(directory: Path, payloads: list[list[bytes]]) -> float:
    """SQLite alone: the same bytes, a thousand a commit."""
    books = sqlite3.connect(directory / "peer.sqlite", isolation_level=None)
    books.execute("PRAGMA journal_mode=WAL")
    books.execute("PRAGMA synchronous=FULL")
    books.execute("CREATE TABLE IF NOT EXISTS entry (idx INTEGER PRIMARY KEY, body BLOB NOT NULL)")
    begin = time.perf_counter()
    for batch in payloads:
        books.execute("BEGIN IMMEDIATE")
        books.executemany("INSERT INTO entry (body) VALUES (?)", [(body,) for body in batch])
        books.execute("COMMIT")
    spent = time.perf_counter() - begin
    books.close()
    return len(payloads) * COMMIT / spent


def slow_and_quick(
    loop: asyncio.AbstractEventLoop, node: Node, change: Callable[[Transaction, int], object]
) -> tuple[float, float]:
    """The rate while heads are signed by a slow root, and by a quick one."""

    async def signing(root: SoftwareRoot) -> float:
        now = node.clock.now()
        work = loop.run_in_executor(None, rate, node, change, COMMITS_SIGNING)
        while not work.done():
            await checkpoints.cut(
                node.journal, node.scribe, root, node.origin, now.boot_id, now.wall_ns
            )
        return await work

    key = SoftwareKey.generate()
    pairs = [
        (
            loop.run_until_complete(signing(SlowRoot(key))),
            loop.run_until_complete(signing(SoftwareRoot(key))),
        )
        for _ in range(ROUNDS_SIGNING)
    ]
    return max(slow for slow, _ in pairs), max(quick for _, quick in pairs)


def rows() -> list[dict[str, object]]:
    """Four rows, receipts a second."""
    loop = asyncio.new_event_loop()
    with standing.node(loop) as (node, row), tempfile.TemporaryDirectory() as name:
        scribe = Scribe(SoftwareKey.generate())
        meter = standing.meter(node)

        def payload(number: int) -> bytes:
            lease = standing.lease(number)
            cut = receipts.close(
                lease, meter, 0, node.node_id, node.log_id, standing.SOURCES, final=False
            )
            return encode_receipt(cut)

        payloads = [
            [payload(turn * COMMIT + place) for place in range(COMMIT)]
            for turn in range(COMMITS_SIGNING)
        ]
        signatures = scribe.seal("Receipt", b"").signatures

        def given(change: Transaction, turn: int) -> None:
            change.append_many(
                [
                    (encode_envelope(Envelope(TYPE, body, signatures)), dsse.leaf_hash(TYPE, body))
                    for body in payloads[turn]
                ],
                [row],
            )

        def signed(change: Transaction, turn: int) -> None:
            change.append_many(
                [
                    (encode_envelope(scribe.seal("Receipt", body)), dsse.leaf_hash(TYPE, body))
                    for body in payloads[turn]
                ],
                [row],
            )

        leases = [
            node.journal.submit(lambda change, n=n: standing.keep(change, row, n)).result()
            for n in range(COMMIT)
        ]

        def cut(change: Transaction, _turn: int) -> None:
            for stored in leases:
                again = ledger.find(change, row, stored.lease.key.lease_id) or stored
                receipt = receipts.close(
                    again.lease, meter, 0, node.node_id, node.log_id, standing.SOURCES, final=False
                )
                ledger.record_receipt(change, scribe, again, receipt, meter.reserved_ns)

        found = [
            (
                alone(Path(name), payloads[:COMMITS]),
                rate(node, given),
                rate(node, signed),
                rate(node, cut, COMMITS_CUT),
            )
            for _ in range(ROUNDS)
        ]
        peer, plain, with_signing, whole = (max(column) for column in zip(*found, strict=True))
        slow, quick = slow_and_quick(loop, node, given)
    loop.close()
    sqlite_alone = f"SQLite alone, {COMMIT} a commit"
    return [
        row_of("receipt", plain, ">= 50000", sqlite_alone, peer),
        row_of("receipt-signed", with_signing, ">= 15000", sqlite_alone, peer),
        row_of("receipt-cut", whole, None, sqlite_alone, peer),
        row_of(
            "receipt-slow-tpm",
            slow,
            f">= {0.9 * quick:.0f}",
            "the same with a root of trust that answers at once",
            quick,
        ),
    ]


def row_of(
    name: str, value: float, bar: str | None, peer: str, peer_value: float
) -> dict[str, object]:
    return {
        "name": name,
        "value": round(value),
        "unit": "/s",
        "bar": bar,
        "peer": peer,
        "peer_value": round(peer_value),
        "ratio": round(value / peer_value, 2),
    }


if __name__ == "__main__":
    for line in rows():
        print(json.dumps(line))
