"""The other half of an ECDSA signature: (r, n - s) holds wherever (r, s) does (SEC 1, 4.1.4)."""

from __future__ import annotations

from dataclasses import replace

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)

from attest import checkpoint
from attest.envelope import Envelope

N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # SEC 2, 2.4.2
_ECDSA_SHA256 = bytes.fromhex("300a06082a8648ce3d040302")


def signature(der: bytes) -> bytes:
    """A P-256 signature's mirror, DER."""
    r, s = decode_dss_signature(der)
    return encode_dss_signature(r, N - s)


def envelope(signed: Envelope) -> Envelope:
    """An envelope with one signature, mirrored."""
    (by,) = signed.signatures
    return replace(signed, signatures=(replace(by, signature=signature(by.signature)),))


def note(signed: bytes) -> bytes:
    """A note with one signature line, mirrored."""
    _, text, (by,) = checkpoint.parse(signed)
    return checkpoint.assemble(text, replace(by, signature=signature(by.signature)))


def certificate(der: bytes) -> bytes:
    """A certificate signed with ECDSA P-256 and SHA-256, its signature mirrored."""
    parsed = x509.load_der_x509_certificate(der)
    bits = _element(0x03, b"\0" + signature(parsed.signature))
    return _element(0x30, parsed.tbs_certificate_bytes + _ECDSA_SHA256 + bits)


def _element(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    octets = (size.bit_length() + 7) // 8
    return bytes((tag, 0x80 | octets)) + size.to_bytes(octets, "big") + content
