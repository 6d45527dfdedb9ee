"""Keys of TLS certificates as files: one for each certificate, none longer than it is of use."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from agent.errors import ExchangeError
from agent.exchange.enrolment import Enrolment
from agent.root import write_secret
from attest.errors import AttestError
from attest.keys import SoftwareKey


def key_file(state: Path, enrolment: Enrolment) -> Path:
    """Where the key of an enrolment's certificate is kept: a renewal overwrites no other."""
    return state / f"tls-{hashlib.sha256(enrolment.tls_chain[0]).hexdigest()[:32]}.pem"


def keep(state: Path, enrolment: Enrolment, key: ec.EllipticCurvePrivateKey) -> bytes:
    """Write a TLS key where only this user reads it, and return it as PEM.

    To be called before the enrolment is recorded: an enrolment without its key is worth nothing, a
    key without one does no harm.

    :raises Overloaded: when the disk does not take it.
    """
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    write_secret(key_file(state, enrolment), pem)
    return pem


def read(state: Path, enrolment: Enrolment) -> tuple[bytes, bytes]:
    """The key of an enrolment's certificate as PEM, and its SPKI.

    :raises ExchangeError: when it is lost, with the remedy.
    """
    file = key_file(state, enrolment)
    try:
        pem = file.read_bytes()
        return pem, SoftwareKey.from_pem(pem).spki
    except (OSError, AttestError) as error:
        why = error.strerror if isinstance(error, OSError) else "is damaged"
        raise ExchangeError(f"{file}: {why}; enrol with this exchange again") from None


def forget(state: Path, replaced: Enrolment | None) -> None:
    """Remove the key of a certificate, once it is durable that another takes its place."""
    if replaced is not None:
        _remove(key_file(state, replaced))


def sweep(state: Path, enrolments: Iterable[Enrolment]) -> None:
    """Remove what a crash left: every key that is no enrolment's. Not while one is being made."""
    needed = {key_file(state, each) for each in enrolments}
    for file in (*state.glob("tls-*.pem"), *state.glob("tls-*.part")):
        if file not in needed:
            _remove(file)


def _remove(file: Path) -> None:
    with contextlib.suppress(OSError):  # the next start tries again
        file.unlink()
