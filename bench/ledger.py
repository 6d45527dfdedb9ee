"""Reservations a second: asked, checked against all that is held, granted, signed, logged, durable.

A hundred leases hold units already; a hundred requests of one exchange wait at a time and share a
commit, as they do when they come in one batch. The peer is SQLite alone with one insert a commit:
what a reservation that waits for its own commit costs at least. Of 21 rounds in turns the best:
a busy neighbour only ever takes away.
"""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import tempfile
import time
from pathlib import Path

from agent.core.lease import LeaseKey, ReserveRequest
from agent.core.offer import Environment
from agent.exchange.link import Link
from agent.journal import ledger
from agent.journal.store import Transaction
from agent.market import Market
from agent.node import Node
from agent.offering import Offering
from bench import standing

HELD = 100
ASKED = 100
ROUNDS = 21
HOLD_NS = 60_000_000_000


def reserve_all(node: Node, row: int, offer: tuple[str, int]) -> float:
    """Reservations a second when all that are asked are handed in at once."""

    def ask(change: Transaction, number: int) -> bool:
        lease_id = f"bench-{number}"
        request = ReserveRequest(lease_id, *offer, {"MEMORY_MB": 1}, HOLD_NS)
        decision = ledger.reserve(
            change,
            node.scribe,
            row,
            LeaseKey(standing.EXCHANGE_ID, lease_id),
            request,
            os.urandom(32),
            os.urandom(16),
            node.total,
            node.clock.now(),
            time.time_ns(),
            draining=False,
        )
        return decision.accepted

    begin = time.perf_counter()
    answers = [
        node.journal.submit(lambda change, n=number: ask(change, n)) for number in range(ASKED)
    ]
    assert all(answer.result() for answer in answers)
    spent = time.perf_counter() - begin
    node.journal.submit(
        lambda change: change.execute("DELETE FROM leases WHERE lease_id LIKE 'bench-%'")
    ).result()
    return ASKED / spent


def alone(directory: Path) -> float:
    """SQLite alone, one insert a commit."""
    books = sqlite3.connect(directory / "peer.sqlite", isolation_level=None)
    books.execute("PRAGMA journal_mode=WAL")
    books.execute("PRAGMA synchronous=FULL")
    books.execute("CREATE TABLE IF NOT EXISTS hold (id INTEGER PRIMARY KEY, body BLOB NOT NULL)")
    begin = time.perf_counter()
    for _ in range(ASKED):
        books.execute("INSERT INTO hold (body) VALUES (?)", (os.urandom(600),))
    spent = time.perf_counter() - begin
    books.close()
    return ASKED / spent


def rows() -> list[dict[str, object]]:
    """One row, reservations a second."""
    loop = asyncio.new_event_loop()
    with standing.node(loop) as (node, row), tempfile.TemporaryDirectory() as name:
        market = Market(node)
        offering = Offering(node, market, (), lambda: Environment(window_ns=1))
        link = Link(row, standing.ENROLMENT, b"", b"")
        loop.run_until_complete(offering.refresh([link]))
        found = node.journal.submit(
            lambda change: change.one("SELECT offer_id, sequence FROM offers")
        ).result()
        assert found is not None
        for number in range(HELD):
            node.journal.submit(lambda change, n=number: standing.keep(change, row, n, 1)).result()
        pairs = [
            (reserve_all(node, row, (found[0], found[1])), alone(Path(name))) for _ in range(ROUNDS)
        ]
    loop.close()
    ours, theirs = (max(column) for column in zip(*pairs, strict=True))
    return [
        {
            "name": "ledger",
            "value": round(ours),
            "unit": "/s",
            "bar": None,
            "peer": "SQLite alone, one insert a commit",
            "peer_value": round(theirs),
            "ratio": round(ours / theirs, 2),
        }
    ]


if __name__ == "__main__":
    for line in rows():
        print(json.dumps(line))
