"""Who this exchange is and what it states."""

from __future__ import annotations

import secrets
import sqlite3
import uuid
from collections.abc import Callable
from dataclasses import dataclass

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from hearth.v1 import attestation_pb2, common_pb2, settlement_pb2

from agent.sandbox.exchange.ca import Authority
from agent.sandbox.exchange.options import Options
from attest import envelope
from attest.formats import envelope_to_proto
from attest.root import REQUIRED_PCRS

TERMS_VERSION = "1"


@dataclass(frozen=True, slots=True)
class Exchange:
    """Keys, policy and clock, handed to everything that judges or states something."""

    authority: Authority
    options: Options
    session_endpoint: str  # host:port
    now_ns: Callable[[], int]  # Unix time

    @property
    def exchange_id(self) -> str:
        """Lower-case hex SHA-256 of the statement key's SPKI."""
        return self.authority.exchange_id

    @property
    def capabilities(self) -> list[attestation_pb2.Capability]:
        """What this exchange supports beyond the core: being invoiced, where it has a node."""
        if self.options.lightning is None:
            return []
        return [
            attestation_pb2.CAPABILITY_LIGHTNING_BOLT11,
            attestation_pb2.CAPABILITY_PREPAID,
        ]

    def sign(self, message: Message) -> common_pb2.SignedEnvelope:
        """State something: serialised once, signed as those bytes."""
        payload_type = envelope.payload_type(type(message).__name__)
        payload = message.SerializeToString(deterministic=True)
        return envelope_to_proto(envelope.sign(payload_type, payload, self.authority.statement))

    def post(self, db: sqlite3.Connection, node_id: str, message: Message) -> bytes:
        """Sign a message, put it in a node's outbox and return its payload.

        It has the node's next delivery sequence and is sent until the node has it.
        """
        signed = self.sign(message)
        db.execute("UPDATE node SET sent = sent + 1 WHERE node_id = ?", (node_id,))
        db.execute(
            "INSERT INTO outbox SELECT node_id, sent, ? FROM node WHERE node_id = ?",
            (signed.SerializeToString(), node_id),
        )
        return signed.payload

    def describe(self) -> attestation_pb2.ExchangeIdentity:
        """Return what a node is told at enrolment. Without `witness_vkey`: it cosigns nothing."""
        return attestation_pb2.ExchangeIdentity(
            exchange_id=self.exchange_id,
            display_name=self.options.name,
            statement_spki=[self.authority.statement.spki],
            session_endpoint=self.session_endpoint,
            session_ca=[self.authority.certificate_der],
        )

    def terms(self) -> common_pb2.SignedEnvelope:
        """Return the signed terms."""
        return self.sign(
            settlement_pb2.ExchangeTerms(
                version=TERMS_VERSION,
                required_pcr_indices=REQUIRED_PCRS,
                bitcoin_network=self.options.network,
                challenge_answer_period=duration(self.options.challenge_answer_period),
            )
        )


def timestamp(unix_ns: int) -> Timestamp:
    """Return Unix time in nanoseconds as a Timestamp."""
    return Timestamp(seconds=unix_ns // 10**9, nanos=unix_ns % 10**9)


def duration(seconds: float) -> Duration:
    """Return seconds as a Duration, to the millisecond."""
    milliseconds = round(seconds * 1000)
    return Duration(seconds=milliseconds // 1000, nanos=milliseconds % 1000 * 1_000_000)


def uuid7(unix_ns: int) -> str:
    """Return a UUIDv7 (RFC 9562 5.7): sorts by time."""
    value = (unix_ns // 1_000_000 & (1 << 48) - 1) << 80 | secrets.randbits(80)
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return str(uuid.UUID(int=value))
