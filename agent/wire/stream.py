"""The session around the statements: what the agent sends, what an exchange answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from google.protobuf.message import DecodeError
from hearth.v1 import attestation_pb2, challenge_pb2, common_pb2, log_pb2, session_pb2

from agent.core.session import PROTOCOL
from agent.errors import MalformedMessage
from agent.wire.foreign import one_line
from agent.wire.requests import MOST_NUMBER, nanoseconds
from agent.wire.statements import enum, timestamp
from attest.envelope import Envelope
from attest.errors import AttestError
from attest.formats import envelope_from_proto

# EnvelopeBatch in session.proto. A batch is applied in one transaction that others wait for.
BATCH_BYTES = 256 * 1024
BATCH_ENVELOPES = 1000


class Capability(IntEnum):
    """hearth.v1.Capability, those this agent knows: neither side sends what it did not list."""

    LIGHTNING_BOLT11 = 3
    PREPAID = 4


class Refusal(IntEnum):
    """hearth.v1.ChallengeRefusal: an honest refusal is not silence."""

    RATE_LIMIT = 2
    TPM_UNAVAILABLE = 4


@dataclass(frozen=True, slots=True)
class Waiting:
    """One envelope in the outbox."""

    sequence: int
    envelope: bytes  # serialised SignedEnvelope
    log_index: int | None


@dataclass(frozen=True, slots=True)
class LeaseCursor:
    """Where a lease stands on one side."""

    lease_id: str
    sequence: int
    sha256: bytes


@dataclass(frozen=True, slots=True)
class Bundle:
    """A signed head and what one exchange needs to move to it."""

    note: bytes
    old_size: int  # 0: the exchange has witnessed nothing of this log
    size: int
    consistency: tuple[bytes, ...]
    indices: tuple[int, ...]
    inclusion: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Witnessed:
    """The newest head that the exchange has verified."""

    log_id: str
    size: int
    root: bytes


@dataclass(frozen=True, slots=True)
class Welcome:
    """The exchange's answer to Hello."""

    protocol: int
    server_ns: int
    heartbeat_ns: int
    nonce: bytes
    witnessed: Witnessed | None
    delivered_through: int
    snapshot_required: bool
    capabilities: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Batch:
    """Envelopes of the exchange; None where one does not decode."""

    envelopes: tuple[Envelope | None, ...]


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The exchange's clock."""

    send_ns: int


@dataclass(frozen=True, slots=True)
class Nack:
    """A refusal of what was sent under a delivery sequence."""

    sequence: int
    reason: int
    detail: str
    minimum_epoch: int


@dataclass(frozen=True, slots=True)
class GoAway:
    """The exchange ends the session on purpose."""

    reason: str
    reconnect_after_ns: int


Body = Welcome | Batch | Witnessed | Heartbeat | Nack | GoAway


@dataclass(frozen=True, slots=True)
class Response:
    """One message of the exchange."""

    sequence: int
    delivered_through: int
    credit: int
    body: Body | None


def hello(
    node_id: str,
    version: str,
    epoch: int,
    log_id: str,
    applied_through: int,
    cursors: Sequence[LeaseCursor],
    capabilities: Sequence[Capability] = (),
) -> session_pb2.SessionRequest:
    """The first message of a session."""
    return session_pb2.SessionRequest(
        delivered_through=applied_through,
        hello=session_pb2.Hello(
            node_id=node_id,
            agent_version=version,
            protocol_minimum=PROTOCOL,
            protocol_maximum=PROTOCOL,
            session_epoch=epoch,
            log_id=log_id,
            delivered_through=applied_through,
            capabilities=[enum(attestation_pb2.Capability, item) for item in capabilities],
            lease_cursors=[
                session_pb2.LeaseCursor(
                    lease_id=cursor.lease_id,
                    receipt_sequence=cursor.sequence,
                    receipt_sha256=cursor.sha256,
                )
                for cursor in cursors
            ],
        ),
    )


def evidence(content: bytes) -> session_pb2.SessionRequest:
    """Evidence over the welcome's nonce."""
    return session_pb2.SessionRequest(evidence=content)


def batch(waiting: Sequence[Waiting], applied_through: int) -> session_pb2.SessionRequest:
    """Envelopes with consecutive sequences, as they stand in the journal.

    :raises MalformedMessage: when one is damaged there.
    """
    request = session_pb2.SessionRequest(
        delivery_sequence=waiting[0].sequence, delivered_through=applied_through
    )
    for item in waiting:
        added = request.envelopes.items.add(log_index=item.log_index)
        try:
            added.envelope.MergeFromString(item.envelope)
        except DecodeError as error:
            raise MalformedMessage(
                f"delivery {item.sequence} is damaged; run a journal check: {error}"
            ) from None
    return request


def snapshot_end(offers: int) -> session_pb2.SessionRequest:
    """What was not offered before this is gone."""
    return session_pb2.SessionRequest(snapshot_end=session_pb2.SnapshotEnd(offer_count=offers))


def checkpoint(bundle: Bundle) -> session_pb2.SessionRequest:
    """A signed head with its proofs."""
    message = log_pb2.CheckpointBundle(
        note=bundle.note,
        inclusion=log_pb2.MultiProof(
            tree_size=bundle.size, leaf_indices=bundle.indices, nodes=bundle.inclusion
        ),
    )
    if bundle.old_size:
        message.consistency.CopyFrom(
            log_pb2.ConsistencyProof(
                old_size=bundle.old_size, new_size=bundle.size, path=bundle.consistency
            )
        )
    return session_pb2.SessionRequest(checkpoint=message)


def answer(challenge_id: str, content: bytes) -> session_pb2.SessionRequest:
    """Evidence over a challenge's nonce."""
    message = challenge_pb2.ChallengeAnswer(challenge_id=challenge_id)
    message.evidence.CopyFrom(attestation_pb2.Evidence.FromString(content))
    return session_pb2.SessionRequest(challenge_answer=message)


def refuse_challenge(
    challenge_id: str, refusal: Refusal, detail: str
) -> session_pb2.SessionRequest:
    """Say that a challenge is not answered, and why."""
    return session_pb2.SessionRequest(
        challenge_answer=challenge_pb2.ChallengeAnswer(
            challenge_id=challenge_id,
            refusal=enum(challenge_pb2.ChallengeRefusal, refusal),
            detail=detail[:500],
        )
    )


def heartbeat(send_ns: int, applied_through: int) -> session_pb2.SessionRequest:
    """Liveness, and the cursor of the exchange's envelopes."""
    return session_pb2.SessionRequest(
        delivered_through=applied_through,
        heartbeat=session_pb2.Heartbeat(send_time=timestamp(send_ns)),
    )


def cursor(applied_through: int) -> session_pb2.SessionRequest:
    """Nothing but the cursor."""
    return session_pb2.SessionRequest(delivered_through=applied_through)


def nack(sequence: int, detail: str, *, unknown: bool = False) -> session_pb2.SessionRequest:
    """A refusal of one of the exchange's envelopes; `unknown`: it may be right, and is too new."""
    return session_pb2.SessionRequest(
        nack=session_pb2.Nack(
            delivery_sequence=sequence,
            reason=(
                session_pb2.NACK_REASON_UNKNOWN_TYPE
                if unknown
                else session_pb2.NACK_REASON_MALFORMED
            ),
            detail=detail[:500],
        )
    )


def limited(sequence: int, detail: str, retry_ns: int) -> session_pb2.SessionRequest:
    """A refusal for now: one more is answered after `retry_ns`."""
    request = nack(sequence, detail)
    request.nack.reason = session_pb2.NACK_REASON_RATE_LIMITED
    request.nack.retry_after.FromNanoseconds(retry_ns)
    return request


def read(message: session_pb2.SessionResponse) -> Response:
    """Decode one message of an exchange.

    :raises MalformedMessage: naming what is wrong with it.
    """
    return Response(
        message.delivery_sequence, message.delivered_through, message.credit, _body(message)
    )


def _body(message: session_pb2.SessionResponse) -> Body | None:
    match message.WhichOneof("body"):
        case "welcome":
            return _welcome(message.welcome)
        case "envelopes":
            return _batch(message.envelopes)
        case "witnessed":
            return _witnessed(message.witnessed)
        case "heartbeat":
            return Heartbeat(nanoseconds(message.heartbeat.send_time, "heartbeat.send_time"))
        case "nack":
            refused = message.nack
            if refused.minimum_epoch >= MOST_NUMBER:
                raise MalformedMessage(f"nack.minimum_epoch: {refused.minimum_epoch}")
            return Nack(
                refused.delivery_sequence,
                refused.reason,
                one_line(refused.detail),
                refused.minimum_epoch,
            )
        case "go_away":
            after = nanoseconds(message.go_away.reconnect_after, "go_away.reconnect_after")
            return GoAway(one_line(message.go_away.reason), after)
        case _:
            return None


def _batch(message: session_pb2.EnvelopeBatch) -> Batch:
    if len(message.items) > BATCH_ENVELOPES:
        raise MalformedMessage(
            f"a batch of {len(message.items)} envelopes, at most {BATCH_ENVELOPES} are taken"
        )
    return Batch(tuple(_envelope(item.envelope) for item in message.items))


def _envelope(message: common_pb2.SignedEnvelope) -> Envelope | None:
    try:
        return envelope_from_proto(message)
    except AttestError:
        return None


def _welcome(message: session_pb2.Welcome) -> Welcome:
    if len(message.evidence_nonce) != 32:
        raise MalformedMessage("welcome.evidence_nonce: not 32 bytes")
    if message.protocol != PROTOCOL:
        raise MalformedMessage(
            f"welcome.protocol: {message.protocol}, this agent speaks {PROTOCOL}"
        )
    return Welcome(
        protocol=message.protocol,
        server_ns=nanoseconds(message.server_time, "welcome.server_time"),
        heartbeat_ns=nanoseconds(message.heartbeat_interval, "welcome.heartbeat_interval"),
        nonce=message.evidence_nonce,
        witnessed=_witnessed(message.witnessed) if message.HasField("witnessed") else None,
        delivered_through=message.delivered_through,
        snapshot_required=message.snapshot_required,
        capabilities=frozenset(int(item) for item in message.capabilities),
    )


def _witnessed(message: log_pb2.WitnessedHead) -> Witnessed | None:
    if message.size == 0:
        return None
    if len(message.root) != 32:
        raise MalformedMessage("witnessed.root: not 32 bytes")
    return Witnessed(message.log_id, message.size, message.root)
