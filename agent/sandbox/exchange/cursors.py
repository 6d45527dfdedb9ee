"""Where a node and we stand in each other's deliveries. Every function is an act of the store."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass

from hearth.v1 import common_pb2, session_pb2

from agent.sandbox.exchange import witness
from agent.sandbox.exchange.judge import MAX_QUANTITY
from agent.sandbox.exchange.market import ENDED

BATCH_ENVELOPES = 64
BATCH_BYTES = 200 * 1024  # session.proto: at most 256 KiB a batch


@dataclass(frozen=True, slots=True)
class Opened:
    """What a session begins with."""

    fenced: bool  # the epoch is not above every earlier one: nothing was changed
    epoch: int  # highest ever
    received: int
    sent: int
    head: witness.Head | None
    leases: list[session_pb2.LeaseCursor]


def open_session(db: sqlite3.Connection, node_id: str, hello: session_pb2.Hello) -> Opened:
    """Let a session begin, unless its epoch was there before: then an older copy is running."""
    row = db.execute(
        "SELECT session_epoch, received, sent FROM node WHERE node_id = ?", (node_id,)
    ).fetchone()
    fenced = not row["session_epoch"] < hello.session_epoch <= MAX_QUANTITY
    if not fenced:
        db.execute(
            "UPDATE node SET session_epoch = ? WHERE node_id = ?", (hello.session_epoch, node_id)
        )
    return Opened(
        fenced=fenced,
        epoch=row["session_epoch"],
        received=row["received"],
        sent=row["sent"],
        head=witness.witnessed(db, node_id, hello.log_id),
        leases=_lease_cursors(db, node_id),
    )


def received(db: sqlite3.Connection, node_id: str) -> int:
    """Return the highest delivery sequence of the node that is durably applied."""
    row = db.execute("SELECT received FROM node WHERE node_id = ?", (node_id,)).fetchone()
    return int(row["received"])


def outgoing(
    db: sqlite3.Connection, node_id: str, after: int
) -> list[session_pb2.DeliveredEnvelope]:
    """Return the next envelopes for a node: delivery sequences `after` + 1, + 2, ..."""
    rows = db.execute(
        "SELECT envelope FROM outbox WHERE node_id = ? AND delivery_sequence > ?"
        " ORDER BY delivery_sequence LIMIT ?",
        (node_id, after, BATCH_ENVELOPES),
    )
    return [_item(row["envelope"], None) for row in _within(rows.fetchall())]


def incoming(
    db: sqlite3.Connection, node_id: str, after: int, lease_id: str
) -> list[tuple[int, session_pb2.DeliveredEnvelope]]:
    """Return the node's own envelopes back, with their delivery sequences, as they came.

    :param lease_id: only those about this lease; empty: all.
    """
    rows = db.execute(
        "SELECT delivery_sequence, envelope, log_index"
        " FROM inbox JOIN node ON node.ordinal = inbox.node"
        " WHERE node_id = ? AND delivery_sequence > ? AND ? IN ('', lease_id)"
        " ORDER BY delivery_sequence LIMIT ?",
        (node_id, min(after, MAX_QUANTITY), lease_id, BATCH_ENVELOPES),
    )
    return [
        (row["delivery_sequence"], _item(row["envelope"], row["log_index"]))
        for row in _within(rows.fetchall())
    ]


def _within(rows: list[sqlite3.Row]) -> list[sqlite3.Row]:
    """Return as many as one batch may hold, at least one."""
    size, taken = 0, 0
    for row in rows:
        size += len(row["envelope"]) + 16
        if size > BATCH_BYTES and taken:
            break
        taken += 1
    return rows[:taken]


def _item(envelope: bytes, log_index: int | None) -> session_pb2.DeliveredEnvelope:
    signed = common_pb2.SignedEnvelope.FromString(envelope)
    return session_pb2.DeliveredEnvelope(envelope=signed, log_index=log_index)


def _lease_cursors(db: sqlite3.Connection, node_id: str) -> list[session_pb2.LeaseCursor]:
    rows = db.execute(
        "SELECT lease_id, max(sequence) AS sequence, sha256 FROM lease_receipt WHERE node_id = ?"
        " AND stage NOT IN (SELECT value FROM json_each(?)) GROUP BY lease_id",
        (node_id, json.dumps(ENDED)),
    )
    return [
        session_pb2.LeaseCursor(
            lease_id=row["lease_id"],
            receipt_sequence=row["sequence"],
            receipt_sha256=row["sha256"],
        )
        for row in rows
    ]
