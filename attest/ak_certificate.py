"""AK certificates: what an exchange found out at enrolment, for verifiers who were not there. Pure.

X.509 with extended key usage 2.23.133.8.3, over the AK (without a TPM the node key), and three
URIs: `urn:hearth:node:<node id>`, `urn:hearth:ek:<hex SHA-256 of the EK certificate, or "none">`
and `urn:hearth:assurance:<class>`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from attest.certificate import EKU_AK, parse_certificate, verify_issued
from attest.errors import Malformed, Mismatch

_MAX_CHAIN = 5  # certificates
_EK = re.compile(r"urn:hearth:ek:(none|[0-9a-f]{64})")


class Assurance(IntEnum):
    """`hearth.v1.AssuranceClass`; a larger number is a stronger class."""

    SOFTWARE = 1
    VIRTUAL_TPM = 2
    APPROVED_TPM = 3
    HARDWARE_TPM = 4

    @property
    def label(self) -> str:
        """As in the certificate: "software", "virtual-tpm", "approved-tpm", "hardware-tpm"."""
        return self.name.lower().replace("_", "-")


_CLASSES = {f"urn:hearth:assurance:{each.label}": each for each in Assurance}


@dataclass(frozen=True, slots=True)
class AkCertificate:
    """One exchange's word for a node."""

    assurance: Assurance
    ek_certificate_sha256: str  # hex; empty where there is none
    ca: bytes  # DER of the self-signed certificate at the end of the chain
    ca_sha256: str  # its fingerprint, hex


def check_ak_chain(chain: Sequence[bytes], spki: bytes, node_id: str) -> AkCertificate:
    """Check a chain from the AK certificate to its own self-signed CA. Trusts nobody yet.

    Expiry is judged against nothing: a statement stays as true as it was when it was made.

    :param chain: DER, leaf first, the last one self-signed. :param spki: of the AK or node key.
    :raises AttestError: naming what is wrong.
    """
    if not 2 <= len(chain) <= _MAX_CHAIN:
        raise Malformed(f"a chain of {len(chain)} certificates, not 2 to {_MAX_CHAIN}")
    certificates = [parse_certificate(each) for each in chain]
    for below, certificate in enumerate(certificates):
        above = certificates[min(below + 1, len(certificates) - 1)]
        verify_issued(certificate, above, min(below, len(certificates) - 2))
    leaf, ca = certificates[0], certificates[-1]
    if leaf.is_ca:
        raise Mismatch("the certificate is a CA's")
    if leaf.extended_usages != (EKU_AK,):
        raise Mismatch("the extended key usage is not exactly 2.23.133.8.3 (AK certificate)")
    if leaf.spki != spki:
        raise Mismatch("the certificate is over another key")
    assurance, ek = _stated(leaf.uris, node_id)
    return AkCertificate(assurance, ek, ca.raw, ca.sha256.hex())


def check_vouched(
    chain: Sequence[bytes], spki: bytes, node_id: str, *, software: bool
) -> AkCertificate:
    """Check a chain as a proof file may carry it: what it states also fits the root of trust.

    :param software: the node has a key file and no TPM. :raises AttestError: naming what is wrong.
    """
    by = check_ak_chain(chain, spki, node_id)
    if (by.assurance is Assurance.SOFTWARE) != software:
        raise Mismatch("the assurance class does not fit the root of trust")
    if by.ek_certificate_sha256 and software:
        raise Mismatch("an EK certificate for a node without a TPM")
    return by


def _stated(uris: Sequence[str], node_id: str) -> tuple[Assurance, str]:
    """Assurance and EK digest out of exactly the three URIs, in any order."""
    node = f"urn:hearth:node:{node_id}"
    classes = [_CLASSES[uri] for uri in uris if uri in _CLASSES]
    eks = [found[1] for uri in uris if (found := _EK.fullmatch(uri))]
    if node not in uris:
        raise Mismatch("the certificate is for another node")
    if len(uris) != 3 or len(classes) != 1 or len(eks) != 1:
        raise Malformed(
            "the certificate names not exactly one node, one EK and one assurance class"
        )
    return classes[0], "" if eks[0] == "none" else eks[0]
