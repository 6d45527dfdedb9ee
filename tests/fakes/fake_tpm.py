"""A TPM's outputs without a TPM: a P-256 key that signs structures made by hand.

Verifying code cannot tell it from a TPM, which is the point: it can also make what no TPM would.
Signatures are deterministic (RFC 6979), so that golden files can be made again.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from attest import tcg
from attest.keys import Algorithm, key_id, spki_of

Selections = Sequence[tuple[int, Sequence[int]]]
PCRS = tuple((index, hashlib.sha256(b"pcr %d" % index).digest()) for index in (0, 2, 4, 7))
_ECDSA = ec.ECDSA(hashes.SHA256(), deterministic_signing=True)
_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def private_key(seed: str) -> ec.EllipticCurvePrivateKey:
    """The same P-256 key for the same words. Worth nothing as a secret."""
    number = int.from_bytes(hashlib.sha256(seed.encode()).digest(), "big")
    return ec.derive_private_key(number % (_ORDER - 1) + 1, ec.SECP256R1())


class FixedKey:
    """A `Signer` whose signatures are the same each time."""

    def __init__(self, seed: str) -> None:
        self.private = private_key(seed)
        self.spki = spki_of(self.private.public_key())
        self.key_id = key_id(self.spki)
        self.algorithm = Algorithm.ECDSA_P256_SHA256

    def sign(self, message: bytes) -> bytes:
        return self.private.sign(message, _ECDSA)


def tpm2b(content: bytes) -> bytes:
    return struct.pack(">H", len(content)) + content


@dataclass(frozen=True)
class AkShape:
    """A TPMT_PUBLIC of an ECC signing key, field by field."""

    name_alg: int = tcg.SHA256
    attributes: int = tcg.AK_ATTRIBUTES
    policy: bytes = b""
    symmetric: bytes = struct.pack(">H", tcg.NULL)
    scheme: bytes = struct.pack(">HH", tcg.ECDSA, tcg.SHA256)
    curve: int = tcg.P256
    kdf: bytes = struct.pack(">H", tcg.NULL)


def ecc_public(key: ec.EllipticCurvePublicKey, shape: AkShape = AkShape()) -> bytes:
    numbers = key.public_numbers()
    width = (key.curve.key_size + 7) // 8
    return (
        struct.pack(">HHI", tcg.ECC, shape.name_alg, shape.attributes)
        + tpm2b(shape.policy)
        + shape.symmetric
        + shape.scheme
        + struct.pack(">H", shape.curve)
        + shape.kdf
        + tpm2b(numbers.x.to_bytes(width, "big"))
        + tpm2b(numbers.y.to_bytes(width, "big"))
    )


@dataclass(frozen=True)
class Made:
    """TPMS_ATTEST and TPMT_SIGNATURE."""

    attest: bytes
    signature: bytes


def selection(selections: Selections) -> bytes:
    """TPML_PCR_SELECTION with three octets a bank."""
    out = struct.pack(">I", len(selections))
    for bank, indices in selections:
        bits = sum(1 << index for index in indices)
        out += struct.pack(">HB", bank, 3) + bits.to_bytes(3, "little")
    return out


def pcr_digest(pcrs: Sequence[tuple[int, bytes]]) -> bytes:
    return hashlib.sha256(b"".join(value for _, value in pcrs)).digest()


class FakeTpm:
    """One AK, and whatever its owner makes it say."""

    def __init__(self, seed: str = "ak", shape: AkShape = AkShape()) -> None:
        self.key = FixedKey(seed)
        self.ak_public = ecc_public(self.key.private.public_key(), shape)
        self.public = tcg.parse_public(self.ak_public)
        self.node_id = tcg.node_id(self.public)
        self.spki = self.key.spki

    def made(
        self,
        kind: int,
        qualifying: bytes,
        body: bytes,
        *,
        magic: int = tcg.GENERATED,
        signer: bytes | None = None,
    ) -> Made:
        header = struct.pack(">IH", magic, kind)
        name = tcg.qualified_name(self.public) if signer is None else signer
        clock = struct.pack(">QIIBQ", 1892, 2, 0, 1, 0x2019102300163636)
        attest = header + tpm2b(name) + tpm2b(qualifying) + clock + body
        return Made(attest, self.tpm_signature(attest))

    def quote(
        self,
        qualifying: bytes,
        pcrs: Sequence[tuple[int, bytes]] = PCRS,
        *,
        selections: Selections | None = None,
        magic: int = tcg.GENERATED,
        signer: bytes | None = None,
    ) -> Made:
        chosen = selections or [(tcg.SHA256, [index for index, _ in pcrs])]
        body = selection(chosen) + tpm2b(pcr_digest(pcrs))
        return self.made(tcg.AttestType.QUOTE, qualifying, body, magic=magic, signer=signer)

    def certify(self, qualifying: bytes) -> Made:
        body = tpm2b(self.public.name) + tpm2b(tcg.qualified_name(self.public))
        return self.made(tcg.AttestType.CERTIFY, qualifying, body)

    def time(self, qualifying: bytes) -> Made:
        body = struct.pack(">QQIIBQ", 1249, 1926, 2, 0, 1, 0x2019102300163636)
        return self.made(tcg.AttestType.TIME, qualifying, body)

    def nv(self, qualifying: bytes) -> Made:
        body = tpm2b(b"\x00\x0b" + bytes(32)) + struct.pack(">H", 0) + tpm2b(bytes(8))
        return self.made(tcg.AttestType.NV, qualifying, body)

    def sign_note(self, text: bytes) -> bytes:
        return self.key.sign(text)

    def tpm_signature(
        self, message: bytes, algorithm: int = tcg.ECDSA, digest: int = tcg.SHA256
    ) -> bytes:
        r, s = decode_dss_signature(self.key.sign(message))
        return (
            struct.pack(">HH", algorithm, digest)
            + tpm2b(r.to_bytes(32, "big"))
            + tpm2b(s.to_bytes(32, "big"))
        )


def unrestricted(shape: AkShape = AkShape()) -> AkShape:
    """The AK's shape without `restricted`: such a key can sign a forged TPMS_ATTEST."""
    return replace(shape, attributes=shape.attributes & ~tcg.RESTRICTED)
