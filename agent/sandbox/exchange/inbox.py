"""What a node delivers, judged and stored exactly once.

A batch is applied in one transaction, the delivery cursor with it: what was applied before is
skipped, a gap is refused as a whole, and a refused envelope moves the cursor on while the last
good state stands. Refused envelopes are kept too: a refused leaf is still a leaf of the node's
log, and the next checkpoint proves it with the others.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum

from google.protobuf.message import DecodeError
from hearth.v1 import inventory_pb2, lease_pb2, session_pb2

from agent.sandbox.exchange import judge, market, money, offers
from agent.sandbox.exchange.identity import Exchange
from agent.sandbox.exchange.leaves import Leaves
from agent.sandbox.exchange.offers import parse
from agent.sandbox.exchange.refusal import Refused
from agent.sandbox.exchange.store import tally
from attest import verify
from attest.envelope import Envelope, leaf_hash, message_name, payload_type, verify_only
from attest.envelope import verify as verify_one
from attest.errors import AttestError, BadSignature
from attest.formats import envelope_from_proto

# Above this many envelopes a batch is a backlog: its receipts' signatures wait for the checkpoint,
# whose multiproof covers all of them at once. Until then they are not called verified.
EAGER_SIGNATURES = 32
MOST_ENVELOPES = 1000  # session.proto: in one batch, which all other nodes wait for
RECEIPT = payload_type("Receipt")

_MALFORMED = session_pb2.NACK_REASON_MALFORMED
_WRONG_SIGNER = session_pb2.NACK_REASON_BAD_SIGNATURE
_LOG_START = payload_type("LogStart")
_LEASE_MESSAGES = {
    payload_type(kind.__name__): kind
    for kind in (
        lease_pb2.LeaseDecision,
        lease_pb2.LeaseAgreement,
        lease_pb2.LeaseUpdate,
        lease_pb2.Receipt,
    )
}


class Proof(IntEnum):
    """What stands behind a stored receipt, weakest first."""

    CHAIN = 0  # judged good, in a session of the attested node; nothing to show others yet
    SIGNATURE = 1  # of the envelope key
    INCLUSION = 2  # under a checkpoint signed by the root of trust: final


class Fenced(Exception):
    """A newer session of this node has begun."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """One envelope that was refused."""

    delivery_sequence: int
    reason: session_pb2.NackReason
    detail: str


@dataclass(frozen=True, slots=True)
class Applied:
    """What became of a batch."""

    through: int  # highest delivery sequence that is durably applied
    refusals: tuple[Refusal, ...]


@dataclass(slots=True)
class _Lease:
    """One lease's registers while a batch is applied."""

    contract: judge.Contract
    registers: judge.Registers | None
    last: bytes = b""  # payload of the newest good receipt of this batch
    rows: list[tuple[object, ...]] = field(default_factory=list)


def apply(
    db: sqlite3.Connection,
    exchange: Exchange,
    node: verify.TrustedNode,
    epoch: int,
    first: int,
    items: Sequence[session_pb2.DeliveredEnvelope],
    reject_receipts: int = 0,
) -> Applied:
    """Apply the envelopes with delivery sequences `first`, `first` + 1, ...

    :param epoch: of the session they came in.
    :param reject_receipts: an injected fault: refuse this many good receipts.
    :raises Fenced: when a newer session has begun.
    :raises Refused: (MALFORMED) on a gap, or when they are too many; nothing is applied.
    """
    if len(items) > MOST_ENVELOPES:
        raise Refused(_MALFORMED, f"a batch of {len(items)}, at most {MOST_ENVELOPES} are taken")
    row = db.execute(
        "SELECT received, session_epoch FROM node WHERE node_id = ?", (node.node_id,)
    ).fetchone()
    if row["session_epoch"] != epoch:
        raise Fenced
    received: int = row["received"]
    if not 0 < first <= received + 1:
        raise Refused(_MALFORMED, f"delivery {first} after {received}: a gap")
    batch = _Batch(db, exchange, node, len(items) <= EAGER_SIGNATURES, reject_receipts)
    for sequence, item in enumerate(items[received + 1 - first :], received + 1):
        batch.take(sequence, item)
        received = sequence
    batch.flush()
    db.execute("UPDATE node SET received = ? WHERE node_id = ?", (received, node.node_id))
    if exchange.options.auto_place:
        market.auto_place(db, exchange, node.node_id, exchange.options.auto_place)
    return Applied(received, tuple(batch.refusals))


class _Batch:
    """One batch on its way into the database."""

    def __init__(
        self,
        db: sqlite3.Connection,
        exchange: Exchange,
        node: verify.TrustedNode,
        eager: bool,
        reject_receipts: int,
    ) -> None:
        self._db = db
        self._exchange = exchange
        self._node = node
        self._eager = eager
        self._reject = reject_receipts
        self._now_ns = exchange.now_ns()
        self._leaves = Leaves(db, node)
        self._leases: dict[str, _Lease] = {}
        self._rows: list[tuple[object, ...]] = []
        self._about: str | None = None  # lease id of the message at hand, once it is known
        self.refusals: list[Refusal] = []
        self._acts: dict[str, Callable[[Envelope, int | None], None]] = {
            _LOG_START: self._leaves.start,
            payload_type("KeyBinding"): self._leaves.bind,
            payload_type("Inventory"): self._take_inventory,
            payload_type("Offer"): self._take_offer,
            payload_type("OfferWithdrawal"): self._take_withdrawal,
            payload_type("LeaseDecision"): self._take_decision,
            payload_type("LeaseAgreement"): self._take_agreement,
            payload_type("LeaseUpdate"): self._take_update,
            RECEIPT: self._take_receipt,
            **{payload_type(name): self._take_money for name in money.ACTS},
        }

    def take(self, sequence: int, item: session_pb2.DeliveredEnvelope) -> None:
        """Judge one envelope and note it, whatever the verdict."""
        envelope = envelope_from_proto(item.envelope)
        index = item.log_index if item.HasField("log_index") else None
        refusal: Refusal | None = None
        placed, self._about = False, None
        try:
            if index is not None and envelope.payload_type != _LOG_START:
                self._leaves.place(index)
                placed = True
            self._acts.get(envelope.payload_type, _refuse_unknown)(envelope, index)
            placed = index is not None
        except Refused as error:
            refusal = Refusal(sequence, error.reason, error.detail)
        except BadSignature as error:
            refusal = Refusal(sequence, _WRONG_SIGNER, str(error))
        except AttestError as error:
            refusal = Refusal(sequence, _MALFORMED, str(error))
        self._note(sequence, item, envelope, index if placed else None, refusal)

    def flush(self) -> None:
        """Write what was collected."""
        self._db.executemany("INSERT INTO inbox VALUES (?, ?, ?, ?, ?, ?, ?, ?)", self._rows)
        self._rows.clear()
        for lease_id, lease in self._leases.items():
            if not lease.rows:
                continue
            self._db.executemany("INSERT INTO receipt VALUES (?, ?, ?, ?, ?, ?, ?, ?)", lease.rows)
            self._db.execute(
                "UPDATE lease SET receipt = ? WHERE node_id = ? AND lease_id = ?",
                (lease.last, self._node.node_id, lease_id),
            )
            lease.rows.clear()

    def _note(
        self,
        sequence: int,
        item: session_pb2.DeliveredEnvelope,
        envelope: Envelope,
        index: int | None,
        refusal: Refusal | None,
    ) -> None:
        leaf = None
        if index is not None:
            leaf = leaf_hash(envelope.payload_type, envelope.payload)
        if refusal is not None:
            self.refusals.append(refusal)
            receipt = envelope.payload_type == RECEIPT
            kind = "receipts_rejected" if receipt else "others_rejected"
            tally(self._db, self._node.node_id, kind)
        self._rows.append(
            (
                self._node.node_id,
                sequence,
                item.envelope.SerializeToString(),
                self._about or _lease_of(envelope),
                self._leaves.ordinal,
                index,
                leaf,
                refusal.detail if refusal is not None else None,
            )
        )

    # --- offers and leases: signature here, meaning in offers.py and market.py ---

    def _take_inventory(self, envelope: Envelope, index: int | None) -> None:
        """Keep it with the other leaves: the evidence names its digest, a dispute may need it."""
        self._leaves.required(index)
        verify_only(envelope, self._leaves.signer(envelope))
        parse(inventory_pb2.Inventory, envelope.payload)

    def _take_offer(self, envelope: Envelope, index: int | None) -> None:
        self._leaves.required(index)
        verify_only(envelope, self._leaves.signer(envelope))
        offers.accept_offer(self._db, self._exchange, self._node.node_id, envelope.payload)
        tally(self._db, self._node.node_id, "offers_accepted")

    def _take_withdrawal(self, envelope: Envelope, _index: int | None) -> None:
        verify_only(envelope, self._leaves.signer(envelope))
        offers.accept_withdrawal(self._db, self._node.node_id, envelope.payload)

    def _take_decision(self, envelope: Envelope, _index: int | None) -> None:
        verify_only(envelope, self._leaves.signer(envelope))
        market.decide(self._db, self._exchange, self._node.node_id, envelope.payload)

    def _take_agreement(self, envelope: Envelope, index: int | None) -> None:
        self._leaves.required(index)
        if len(envelope.signatures) != 2:
            raise Refused(_WRONG_SIGNER, "an agreement has two signatures: ours and the node's")
        verify_one(envelope, self._exchange.authority.statement.spki)
        verify_one(envelope, self._leaves.signer(envelope))
        market.accept_countersigned(self._db, self._exchange, self._node.node_id, envelope)

    def _take_update(self, envelope: Envelope, _index: int | None) -> None:
        verify_only(envelope, self._leaves.signer(envelope))
        market.accept_update(self._db, self._exchange, self._node.node_id, envelope.payload)

    def _take_money(self, envelope: Envelope, _index: int | None) -> None:
        verify_only(envelope, self._leaves.signer(envelope))
        act = money.ACTS[message_name(envelope.payload_type)]
        self.flush()  # an invoice may come with the very receipts that it is for
        act(self._db, self._exchange, self._node.node_id, envelope.payload)

    def _take_receipt(self, envelope: Envelope, index: int | None) -> None:
        log_id = self._leaves.required(index)
        signer = self._leaves.signer(envelope)
        if self._eager:
            verify_only(envelope, signer)
        try:
            receipt = judge.parse(envelope.payload)
            self._about = lease_id = receipt.lease_id
            lease = self._leases.get(lease_id) or self._load_lease(lease_id)
            after = judge.judge_parsed(
                receipt, envelope.payload, lease.contract, lease.registers, log_id, self._now_ns
            )
        except judge.ReceiptRefused as error:
            raise Refused(_MALFORMED, str(error)) from error
        if self._reject:
            self._reject -= 1
            raise Refused(_MALFORMED, "injected fault: a good receipt refused")
        lease.registers, lease.last = after, envelope.payload
        lease.rows.append(
            (
                self._node.node_id,
                lease_id,
                after.sequence,
                after.sha256,
                self._leaves.ordinal,
                index,
                after.gross_msat,
                Proof.SIGNATURE if self._eager else Proof.CHAIN,
            )
        )

    def _load_lease(self, lease_id: str) -> _Lease:
        row = self._db.execute(
            "SELECT agreement, countersigned, receipt FROM lease"
            " WHERE node_id = ? AND lease_id = ?",
            (self._node.node_id, lease_id),
        ).fetchone()
        if row is None or not row["countersigned"]:
            raise Refused(
                session_pb2.NACK_REASON_NOT_AUTHORIZED, f"no lease {lease_id!r} that both signed"
            )
        registers = judge.registers(row["receipt"]) if row["receipt"] else None
        lease = _Lease(market.contract(row["agreement"]), registers)
        self._leases[lease_id] = lease
        return lease


def _refuse_unknown(envelope: Envelope, _index: int | None) -> None:
    raise Refused(session_pb2.NACK_REASON_UNKNOWN_TYPE, f"{envelope.payload_type[:80]!r}")


def _lease_of(envelope: Envelope) -> str | None:
    """Return the lease a message is about, for the messages that are about one."""
    kind = _LEASE_MESSAGES.get(envelope.payload_type)
    if kind is None:
        return None
    try:
        return kind.FromString(envelope.payload).lease_id
    except DecodeError:
        return None
