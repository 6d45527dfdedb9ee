"""Signing a statement with this start's envelope key and putting it into the log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from agent.journal.store import Transaction
from attest import envelope as dsse
from attest.envelope import Envelope
from attest.formats import encode_envelope
from attest.keys import Signer


@dataclass(frozen=True, slots=True)
class Scribe:
    """The pen of one start of the agent.

    Signing inside a transaction costs some tens of microseconds and lets a statement depend on what
    the very same transaction found.
    """

    signer: Signer

    def seal(self, name: str, payload: bytes) -> Envelope:
        """Sign `payload` as the message `name`."""
        return dsse.sign(dsse.payload_type(name), payload, self.signer)

    def countersign(self, envelope: Envelope) -> Envelope:
        """Add this node's signature to what an exchange signed."""
        return dsse.countersign(envelope, self.signer)

    def append(
        self, change: Transaction, name: str, payload: bytes, exchanges: Sequence[int] = ()
    ) -> int:
        """Sign, append to the log, put on the way to `exchanges`; returns the leaf's index."""
        return append(change, self.seal(name, payload), exchanges)


def append(change: Transaction, envelope: Envelope, exchanges: Sequence[int] = ()) -> int:
    """Append a signed envelope as a leaf, put it on its way, return its index."""
    leaf = dsse.leaf_hash(envelope.payload_type, envelope.payload)
    return change.append(encode_envelope(envelope), leaf, exchanges)
