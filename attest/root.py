"""The root of trust of a host, as the agent uses it: a TPM, or a key file. Pure."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol

REQUIRED_PCRS = (0, 2, 4, 7)
SHA256_BANK = 0x000B  # TPM_ALG_SHA256


@dataclass(frozen=True, slots=True)
class RootIdentity:
    """Who this root is.

    Without a TPM only `spki` is set and `ak_public` is empty. `node_id` is the lower-case hex
    SHA-256 of the AK name; without a TPM that of the node key's DER SubjectPublicKeyInfo.
    """

    node_id: str
    spki: bytes  # DER SubjectPublicKeyInfo of the AK, or of the node key
    ak_public: bytes  # TPMT_PUBLIC
    incarnation: bytes  # name of an owner-hierarchy primary: changes at TPM2_Clear
    description: str  # manufacturer and firmware, for people


@dataclass(frozen=True, slots=True)
class Endorsement:
    """The EK and who vouches for it. Both empty without a TPM.

    Apart from the identity because only an enrolment needs it, and deriving an RSA EK takes a
    hardware TPM seconds.
    """

    ek_public: bytes  # TPMT_PUBLIC
    ek_certificate_chain: tuple[bytes, ...]  # DER, leaf first; empty where NV holds none


@dataclass(frozen=True, slots=True)
class Quote:
    """A signed TPMS_ATTEST and the PCR values it speaks of, read together."""

    attest: bytes  # TPMS_ATTEST; empty without a TPM
    signature: bytes  # TPMT_SIGNATURE; without a TPM an ECDSA P-256 signature (DER)
    pcrs: tuple[tuple[int, bytes], ...]  # SHA-256 bank, ascending; empty without a TPM


class Root(Protocol):
    """What the agent asks of its root of trust. Every answer is a future: a TPM takes its time.

    :raises TpmError: out of a future, when the TPM refuses or is gone.
    """

    @property
    def identity(self) -> RootIdentity:
        """Fixed for the life of this object."""
        ...

    def quote(self, qualifying: bytes, pcrs: tuple[int, ...] = REQUIRED_PCRS) -> Future[Quote]:
        """TPM2_Quote over these PCRs; without a TPM a signature over `qualifying`."""
        ...

    def sign_note(self, text: bytes) -> Future[bytes]:
        """Sign a note's text: an ECDSA P-256 SHA-256 signature, DER."""
        ...

    def endorsement(self) -> Future[Endorsement]:
        """Derive the EK and read its certificates from NV."""
        ...

    def activate(self, credential_blob: bytes, encrypted_secret: bytes) -> Future[bytes]:
        """TPM2_ActivateCredential with the EK; takes the full TPM2B structures."""
        ...

    def close(self) -> None:
        """Let the TPM go within seconds, even if it hangs; what still waits fails with TpmError."""
        ...
