"""MakeCredential, opened again as TPM2_ActivateCredential would (part 1, 24; part 3, 12.5)."""

from __future__ import annotations

import hashlib
import hmac
import struct
from dataclasses import dataclass

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms

from attest import tcg
from attest.credential import CFB, make_credential
from attest.errors import Malformed, Mismatch
from attest.evidence import transcript_hmac
from attest.tcg import Public, parse_public
from tests.fakes.fake_tpm import FakeTpm, tpm2b

AK_NAME = FakeTpm().public.name
SECRET = bytes(range(32))
EK_ATTRIBUTES = 0x000300B2
AES128 = struct.pack(">HHH", tcg.AES, 128, tcg.CFB)


@dataclass(frozen=True)
class Ek:
    """An EK with its private half."""

    private: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
    public: Public


def rsa_ek() -> Ek:
    private = rsa.generate_private_key(65537, 2048)
    modulus = private.public_key().public_numbers().n.to_bytes(256, "big")
    raw = (
        struct.pack(">HHI", tcg.RSA, tcg.SHA256, EK_ATTRIBUTES)
        + tpm2b(bytes(32))
        + AES128
        + struct.pack(">HHI", tcg.NULL, 2048, 0)
        + tpm2b(modulus)
    )
    return Ek(private, parse_public(raw))


def ecc_ek() -> Ek:
    """P-384, SHA-384 and AES-256, as template H-3."""
    private = ec.generate_private_key(ec.SECP384R1())
    numbers = private.public_key().public_numbers()
    raw = (
        struct.pack(">HHI", tcg.ECC, 0x000C, EK_ATTRIBUTES | tcg.USER_WITH_AUTH)
        + tpm2b(bytes(48))
        + struct.pack(">HHH", tcg.AES, 256, tcg.CFB)
        + struct.pack(">HHH", tcg.NULL, 0x0004, tcg.NULL)
        + tpm2b(numbers.x.to_bytes(48, "big"))
        + tpm2b(numbers.y.to_bytes(48, "big"))
    )
    return Ek(private, parse_public(raw))


def unpack(content: bytes) -> tuple[bytes, bytes]:
    """The front TPM2B's content and what follows."""
    (size,) = struct.unpack_from(">H", content)
    return content[2 : 2 + size], content[2 + size :]


def kdfa(name: str, key: bytes, label: bytes, context: bytes, bits: int) -> bytes:
    """11.4.10.2, written out: HMAC(key, counter || label || 00 || context || bits)."""
    out = b""
    counter = 1
    while len(out) * 8 < bits:
        fixed = struct.pack(">I", counter) + label + b"\0" + context + struct.pack(">I", bits)
        out += hmac.new(key, fixed, name).digest()
        counter += 1
    return out[: bits // 8]


def kdfe(name: str, shared: bytes, label: bytes, mine: bytes, theirs: bytes) -> bytes:
    """11.4.10.3: H(counter || Z || label || 00 || x || x)."""
    fixed = struct.pack(">I", 1) + shared + label + b"\0" + mine + theirs
    return hashlib.new(name, fixed).digest()


def activate(ek: Ek, blob: bytes, encrypted: bytes, ak_name: bytes) -> bytes:
    """TPM2_ActivateCredential; ValueError when the integrity check fails."""
    name = tcg.HASHES[ek.public.name_alg]
    identity, rest = unpack(blob)
    sealed, more = unpack(encrypted)
    assert not rest
    assert not more
    if isinstance(ek.private, rsa.RSAPrivateKey):
        oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), b"IDENTITY\0")
        seed = ek.private.decrypt(sealed, oaep)
    else:
        x, tail = unpack(sealed)
        y, _ = unpack(tail)
        curve = ek.private.curve
        point = ec.EllipticCurvePublicNumbers(
            int.from_bytes(x, "big"), int.from_bytes(y, "big"), curve
        ).public_key()
        mine = ek.private.public_key().public_numbers().x.to_bytes(48, "big")
        seed = kdfe(name, ek.private.exchange(ec.ECDH(), point), b"IDENTITY", x, mine)
    mac, body = unpack(identity)
    size = hashlib.new(name).digest_size
    key = kdfa(name, seed, b"INTEGRITY", b"", size * 8)
    if not hmac.compare_digest(mac, hmac.new(key, body + ak_name, name).digest()):
        raise ValueError("TPM_RC_INTEGRITY")
    assert ek.public.symmetric is not None
    storage = kdfa(name, seed, b"STORAGE", ak_name, ek.public.symmetric[1])
    opened = Cipher(algorithms.AES(storage), CFB(bytes(16))).decryptor().update(body)
    secret, nothing = unpack(opened)
    assert not nothing
    return secret


@pytest.mark.parametrize("make", [rsa_ek, ecc_ek])
def test_the_right_tpm_and_ak_open_it(make: object) -> None:
    assert callable(make)
    ek = make()
    blob, encrypted = make_credential(ek.public, SECRET, AK_NAME)
    assert activate(ek, blob, encrypted, AK_NAME) == SECRET
    with pytest.raises(ValueError, match="INTEGRITY"):
        activate(ek, blob, encrypted, b"\0\x0b" + bytes(32))
    flipped = blob[:60] + bytes([blob[60] ^ 1]) + blob[61:]
    with pytest.raises(ValueError, match="INTEGRITY"):
        activate(ek, flipped, encrypted, AK_NAME)


def test_each_credential_is_another() -> None:
    ek = rsa_ek().public
    assert make_credential(ek, SECRET, AK_NAME) != make_credential(ek, SECRET, AK_NAME)


def test_what_is_no_storage_key_or_too_long_is_refused() -> None:
    with pytest.raises(Mismatch):
        make_credential(FakeTpm().public, SECRET, AK_NAME)
    for secret in (b"", bytes(33)):
        with pytest.raises(Malformed):
            make_credential(rsa_ek().public, secret, AK_NAME)


def test_the_transcript_covers_each_part() -> None:
    parts = (b"secret", b"begin", b"challenge", b"evidence")
    whole = transcript_hmac(*parts)
    message = b"\0\0\0\5begin\0\0\0\x09challenge" + hashlib.sha256(b"evidence").digest()
    assert whole == hmac.new(b"secret", message, "sha256").digest()
    for at in range(4):
        changed = [*parts[:at], parts[at] + b"x", *parts[at + 1 :]]
        assert transcript_hmac(*changed) != whole
