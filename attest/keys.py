"""Public keys by their DER SubjectPublicKeyInfo, and the software key. Pure."""

from __future__ import annotations

import hashlib
from enum import IntEnum
from functools import lru_cache
from typing import Protocol

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

from attest.errors import BadSignature, Malformed

_ECDSA_SHA256 = ec.ECDSA(hashes.SHA256())
_MAX_SPKI = 4096  # bytes; RSA-4096 takes 550


class Algorithm(IntEnum):
    """`hearth.v1.SignatureAlgorithm`."""

    ECDSA_P256_SHA256 = 1
    ED25519 = 2


class Signer(Protocol):
    """Something that signs at once: an envelope key."""

    @property
    def spki(self) -> bytes:
        """DER SubjectPublicKeyInfo."""
        ...

    @property
    def key_id(self) -> bytes:
        """SHA-256 of `spki`."""
        ...

    @property
    def algorithm(self) -> Algorithm:
        """What `sign` makes."""
        ...

    def sign(self, message: bytes) -> bytes:
        """ECDSA: ASN.1 DER. Ed25519: 64 bytes."""
        ...


class SoftwareKey:
    """A P-256 key in memory: one boot's envelope key, or the node key of a host without a TPM."""

    __slots__ = ("_key", "_key_id", "_spki")

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        if not isinstance(key.curve, ec.SECP256R1):
            raise Malformed(f"a software key is P-256, not {key.curve.name}")
        self._key = key
        self._spki = spki_of(key.public_key())
        self._key_id = key_id(self._spki)

    @classmethod
    def generate(cls) -> SoftwareKey:
        """A new key from the system's random source."""
        return cls(ec.generate_private_key(ec.SECP256R1()))

    @classmethod
    def from_pem(cls, pem: bytes) -> SoftwareKey:
        """The key in an unencrypted PKCS#8 PEM.

        :raises Malformed: for anything else, and for another curve.
        """
        try:
            key = serialization.load_pem_private_key(pem, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise Malformed(f"not an unencrypted PKCS#8 key in PEM: {error}") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise Malformed("a software key is an EC key on P-256")
        return cls(key)

    def to_pem(self) -> bytes:
        """Unencrypted PKCS#8 PEM."""
        return self._key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )

    @property
    def spki(self) -> bytes:
        """DER SubjectPublicKeyInfo."""
        return self._spki

    @property
    def key_id(self) -> bytes:
        """SHA-256 of `spki`."""
        return self._key_id

    @property
    def algorithm(self) -> Algorithm:
        """Always ECDSA with SHA-256."""
        return Algorithm.ECDSA_P256_SHA256

    def sign(self, message: bytes) -> bytes:
        """ECDSA with SHA-256 over `message`, DER."""
        return self._key.sign(message, _ECDSA_SHA256)

    def __repr__(self) -> str:
        return f"SoftwareKey({self.key_id.hex()[:16]})"


def key_id(spki: bytes) -> bytes:
    """SHA-256 of the DER SubjectPublicKeyInfo."""
    return hashlib.sha256(spki).digest()


def spki_of(key: PublicKeyTypes) -> bytes:
    """DER SubjectPublicKeyInfo of a loaded key."""
    return key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


@lru_cache(maxsize=1024)  # loading a point costs as much as verifying under it
def load_spki(spki: bytes) -> PublicKeyTypes:
    """The public key in a DER SubjectPublicKeyInfo, which must be in its one canonical encoding.

    :raises Malformed: also for a point off its curve.
    """
    if len(spki) > _MAX_SPKI:
        raise Malformed(f"a public key of {len(spki)} bytes is too large")
    try:
        key = serialization.load_der_public_key(spki)
        canonical = spki_of(key)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise Malformed(f"not a DER SubjectPublicKeyInfo of a usable key: {error}") from error
    if canonical != spki:
        raise Malformed("the SubjectPublicKeyInfo is not in its canonical DER encoding")
    return key


def algorithm_of(spki: bytes) -> Algorithm:
    """The one algorithm that a statement key signs with.

    :raises Malformed: for any key but P-256 and Ed25519.
    """
    key = load_spki(spki)
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
        return Algorithm.ECDSA_P256_SHA256
    if isinstance(key, ed25519.Ed25519PublicKey):
        return Algorithm.ED25519
    raise Malformed("a statement key is P-256 or Ed25519")


def verify_signature(spki: bytes, algorithm: int, message: bytes, signature: bytes) -> None:
    """Check one signature. ECDSA signatures are strict DER; both (r, s) and (r, n - s) hold.

    :raises Malformed: for a key that is none, or that cannot sign with `algorithm`.
    :raises BadSignature: when it does not hold.
    """
    key = load_spki(spki)
    try:
        if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
            if algorithm != Algorithm.ECDSA_P256_SHA256:
                raise Malformed(f"a P-256 key does not sign with algorithm {algorithm}")
            key.verify(signature, message, _ECDSA_SHA256)
        elif isinstance(key, ed25519.Ed25519PublicKey):
            if algorithm != Algorithm.ED25519:
                raise Malformed(f"an Ed25519 key does not sign with algorithm {algorithm}")
            key.verify(signature, message)
        else:
            raise Malformed("a statement key is P-256 or Ed25519")
    except InvalidSignature as error:
        raise BadSignature("the signature does not hold under this key") from error
