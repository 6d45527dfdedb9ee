"""Which node this is: enrolment, seen from the exchange. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from attest.ak_certificate import Assurance
from attest.ek import EkIdentity, check_ek_attributes, check_ek_chain, check_ek_public
from attest.errors import AttestError, Malformed, Mismatch, Untrusted
from attest.keys import Algorithm, algorithm_of, key_id
from attest.tcg import Public, check_ak, node_id, parse_public


@dataclass(frozen=True, slots=True)
class TrustedNode:
    """A node whose root of trust is known: exactly one of an AK and a node key.

    :raises Mismatch: when the node id is not this root's, or the AK is not as it must be.
    :raises Malformed: for keys that are none, or both, or neither.
    """

    node_id: str
    ak_public: bytes  # TPMT_PUBLIC; empty without a TPM
    software_spki: bytes  # DER; empty with a TPM

    def __post_init__(self) -> None:
        if _node_id(self.ak_public, self.software_spki) != self.node_id:
            raise Mismatch("the node id is not that of this AK or node key")

    @property
    def ak(self) -> Public | None:
        """The AK; None without a TPM."""
        return known_ak(self.ak_public) if self.ak_public else None

    @property
    def spki(self) -> bytes:
        """DER SubjectPublicKeyInfo of the AK, or of the node key: signs the log's notes."""
        return known_ak(self.ak_public).spki if self.ak_public else self.software_spki


@dataclass(frozen=True, slots=True)
class TrustRoots:
    """Whom an exchange believes about TPMs. Certificates are DER, digests SHA-256."""

    hardware: tuple[bytes, ...] = ()  # roots of TPM vendors
    virtual: tuple[bytes, ...] = ()  # roots of operators of virtual TPMs
    intermediates: tuple[bytes, ...] = ()  # believed only where they lead to one of those
    approved_ek_spki_sha256: frozenset[bytes] = field(default=frozenset())  # approved by hand


@dataclass(frozen=True, slots=True)
class Identity:
    """Who asks to enrol, before it has shown that EK and AK live in one TPM.

    Only a credential that comes back activated shows that (`credential.make_credential`).
    """

    node: TrustedNode
    assurance: Assurance
    ek_public: Public | None  # None without a TPM
    ek: EkIdentity | None  # None where no certificate leads to a pinned root

    @property
    def ek_certificate_sha256(self) -> bytes:
        """For the AK certificate; empty where the class does not rest on an EK certificate."""
        return self.ek.certificate_sha256 if self.ek else b""


def identify(
    ek_chain: Sequence[bytes],
    ek_public: bytes,
    ak_public: bytes,
    software_spki: bytes,
    trust: TrustRoots | None = None,
) -> Identity:
    """Who an `EnrollBegin` says it is, as far as bytes can tell.

    :raises Untrusted: when nobody in `trust` vouches for the EK.
    :raises AttestError: naming what is false or malformed.
    """
    trust = trust or TrustRoots()
    node = TrustedNode(_node_id(ak_public, software_spki), ak_public, software_spki)
    if not ak_public:
        if ek_public or ek_chain:
            raise Malformed("an EK beside a software node key")
        return Identity(node, Assurance.SOFTWARE, None, None)
    ek = parse_public(ek_public)
    check_ek_attributes(ek)
    approved = key_id(ek.spki) in trust.approved_ek_spki_sha256
    for assurance, roots in (
        (Assurance.HARDWARE_TPM, trust.hardware),
        (Assurance.VIRTUAL_TPM, trust.virtual),
    ):
        try:
            vouched = check_ek_chain(ek_chain, roots, trust.intermediates) if ek_chain else None
        except Untrusted:
            continue
        except AttestError:
            if approved:  # then nothing rests on the certificate
                continue
            raise
        if vouched is not None:
            check_ek_public(ek, vouched)
            return Identity(node, assurance, ek, vouched)
    if approved:
        return Identity(node, Assurance.APPROVED_TPM, ek, None)
    raise Untrusted(
        f"nobody pinned vouches for EK {key_id(ek.spki).hex()}: "
        "pin its vendor's root, or approve its fingerprint"
    )


@lru_cache(maxsize=1024)  # every statement of a node asks for it
def known_ak(ak_public: bytes) -> Public:
    """The AK in a TPMT_PUBLIC, checked.

    :raises Malformed: :raises Mismatch: as `parse_public` and `check_ak` say.
    """
    public = parse_public(ak_public)
    check_ak(public)
    return public


def _node_id(ak_public: bytes, software_spki: bytes) -> str:
    if bool(ak_public) == bool(software_spki):
        raise Malformed("a node has either an AK or a software node key")
    if ak_public:
        return node_id(known_ak(ak_public))
    if algorithm_of(software_spki) is not Algorithm.ECDSA_P256_SHA256:
        raise Mismatch("a node key is P-256")
    return key_id(software_spki).hex()
