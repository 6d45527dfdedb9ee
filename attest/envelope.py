"""DSSE v1 envelopes: bytes, their type, and who signed both. Pure.

Source: github.com/secure-systems-lab/dsse, protocol.md. The payload is signed, hashed and carried
as the bytes it arrived in, and never serialised again.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, replace

from attest.errors import BadSignature, Malformed
from attest.keys import Signer, key_id, verify_signature

_PREFIX = "application/vnd.hearth.v1."
_SUFFIX = "+protobuf"
_NAME = re.compile(r"[A-Z][A-Za-z0-9]{0,63}")


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature over the PAE; the key is known from elsewhere, never from here."""

    key_id: bytes  # SHA-256 of the DER SubjectPublicKeyInfo
    algorithm: int  # hearth.v1.SignatureAlgorithm
    signature: bytes


@dataclass(frozen=True, slots=True)
class Envelope:
    """`hearth.v1.SignedEnvelope`."""

    payload_type: str
    payload: bytes
    signatures: tuple[Signature, ...]


def payload_type(name: str) -> str:
    """Payload type of a message: "Offer" -> "application/vnd.hearth.v1.Offer+protobuf".

    :raises Malformed: for something that cannot be a message's name.
    """
    if not _NAME.fullmatch(name):
        raise Malformed(f"{name!r} is not the name of a message")
    return f"{_PREFIX}{name}{_SUFFIX}"


def message_name(payload_type: str) -> str:
    """The inverse of `payload_type`.

    :raises Malformed: for a type of any other shape.
    """
    if payload_type.startswith(_PREFIX) and payload_type.endswith(_SUFFIX):
        name = payload_type[len(_PREFIX) : -len(_SUFFIX)]
        if _NAME.fullmatch(name):
            return name
    raise Malformed(f"{payload_type[:80]!r} is not the payload type of a hearth.v1 message")


def pae(payload_type: str, payload: bytes) -> bytes:
    """Pre-authentication encoding: what is signed (DSSE v1)."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def leaf_hash(payload_type: str, payload: bytes) -> bytes:
    """The log's leaf: SHA-256(0x00 || PAE) (RFC 9162 2.1.1 over the PAE)."""
    return hashlib.sha256(b"\x00" + pae(payload_type, payload)).digest()


def sign(payload_type: str, payload: bytes, *signers: Signer) -> Envelope:
    """An envelope signed by each of `signers`, in that order."""
    message = pae(payload_type, payload)
    return Envelope(payload_type, payload, tuple(_signature(message, by) for by in signers))


def countersign(envelope: Envelope, signer: Signer) -> Envelope:
    """The same bytes with one more signature at the end."""
    message = pae(envelope.payload_type, envelope.payload)
    return replace(envelope, signatures=(*envelope.signatures, _signature(message, signer)))


def verify(envelope: Envelope, spki: bytes) -> None:
    """Check the one signature of this key. Other keys' signatures are not judged.

    :raises BadSignature: when there is none, more than one, or it does not hold.
    :raises Malformed: for a key that is none, or an algorithm that is not this key's.
    """
    wanted = key_id(spki)
    found = [by for by in envelope.signatures if by.key_id == wanted]
    if len(found) != 1:
        raise BadSignature(
            f"the envelope carries {len(found)} signatures by key {wanted.hex()[:16]}, not one"
        )
    message = pae(envelope.payload_type, envelope.payload)
    verify_signature(spki, found[0].algorithm, message, found[0].signature)


def verify_only(envelope: Envelope, spki: bytes) -> None:
    """As `verify`, and there is no other signature on the envelope.

    :raises BadSignature: also when anybody else signed it.
    """
    if len(envelope.signatures) != 1:
        raise BadSignature(f"the envelope carries {len(envelope.signatures)} signatures, not one")
    verify(envelope, spki)


def _signature(message: bytes, signer: Signer) -> Signature:
    return Signature(signer.key_id, int(signer.algorithm), signer.sign(message))
