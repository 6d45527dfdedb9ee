"""The endorsement key as the TPM has it: templates, certificates in NV, the policy that unlocks it.

TCG EK Credential Profile for TPM Family 2.0, revision 2.6: 2.2.1.4 and 2.2.1.5 (NV indices), B.3
(low-range templates), B.4 (high-range templates), B.6 (policies).
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric import rsa
from tpm2_pytss.constants import ESYS_TR, TPM2_ALG, TPM2_CAP, TPMA_NV
from tpm2_pytss.ESAPI import ESAPI
from tpm2_pytss.types import TPML_DIGEST, TPMT_PUBLIC

from attest.certificate import der_bounds
from attest.errors import Malformed, TpmError
from attest.tcg import USER_WITH_AUTH, Public

CHAIN = range(0x01C00100, 0x01C00200)
_NV = range(0x01C00000, 0x01C10000)

_LOW = 0x000300B2  # fixedTPM fixedParent sensitiveDataOrigin adminWithPolicy restricted decrypt
_HIGH = _LOW | USER_WITH_AUTH

_TPM_CC_POLICY_SECRET = 0x00000151
_TPM_CC_POLICY_OR = 0x00000171
_TPM_CC_POLICY_AUTHORIZE_NV = 0x00000192
_TPM_RH_ENDORSEMENT = 0x4000000B
# Attributes of the NV index that PolicyC authorizes (B.6.3 to B.6.5).
_POLICY_INDEX_ATTRIBUTES = 0x220F1008


@dataclass(frozen=True, slots=True)
class _Hash:
    name: str
    alg: int  # TPM_ALG_ID
    policy_index: int  # NV index of the high-range PolicyC

    def __call__(self, *parts: bytes) -> bytes:
        return hashlib.new(self.name, b"".join(parts)).digest()

    @property
    def size(self) -> int:
        return hashlib.new(self.name).digest_size


_HASHES = {
    h.alg: h
    for h in (
        _Hash("sha256", 0x000B, 0x01C07F01),
        _Hash("sha384", 0x000C, 0x01C07F02),
        _Hash("sha512", 0x000D, 0x01C07F03),
    )
}


def high_range_policies(name_alg: int) -> tuple[bytes, bytes]:
    """Return PolicyA and PolicyC of the high range (B.6.2 and B.6.3), which PolicyB ORs."""
    h = _HASHES[name_alg]
    zero = bytes(h.size)
    a = h(h(zero, struct.pack(">II", _TPM_CC_POLICY_SECRET, _TPM_RH_ENDORSEMENT)))
    area = struct.pack(">IHIH", h.policy_index, h.alg, _POLICY_INDEX_ATTRIBUTES, len(a)) + a
    index_name = struct.pack(">H", h.alg) + h(area, struct.pack(">H", h.size + 2))
    c = h(zero, struct.pack(">I", _TPM_CC_POLICY_AUTHORIZE_NV), index_name)
    return a, c


def _policy(attributes: int, name_alg: int) -> bytes:
    a, c = high_range_policies(name_alg)
    if attributes & USER_WITH_AUTH:
        h = _HASHES[name_alg]
        return h(bytes(h.size), struct.pack(">I", _TPM_CC_POLICY_OR), a, c)
    return a


def _template(key_type: int, name_alg: int, attributes: int, aes: int, parameters: bytes) -> bytes:
    """Lay out a TPMT_PUBLIC up to `unique`; the symmetric definition is AES-CFB."""
    policy = _policy(attributes, name_alg)
    return (
        struct.pack(">HHIH", key_type, name_alg, attributes, len(policy))
        + policy
        + struct.pack(">HHH", TPM2_ALG.AES, aes, TPM2_ALG.CFB)
        + parameters
    )


def _rsa(bits: int, name_alg: int, attributes: int, unique: bytes) -> bytes:
    aes = 128 if bits == 2048 else 256
    parameters = struct.pack(">HHI", TPM2_ALG.NULL, bits, 0)
    head = _template(TPM2_ALG.RSA, name_alg, attributes, aes, parameters)
    return head + struct.pack(">H", len(unique)) + unique


def _ecc(curve: int, name_alg: int, attributes: int, unique: bytes) -> bytes:
    aes = 128 if name_alg == TPM2_ALG.SHA256 else 256
    parameters = struct.pack(">HHH", TPM2_ALG.NULL, curve, TPM2_ALG.NULL)
    head = _template(TPM2_ALG.ECC, name_alg, attributes, aes, parameters)
    coordinate = struct.pack(">H", len(unique)) + unique
    return head + coordinate + coordinate


@dataclass(frozen=True, slots=True)
class EkKind:
    """A row of the profile: where its certificate lies, and how the key is made."""

    name: str
    certificate: int  # NV index
    template: bytes  # TPMT_PUBLIC
    nonce: int | None = None  # NV index; low range only

    @property
    def template_index(self) -> int:
        """NV index of a template that takes this one's place where it is defined."""
        return self.certificate + (1 if self.nonce is None else 2)


# In the order in which they are looked for. SM2 (H-5) is left out: no verifier here knows it.
KINDS = (
    EkKind("L-1", 0x01C00002, _rsa(2048, TPM2_ALG.SHA256, _LOW, bytes(256)), 0x01C00003),
    EkKind("L-2", 0x01C0000A, _ecc(3, TPM2_ALG.SHA256, _LOW, bytes(32)), 0x01C0000B),
    EkKind("H-1", 0x01C00012, _rsa(2048, TPM2_ALG.SHA256, _HIGH, b"")),
    EkKind("H-2", 0x01C00014, _ecc(3, TPM2_ALG.SHA256, _HIGH, b"")),
    EkKind("H-3", 0x01C00016, _ecc(4, TPM2_ALG.SHA384, _HIGH, b"")),
    EkKind("H-4", 0x01C00018, _ecc(5, TPM2_ALG.SHA512, _HIGH, b"")),
    EkKind("H-6", 0x01C0001C, _rsa(3072, TPM2_ALG.SHA384, _HIGH, b"")),
    EkKind("H-7", 0x01C0001E, _rsa(4096, TPM2_ALG.SHA384, _HIGH, b"")),
)


def handles(esapi: ESAPI, wanted: range) -> Iterator[int]:
    """Enumerate the TPM's handles in a range (TPM2_GetCapability, TPM_CAP_HANDLES)."""
    at = wanted.start
    while at in wanted:
        more, answer = esapi.get_capability(TPM2_CAP.HANDLES, at, 64)
        found = [int(handle) for handle in answer.data.handles]
        yield from (handle for handle in found if handle in wanted)
        if not more or not found:
            return
        at = found[-1] + 1


def read_nv(esapi: ESAPI, index: int, chunk: int) -> bytes:
    """Read a whole NV index, `chunk` bytes (TPM_PT_NV_BUFFER_MAX) a command."""
    nv = esapi.tr_from_tpmpublic(index)
    public, _ = esapi.nv_read_public(nv)
    area = public.nvPublic
    # Vendors let the index's own empty password read it; a few only the owner's.
    authority = nv if int(area.attributes) & int(TPMA_NV.AUTHREAD) else ESYS_TR.OWNER
    read = bytearray()
    while len(read) < area.dataSize:
        size = min(chunk, area.dataSize - len(read))
        read += bytes(esapi.nv_read(nv, size, len(read), auth_handle=authority))
    esapi.tr_close(nv)
    return bytes(read)


def split_der(blob: bytes) -> Iterator[bytes]:
    """Cut concatenated certificates apart, byte for byte; stop at padding or a cut-off one."""
    at = 0
    while blob[at : at + 1] == b"\x30":  # X.690: a SEQUENCE
        try:
            end = der_bounds(blob, at)[1]
        except Malformed:
            return
        yield blob[at:end]
        at = end


@dataclass(frozen=True, slots=True)
class EkSource:
    """An EK that can be made, and the certificate that should speak of it."""

    template: bytes  # TPMT_PUBLIC
    certificate: bytes  # DER; empty where NV holds none
    where: str


def sources(esapi: ESAPI, chunk: int) -> tuple[list[EkSource], tuple[bytes, ...]]:
    """Read the EKs whose certificates lie in NV, in order, and the certificates of their chain.

    Without any certificate the one EK is L-1, which every PC Client TPM of the profile can make.

    :raises TpmError: an index holds something else than a certificate.
    """
    defined = sorted(handles(esapi, _NV))
    found = []
    for kind in KINDS:
        if kind.certificate not in defined:
            continue
        where = f"{kind.name}, NV index {kind.certificate:#010x}"
        certificate = next(split_der(read_nv(esapi, kind.certificate, chunk)), b"")
        if not certificate:
            raise TpmError(f"EK certificate ({where}): not DER")
        found.append(EkSource(_made_by(esapi, kind, defined, chunk), certificate, where))
    if not found:
        template = _made_by(esapi, KINDS[0], defined, chunk)
        return [EkSource(template, b"", f"{KINDS[0].name}, no certificate in NV")], ()
    # A long chain runs on from one index into the next (2.2.1.5.2).
    blob = b"".join(read_nv(esapi, index, chunk) for index in defined if index in CHAIN)
    return found, tuple(split_der(blob))


def _made_by(esapi: ESAPI, kind: EkKind, defined: Iterable[int], chunk: int) -> bytes:
    """Return the template of this EK: the vendor's, or the profile's with the vendor's nonce."""
    template = kind.template
    if kind.template_index in defined:
        template = read_nv(esapi, kind.template_index, chunk)
    if kind.nonce is None or kind.nonce not in defined:
        return template
    return with_nonce(template, read_nv(esapi, kind.nonce, chunk))


def with_nonce(template: bytes, nonce: bytes) -> bytes:
    """Put the vendor's nonce, zero-padded, into a low-range template's `unique` (B.2)."""
    public = TPMT_PUBLIC.unmarshal(template)[0]
    if public.type == TPM2_ALG.RSA:
        public.unique.rsa = nonce.ljust(256, b"\0")
    else:
        public.unique.ecc.x = nonce.ljust(32, b"\0")
        public.unique.ecc.y = bytes(32)
    return bytes(public.marshal())


def speaks_of(certificate: bytes, public: Public) -> bool:
    """Whether this key is in the certificate: its modulus or its point, as it stands.

    Only to choose among what the TPM offers; parsing and trust are the verifier's.
    """
    size = (public.key.key_size + 7) // 8
    if isinstance(public.key, rsa.RSAPublicKey):
        return public.key.public_numbers().n.to_bytes(size, "big") in certificate
    point = public.key.public_numbers()
    return b"\x04" + point.x.to_bytes(size, "big") + point.y.to_bytes(size, "big") in certificate


def satisfy(esapi: ESAPI, session: ESYS_TR, public: Public) -> None:
    """Bring a policy session to the EK's policy: PolicySecret; in the high range PolicyOR (B.6)."""
    esapi.policy_secret(ESYS_TR.ENDORSEMENT, session)
    if public.attributes & USER_WITH_AUTH:
        esapi.policy_or(session, TPML_DIGEST(list(high_range_policies(public.name_alg))))
