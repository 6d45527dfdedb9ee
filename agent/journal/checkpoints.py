"""Cutting checkpoints: a record leaf, then a note over the tree that ends with it.

The record is durable before the TPM signs. A crash between the two is finished at the next cut,
over exactly that tree: one sequence never gets two records, one predecessor never two notes.
"""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass

from agent.journal.scribe import Scribe
from agent.journal.store import Journal, Transaction, View
from attest import checkpoint as notes
from attest import merkle
from attest.formats import CheckpointRecord, encode_checkpoint_record
from attest.root import Root

SIGN_DEADLINE_S = 30.0


@dataclass(frozen=True, slots=True)
class Head:
    """A signed head of the log."""

    sequence: int
    size: int
    note: bytes
    wall_ns: int


@dataclass(frozen=True, slots=True)
class _Open:
    sequence: int
    size: int
    root: bytes


def newest(view: View) -> Head | None:
    """The newest signed head, or None."""
    row = view.one(
        "SELECT sequence, size, note, wall_ns FROM checkpoints WHERE note IS NOT NULL"
        " ORDER BY sequence DESC LIMIT 1"
    )
    return None if row is None else Head(int(row[0]), int(row[1]), bytes(row[2]), int(row[3]))


def _open_record(change: Transaction, scribe: Scribe, boot_id: str, wall_ns: int) -> _Open | None:
    """Find the record that still lacks its note, or write the next one; None: nothing is new."""
    row = change.one(
        "SELECT sequence, size, note IS NULL FROM checkpoints ORDER BY sequence DESC LIMIT 1"
    )
    if row is not None and row[2]:
        return _Open(int(row[0]), int(row[1]), change.root(int(row[1])))
    head = newest(change)
    size = change.size()
    if head is not None and head.size == size:
        return None
    sequence = 1 if head is None else head.sequence + 1
    generation = change.one("SELECT count(*) FROM leases")
    record = CheckpointRecord(
        checkpoint_sequence=sequence,
        previous_note_sha256=b"" if head is None else hashlib.sha256(head.note).digest(),
        ledger_generation=int(generation[0]) if generation else 0,
        boot_id=boot_id,
    )
    index = scribe.append(change, "CheckpointRecord", encode_checkpoint_record(record))
    change.execute("INSERT INTO checkpoints VALUES (?, ?, NULL, ?)", sequence, index + 1, wall_ns)
    return _Open(sequence, index + 1, change.root(index + 1))


async def cut(
    journal: Journal, scribe: Scribe, root: Root, origin: str, boot_id: str, wall_ns: int
) -> Head | None:
    """Sign the log's head if there is anything new since the last; returns the new head.

    :raises TpmError: when the TPM does not sign; the record stays open for the next try.
    """
    pending = await journal.write(lambda change: _open_record(change, scribe, boot_id, wall_ns))
    if pending is None:
        return None
    text = notes.text(notes.Checkpoint(origin, pending.size, pending.root))
    async with asyncio.timeout(SIGN_DEADLINE_S):
        signature = await asyncio.wrap_future(root.sign_note(text))
    line = notes.signature_by(origin, root.identity.spki, signature)
    note = notes.assemble(text, line)

    def keep(change: Transaction) -> Head | None:
        # A note that stands may be with an exchange already; it is never replaced.
        change.execute(
            "UPDATE checkpoints SET note = ? WHERE sequence = ? AND note IS NULL",
            note,
            pending.sequence,
        )
        return newest(change)

    return await journal.write(keep)


def consistency(view: View, old: int, new: int) -> tuple[bytes, ...]:
    """RFC 9162 2.1.4 proof from one size to another; empty from nothing."""
    return merkle.consistency_path(old, new, view.node) if old else ()


def leaves_between(view: View, exchange: int, old: int, new: int) -> tuple[int, ...]:
    """Indices of one exchange's leaves in [old, new), ascending."""
    rows = view.all(
        "SELECT DISTINCT idx FROM outbox WHERE exchange = ? AND idx >= ? AND idx < ? ORDER BY idx",
        exchange,
        old,
        new,
    )
    return tuple(int(row[0]) for row in rows)
