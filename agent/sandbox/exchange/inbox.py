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

from google.protobuf.message import DecodeError
from hearth.v1 import inventory_pb2, lease_pb2, session_pb2
from hearth.v1.common_pb2 import SignedEnvelope

from agent.sandbox.exchange import judge, market, money, offers
from agent.sandbox.exchange.identity import Exchange
from agent.sandbox.exchange.leaves import Leaves
from agent.sandbox.exchange.offers import parse
from agent.sandbox.exchange.refusal import Refused
from agent.sandbox.exchange.store import tally
from attest import verify
from attest.envelope import message_name, payload_type, verify_only
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

    ordinal: int  # of its row
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
        "SELECT ordinal, received, session_epoch FROM node WHERE node_id = ?", (node.node_id,)
    ).fetchone()
    if row["session_epoch"] != epoch:
        raise Fenced
    received: int = row["received"]
    if not 0 < first <= received + 1:
        raise Refused(_MALFORMED, f"delivery {first} after {received}: a gap")
    eager = len(items) <= EAGER_SIGNATURES
    batch = _Batch(db, exchange, node, row["ordinal"], eager, reject_receipts)
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
        ordinal: int,
        eager: bool,
        reject_receipts: int,
    ) -> None:
        self._db = db
        self._exchange = exchange
        self._node = node
        self._ordinal = ordinal  # of the node's row
        self._eager = eager
        self._reject = reject_receipts
        self._now_ns = exchange.now_ns()
        self._leaves = Leaves(db, node)
        self._leases: dict[str, _Lease] = {}
        self._rows: list[tuple[object, ...]] = []
        self._about: str | None = None  # lease id of the message at hand, once it is known
        self.refusals: list[Refusal] = []
        self._acts: dict[str, Callable[[SignedEnvelope, int | None], None]] = {
            _LOG_START: self._take_log_start,
            payload_type("KeyBinding"): self._take_key_binding,
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
        signed = item.envelope
        kind = signed.payload_type
        index = item.log_index if item.HasField("log_index") else None
        refusal: Refusal | None = None
        placed, self._about = False, None
        try:
            if index is not None and kind != _LOG_START:
                self._leaves.place(index)
                placed = True
            self._acts.get(kind, _refuse_unknown)(signed, index)
            placed = index is not None
        except Refused as error:
            refusal = Refusal(sequence, error.reason, error.detail)
        except BadSignature as error:
            refusal = Refusal(sequence, _WRONG_SIGNER, str(error))
        except AttestError as error:
            refusal = Refusal(sequence, _MALFORMED, str(error))
        if refusal is not None:
            self._note_refusal(refusal, kind)
        if not placed:
            index = None
        if index is not None:
            self._leaves.keep(index, signed)
        self._rows.append(
            (
                self._ordinal,
                sequence,
                signed.SerializeToString(),
                self._about or _lease_of(signed),
                index,
                refusal.detail if refusal is not None else "",
            )
        )

    def flush(self) -> None:
        """Write what was collected."""
        self._leaves.flush()
        self._db.executemany("INSERT INTO inbox VALUES (?, ?, ?, ?, ?, ?)", self._rows)
        self._rows.clear()
        for lease in self._leases.values():
            if not lease.rows:
                continue
            self._db.executemany("INSERT INTO receipt VALUES (?, ?, ?, ?, ?, ?, ?)", lease.rows)
            self._db.execute(
                "UPDATE lease SET receipt = ? WHERE ordinal = ?", (lease.last, lease.ordinal)
            )
            lease.rows.clear()

    def _note_refusal(self, refusal: Refusal, kind: str) -> None:
        self.refusals.append(refusal)
        name = "receipts_rejected" if kind == RECEIPT else "others_rejected"
        tally(self._db, self._node.node_id, name)

    def _verified(self, signed: SignedEnvelope) -> bytes:
        """Return the payload, once its only signature holds under a key bound in this log.

        :raises Refused, AttestError: when it does not.
        """
        verify_only(envelope_from_proto(signed), self._leaves.signer(signed))
        return signed.payload

    # --- the log, offers and leases: signature here, meaning in leaves.py, offers.py, market.py ---

    def _take_log_start(self, signed: SignedEnvelope, index: int | None) -> None:
        self._leaves.start(envelope_from_proto(signed), index)

    def _take_key_binding(self, signed: SignedEnvelope, index: int | None) -> None:
        self._leaves.bind(envelope_from_proto(signed), index)

    def _take_inventory(self, signed: SignedEnvelope, index: int | None) -> None:
        """Keep it with the other leaves: the evidence names its digest, a dispute may need it."""
        self._leaves.required(index)
        parse(inventory_pb2.Inventory, self._verified(signed))

    def _take_offer(self, signed: SignedEnvelope, index: int | None) -> None:
        self._leaves.required(index)
        payload = self._verified(signed)
        offers.accept_offer(self._db, self._exchange, self._node.node_id, payload)
        tally(self._db, self._node.node_id, "offers_accepted")

    def _take_withdrawal(self, signed: SignedEnvelope, _index: int | None) -> None:
        offers.accept_withdrawal(self._db, self._node.node_id, self._verified(signed))

    def _take_decision(self, signed: SignedEnvelope, _index: int | None) -> None:
        payload = self._verified(signed)
        market.decide(self._db, self._exchange, self._node.node_id, payload)

    def _take_agreement(self, signed: SignedEnvelope, index: int | None) -> None:
        self._leaves.required(index)
        envelope = envelope_from_proto(signed)
        if len(envelope.signatures) != 2:
            raise Refused(_WRONG_SIGNER, "an agreement has two signatures: ours and the node's")
        verify_one(envelope, self._exchange.authority.statement.spki)
        verify_one(envelope, self._leaves.signer(signed))
        market.accept_countersigned(self._db, self._exchange, self._node.node_id, envelope)

    def _take_update(self, signed: SignedEnvelope, _index: int | None) -> None:
        payload = self._verified(signed)
        market.accept_update(self._db, self._exchange, self._node.node_id, payload)

    def _take_money(self, signed: SignedEnvelope, _index: int | None) -> None:
        payload = self._verified(signed)
        act = money.ACTS[message_name(signed.payload_type)]
        self.flush()  # an invoice may come with the very receipts that it is for
        act(self._db, self._exchange, self._node.node_id, payload)

    def _take_receipt(self, signed: SignedEnvelope, index: int | None) -> None:
        log_id = self._leaves.required(index)
        if self._eager:
            payload = self._verified(signed)
        else:
            self._leaves.signer(signed)
            payload = signed.payload
        try:
            receipt = judge.parse(payload)
            self._about = lease_id = receipt.lease_id
            lease = self._leases.get(lease_id) or self._load_lease(lease_id)
            after = judge.judge_parsed(
                receipt, payload, lease.contract, lease.registers, log_id, self._now_ns
            )
        except judge.ReceiptRefused as error:
            raise Refused(_MALFORMED, str(error)) from error
        if self._reject:
            self._reject -= 1
            raise Refused(_MALFORMED, "injected fault: a good receipt refused")
        lease.registers, lease.last = after, payload
        lease.rows.append(
            (
                lease.ordinal,
                after.sequence,
                after.sha256,
                self._leaves.ordinal,
                index,
                after.gross_msat,
                int(self._eager),
            )
        )

    def _load_lease(self, lease_id: str) -> _Lease:
        row = self._db.execute(
            "SELECT ordinal, agreement, countersigned, receipt FROM lease"
            " WHERE node_id = ? AND lease_id = ?",
            (self._node.node_id, lease_id),
        ).fetchone()
        if row is None or not row["countersigned"]:
            raise Refused(
                session_pb2.NACK_REASON_NOT_AUTHORIZED, f"no lease {lease_id!r} that both signed"
            )
        registers = judge.registers(row["receipt"]) if row["receipt"] else None
        lease = _Lease(row["ordinal"], market.contract(row["agreement"]), registers)
        self._leases[lease_id] = lease
        return lease


def _refuse_unknown(signed: SignedEnvelope, _index: int | None) -> None:
    raise Refused(session_pb2.NACK_REASON_UNKNOWN_TYPE, f"{signed.payload_type[:80]!r}")


def _lease_of(signed: SignedEnvelope) -> str | None:
    """Return the lease a message is about, for the messages that are about one."""
    kind = _LEASE_MESSAGES.get(signed.payload_type)
    if kind is None:
        return None
    try:
        return kind.FromString(signed.payload).lease_id
    except DecodeError:
        return None
