"""Foreign bytes: whatever arrives, nothing but this package's own error leaves a parser."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from attest import (
    certificate,
    checkpoint,
    ek,
    envelope,
    eventlog,
    formats,
    keys,
    proof_file,
    tcg,
)
from attest.errors import AttestError, Malformed
from attest.verify import appraise, identify, load_roots, verify_proof
from tests.fakes import event_log
from tests.fakes.fake_node import EXCHANGES, FakeNode
from tests.fakes.fake_tpm import FakeTpm

HOST = Path(__file__).parents[1] / "hosts" / "swtpm"
TPM = FakeTpm()
NODE = FakeNode(TPM)
EVIDENCE = formats.encode_evidence(NODE.evidence("x", bytes(32)))
QUOTE = TPM.quote(bytes(32))


def _note(content: bytes) -> None:
    checkpoint.parse(content)


def _key(content: bytes) -> None:
    keys.verify_signature(content, 1, b"", b"")


def _node(content: bytes) -> None:
    identify((content,), content, content, b"")


def _software(content: bytes) -> None:
    identify((), b"", b"", content)


def _type(content: bytes) -> None:
    envelope.message_name(content.decode("latin-1"))


def _appraise(content: bytes) -> None:
    appraise(content, NODE.node, "x", bytes(32))


def _boot_log(content: bytes) -> None:
    log = eventlog.parse(content)
    eventlog.replay(log)
    eventlog.secure_boot(log)


def _appraise_log(content: bytes) -> None:
    if len(content) <= formats.MAX_INLINE:
        log = formats.Blob(hashlib.sha256(content).digest(), len(content), content)
        evidence = replace(NODE.evidence("x", bytes(32)), event_log=log)
        appraise(formats.encode_evidence(evidence), NODE.node, "x", bytes(32))


def _proof(content: bytes) -> None:
    verify_proof(content, ())


def _attest(content: bytes) -> None:
    tcg.verify_attest(TPM.public, content, QUOTE.signature)


def _signature(content: bytes) -> None:
    tcg.verify_attest(TPM.public, QUOTE.attest, content)


def _trimmed(content: bytes) -> None:
    ek.trim_der(content)


def _pem(content: bytes) -> None:
    keys.SoftwareKey.from_pem(content)


SEEDS: dict[Callable[[bytes], object], bytes] = {
    tcg.parse_public: (HOST / "ek.pub").read_bytes()[2:],
    tcg.parse_attest: QUOTE.attest,
    _attest: QUOTE.attest,
    _signature: QUOTE.signature,
    certificate.parse_certificate: (HOST / "ek_cert.der").read_bytes(),
    _trimmed: (HOST / "ek_cert.der").read_bytes(),
    load_roots: (HOST / "root.pem").read_bytes(),
    _pem: keys.SoftwareKey.generate().to_pem(),
    _key: keys.SoftwareKey.generate().spki,
    _software: keys.SoftwareKey.generate().spki,
    _node: TPM.ak_public,
    _type: b"application/vnd.hearth.v1.Offer+protobuf",
    _note: NODE.note(),
    _appraise: EVIDENCE,
    _boot_log: event_log.boot(),
    _appraise_log: event_log.boot(),
    _proof: proof_file.proof_to_json(NODE.proof()),
    proof_file.proof_from_json: proof_file.proof_to_json(NODE.proof()),
    formats.decode_envelope: formats.encode_envelope(NODE.leaves[0]),
    formats.decode_evidence: EVIDENCE,
    formats.decode_evidence_payload: NODE.evidence("x", bytes(32)).payload,
    formats.decode_key_binding: NODE.leaves[1].payload,
    formats.decode_log_start: NODE.leaves[0].payload,
    formats.decode_receipt: NODE.leaves[2].payload,
    formats.decode_checkpoint_record: formats.encode_checkpoint_record(
        formats.CheckpointRecord(1, bytes(32), 2, "boot", nv_counter=0)
    ),
}
PARSERS = sorted(SEEDS, key=lambda parser: parser.__name__)


@settings(max_examples=150)
@given(st.data())
@pytest.mark.parametrize("parser", PARSERS, ids=lambda parser: parser.__name__)
def test_only_our_error_escapes(parser: Callable[[bytes], object], data: st.DataObject) -> None:
    seed = SEEDS[parser]
    at = data.draw(st.integers(0, len(seed)))
    end = data.draw(st.integers(at, min(len(seed), at + 8)))
    content = data.draw(
        st.one_of(
            st.binary(max_size=200),
            st.binary(max_size=8).map(lambda middle: seed[:at] + middle + seed[end:]),
            st.just(seed[:at]),
            st.binary(min_size=1, max_size=8).map(lambda more: seed + more),
        )
    )
    try:
        parser(content)
    except AttestError:
        return


@pytest.mark.parametrize("parser", PARSERS, ids=lambda parser: parser.__name__)
def test_the_seed_is_worth_changing(parser: Callable[[bytes], object]) -> None:
    """A fuzz test whose seed is refused at the door tests the door."""
    if parser in (_key, _node):
        with pytest.raises(AttestError):  # needs a signature, an EK: gets past its own parsing
            parser(SEEDS[parser])
    else:
        parser(SEEDS[parser])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
)


@given(st.sampled_from(sorted(json.loads(SEEDS[_proof]))), JSON)
def test_any_json_in_any_field(field: str, value: object) -> None:
    document = json.loads(SEEDS[_proof])
    if document[field] == value:
        return
    document[field] = value
    for content in (document, value):
        with pytest.raises(AttestError):
            verify_proof(json.dumps(content).encode(), ())


@example(b"[" * 200_000)
@example(b'{"note":"' + b"\\ud800" + b'"}')
@example(b"9" * 10_000)
@example(b'{"statement":' * 50_000)
@example(b"\xef\xbb\xbf{}")
@given(st.binary(max_size=64))
def test_hostile_json(content: bytes) -> None:
    with pytest.raises(Malformed):
        proof_file.proof_from_json(content)


def test_sizes_are_bounded() -> None:
    for parser, limit in (
        (proof_file.proof_from_json, proof_file.MAX_PROOF_FILE),
        (formats.decode_evidence, formats.MAX_MESSAGE),
        (certificate.parse_certificate, certificate.MAX_CERTIFICATE),
    ):
        with pytest.raises(Malformed, match=str(limit + 1)):
            parser(b"0" * (limit + 1))


@given(st.lists(st.binary(max_size=60), max_size=6))
def test_chains_of_anything(chain: list[bytes]) -> None:
    with pytest.raises(AttestError):
        ek.check_ek_chain(chain, [EXCHANGES[0].der])
