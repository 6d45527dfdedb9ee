"""The messages of enrolment and renewal."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from google.protobuf.message import DecodeError
from hearth.v1 import attestation_pb2, session_pb2

from agent.errors import MalformedMessage
from agent.wire.foreign import one_line
from agent.wire.requests import nanoseconds
from attest.envelope import verify_only
from attest.errors import AttestError
from attest.formats import envelope_from_proto
from attest.root import Endorsement, RootIdentity

MOST_KEYS = 8  # of an exchange: each of its statements is tried with all of them


@dataclass(frozen=True, slots=True)
class Challenge:
    """The exchange's signed CredentialChallenge, its signature verified."""

    payload: bytes  # exact bytes: they enter the transcript
    exchange_id: str
    display_name: str
    statement_spki: tuple[bytes, ...]
    session_endpoint: str
    session_ca: tuple[bytes, ...]
    nonce: bytes
    credential_blob: bytes
    encrypted_secret: bytes


@dataclass(frozen=True, slots=True)
class Result:
    """What the exchange certified."""

    node_id: str
    tls_chain: tuple[bytes, ...]
    ak_chain: tuple[bytes, ...]
    assurance: int
    expire_ns: int


def begin(
    token: str,
    nonce: bytes,
    identity: RootIdentity,
    endorsement: Endorsement,
    csr: bytes,
    version: str,
) -> bytes:
    """EnrollBegin as bytes: exactly these enter the transcript."""
    return attestation_pb2.EnrollBegin(
        join_token=token,
        client_nonce=nonce,
        ek_certificate_chain=endorsement.ek_certificate_chain,
        ek_public=endorsement.ek_public,
        ak_public=identity.ak_public,
        software_spki=b"" if identity.ak_public else identity.spki,
        tls_csr=csr,
        agent_version=version,
    ).SerializeToString(deterministic=True)


def begin_step(content: bytes) -> attestation_pb2.EnrollRequest:
    """The first step."""
    return attestation_pb2.EnrollRequest(begin=content)


def proof_step(hmac: bytes, evidence: bytes) -> attestation_pb2.EnrollRequest:
    """The second step."""
    return attestation_pb2.EnrollRequest(
        proof=attestation_pb2.EnrollProof(transcript_hmac_sha256=hmac, evidence=evidence)
    )


def challenge(response: attestation_pb2.EnrollResponse, pinned_sha256: str) -> Challenge:
    """Take the challenge if the statement key that the join token pins has signed it.

    :raises MalformedMessage: when it is not what it should be, or another key signed it.
    """
    if response.WhichOneof("step") != "challenge":
        raise MalformedMessage("enrolment: expected a challenge")
    message = attestation_pb2.CredentialChallenge()
    try:
        envelope = envelope_from_proto(response.challenge)
        message.ParseFromString(envelope.payload)
        exchange = message.exchange
        keys = tuple(exchange.statement_spki)
        if not keys or hashlib.sha256(keys[0]).hexdigest() != pinned_sha256:
            raise MalformedMessage(
                "enrolment: this is not the exchange that issued the join token"
                " (another statement key)"
            )
        verify_only(envelope, keys[0])
    except (AttestError, DecodeError) as error:
        raise MalformedMessage(f"enrolment challenge: {error}") from None
    if exchange.exchange_id != pinned_sha256 or len(message.nonce) != 32:
        raise MalformedMessage("enrolment challenge: exchange id or nonce is not what it should be")
    if len(keys) > MOST_KEYS:
        raise MalformedMessage(
            f"enrolment challenge: {len(keys)} statement keys, not 1 to {MOST_KEYS}"
        )
    return Challenge(
        payload=envelope.payload,
        exchange_id=exchange.exchange_id,
        display_name=one_line(exchange.display_name, 100).strip(),
        statement_spki=keys,
        session_endpoint=exchange.session_endpoint,
        session_ca=tuple(exchange.session_ca),
        nonce=message.nonce,
        credential_blob=message.credential_blob,
        encrypted_secret=message.encrypted_secret,
    )


def result(response: attestation_pb2.EnrollResponse) -> Result:
    """Take the outcome.

    :raises MalformedMessage: when it is none.
    """
    if response.WhichOneof("step") != "result":
        raise MalformedMessage("enrolment: expected a result")
    message = response.result
    return Result(
        message.node_id,
        tuple(message.tls_certificate_chain),
        tuple(message.ak_certificate_chain),
        message.assurance,
        nanoseconds(message.expire_time, "expire_time"),
    )


def renewal(csr: bytes, evidence: bytes) -> session_pb2.RenewCertificateRequest:
    """Ask for a client certificate over a new key."""
    return session_pb2.RenewCertificateRequest(tls_csr=csr, evidence=evidence)


def renewed(
    response: session_pb2.RenewCertificateResponse,
) -> tuple[tuple[bytes, ...], tuple[bytes, ...], int]:
    """TLS chain, AK chain and expiry in ns since the epoch.

    :raises MalformedMessage: when the expiry is out of range.
    """
    return (
        tuple(response.tls_certificate_chain),
        tuple(response.ak_certificate_chain),
        nanoseconds(response.expire_time, "expire_time"),
    )
