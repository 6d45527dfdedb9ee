"""Strict parsers of the TPM structures that a verifier meets. Pure.

Source: TCG TPM 2.0 Library, part 2 (clause numbers beside the parsers). Every field is bounded, and
nothing may follow the last one. Parsing is not believing: `verify_attest` checks the signature.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from enum import IntEnum

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from attest.errors import BadSignature, Malformed, Mismatch
from attest.keys import spki_of

GENERATED = 0xFF544347  # TPM_GENERATED_VALUE, 6.2
NULL = 0x0010
RSA, ECC = 0x0001, 0x0023
SHA256 = 0x000B
AES, CFB = 0x0006, 0x0043
ECDSA = 0x0018
P256 = 0x0003
RH_ENDORSEMENT = 0x4000000B

FIXED_TPM, FIXED_PARENT, SENSITIVE_DATA_ORIGIN = 1 << 1, 1 << 4, 1 << 5
USER_WITH_AUTH, ADMIN_WITH_POLICY, NO_DA = 1 << 6, 1 << 7, 1 << 10
RESTRICTED, DECRYPT, SIGN = 1 << 16, 1 << 17, 1 << 18
AK_ATTRIBUTES = (
    FIXED_TPM | FIXED_PARENT | SENSITIVE_DATA_ORIGIN | USER_WITH_AUTH | NO_DA | RESTRICTED | SIGN
)

HASHES: dict[int, str] = {SHA256: "sha256", 0x000C: "sha384", 0x000D: "sha512"}
_CURVES: dict[int, ec.EllipticCurve] = {
    P256: ec.SECP256R1(),
    0x0004: ec.SECP384R1(),
    0x0005: ec.SECP521R1(),
}
_SCHEMES = (0x0014, 0x0016, 0x0017, ECDSA)  # RSASSA, RSAPSS, OAEP, ECDSA: each with one hash
_KDFS = (0x0007, 0x0020, 0x0021, 0x0022)  # MGF1, KDF1_SP800_56A, KDF2, KDF1_SP800_108
_AES_BITS = (128, 192, 256)
_MAX_BUFFER = 2048  # bytes; no TPM2B in these structures comes near it


class AttestType(IntEnum):
    """TPM_ST of an attestation structure, 6.9."""

    NV = 0x8014
    CERTIFY = 0x8017
    QUOTE = 0x8018
    TIME = 0x8019


@dataclass(frozen=True, slots=True)
class Public:
    """TPMT_PUBLIC (12.2.4) of an RSA or ECC key."""

    raw: bytes
    type: int  # TPM_ALG_RSA or TPM_ALG_ECC
    name_alg: int
    attributes: int  # TPMA_OBJECT
    auth_policy: bytes
    symmetric: tuple[int, int, int] | None  # algorithm, key bits, mode
    scheme: tuple[int, int] | None  # algorithm, hash
    kdf: tuple[int, int] | None
    curve: int  # TPM_ECC_CURVE; 0 for RSA
    key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey
    name: bytes  # nameAlg || digest of raw
    spki: bytes  # DER SubjectPublicKeyInfo of `key`


@dataclass(frozen=True, slots=True)
class QuoteInfo:
    """TPMS_QUOTE_INFO (10.12.4)."""

    selections: tuple[tuple[int, tuple[int, ...]], ...]  # bank, PCR indices ascending
    pcr_digest: bytes


@dataclass(frozen=True, slots=True)
class TimeInfo:
    """TPMS_TIME_ATTEST_INFO (10.12.2)."""

    time_ms: int  # since the TPM was last powered
    clock_ms: int
    reset_count: int
    restart_count: int
    safe: bool
    firmware_version: int


@dataclass(frozen=True, slots=True)
class CertifyInfo:
    """TPMS_CERTIFY_INFO (10.12.3)."""

    name: bytes
    qualified_name: bytes


@dataclass(frozen=True, slots=True)
class NvInfo:
    """TPMS_NV_CERTIFY_INFO (10.12.8)."""

    index_name: bytes
    offset: int
    contents: bytes


@dataclass(frozen=True, slots=True)
class Attest:
    """TPMS_ATTEST (10.12.12). `clock_ms` is no evidence of time: its owner can set it forward."""

    type: AttestType
    qualified_signer: bytes
    extra_data: bytes
    clock_ms: int
    reset_count: int
    restart_count: int
    safe: bool
    firmware_version: int
    attested: QuoteInfo | TimeInfo | CertifyInfo | NvInfo


class _Reader:
    """Big-endian fields off the front; `end` insists that nothing is left."""

    __slots__ = ("_at", "_bytes", "_what")

    def __init__(self, content: bytes, what: str) -> None:
        self._bytes, self._at, self._what = content, 0, what

    def take(self, count: int) -> bytes:
        end = self._at + count
        if end > len(self._bytes):
            raise Malformed(f"{self._what} ends within a field")
        taken = self._bytes[self._at : end]
        self._at = end
        return taken

    def number(self, width: int) -> int:
        return int.from_bytes(self.take(width), "big")

    def buffer(self) -> bytes:
        """A TPM2B."""
        size = self.number(2)
        if size > _MAX_BUFFER:
            raise Malformed(f"{self._what} holds a field of {size} bytes")
        return self.take(size)

    def flag(self) -> bool:
        """A TPMI_YES_NO."""
        value = self.number(1)
        if value > 1:
            raise Malformed(f"{self._what} has {value} where yes or no belongs")
        return bool(value)

    def end(self) -> None:
        if self._at != len(self._bytes):
            raise Malformed(f"{len(self._bytes) - self._at} bytes follow {self._what}")


def parse_public(public: bytes) -> Public:
    """A TPMT_PUBLIC without its TPM2B size.

    :raises Malformed: also for a point off its curve and for algorithms that no EK or AK uses.
    """
    reader = _Reader(public, "a TPMT_PUBLIC")
    kind, name_alg, attributes = reader.number(2), reader.number(2), reader.number(4)
    policy = reader.buffer()
    if name_alg not in HASHES:
        raise Malformed(f"name algorithm {name_alg:#06x} is not SHA-256, SHA-384 or SHA-512")
    symmetric, scheme = _symmetric(reader), _scheme(reader, _SCHEMES)
    curve, kdf = 0, None
    key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey
    if kind == RSA:
        key = _rsa_key(reader)
    elif kind == ECC:
        curve = reader.number(2)
        kdf = _scheme(reader, _KDFS)
        key = _ecc_key(curve, reader.buffer(), reader.buffer())
    else:
        raise Malformed(f"key type {kind:#06x} is neither RSA nor ECC")
    reader.end()
    name = struct.pack(">H", name_alg) + hashlib.new(HASHES[name_alg], public).digest()
    return Public(
        raw=public,
        type=kind,
        name_alg=name_alg,
        attributes=attributes,
        auth_policy=policy,
        symmetric=symmetric,
        scheme=scheme,
        kdf=kdf,
        curve=curve,
        key=key,
        name=name,
        spki=spki_of(key),
    )


def _symmetric(reader: _Reader) -> tuple[int, int, int] | None:
    """TPMT_SYM_DEF_OBJECT, 11.1.7."""
    algorithm = reader.number(2)
    if algorithm == NULL:
        return None
    bits, mode = reader.number(2), reader.number(2)
    if algorithm != AES or bits not in _AES_BITS or mode != CFB:
        raise Malformed("the symmetric algorithm of a TPM key is AES in CFB mode, or none")
    return algorithm, bits, mode


def _scheme(reader: _Reader, allowed: tuple[int, ...]) -> tuple[int, int] | None:
    """TPMT_ASYM_SCHEME and TPMT_KDF_SCHEME, 11.2.3."""
    algorithm = reader.number(2)
    if algorithm == NULL:
        return None
    if algorithm not in allowed:
        raise Malformed(f"scheme {algorithm:#06x} is not one of an EK or AK")
    return algorithm, reader.number(2)


def _rsa_key(reader: _Reader) -> rsa.RSAPublicKey:
    """TPMS_RSA_PARMS after scheme, and TPM2B_PUBLIC_KEY_RSA; exponent 0 stands for 65537."""
    bits, exponent, modulus = reader.number(2), reader.number(4), reader.buffer()
    number = int.from_bytes(modulus, "big")
    if bits not in (2048, 3072, 4096) or len(modulus) * 8 != bits or number.bit_length() != bits:
        raise Malformed("an RSA key of a TPM has 2048, 3072 or 4096 bits and says so")
    try:
        return rsa.RSAPublicNumbers(exponent or 65537, number).public_key()
    except (ValueError, UnsupportedAlgorithm) as error:
        raise Malformed(f"not an RSA public key: {error}") from error


def _ecc_key(curve: int, x: bytes, y: bytes) -> ec.EllipticCurvePublicKey:
    """TPMS_ECC_POINT, 11.2.5.2. A TPM may leave leading zeros out."""
    known = _CURVES.get(curve)
    if known is None:
        raise Malformed(f"curve {curve:#06x} is not P-256, P-384 or P-521")
    width = (known.key_size + 7) // 8
    if not 0 < len(x) <= width or not 0 < len(y) <= width:
        raise Malformed("a coordinate is longer than its curve, or missing")
    numbers = ec.EllipticCurvePublicNumbers(
        int.from_bytes(x, "big"), int.from_bytes(y, "big"), known
    )
    try:
        return numbers.public_key()
    except (ValueError, UnsupportedAlgorithm) as error:
        raise Malformed("the point is not on its curve") from error


def parse_attest(attest: bytes) -> Attest:
    """A TPMS_ATTEST of one of the types in `AttestType`, unverified.

    :raises Malformed: for anything else, a wrong magic included.
    """
    reader = _Reader(attest, "a TPMS_ATTEST")
    if reader.number(4) != GENERATED:
        raise Malformed("the magic of a TPMS_ATTEST is wrong: no TPM made this")
    code = reader.number(2)
    if code not in set(AttestType):
        raise Malformed(f"attestation type {code:#06x} is not quote, time, certify or NV")
    kind = AttestType(code)
    signer, extra = reader.buffer(), reader.buffer()
    clock, reset, restart = reader.number(8), reader.number(4), reader.number(4)
    safe, firmware = reader.flag(), reader.number(8)
    attested: QuoteInfo | TimeInfo | CertifyInfo | NvInfo
    match kind:
        case AttestType.QUOTE:
            attested = QuoteInfo(_selections(reader), reader.buffer())
        case AttestType.TIME:
            attested = TimeInfo(
                time_ms=reader.number(8),
                clock_ms=reader.number(8),
                reset_count=reader.number(4),
                restart_count=reader.number(4),
                safe=reader.flag(),
                firmware_version=reader.number(8),
            )
        case AttestType.CERTIFY:
            attested = CertifyInfo(reader.buffer(), reader.buffer())
        case AttestType.NV:
            attested = NvInfo(reader.buffer(), reader.number(2), reader.buffer())
    reader.end()
    return Attest(kind, signer, extra, clock, reset, restart, safe, firmware, attested)


def _selections(reader: _Reader) -> tuple[tuple[int, tuple[int, ...]], ...]:
    """TPML_PCR_SELECTION, 10.9.7."""
    count = reader.number(4)
    if count > 16:
        raise Malformed(f"{count} PCR selections are more than any TPM has banks")
    found = []
    for _ in range(count):
        bank, octets = reader.number(2), reader.number(1)
        if octets > 32:
            raise Malformed(f"a PCR selection of {octets} bytes")
        bits = int.from_bytes(reader.take(octets), "little")
        found.append((bank, tuple(i for i in range(8 * octets) if bits >> i & 1)))
    return tuple(found)


def check_ak(public: Public) -> None:
    """Check that this is the AK of Hearth: P-256 ECDSA with SHA-256, restricted, bound to its TPM.

    A restricted key never signs a structure that its TPM did not make; any other key can forge one.

    :raises Mismatch: naming what differs.
    """
    if public.type != ECC or public.curve != P256:
        raise Mismatch("the AK is not a P-256 key")
    if public.name_alg != SHA256:
        raise Mismatch("the AK's name algorithm is not SHA-256")
    if public.scheme != (ECDSA, SHA256):
        raise Mismatch("the AK's scheme is not exactly ECDSA with SHA-256")
    if public.attributes != AK_ATTRIBUTES:
        raise Mismatch(
            f"the AK's attributes are {public.attributes:#010x}, not {AK_ATTRIBUTES:#010x}: "
            "fixedTPM fixedParent sensitiveDataOrigin userWithAuth noDA restricted sign"
        )
    if public.symmetric or public.kdf or public.auth_policy:
        raise Mismatch("the AK has a symmetric algorithm, a KDF or a policy, and needs none")


def node_id(public: Public) -> str:
    """The node id of the TPM with this AK: lower-case hex SHA-256 of the AK's name."""
    return hashlib.sha256(public.name).hexdigest()


def qualified_name(public: Public) -> bytes:
    """The qualified name of a primary in the endorsement hierarchy (part 1, 16.4)."""
    parent = struct.pack(">I", RH_ENDORSEMENT)
    digest = hashlib.new(HASHES[public.name_alg], parent + public.name).digest()
    return struct.pack(">H", public.name_alg) + digest


def verify_attest(public: Public, attest: bytes, signature: bytes) -> Attest:
    """The structure, once it is certain that this AK's TPM made it.

    :param attest: TPMS_ATTEST. :param signature: TPMT_SIGNATURE (11.3.4), ECDSA with SHA-256.
    :raises Mismatch: when the key is no AK, or its TPM names another signer.
    :raises BadSignature: :raises Malformed: as they say.
    """
    check_ak(public)
    der = _ecdsa_der(signature)
    if not isinstance(public.key, ec.EllipticCurvePublicKey):
        raise Mismatch("the AK is not a P-256 key")
    try:
        public.key.verify(der, attest, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature as error:
        raise BadSignature("the TPM signature does not hold under the AK") from error
    parsed = parse_attest(attest)
    if parsed.qualified_signer != qualified_name(public):
        raise Mismatch("the signer named inside is not this AK in the endorsement hierarchy")
    return parsed


def _ecdsa_der(signature: bytes) -> bytes:
    """TPMT_SIGNATURE, exactly ECDSA with SHA-256, as ASN.1 DER."""
    reader = _Reader(signature, "a TPMT_SIGNATURE")
    if (reader.number(2), reader.number(2)) != (ECDSA, SHA256):
        raise Malformed("the TPM signature is not ECDSA with SHA-256")
    r, s = reader.buffer(), reader.buffer()
    reader.end()
    if not 0 < len(r) <= 32 or not 0 < len(s) <= 32:
        raise Malformed("the halves of a P-256 signature have at most 32 bytes")
    return encode_dss_signature(int.from_bytes(r, "big"), int.from_bytes(s, "big"))
