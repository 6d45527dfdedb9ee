"""Acknowledging receipts, and contesting part of one. Every function is an act of the store.

A dispute names one sequence and an amount, and blocks nothing later: the rest goes on being
acknowledged and invoiced.
"""

from __future__ import annotations

import sqlite3

from hearth.v1 import lease_pb2, session_pb2

from agent.sandbox.exchange.identity import Exchange, timestamp, uuid7
from agent.sandbox.exchange.offers import parse
from agent.sandbox.exchange.refusal import Refused

ANSWER_NS = 24 * 3600 * 10**9


def acknowledge(
    db: sqlite3.Connection, exchange: Exchange, node_id: str, receipt: sqlite3.Row
) -> None:
    """State how far a lease's receipts are accepted, and what of it may be invoiced.

    :param receipt: with lease_id, sequence, sha256 and gross_msat of the receipt at the watermark.
    """
    lease_id, sequence = receipt["lease_id"], receipt["sequence"]
    open_ones = db.execute(
        "SELECT * FROM dispute WHERE node_id = ? AND lease_id = ? AND NOT ended",
        (node_id, lease_id),
    ).fetchall()
    contested = sum(row["contested"] for row in open_ones)
    uncontested = max(0, receipt["gross_msat"] - contested)
    answer_by = timestamp(exchange.now_ns() + ANSWER_NS)
    exchange.post(
        db,
        node_id,
        lease_pb2.ReceiptAck(
            lease_id=lease_id,
            accepted_through=sequence,
            accepted_sha256=receipt["sha256"],
            uncontested_msat_total=uncontested,
            disputes=[
                lease_pb2.Dispute(
                    dispute_id=row["dispute_id"],
                    sequence=row["sequence"],
                    reason=lease_pb2.DISPUTE_REASON_AMOUNT,
                    contested_msat=row["contested"],
                    answer_by_time=answer_by,
                )
                for row in open_ones
            ],
        ),
    )
    db.execute("INSERT INTO ack VALUES (?, ?, ?, ?)", (node_id, lease_id, sequence, uncontested))
    db.execute(
        "UPDATE lease SET acked = ? WHERE node_id = ? AND lease_id = ?",
        (sequence, node_id, lease_id),
    )


def contest(db: sqlite3.Connection, exchange: Exchange, lease_id: str, msat: int) -> str:
    """Contest part of a lease's newest acknowledged receipt; returns the node.

    :raises ValueError: when none of this lease is acknowledged yet.
    """
    row = _newest(db, lease_id)
    db.execute(
        "INSERT INTO dispute (node_id, lease_id, dispute_id, sequence, contested)"
        " VALUES (?, ?, ?, ?, ?)",
        (row["node_id"], lease_id, uuid7(exchange.now_ns()), row["sequence"], msat),
    )
    acknowledge(db, exchange, row["node_id"], row)
    return str(row["node_id"])


def withdraw(db: sqlite3.Connection, exchange: Exchange, lease_id: str) -> str:
    """Withdraw every dispute of a lease; returns the node.

    :raises ValueError: when none of this lease is acknowledged yet.
    """
    row = _newest(db, lease_id)
    for dispute in db.execute(
        "SELECT dispute_id FROM dispute WHERE lease_id = ? AND NOT ended", (lease_id,)
    ).fetchall():
        exchange.post(
            db,
            row["node_id"],
            lease_pb2.DisputeStep(
                dispute_id=dispute["dispute_id"], kind=lease_pb2.DISPUTE_STEP_KIND_WITHDRAW
            ),
        )
    db.execute("UPDATE dispute SET ended = 1 WHERE lease_id = ?", (lease_id,))
    acknowledge(db, exchange, row["node_id"], row)
    return str(row["node_id"])


def accept_step(db: sqlite3.Connection, node_id: str, payload: bytes) -> None:
    """Take the node's answer to a dispute.

    :raises Refused: when it is to none of ours.
    """
    step = parse(lease_pb2.DisputeStep, payload)
    taken = db.execute(
        "UPDATE dispute SET answered = 1 WHERE node_id = ? AND dispute_id = ?",
        (node_id, step.dispute_id),
    )
    if not taken.rowcount:
        raise Refused(session_pb2.NACK_REASON_MALFORMED, "an answer to no dispute of ours")


def end_adjusted(db: sqlite3.Connection, exchange: Exchange, node_id: str, dispute_id: str) -> None:
    """The node's correction ends the dispute that it names."""
    row = db.execute(
        "UPDATE dispute SET ended = 1 WHERE node_id = ? AND dispute_id = ? AND NOT ended"
        " RETURNING lease_id",
        (node_id, dispute_id),
    ).fetchone()
    if row is not None:
        acknowledge(db, exchange, node_id, _newest(db, row["lease_id"]))


def _newest(db: sqlite3.Connection, lease_id: str) -> sqlite3.Row:
    row: sqlite3.Row | None = db.execute(
        "SELECT * FROM lease_receipt WHERE lease_id = ? AND sequence = acked",
        (lease_id,),
    ).fetchone()
    if row is None:
        raise ValueError(f"lease {lease_id}: nothing is acknowledged yet")
    return row
