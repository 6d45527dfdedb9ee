"""X.509 certificates over their original bytes. Pure.

Sources: RFC 5280, X.690 (DER). Some vendors' EK certificates break rules that a full parser
insists on; what a chain needs is walked here instead, strictly: definite minimal lengths, nothing
left over, and the signature checked over the TBS bytes as they came. Nothing is judged by a clock.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

from attest.errors import BadSignature, Malformed, Mismatch
from attest.keys import load_spki, spki_of

MAX_CERTIFICATE = 16 * 1024  # bytes; EK certificates take 1 to 2 KiB

_BOOLEAN, _INTEGER, _BIT_STRING, _OCTET_STRING, _OID = 0x01, 0x02, 0x03, 0x04, 0x06
_SEQUENCE = 0x30
_VERSION, _ISSUER_ID, _SUBJECT_ID, _EXTENSIONS = 0xA0, 0x81, 0x82, 0xA3
_URI = 0x86  # GeneralName uniformResourceIdentifier

EKU_EK = bytes.fromhex("6781050801")  # 2.23.133.8.1 tcg-kp-EKCertificate
EKU_AK = bytes.fromhex("6781050803")  # 2.23.133.8.3 tcg-kp-AIKCertificate
_KEY_USAGE = bytes.fromhex("551d0f")  # 2.5.29.15
_ALT_NAME = bytes.fromhex("551d11")  # 2.5.29.17
_BASIC = bytes.fromhex("551d13")  # 2.5.29.19
_POLICIES = bytes.fromhex("551d20")  # 2.5.29.32
_EXTENDED_USAGE = bytes.fromhex("551d25")  # 2.5.29.37
_UNDERSTOOD = frozenset({_KEY_USAGE, _ALT_NAME, _BASIC, _POLICIES, _EXTENDED_USAGE})

_RSA_ENCRYPTION = bytes.fromhex("2a864886f70d010101")
_RSA_OAEP = bytes.fromhex("2a864886f70d010107")  # the key type of some old EK certificates
_HashT = hashes.SHA256 | hashes.SHA384 | hashes.SHA512
# Whole AlgorithmIdentifiers (RFC 4055, 5758, 8410); SHA-1 and what is not here is refused.
_RSA_SIGNATURES: dict[bytes, _HashT] = {
    bytes.fromhex("300d06092a864886f70d01010b0500"): hashes.SHA256(),
    bytes.fromhex("300d06092a864886f70d01010c0500"): hashes.SHA384(),
    bytes.fromhex("300d06092a864886f70d01010d0500"): hashes.SHA512(),
}
_ECDSA_SIGNATURES: dict[bytes, _HashT] = {
    bytes.fromhex("300a06082a8648ce3d040302"): hashes.SHA256(),
    bytes.fromhex("300a06082a8648ce3d040303"): hashes.SHA384(),
    bytes.fromhex("300a06082a8648ce3d040304"): hashes.SHA512(),
}
_ED25519_SIGNATURE = bytes.fromhex("300506032b6570")


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a chain needs of one certificate. Names are raw DER and compared as such."""

    raw: bytes
    tbs: bytes
    algorithm: bytes  # AlgorithmIdentifier, DER
    signature: bytes
    issuer: bytes
    subject: bytes
    spki: bytes  # canonical DER SubjectPublicKeyInfo
    is_ca: bool
    path_length: int | None
    signs_certificates: bool  # keyUsage has keyCertSign, or there is none
    extended_usages: tuple[bytes, ...]  # OID contents
    uris: tuple[str, ...]  # of subjectAltName

    @property
    def sha256(self) -> bytes:
        """Fingerprint: SHA-256 of the DER."""
        return hashlib.sha256(self.raw).digest()


class _Der:
    """Elements off the front of one constructed value."""

    __slots__ = ("_at", "_bytes")

    def __init__(self, content: bytes) -> None:
        self._bytes, self._at = content, 0

    @property
    def more(self) -> bool:
        return self._at < len(self._bytes)

    @property
    def tag(self) -> int:
        """The next element's tag; -1 at the end."""
        return self._bytes[self._at] if self.more else -1

    def element(self, tag: int) -> tuple[bytes, bytes]:
        """(whole element, content) of the next element, which must have this tag."""
        if self.tag != tag:
            raise Malformed(f"DER tag {self.tag:#04x} where {tag:#04x} belongs")
        start = self._at
        content, self._at = der_bounds(self._bytes, start)
        return self._bytes[start : self._at], self._bytes[content : self._at]

    def content(self, tag: int) -> bytes:
        return self.element(tag)[1]

    def inside(self, tag: int) -> _Der:
        return _Der(self.content(tag))

    def end(self) -> None:
        if self.more:
            raise Malformed("bytes follow the last DER element")


def der_bounds(content: bytes, start: int = 0) -> tuple[int, int]:
    """(start of content, end) of the DER element at `start`.

    :raises Malformed: for a length that is indefinite, not minimal, over 16 MiB or past the end.
    """
    at = start + 2
    if at > len(content) or content[start] & 0x1F == 0x1F:
        raise Malformed("DER ends within an element, or has a long tag")
    length = content[start + 1]
    if length & 0x80:
        octets = length & 0x7F
        if not 1 <= octets <= 3 or at + octets > len(content):
            raise Malformed("a DER length that is indefinite, too long or cut short")
        length = int.from_bytes(content[at : at + octets], "big")
        if length < 0x80 or length >> 8 * (octets - 1) == 0:
            raise Malformed("a DER length that is not minimal")
        at += octets
    if at + length > len(content):
        raise Malformed("a DER element longer than what holds it")
    return at, at + length


def parse_certificate(der: bytes) -> Certificate:
    """An X.509 v3 certificate, unverified.

    :raises Malformed: for anything else, and for critical extensions that are not understood.
    """
    if len(der) > MAX_CERTIFICATE:
        raise Malformed(f"a certificate of {len(der)} bytes is too large")
    outside = _Der(der)
    whole = outside.inside(_SEQUENCE)
    outside.end()
    tbs, tbs_content = whole.element(_SEQUENCE)
    algorithm, _ = whole.element(_SEQUENCE)
    signature = _whole_octets(whole.content(_BIT_STRING))
    whole.end()

    inside = _Der(tbs_content)
    if inside.content(_VERSION) != b"\x02\x01\x02":
        raise Malformed("the certificate is not X.509 v3")
    inside.content(_INTEGER)
    if inside.element(_SEQUENCE)[0] != algorithm:
        raise Malformed("the certificate names two different signature algorithms")
    issuer, _ = inside.element(_SEQUENCE)
    inside.content(_SEQUENCE)  # validity: no clock judges here
    subject, _ = inside.element(_SEQUENCE)
    spki = _canonical_spki(inside.element(_SEQUENCE)[0])
    for tag in (_ISSUER_ID, _SUBJECT_ID):
        if inside.tag == tag:
            inside.content(tag)
    extensions = _extensions(inside.inside(_EXTENSIONS)) if inside.more else {}
    inside.end()
    is_ca, path_length = _basic_constraints(extensions.get(_BASIC))
    return Certificate(
        raw=der,
        tbs=tbs,
        algorithm=algorithm,
        signature=signature,
        issuer=issuer,
        subject=subject,
        spki=spki,
        is_ca=is_ca,
        path_length=path_length,
        signs_certificates=_signs_certificates(extensions.get(_KEY_USAGE)),
        extended_usages=_extended_usages(extensions.get(_EXTENDED_USAGE)),
        uris=_uris(extensions.get(_ALT_NAME)),
    )


def verify_issued(certificate: Certificate, issuer: Certificate, below: int) -> None:
    """Check that `issuer` may issue and did issue `certificate`.

    :param below: how many intermediate CAs stand between `issuer` and the leaf (pathLenConstraint).
    :raises Mismatch: :raises BadSignature: :raises Malformed: as they say.
    """
    if certificate.issuer != issuer.subject:
        raise Mismatch("the issuer's name is not the next certificate's")
    if not issuer.is_ca or not issuer.signs_certificates:
        raise Mismatch("the issuer is not a CA")
    if issuer.path_length is not None and below > issuer.path_length:
        raise Mismatch("the issuer's path length does not allow this chain")
    _verify(load_spki(issuer.spki), certificate)


def _verify(key: PublicKeyTypes, certificate: Certificate) -> None:
    algorithm, signature, tbs = certificate.algorithm, certificate.signature, certificate.tbs
    try:
        if algorithm in _RSA_SIGNATURES and isinstance(key, rsa.RSAPublicKey):
            if key.key_size < 2048:
                raise Malformed(f"an RSA key of {key.key_size} bits is too small")
            key.verify(signature, tbs, padding.PKCS1v15(), _RSA_SIGNATURES[algorithm])
        elif algorithm in _ECDSA_SIGNATURES and isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, tbs, ec.ECDSA(_ECDSA_SIGNATURES[algorithm]))
        elif algorithm == _ED25519_SIGNATURE and isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(signature, tbs)
        else:
            raise Malformed("the signature algorithm is weak, unknown or not the issuer's")
    except InvalidSignature as error:
        raise BadSignature("the issuer's signature does not hold") from error


def _whole_octets(bits: bytes) -> bytes:
    """The octets of a BIT STRING without unused bits."""
    if not bits or bits[0]:
        raise Malformed("a BIT STRING that is not whole octets")
    return bits[1:]


def _canonical_spki(raw: bytes) -> bytes:
    """The key in its usual encoding, so that a TPM's public area can be compared with it."""
    outer = _Der(raw).inside(_SEQUENCE)
    oid = outer.inside(_SEQUENCE).content(_OID)
    if oid not in (_RSA_ENCRYPTION, _RSA_OAEP):
        load_spki(raw)
        return raw
    numbers = _Der(_whole_octets(outer.content(_BIT_STRING))).inside(_SEQUENCE)
    modulus, exponent = numbers.content(_INTEGER), numbers.content(_INTEGER)
    numbers.end()
    outer.end()
    if len(modulus) > 1025:
        raise Malformed("an RSA modulus of more than 8192 bits")
    try:
        public = rsa.RSAPublicNumbers(
            int.from_bytes(exponent, "big"), int.from_bytes(modulus, "big")
        ).public_key()
    except (ValueError, UnsupportedAlgorithm) as error:
        raise Malformed(f"not an RSA public key: {error}") from error
    return spki_of(public)


def _extensions(wrapper: _Der) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = {}
    listed = wrapper.inside(_SEQUENCE)
    wrapper.end()
    while listed.more:
        extension = listed.inside(_SEQUENCE)
        oid = extension.content(_OID)
        critical = extension.tag == _BOOLEAN and _boolean(extension)
        value = extension.content(_OCTET_STRING)
        extension.end()
        if oid in found:
            raise Malformed("an extension occurs twice")
        if critical and oid not in _UNDERSTOOD:
            raise Malformed(f"critical extension {oid.hex()} is not understood")
        found[oid] = value
    return found


def _boolean(reader: _Der) -> bool:
    value = reader.content(_BOOLEAN)
    if value not in (b"\x00", b"\xff"):
        raise Malformed("a DER BOOLEAN is 00 or ff")
    return value == b"\xff"


def _basic_constraints(value: bytes | None) -> tuple[bool, int | None]:
    if value is None:
        return False, None
    outer = _Der(value)
    inner = outer.inside(_SEQUENCE)
    outer.end()
    is_ca = inner.tag == _BOOLEAN and _boolean(inner)
    length = None
    if inner.more:
        number = inner.content(_INTEGER)
        if len(number) != 1 or number[0] & 0x80:
            raise Malformed("a path length that is not a small number")
        length = number[0]
    inner.end()
    return is_ca, length


def _signs_certificates(value: bytes | None) -> bool:
    if value is None:
        return True
    outer = _Der(value)
    bits = outer.content(_BIT_STRING)
    outer.end()
    if not 1 <= len(bits) <= 3 or bits[0] > 7:
        raise Malformed("a key usage that is none")
    return bool(bits[1:2] and bits[1] & 0x04)  # keyCertSign is bit 5


def _extended_usages(value: bytes | None) -> tuple[bytes, ...]:
    if value is None:
        return ()
    outer = _Der(value)
    inner = outer.inside(_SEQUENCE)
    outer.end()
    found = []
    while inner.more:
        found.append(inner.content(_OID))
    return tuple(found)


def _uris(value: bytes | None) -> tuple[str, ...]:
    if value is None:
        return ()
    outer = _Der(value)
    inner = outer.inside(_SEQUENCE)
    outer.end()
    found = []
    while inner.more:
        tag = inner.tag
        content = inner.content(tag)
        if tag == _URI:
            try:
                found.append(content.decode("ascii"))
            except UnicodeDecodeError as error:
                raise Malformed("a URI that is not ASCII") from error
    return tuple(found)
