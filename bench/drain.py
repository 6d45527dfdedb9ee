"""A backlog of receipts drained to one exchange over gRPC and verified there.

The agent is stopped, its journal is filled with receipts of the leases it has, as `Metering` cuts
them, and a checkpoint over them is signed by the TPM. Then the agent starts again. The clock runs
from the first envelope that the exchange has applied until it has verified the checkpoint over all
of them: every receipt judged, its leaf proven under the note, its lease acknowledged.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import msgspec
import structlog

from agent.config_file import load
from agent.core import receipt as receipts
from agent.core.account import MeterState
from agent.core.lease import METERED
from agent.journal import checkpoints, ledger
from agent.journal.store import Transaction
from agent.node import Node
from agent.recovery import key_of
from agent.sandbox.bed import Bed
from bench.world import cpu_seconds, pid_of, place, until, world
from probes.host import Host

LEASES = 10
ROUNDS = 4000  # receipts of each lease
STEP_NS = 1_000_000  # that each receipt is about: a backlog must not reach into the future
COMMIT = 100  # rounds in one commit


async def fill(config_file: Path) -> int:
    """Cut the backlog; returns the log's size under the checkpoint over it."""
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    node = await Node.open(load(config_file), Host())
    try:
        stored = await node.journal.read(lambda view: ledger.leases(view, METERED))
        row = await node.journal.read(lambda view: view.one("SELECT state FROM meter"))
        assert row is not None
        state = msgspec.msgpack.decode(row[0], type=MeterState)

        def cut(change: Transaction) -> None:
            nonlocal state
            for _ in range(COMMIT):
                for was in stored:
                    now = ledger.find(change, was.exchange, was.lease.key.lease_id)
                    assert now is not None
                    meter = state.leases[key_of(now)]
                    meter = msgspec.structs.replace(
                        meter,
                        reserved_ns=meter.reserved_ns + STEP_NS,
                        delivered_ns=meter.delivered_ns + STEP_NS,
                    )
                    state = msgspec.structs.replace(
                        state, leases={**state.leases, key_of(now): meter}
                    )
                    receipt = receipts.close(
                        now.lease,
                        meter,
                        now.closed_ns,
                        node.node_id,
                        node.log_id,
                        receipts.Sources(),
                        final=False,
                    )
                    ledger.record_receipt(change, node.scribe, now, receipt, meter.reserved_ns)
            change.execute(
                "INSERT OR REPLACE INTO meter VALUES (1, ?)", msgspec.msgpack.encode(state)
            )

        for _ in range(ROUNDS // COMMIT):
            await node.journal.write(cut)
        now = node.clock.now()
        head = await checkpoints.cut(
            node.journal, node.scribe, node.root, node.origin, now.boot_id, now.wall_ns
        )
        assert head is not None
        return head.size
    finally:
        node.close()


def ask(there: Bed, query: str) -> int:
    """One number out of the exchange's books."""
    file = there.exchanges[0].directory / "exchange.sqlite"
    with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as books:
        return int(books.execute(query).fetchone()[0])


def rows() -> list[dict[str, object]]:
    """Three rows: receipts a second, and what each side spends on one."""
    quiet = "[offer]\nreceipt_seconds = 3600\n[log]\ncheckpoint_seconds = 3600\n"
    with world(quiet, exchanges=("northern",)) as there:
        place(there.exchanges[0], LEASES, {"MEMORY_MB": 16})
        there.agent.stop()
        size = asyncio.run(fill(there.agent.config_file))
        received, final = (
            "SELECT received FROM node",
            "SELECT count(*) FROM lease_receipt WHERE final",
        )
        before, done = ask(there, received), ask(there, final)
        there.agent.start()
        until(lambda: ask(there, received) > before, every=0.002)
        first, begin = ask(there, received), time.perf_counter()
        exchange = there.exchanges[0]
        spent = -cpu_seconds(pid_of(there.agent)), -cpu_seconds(exchange.pid)
        until(lambda: ask(there, "SELECT max(size) FROM log") >= size, seconds=120.0, every=0.01)
        seconds = time.perf_counter() - begin
        agent_s, exchange_s = (
            spent[0] + cpu_seconds(pid_of(there.agent)),
            spent[1] + cpu_seconds(exchange.pid),
        )
        drained = LEASES * ROUNDS - (first - before)
        assert ask(there, final) - done >= LEASES * ROUNDS
        assert exchange.figures()["receipts_rejected"] == 0
    return [
        row_of("drain", round(drained / seconds), "/s", ">= 20000"),
        row_of("drain-agent", round(agent_s / drained * 1e6), "us CPU a receipt", None),
        row_of("drain-exchange", round(exchange_s / drained * 1e6), "us CPU a receipt", None),
    ]


def row_of(name: str, value: int, unit: str, bar: str | None) -> dict[str, object]:
    return {
        "name": name,
        "value": value,
        "unit": unit,
        "bar": bar,
        "peer": None,
        "peer_value": None,
        "ratio": None,
    }


if __name__ == "__main__":
    for row in rows():
        print(json.dumps(row))
