"""Who vouches for a TPM: the chain from its EK certificate to a pinned root. Pure.

Source: TCG EK Credential Profile 2.5, 3 (certificates) and B (templates).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from attest.certificate import (
    EKU_EK,
    Certificate,
    der_bounds,
    parse_certificate,
    verify_issued,
)
from attest.errors import AttestError, Malformed, Mismatch, Untrusted
from attest.tcg import (
    DECRYPT,
    FIXED_PARENT,
    FIXED_TPM,
    RESTRICTED,
    SENSITIVE_DATA_ORIGIN,
    SIGN,
    Public,
)

MAX_DEPTH = 6  # certificates from leaf to root; vendors use two to four
MAX_OFFERED = 16  # certificates a node may send
_EK_NEEDS = FIXED_TPM | FIXED_PARENT | SENSITIVE_DATA_ORIGIN | RESTRICTED | DECRYPT


@dataclass(frozen=True, slots=True)
class EkIdentity:
    """An EK certificate that chains to a pinned root."""

    certificate_sha256: bytes
    public_spki: bytes  # canonical DER SubjectPublicKeyInfo of the EK
    root_sha256: bytes  # of the pinned root's DER


def trim_der(padded: bytes) -> bytes:
    """The certificate at the front of what NV holds, without the padding behind it, byte for byte.

    :raises Malformed: when it does not begin with a whole DER SEQUENCE.
    """
    if padded[:1] != b"\x30":
        raise Malformed("no DER SEQUENCE at the front")
    return padded[: der_bounds(padded)[1]]


def check_ek_chain(
    chain: Sequence[bytes], roots: Sequence[bytes], intermediates: Sequence[bytes] = ()
) -> EkIdentity:
    """Check the first certificate of `chain` up to one of `roots`. Expiry is not judged: no clock.

    :param chain: DER, leaf first, without padding; the others are only offered as intermediates.
    :param roots: DER, pinned. :param intermediates: DER, which the verifier has of its own.
    :raises Malformed: for certificates that are none. :raises Mismatch: for a leaf that is no EK
        certificate. :raises Untrusted: when no chain leads to a root.
    """
    if not 0 < len(chain) <= MAX_OFFERED:
        raise Malformed(f"a chain of {len(chain)} EK certificates")
    leaf = parse_certificate(chain[0])
    if leaf.is_ca:
        raise Mismatch("a CA certificate poses as an EK certificate")
    if EKU_EK not in leaf.extended_usages:
        raise Mismatch("the certificate's extended key usage is not 2.23.133.8.1 (EK certificate)")
    anchors = tuple(parse_certificate(each) for each in roots)
    offered = tuple(parse_certificate(each) for each in (*chain[1:], *intermediates))
    root = _climb(leaf, anchors, offered)
    return EkIdentity(leaf.sha256, leaf.spki, root.sha256)


def check_ek_public(ek_public: Public, identity: EkIdentity) -> None:
    """Check that this EK is the one in the certificate, and a storage key fixed to its TPM.

    :raises Mismatch: when it is not.
    """
    if ek_public.spki != identity.public_spki:
        raise Mismatch("the EK's public key is not the one in its certificate")
    check_ek_attributes(ek_public)


def check_ek_attributes(ek_public: Public) -> None:
    """Check that this is a restricted decryption key, fixed to its TPM.

    :raises Mismatch: when it is not.
    """
    if ek_public.attributes & _EK_NEEDS != _EK_NEEDS or ek_public.attributes & SIGN:
        raise Mismatch(f"attributes {ek_public.attributes:#010x} are not those of an EK")
    if ek_public.symmetric is None:
        raise Mismatch("the EK has no symmetric algorithm, so it is no storage key")


def _climb(
    leaf: Certificate, anchors: Sequence[Certificate], offered: Sequence[Certificate]
) -> Certificate:
    """The pinned root above `leaf`. Breadth first, so that the work is bounded.

    Offered certificates that do not fit are passed over: NV may hold those of another EK.
    """
    level, unused = [leaf], list(offered)
    for below in range(MAX_DEPTH - 1):
        for certificate in level:
            for anchor in anchors:
                if _issued(certificate, anchor, below):
                    return anchor
        level = [each for each in unused if any(_issued(lower, each, below) for lower in level)]
        unused = [each for each in unused if each not in level]
    raise Untrusted("the EK certificate does not lead to a pinned root")


def _issued(certificate: Certificate, issuer: Certificate, below: int) -> bool:
    try:
        verify_issued(certificate, issuer, below)
    except AttestError:
        return False
    return True
