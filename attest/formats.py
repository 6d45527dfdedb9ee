"""The one decoder of `hearth.v1` bytes on this floor. Pure.

Protobuf on one side, frozen values on the other. Bytes that were signed or hashed pass through
unchanged; only `encode_*` makes new ones, deterministically. Unknown fields are ignored, as
protobuf's rules for later versions ask; the proof file (`proof_file`), whose every byte counts, has
none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar, cast

from google.protobuf.message import DecodeError, EncodeError, Message
from google.protobuf.timestamp_pb2 import Timestamp
from hearth.v1 import attestation_pb2, common_pb2, lease_pb2, log_pb2, offer_pb2

from attest.envelope import Envelope, Signature, message_name
from attest.errors import Malformed
from attest.proof_file import InclusionProof, ProofFile, proof_from_json, proof_to_json

__all__ = [
    "MAX_INLINE",
    "MAX_MESSAGE",
    "Blob",
    "CheckpointRecord",
    "Evidence",
    "EvidencePayload",
    "InclusionProof",
    "KeyBinding",
    "LogStart",
    "PcrBank",
    "ProofFile",
    "Receipt",
    "decode_checkpoint_record",
    "decode_envelope",
    "decode_evidence",
    "decode_evidence_payload",
    "decode_key_binding",
    "decode_log_start",
    "decode_receipt",
    "encode_checkpoint_record",
    "encode_envelope",
    "encode_evidence",
    "encode_evidence_payload",
    "encode_key_binding",
    "encode_log_start",
    "envelope_from_proto",
    "envelope_to_proto",
    "proof_from_json",
    "proof_to_json",
    "stated_origin",
]

MAX_MESSAGE = 8 * 1024 * 1024  # bytes; evidence with its event logs is the largest
MAX_INLINE = 64 * 1024  # bytes that a Blob carries itself

_M = TypeVar("_M", bound=Message)


@dataclass(frozen=True, slots=True)
class Blob:
    """`hearth.v1.Blob`."""

    sha256: bytes
    size_bytes: int
    inline: bytes  # at most MAX_INLINE; empty: not carried


@dataclass(frozen=True, slots=True)
class PcrBank:
    """`hearth.v1.PcrBank`; values are (index, digest) as carried."""

    algorithm: int  # TPM_ALG_ID
    values: tuple[tuple[int, bytes], ...]


@dataclass(frozen=True, slots=True)
class Evidence:
    """`hearth.v1.Evidence`."""

    payload: bytes
    quote: bytes = b""
    quote_signature: bytes = b""
    pcr_banks: tuple[PcrBank, ...] = ()
    event_log: Blob | None = None
    userspace_log: Blob | None = None
    ima_log: Blob | None = None
    time: bytes = b""
    time_signature: bytes = b""
    software_signature: bytes = b""


@dataclass(frozen=True, slots=True)
class EvidencePayload:
    """`hearth.v1.EvidencePayload`."""

    exchange_id: str
    inventory_digest: bytes
    inventory_generation: int
    tls_spki_sha256: bytes
    envelope_spki: bytes
    boot_id: str
    incarnation: bytes
    log_id: str
    log_size: int
    log_root: bytes
    agent_version: str
    agent_code_sha256: bytes
    create_time_ns: int  # since 1970; a label


@dataclass(frozen=True, slots=True)
class KeyBinding:
    """`hearth.v1.KeyBinding`."""

    boot_id: str
    envelope_spki: bytes
    quote: bytes
    quote_signature: bytes
    incarnation: bytes
    log_id: str


@dataclass(frozen=True, slots=True)
class LogStart:
    """`hearth.v1.LogStart`."""

    node_id: str
    random: bytes  # 32 bytes
    incarnation: bytes
    cause: int  # LogStartCause
    last_known_note: bytes
    start_time_ns: int  # since 1970; a label


@dataclass(frozen=True, slots=True)
class CheckpointRecord:
    """`hearth.v1.CheckpointRecord`."""

    checkpoint_sequence: int
    previous_note_sha256: bytes
    ledger_generation: int
    boot_id: str
    allocation_root: bytes = b""
    nv_counter: int | None = None


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a person wants to see of a `hearth.v1.Receipt`; the rest is in its payload."""

    node_id: str
    log_id: str
    exchange_id: str
    lease_id: str
    sequence: int
    energy_mj: int
    reused_heat_mj: int
    gross_msat_total: int
    final: bool


def envelope_to_proto(envelope: Envelope) -> common_pb2.SignedEnvelope:
    """The generated message of an envelope."""
    message = common_pb2.SignedEnvelope(
        payload_type=envelope.payload_type, payload=envelope.payload
    )
    for by in envelope.signatures:
        message.signatures.add(key_id=by.key_id, algorithm=by.algorithm, signature=by.signature)
    return message


def envelope_from_proto(message: common_pb2.SignedEnvelope) -> Envelope:
    """The envelope in a generated message."""
    return Envelope(
        message.payload_type,
        message.payload,
        tuple(Signature(by.key_id, by.algorithm, by.signature) for by in message.signatures),
    )


def encode_envelope(envelope: Envelope) -> bytes:
    """Serialised `SignedEnvelope`."""
    return _encode(envelope_to_proto(envelope))


def decode_envelope(content: bytes) -> Envelope:
    """:raises Malformed: when it is none."""
    return envelope_from_proto(_decode(common_pb2.SignedEnvelope, content))


def encode_evidence(evidence: Evidence) -> bytes:
    """Serialised `Evidence`."""
    message = attestation_pb2.Evidence(
        quote=evidence.quote,
        quote_signature=evidence.quote_signature,
        payload=evidence.payload,
        time=evidence.time,
        time_signature=evidence.time_signature,
        software_signature=evidence.software_signature,
    )
    for bank in evidence.pcr_banks:
        added = message.pcr_banks.add(tpm_algorithm_id=bank.algorithm)
        for index, digest in bank.values:
            added.values.add(index=index, digest=digest)
    for name in ("event_log", "userspace_log", "ima_log"):
        blob: Blob | None = getattr(evidence, name)
        if blob is not None:
            getattr(message, name).MergeFrom(
                common_pb2.Blob(sha256=blob.sha256, size_bytes=blob.size_bytes, inline=blob.inline)
            )
    return _encode(message)


def decode_evidence(content: bytes) -> Evidence:
    """:raises Malformed: when it is none."""
    message = _decode(attestation_pb2.Evidence, content)

    def blob(name: str) -> Blob | None:
        if not message.HasField(name):
            return None
        found = getattr(message, name)
        return Blob(found.sha256, found.size_bytes, found.inline)

    return Evidence(
        payload=message.payload,
        quote=message.quote,
        quote_signature=message.quote_signature,
        pcr_banks=tuple(
            PcrBank(bank.tpm_algorithm_id, tuple((pcr.index, pcr.digest) for pcr in bank.values))
            for bank in message.pcr_banks
        ),
        event_log=blob("event_log"),
        userspace_log=blob("userspace_log"),
        ima_log=blob("ima_log"),
        time=message.time,
        time_signature=message.time_signature,
        software_signature=message.software_signature,
    )


def encode_evidence_payload(payload: EvidencePayload) -> bytes:
    """Serialised `EvidencePayload`."""
    return _encode(
        attestation_pb2.EvidencePayload(
            exchange_id=payload.exchange_id,
            inventory_digest=payload.inventory_digest,
            inventory_generation=payload.inventory_generation,
            tls_spki_sha256=payload.tls_spki_sha256,
            envelope_spki=payload.envelope_spki,
            boot_id=payload.boot_id,
            incarnation=payload.incarnation,
            log_id=payload.log_id,
            log_size=payload.log_size,
            log_root=payload.log_root,
            agent_version=payload.agent_version,
            agent_code_sha256=payload.agent_code_sha256,
            create_time=_timestamp(payload.create_time_ns),
        )
    )


def decode_evidence_payload(content: bytes) -> EvidencePayload:
    """:raises Malformed: when it is none."""
    message = _decode(attestation_pb2.EvidencePayload, content)
    return EvidencePayload(
        exchange_id=message.exchange_id,
        inventory_digest=message.inventory_digest,
        inventory_generation=message.inventory_generation,
        tls_spki_sha256=message.tls_spki_sha256,
        envelope_spki=message.envelope_spki,
        boot_id=message.boot_id,
        incarnation=message.incarnation,
        log_id=message.log_id,
        log_size=message.log_size,
        log_root=message.log_root,
        agent_version=message.agent_version,
        agent_code_sha256=message.agent_code_sha256,
        create_time_ns=_nanoseconds(message.create_time),
    )


def encode_key_binding(binding: KeyBinding) -> bytes:
    """Serialised `KeyBinding`."""
    return _encode(
        log_pb2.KeyBinding(
            boot_id=binding.boot_id,
            envelope_spki=binding.envelope_spki,
            quote=binding.quote,
            quote_signature=binding.quote_signature,
            incarnation=binding.incarnation,
            log_id=binding.log_id,
        )
    )


def decode_key_binding(content: bytes) -> KeyBinding:
    """:raises Malformed: when it is none."""
    message = _decode(log_pb2.KeyBinding, content)
    return KeyBinding(
        boot_id=message.boot_id,
        envelope_spki=message.envelope_spki,
        quote=message.quote,
        quote_signature=message.quote_signature,
        incarnation=message.incarnation,
        log_id=message.log_id,
    )


def encode_log_start(start: LogStart) -> bytes:
    """Serialised `LogStart`; the log id is the hex SHA-256 of these bytes."""
    return _encode(
        log_pb2.LogStart(
            node_id=start.node_id,
            random=start.random,
            incarnation=start.incarnation,
            cause=cast("log_pb2.LogStartCause", start.cause),
            last_known_note=start.last_known_note,
            start_time=_timestamp(start.start_time_ns),
        )
    )


def decode_log_start(content: bytes) -> LogStart:
    """:raises Malformed: when it is none."""
    message = _decode(log_pb2.LogStart, content)
    return LogStart(
        node_id=message.node_id,
        random=message.random,
        incarnation=message.incarnation,
        cause=message.cause,
        last_known_note=message.last_known_note,
        start_time_ns=_nanoseconds(message.start_time),
    )


def encode_checkpoint_record(record: CheckpointRecord) -> bytes:
    """Serialised `CheckpointRecord`."""
    return _encode(
        log_pb2.CheckpointRecord(
            checkpoint_sequence=record.checkpoint_sequence,
            previous_note_sha256=record.previous_note_sha256,
            ledger_generation=record.ledger_generation,
            allocation_root=record.allocation_root,
            nv_counter=record.nv_counter,
            boot_id=record.boot_id,
        )
    )


def decode_checkpoint_record(content: bytes) -> CheckpointRecord:
    """:raises Malformed: when it is none."""
    message = _decode(log_pb2.CheckpointRecord, content)
    return CheckpointRecord(
        checkpoint_sequence=message.checkpoint_sequence,
        previous_note_sha256=message.previous_note_sha256,
        ledger_generation=message.ledger_generation,
        boot_id=message.boot_id,
        allocation_root=message.allocation_root,
        nv_counter=message.nv_counter if message.HasField("nv_counter") else None,
    )


def decode_receipt(content: bytes) -> Receipt:
    """:raises Malformed: when it is none."""
    message = _decode(lease_pb2.Receipt, content)
    return Receipt(
        node_id=message.node_id,
        log_id=message.log_id,
        exchange_id=message.exchange_id,
        lease_id=message.lease_id,
        sequence=message.sequence,
        energy_mj=message.energy.millijoules,
        reused_heat_mj=message.heat.reused_millijoules,
        gross_msat_total=message.gross_msat_total,
        final=message.final,
    )


def stated_origin(envelope: Envelope) -> tuple[str | None, str | None]:
    """Node id and log id that the payload itself names; None where its type names none.

    :raises Malformed: for a payload that is not of its type, or a type that is no message's.
    """
    match message_name(envelope.payload_type):
        case "Receipt":
            receipt = _decode(lease_pb2.Receipt, envelope.payload)
            return receipt.node_id, receipt.log_id
        case "Offer":
            return _decode(offer_pb2.Offer, envelope.payload).node_id, None
        case "LeaseAgreement":
            return _decode(lease_pb2.LeaseAgreement, envelope.payload).node_id, None
        case "LogStart":
            return _decode(log_pb2.LogStart, envelope.payload).node_id, None
        case "KeyBinding":
            return None, _decode(log_pb2.KeyBinding, envelope.payload).log_id
        case _:
            return None, None


def _decode(kind: type[_M], content: bytes) -> _M:
    name = kind.DESCRIPTOR.name
    if len(content) > MAX_MESSAGE:
        raise Malformed(f"{len(content)} bytes are too many for a {name}")
    try:
        return kind.FromString(content)
    except (DecodeError, ValueError, RecursionError) as error:
        raise Malformed(f"not a {name}: {error}") from error


def _encode(message: Message) -> bytes:
    try:
        return message.SerializeToString(deterministic=True)
    except EncodeError as error:
        raise Malformed(f"not a whole {message.DESCRIPTOR.name}: {error}") from error


def _timestamp(nanoseconds: int) -> Timestamp:
    seconds, nanos = divmod(nanoseconds, 1_000_000_000)
    return Timestamp(seconds=seconds, nanos=nanos)


def _nanoseconds(timestamp: Timestamp) -> int:
    """:raises Malformed: outside the range that timestamp.proto allows."""
    if not -62135596800 <= timestamp.seconds <= 253402300799:
        raise Malformed("a timestamp outside the years 1 to 9999")
    if not 0 <= timestamp.nanos < 1_000_000_000:
        raise Malformed("a timestamp's nanoseconds are not within a second")
    return timestamp.seconds * 1_000_000_000 + timestamp.nanos
