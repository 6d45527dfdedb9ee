"""Checkpoints: what makes a receipt final.

A bundle holds when the note is signed by the node's root of trust, continues the head we
witnessed, and contains every leaf that was delivered to us since, each where it was said to be.
Then the receipts below it are final, and each lease's newest is acknowledged.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from hearth.v1 import log_pb2, session_pb2

from agent.sandbox.exchange import disputes
from agent.sandbox.exchange.identity import Exchange
from agent.sandbox.exchange.inbox import Fenced
from agent.sandbox.exchange.judge import MAX_QUANTITY
from agent.sandbox.exchange.refusal import Refused
from agent.sandbox.exchange.store import tally
from attest import checkpoint, verify

_MALFORMED = session_pb2.NACK_REASON_MALFORMED


@dataclass(frozen=True, slots=True)
class Head:
    """The newest head of one log that we vouch to have seen."""

    log_id: str
    size: int
    root: bytes
    ordinal: int  # of the log's row

    def to_proto(self) -> log_pb2.WitnessedHead:
        """Without a cosignature line: this exchange is no public witness."""
        return log_pb2.WitnessedHead(log_id=self.log_id, size=self.size, root=self.root)


def witnessed(db: sqlite3.Connection, node_id: str, log_id: str) -> Head | None:
    """Return the newest head of this log, of size 0 before the first; None: no such log."""
    row = db.execute(
        "SELECT log_id, size, root, ordinal FROM log WHERE node_id = ? AND log_id = ?",
        (node_id, log_id),
    ).fetchone()
    return Head(*row) if row is not None else None


def accept(
    db: sqlite3.Connection,
    exchange: Exchange,
    node: verify.TrustedNode,
    epoch: int,
    log_id: str,
    bundle: log_pb2.CheckpointBundle,
) -> Head:
    """Verify a bundle, store its head, acknowledge what it made final.

    :raises Refused: (STALE) below the witnessed head, (MALFORMED) not about the leaves we have.
    :raises AttestError: a false signature or proof.
    :raises Fenced: a newer session has begun.
    """
    row = db.execute("SELECT session_epoch FROM node WHERE node_id = ?", (node.node_id,)).fetchone()
    if row["session_epoch"] != epoch:
        raise Fenced
    claimed, _, _ = checkpoint.parse(bundle.note)
    before = witnessed(db, node.node_id, log_id)
    if before is None:
        raise Refused(_MALFORMED, "the head of a log that has not started here")
    if not before.size <= claimed.size <= MAX_QUANTITY:
        raise Refused(
            session_pb2.NACK_REASON_STALE, f"size {claimed.size} where {before.size} is witnessed"
        )
    rows = db.execute(
        "SELECT log_index, sha256 FROM leaf WHERE log = ? AND log_index >= ? AND log_index < ?"
        " ORDER BY log_index",
        (before.ordinal, before.size, claimed.size),
    )
    leaves: dict[int, bytes] = dict(rows.fetchall())
    _check_subject(bundle, before.size, claimed.size, list(leaves))
    head = verify.verify_bundle(
        node,
        log_id,
        bundle.note,
        (before.size, before.root) if before.size else None,
        tuple(bundle.consistency.path),
        leaves,
        tuple(bundle.inclusion.nodes),
    )
    db.execute(
        "UPDATE log SET size = ?, root = ?, note = ? WHERE ordinal = ?",
        (head.size, head.root, bundle.note, before.ordinal),
    )
    tally(db, node.node_id, "checkpoints_verified")
    after = Head(log_id, head.size, head.root, before.ordinal)
    _acknowledge(db, exchange, node.node_id, after)
    return after


def _check_subject(
    bundle: log_pb2.CheckpointBundle, old_size: int, size: int, indices: list[int]
) -> None:
    """The proofs must be about the sizes and leaves that we have, not about others."""
    consistency, inclusion = bundle.consistency, bundle.inclusion
    if old_size and (consistency.old_size, consistency.new_size) != (old_size, size):
        raise Refused(
            _MALFORMED,
            f"consistency {consistency.old_size}..{consistency.new_size}, not {old_size}..{size}",
        )
    if list(inclusion.leaf_indices) != indices:
        raise Refused(_MALFORMED, f"inclusion is not of the {len(indices)} leaves delivered here")
    if indices and inclusion.tree_size != size:
        raise Refused(_MALFORMED, f"inclusion in a tree of {inclusion.tree_size}, not {size}")


def _acknowledge(db: sqlite3.Connection, exchange: Exchange, node_id: str, head: Head) -> None:
    """Acknowledge each lease's newest receipt below a head: those below it are final now."""
    # SQLite takes the other columns of a max() from the row that has it.
    newest = db.execute(
        "SELECT lease_id, max(sequence) AS sequence, sha256, gross_msat FROM lease_receipt"
        " WHERE node_id = ? AND log = ? AND sequence > acked AND final GROUP BY lease_id",
        (node_id, head.ordinal),
    ).fetchall()
    for receipt in newest:
        disputes.acknowledge(db, exchange, node_id, receipt)
