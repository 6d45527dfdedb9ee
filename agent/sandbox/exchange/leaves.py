"""A node's log as we see it: where leaves are, and which keys its root of trust has bound in it."""

from __future__ import annotations

import hashlib
import sqlite3

from hearth.v1 import log_pb2, session_pb2
from hearth.v1.common_pb2 import SignedEnvelope

from agent.sandbox.exchange.judge import MAX_QUANTITY
from agent.sandbox.exchange.offers import parse
from agent.sandbox.exchange.refusal import Refused
from agent.sandbox.exchange.store import tally
from attest.envelope import Envelope, leaf_hash, verify_only
from attest.formats import decode_envelope, encode_envelope
from attest.verify import TrustedNode, verify_key_binding

_MALFORMED = session_pb2.NACK_REASON_MALFORMED


class Leaves:
    """The newest log of one node, while one batch is applied."""

    def __init__(self, db: sqlite3.Connection, node: TrustedNode) -> None:
        self._db = db
        self._node = node
        self.log_id: str | None = None  # None until a log has started
        self.ordinal: int | None = None  # of its row
        self._start = b""  # SignedEnvelope of the LogStart
        self._bound = False
        self._size = 0  # of the witnessed head
        self._top = -1  # highest index seen
        self._taken: set[int] = set()  # indices of this batch, which is not written yet
        self._rows: list[tuple[int | None, int, bytes]] = []  # of this batch
        self._keys: dict[bytes, bytes] = {}  # key id -> SPKI
        self._load()

    def place(self, index: int) -> None:
        """Give a leaf its place: its own, above the head that the node has already signed.

        :raises Refused: no log, a taken place, or one that a witnessed head covers.
        """
        if self.log_id is None:
            raise Refused(_MALFORMED, "a leaf before its log's start")
        if index > MAX_QUANTITY:
            raise Refused(_MALFORMED, f"log index {index} is out of range")
        if index < self._size:
            raise Refused(session_pb2.NACK_REASON_STALE, f"leaf {index} below the witnessed head")
        if index <= self._top and (index in self._taken or self._is_stored(index)):
            raise Refused(_MALFORMED, f"two leaves at log index {index}")
        self._top = max(self._top, index)
        self._taken.add(index)

    def keep(self, index: int, signed: SignedEnvelope) -> None:
        """Note a leaf that has its place, for `flush`."""
        self._rows.append((self.ordinal, index, leaf_hash(signed.payload_type, signed.payload)))

    def flush(self) -> None:
        """Write the leaves of this batch."""
        self._db.executemany("INSERT INTO leaf VALUES (?, ?, ?)", self._rows)
        self._rows.clear()

    def start(self, envelope: Envelope, index: int | None) -> None:
        """Open a log; the other one, if any, is left. Its signature waits for its first key.

        :raises Refused: not the first leaf of a new log of this node.
        """
        start = parse(log_pb2.LogStart, envelope.payload)
        if start.node_id != self._node.node_id or index != 0 or len(start.random) != 32:
            raise Refused(_MALFORMED, "not the first leaf of a log of this node")
        first = start.cause == log_pb2.LOG_START_CAUSE_FIRST_INSTALL
        if self.log_id is not None and first:
            raise Refused(_MALFORMED, "a first installation after another log")
        log_id = hashlib.sha256(envelope.payload).hexdigest()
        serialised = encode_envelope(envelope)
        try:
            added = self._db.execute(
                "INSERT INTO log (node_id, log_id, start) VALUES (?, ?, ?)",
                (self._node.node_id, log_id, serialised),
            )
        except sqlite3.IntegrityError as error:
            raise Refused(_MALFORMED, "this log has started before") from error
        if not first:
            tally(self._db, self._node.node_id, "log_breaks")
        self.ordinal = added.lastrowid
        self.log_id, self._start, self._bound = log_id, serialised, False
        self._size, self._top, self._taken, self._keys = 0, 0, {0}, {}

    def bind(self, envelope: Envelope, index: int | None) -> None:
        """Trust an envelope key: the root of trust vouches for it, and it signs this itself.

        :raises Refused: not a leaf. :raises AttestError: false.
        """
        log_id = self.required(index)
        spki = verify_key_binding(envelope, self._node, log_id)
        if not self._bound:
            verify_only(decode_envelope(self._start), spki)
            self._db.execute("UPDATE log SET bound = 1 WHERE ordinal = ?", (self.ordinal,))
            self._bound = True
        key_id = hashlib.sha256(spki).digest()
        self._db.execute(
            "INSERT OR IGNORE INTO envelope_key VALUES (?, ?, ?)", (self.ordinal, key_id, spki)
        )
        self._keys[key_id] = spki

    def required(self, index: int | None) -> str:
        """Return the log id, for a message that must be a leaf.

        :raises Refused: it is none.
        """
        if self.log_id is None or index is None:
            raise Refused(_MALFORMED, "this message is a leaf of the node's log")
        return self.log_id

    def signer(self, signed: SignedEnvelope) -> bytes:
        """Return the SPKI of the one bound key among an envelope's signers; verifies nothing.

        :raises Refused: (BAD_SIGNATURE) none, or several.
        """
        bound = [self._keys[by.key_id] for by in signed.signatures[:] if by.key_id in self._keys]
        if len(bound) != 1:
            raise Refused(
                session_pb2.NACK_REASON_BAD_SIGNATURE,
                f"{len(bound)} signatures by keys bound in this log",
            )
        return bound[0]

    def _load(self) -> None:
        row = self._db.execute(
            "SELECT ordinal, log_id, size, bound, start, (SELECT coalesce(max(log_index), -1)"
            " FROM leaf WHERE log = ordinal) AS top"
            " FROM log WHERE node_id = ? ORDER BY ordinal DESC LIMIT 1",
            (self._node.node_id,),
        ).fetchone()
        if row is None:
            return
        self.log_id, self._start, self._bound = row["log_id"], row["start"], bool(row["bound"])
        self.ordinal, self._size, self._top = row["ordinal"], row["size"], row["top"]
        keys = self._db.execute(
            "SELECT key_id, spki FROM envelope_key WHERE log = ?", (self.ordinal,)
        )
        self._keys = {key["key_id"]: key["spki"] for key in keys}

    def _is_stored(self, index: int) -> bool:
        found = self._db.execute(
            "SELECT 1 FROM leaf WHERE log = ? AND log_index = ?", (self.ordinal, index)
        )
        return found.fetchone() is not None
