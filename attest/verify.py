"""What an exchange, or anybody, runs on a node's bytes. Pure: no TPM, no network, no clock.

The acts of verification in the order in which an exchange meets them. Each raises an `AttestError`
when anything is false.

- `identify` an enrolment, then `make_credential` and `transcript_hmac` to see EK and AK in one TPM;
- `appraise` evidence against a nonce;
- `verify_key_binding`, then `envelope.verify_only` for each statement;
- `verify_bundle` to move to a new head of the log with many leaves at once;
- `verify_proof` for a file, where nothing is known but pinned CAs (`load_roots`).
"""

from __future__ import annotations

from attest.ak_certificate import Assurance
from attest.appraisal import Appraisal, Claim, Tier, appraise
from attest.credential import make_credential
from attest.evidence import transcript_hmac
from attest.identity import Identity, TrustedNode, TrustRoots, identify
from attest.proof import (
    ProofResult,
    load_roots,
    verify_bundle,
    verify_key_binding,
    verify_proof,
)

__all__ = [
    "Appraisal",
    "Assurance",
    "Claim",
    "Identity",
    "ProofResult",
    "Tier",
    "TrustRoots",
    "TrustedNode",
    "appraise",
    "identify",
    "load_roots",
    "make_credential",
    "transcript_hmac",
    "verify_bundle",
    "verify_key_binding",
    "verify_proof",
]
