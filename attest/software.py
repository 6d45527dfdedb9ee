"""The root of trust of a host without a TPM: a key in a file. It proves who signs, and no more."""

from __future__ import annotations

from concurrent.futures import Future
from typing import TypeVar

from attest.errors import TpmError
from attest.keys import SoftwareKey
from attest.root import REQUIRED_PCRS, Endorsement, Quote, RootIdentity

T = TypeVar("T")


class SoftwareRoot:
    """`attest.root.Root` on a P-256 key. Every answer is there at once."""

    def __init__(self, key: SoftwareKey) -> None:
        self._key = key
        self._identity = RootIdentity(
            node_id=key.key_id.hex(),
            spki=key.spki,
            ak_public=b"",
            incarnation=b"",
            description="software key, no TPM",
        )

    @property
    def identity(self) -> RootIdentity:
        """The key, and nothing that vouches for it."""
        return self._identity

    def quote(self, qualifying: bytes, pcrs: tuple[int, ...] = REQUIRED_PCRS) -> Future[Quote]:
        """Sign the qualifying data itself; there are no PCRs, so `pcrs` changes nothing."""
        return _answered(Quote(attest=b"", signature=self._key.sign(qualifying), pcrs=()))

    def sign_note(self, text: bytes) -> Future[bytes]:
        """ECDSA P-256 SHA-256, DER."""
        return _answered(self._key.sign(text))

    def endorsement(self) -> Future[Endorsement]:
        """Nothing: no EK, no certificate."""
        return _answered(Endorsement(ek_public=b"", ek_certificate_chain=()))

    def activate(self, credential_blob: bytes, encrypted_secret: bytes) -> Future[bytes]:
        """Fails with TpmError: only a TPM activates credentials."""
        future: Future[bytes] = Future()
        future.set_exception(TpmError("no TPM: a software key activates no credential"))
        return future

    def close(self) -> None:
        """Nothing to let go."""


def _answered(value: T) -> Future[T]:
    future: Future[T] = Future()
    future.set_result(value)
    return future
