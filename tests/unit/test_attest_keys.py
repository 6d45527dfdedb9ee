"""Keys and signatures: one key, one algorithm, one encoding."""

from __future__ import annotations

import hashlib

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from attest.encoding import lp
from attest.errors import BadSignature, Malformed
from attest.keys import Algorithm, SoftwareKey, algorithm_of, key_id, spki_of, verify_signature


def test_a_software_key_survives_its_pem() -> None:
    key = SoftwareKey.generate()
    again = SoftwareKey.from_pem(key.to_pem())
    assert again.spki == key.spki
    assert again.key_id == key_id(key.spki) == hashlib.sha256(key.spki).digest()
    verify_signature(key.spki, again.algorithm, b"message", again.sign(b"message"))
    assert "PRIVATE" not in repr(key)


def test_another_message_or_key_is_refused() -> None:
    key = SoftwareKey.generate()
    signature = key.sign(b"message")
    with pytest.raises(BadSignature):
        verify_signature(key.spki, 1, b"messagf", signature)
    with pytest.raises(BadSignature):
        verify_signature(SoftwareKey.generate().spki, 1, b"message", signature)


def test_ed25519_is_verified_and_not_confused_with_ecdsa() -> None:
    private = ed25519.Ed25519PrivateKey.generate()
    spki = spki_of(private.public_key())
    signature = private.sign(b"message")
    verify_signature(spki, Algorithm.ED25519, b"message", signature)
    assert algorithm_of(spki) is Algorithm.ED25519
    with pytest.raises(Malformed):
        verify_signature(spki, Algorithm.ECDSA_P256_SHA256, b"message", signature)
    with pytest.raises(Malformed):
        verify_signature(SoftwareKey.generate().spki, Algorithm.ED25519, b"message", signature)


def test_an_unspecified_algorithm_is_refused() -> None:
    key = SoftwareKey.generate()
    for algorithm in (0, 3, -1, 2**31):
        with pytest.raises(Malformed):
            verify_signature(key.spki, algorithm, b"m", key.sign(b"m"))


def _der(number: int, pad: bytes = b"") -> bytes:
    body = pad + number.to_bytes((number.bit_length() + 8) // 8, "big")
    return b"\x02" + bytes([len(body)]) + body


def test_a_signature_has_one_der_encoding() -> None:
    key = SoftwareKey.generate()
    signature = key.sign(b"message")
    r, s = decode_dss_signature(signature)
    body = _der(r) + _der(s)
    assert b"\x30" + bytes([len(body)]) + body == signature
    padded = _der(r, b"\0") + _der(s)
    negative = _der(r) + b"\x02\x01\x80"
    for wrong in (
        b"\x30\x81" + bytes([len(body)]) + body,
        b"\x30" + bytes([len(padded)]) + padded,
        b"\x30" + bytes([len(negative)]) + negative,
        b"\x30\x80" + body + b"\0\0",
        signature + b"\0",
        signature[:-1],
        b"",
    ):
        with pytest.raises(BadSignature):
            verify_signature(key.spki, 1, b"message", wrong)


def test_a_key_has_one_encoding() -> None:
    key = SoftwareKey.generate()
    public = serialization.load_der_public_key(key.spki)
    assert isinstance(public, ec.EllipticCurvePublicKey)
    compressed = public.public_bytes(
        serialization.Encoding.X962, serialization.PublicFormat.CompressedPoint
    )
    algorithm = key.spki[2:23]
    bits = b"\x03" + bytes([len(compressed) + 1]) + b"\0" + compressed
    for wrong in (
        b"\x30" + bytes([len(algorithm + bits)]) + algorithm + bits,
        key.spki + b"\0",
        key.spki[:-1] + bytes([key.spki[-1] ^ 1]),  # off the curve
    ):
        with pytest.raises(Malformed):
            verify_signature(wrong, 1, b"m", key.sign(b"m"))


def test_other_keys_sign_no_statements() -> None:
    for private in (
        rsa.generate_private_key(65537, 2048),
        ec.generate_private_key(ec.SECP384R1()),
    ):
        with pytest.raises(Malformed):
            algorithm_of(spki_of(private.public_key()))
        with pytest.raises(Malformed):
            verify_signature(spki_of(private.public_key()), 1, b"", b"")
        pem = private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        with pytest.raises(Malformed):
            SoftwareKey.from_pem(pem)


def test_length_prefix() -> None:
    assert lp(b"") == bytes(4)
    assert lp(b"abc") == b"\0\0\0\3abc"
