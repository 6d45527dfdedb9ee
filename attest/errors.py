"""What can be wrong with a proof. Nothing else leaves `attest`."""

from __future__ import annotations

from typing import ClassVar


class AttestError(Exception):
    """Root of this package's errors."""

    retryable: ClassVar[bool] = False
    exit_code: ClassVar[int] = 1


class Malformed(AttestError):
    """Bytes that are not what they should be."""


class BadSignature(AttestError):
    """A signature that does not hold under the key it should."""


class Mismatch(AttestError):
    """Two things that must agree and do not."""


class Untrusted(AttestError):
    """All of it may be true, but nobody whom the verifier trusts vouches for it."""


class TpmError(AttestError):
    """The TPM refused, failed or is gone."""

    retryable = True
    exit_code = 5
