"""Which TLS keys lie in the state directory, and for how long."""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec

from agent.exchange import tls_keys
from agent.exchange.enrolment import Enrolment
from attest.keys import SoftwareKey


def enrolment(certificate: bytes) -> Enrolment:
    return Enrolment(
        exchange_id="e",
        display_name="",
        enrol_endpoint="",
        session_endpoint="",
        statement_spki=(),
        session_ca=(),
        tls_chain=(certificate, b"ca"),
        ak_chain=(),
        assurance=0,
        issue_ns=0,
        expire_ns=0,
    )


def keep(state: Path, certificate: bytes) -> Path:
    before = set(state.iterdir())
    pem = tls_keys.keep(state, enrolment(certificate), ec.generate_private_key(ec.SECP256R1()))
    (file,) = set(state.iterdir()) - before
    assert SoftwareKey.from_pem(file.read_bytes()).spki == SoftwareKey.from_pem(pem).spki
    return file


def test_a_replaced_certificates_key_goes_and_no_other(tmp_path: Path) -> None:
    old, new = keep(tmp_path, b"old"), keep(tmp_path, b"new")
    tls_keys.forget(tmp_path, None)  # the first enrolment with an exchange replaces nothing
    assert set(tmp_path.iterdir()) == {old, new}
    tls_keys.forget(tmp_path, enrolment(b"old"))
    tls_keys.forget(tmp_path, enrolment(b"old"))  # again, after a crash: it is gone already
    assert set(tmp_path.iterdir()) == {new}


def test_a_start_sweeps_up_what_a_crash_left(tmp_path: Path) -> None:
    kept = {keep(tmp_path, b"one"), keep(tmp_path, b"two")}
    keep(tmp_path, b"never recorded")
    (tmp_path / "tls-0123.part").touch()
    for name in ("node.pem", "journal.sqlite", "lock"):
        (tmp_path / name).touch()
        kept.add(tmp_path / name)
    tls_keys.sweep(tmp_path, [enrolment(b"one"), enrolment(b"two")])
    assert set(tmp_path.iterdir()) == kept
