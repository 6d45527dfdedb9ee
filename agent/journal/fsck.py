"""Holding the journal against itself: every leaf, node, note, receipt and delivery.

Nothing here trusts an index or a stored hash; everything is computed anew from the envelopes. It is
what `hearth journal check` runs and what decides, after a crash, whether anything was lost.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Iterator

from agent.errors import HearthError
from agent.journal import books
from agent.journal.store import STORED_LEVEL, View
from attest import checkpoint as notes
from attest import envelope as dsse
from attest import merkle
from attest.envelope import Envelope, message_name
from attest.errors import AttestError
from attest.formats import decode_checkpoint_record, decode_envelope
from attest.identity import TrustedNode
from attest.verify import verify_key_binding

Leaf = tuple[int, bytes, bytes]  # index, leaf hash, serialised envelope


def check(view: View, root_spki: bytes | None) -> list[str]:
    """Return one line for everything that is wrong; an empty list means that all holds.

    :param root_spki: DER SubjectPublicKeyInfo of the AK or node key that must have signed; None:
        the one that the journal itself names.
    """
    found: list[str] = []
    for part in (_file, _identity(root_spki), _leaves, _notes, books.outbox, books.receipts):
        found += _guarded(part, view)
    return found + _guarded(books.leases, view)


def _guarded(part: Callable[[View], Iterator[str]], view: View) -> list[str]:
    """Run one part; what it stumbles over is a finding too, and the other parts still run."""
    found: list[str] = []
    try:
        for line in part(view):
            found.append(line)  # one by one: what was found before a stumble is kept
    except (sqlite3.Error, HearthError, AttestError) as error:
        found.append(f"{getattr(part, '__name__', 'part').strip('_')}: {error}")
    return found


def _file(view: View) -> Iterator[str]:
    for (line,) in view.all("PRAGMA integrity_check"):
        if line != "ok":
            yield f"file: {line}"
    for table, row, *_ in view.all("PRAGMA foreign_key_check"):
        yield f"file: row {row} of {table} refers to nothing"


# --- who signs ---------------------------------------------------------------------------------


def _node(view: View) -> tuple[TrustedNode, str]:
    """The root of trust and the log id that the journal names.

    :raises AttestError: when the two do not fit each other.
    """
    start = view.meta("log_start") or b""
    node = TrustedNode(
        (view.meta("node_id") or b"").decode(errors="replace"),
        view.meta("ak_public") or b"",
        view.meta("software_spki") or b"",
    )
    return node, hashlib.sha256(start).hexdigest()


def _identity(root_spki: bytes | None) -> Callable[[View], Iterator[str]]:
    def identity(view: View) -> Iterator[str]:
        if view.size() == 0:
            return
        node, log_id = _node(view)
        if root_spki is not None and node.spki != root_spki:
            yield "node: another root of trust than this host's"
        first = decode_envelope(view.envelope(0))
        if hashlib.sha256(first.payload).hexdigest() != log_id:
            yield "leaf 0: not the LogStart that the journal names"
        for key_id, index, spki in view.all("SELECT key_id, idx, spki FROM bindings ORDER BY idx"):
            try:
                bound = verify_key_binding(decode_envelope(view.envelope(index)), node, log_id)
            except (AttestError, HearthError) as error:
                yield f"leaf {index}: {error}"
                continue
            if bound != bytes(spki) or hashlib.sha256(bound).digest() != bytes(key_id):
                yield f"leaf {index}: binds another key than the journal says"

    return identity


# --- leaves and tree ---------------------------------------------------------------------------


def _leaves(view: View) -> Iterator[str]:
    keys = {
        bytes(key_id): (int(index), bytes(spki))
        for key_id, index, spki in view.all("SELECT key_id, idx, spki FROM bindings")
    }
    stored = 0
    edge: dict[tuple[int, int], bytes] = {}  # perfect subtrees that are not part of a larger one

    def node(level: int, index: int) -> bytes:
        return edge.pop((level, index))

    bound: set[int] = set()
    rows = view.connection.execute("SELECT idx, leaf, envelope FROM entries ORDER BY idx")
    for place, (index, leaf, raw) in enumerate(rows):
        if index != place:
            yield f"leaf {place}: missing; {index} comes next"
            return
        try:
            envelope = decode_envelope(raw)
            if message_name(envelope.payload_type) == "KeyBinding":
                bound.add(index)
            yield from _leaf(index, leaf, envelope, keys)
        except AttestError as error:
            yield f"leaf {index}: {error}"
        for level, position, value in merkle.completed_nodes(index, leaf, node):
            edge[level, position] = value
            if level >= STORED_LEVEL:
                stored += 1
                if _stored_node(view, level, position) != value:
                    yield f"node {position} of level {level}: not the hash of its leaves"
    count = view.one("SELECT count(*) FROM nodes")
    if count is not None and count[0] != stored:
        yield f"nodes: {count[0]} stored, {stored} are part of the tree"
    for index in bound ^ {index for index, _ in keys.values()}:
        yield f"leaf {index}: a KeyBinding and the table of bindings do not agree"


def _stored_node(view: View, level: int, position: int) -> bytes | None:
    row = view.one("SELECT hash FROM nodes WHERE level = ? AND idx = ?", level, position)
    return None if row is None else bytes(row[0])


def _leaf(
    index: int, leaf: bytes, envelope: Envelope, keys: dict[bytes, tuple[int, bytes]]
) -> Iterator[str]:
    if dsse.leaf_hash(envelope.payload_type, envelope.payload) != leaf:
        yield f"leaf {index}: the stored hash is not its envelope's"
    signer = keys.get(envelope.signatures[-1].key_id) if envelope.signatures else None
    if signer is None:
        yield f"leaf {index}: signed by a key that no binding introduces"
        return
    # The LogStart is signed by the key that the very next leaf introduces.
    if signer[0] > max(index, 1):
        yield f"leaf {index}: signed by a key that leaf {signer[0]} introduces later"
    dsse.verify(envelope, signer[1])


# --- notes -------------------------------------------------------------------------------------


def _notes(view: View) -> Iterator[str]:
    if view.size() == 0:
        return
    node, log_id = _node(view)
    origin = notes.origin(node.node_id, log_id)
    before = b""
    recorded: set[int] = set()
    rows = view.all("SELECT sequence, size, note FROM checkpoints ORDER BY sequence")
    for place, (sequence, size, note) in enumerate(rows, 1):
        if sequence != place:
            yield f"checkpoint {place}: missing; {sequence} comes next"
            return
        recorded.add(size - 1)
        yield from _record(view, sequence, size, before)
        if note is None:
            if place != len(rows):
                yield f"checkpoint {sequence}: was never signed, a later one was"
            continue
        before = hashlib.sha256(note).digest()
        try:
            head = notes.verify(bytes(note), node.spki)
        except AttestError as error:
            yield f"checkpoint {sequence}: {error}"
            continue
        if head != notes.Checkpoint(origin, size, view.root(size)):
            yield f"checkpoint {sequence}: the note is not over the first {size} leaves"
    for index in books.indices(view, "CheckpointRecord"):
        if index not in recorded:
            yield f"leaf {index}: a CheckpointRecord of no checkpoint"


def _record(view: View, sequence: int, size: int, before: bytes) -> Iterator[str]:
    envelope = decode_envelope(view.envelope(size - 1))
    if message_name(envelope.payload_type) != "CheckpointRecord":
        yield f"checkpoint {sequence}: leaf {size - 1} is not its record"
        return
    record = decode_checkpoint_record(envelope.payload)
    if record.checkpoint_sequence != sequence or record.previous_note_sha256 != before:
        yield f"checkpoint {sequence}: its record does not follow from the note before"
