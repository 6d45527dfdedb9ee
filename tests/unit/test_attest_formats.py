"""Messages and the proof file: out and in again, and as protobuf's own JSON reads it."""

from __future__ import annotations

import dataclasses
import json

import pytest
from google.protobuf import json_format
from hearth.v1 import attestation_pb2, common_pb2, lease_pb2, log_pb2

from attest import formats
from attest.envelope import Envelope, Signature, payload_type
from attest.errors import Malformed
from attest.formats import Blob, CheckpointRecord
from tests.fakes.fake_node import FakeNode
from tests.fakes.fake_tpm import FakeTpm

NODES = [FakeNode(FakeTpm()), FakeNode(None)]


@pytest.mark.parametrize("node", NODES)
def test_evidence_returns_as_it_went(node: FakeNode) -> None:
    evidence = dataclasses.replace(
        node.evidence("x", bytes(32)),
        event_log=Blob(bytes(32), 5, b"event"),
        ima_log=Blob(bytes(32), 1 << 40, b""),
        time=b"time",
        time_signature=b"by",
    )
    assert formats.decode_evidence(formats.encode_evidence(evidence)) == evidence
    assert formats.decode_evidence_payload(evidence.payload) == node.evidence_payload("x")


@pytest.mark.parametrize("counter", [None, 0, 2**64 - 1])
def test_an_absent_counter_is_not_zero(counter: int | None) -> None:
    record = CheckpointRecord(7, bytes(32), 3, "boot", b"", counter)
    assert formats.decode_checkpoint_record(formats.encode_checkpoint_record(record)) == record


def test_envelopes_keep_what_they_carry() -> None:
    strange = Envelope("x/y", b"\0", (Signature(b"", 77, b"z"), Signature(b"k", 1, b"")))
    assert formats.decode_envelope(formats.encode_envelope(strange)) == strange


def test_what_every_payload_says_of_its_origin() -> None:
    node = NODES[0]
    said = [formats.stated_origin(leaf) for leaf in node.leaves[:3]]
    assert said == [
        (node.node_id, None),
        (None, node.log_id),
        (node.node_id, node.log_id),
    ]
    unknown = Envelope(payload_type("CheckpointRecord"), b"", ())
    assert formats.stated_origin(unknown) == (None, None)


@pytest.mark.parametrize("seconds", [-62135596801, 253402300800])
def test_times_outside_the_calendar(seconds: int) -> None:
    message = attestation_pb2.EvidencePayload()
    message.create_time.seconds = seconds
    with pytest.raises(Malformed, match="years"):
        formats.decode_evidence_payload(message.SerializeToString())
    message.create_time.seconds, message.create_time.nanos = 0, -1
    with pytest.raises(Malformed, match="nanoseconds"):
        formats.decode_evidence_payload(message.SerializeToString())


def test_a_receipt_for_people() -> None:
    receipt = formats.decode_receipt(NODES[0].leaves[4].payload)
    assert (receipt.sequence, receipt.gross_msat_total, receipt.final) == (3, 3000, False)
    assert (receipt.energy_mj, receipt.reused_heat_mj) == (15_000_000, 12_000_000)
    assert formats.decode_receipt(lease_pb2.Receipt(final=True).SerializeToString()).final


@pytest.mark.parametrize("node", NODES)
def test_the_proof_file_is_the_message_as_protobuf_reads_it(node: FakeNode) -> None:
    proof = node.proof()
    message = json_format.Parse(formats.proof_to_json(proof), log_pb2.ProofFile())
    assert formats.envelope_from_proto(message.statement) == proof.statement
    assert formats.envelope_from_proto(message.key_binding) == proof.key_binding
    assert message.note.encode() == proof.note
    assert message.ak_public == proof.ak_public
    assert message.software_spki == proof.software_spki
    assert message.statement_inclusion.leaf_index == proof.statement_inclusion.leaf_index
    assert tuple(message.statement_inclusion.path) == proof.statement_inclusion.path
    chains = tuple(tuple(chain.certificates) for chain in message.ak_certificates)
    assert chains == proof.ak_certificates


def test_algorithms_have_their_names() -> None:
    proof = json.loads(formats.proof_to_json(NODES[0].proof()))
    (by,) = proof["statement"]["signatures"]
    assert common_pb2.SignatureAlgorithm.Value(by["algorithm"]) == 1


FILE = formats.proof_to_json(NODES[0].proof())


@pytest.mark.parametrize(
    "changed",
    [
        FILE + b"\n",
        b" " + FILE,
        FILE.replace(b'{"ak_certificates"', b'{"a":"","ak_certificates"'),
        FILE.replace(b'{"ak_certificates"', b'{"note":"","ak_certificates"'),
        FILE.replace(b'"leaf_index":"4"', b'"leaf_index":4'),
        FILE.replace(b'"leaf_index":"4"', b'"leaf_index":"04"'),
        FILE.replace(b'"leaf_index":"4"', b'"leaf_index":"18446744073709551616"'),
        FILE.replace(b'"leaf_index":"4"', b'"leaf_index":"0"'),
        FILE.replace(b'"note":"', b'"note":"\\u00'),
        FILE.replace("—".encode(), b"\\u2014"),
        FILE.replace(b"ECDSA_P256_SHA256", b"UNSPECIFIED"),
        FILE.replace(b'"ak_public":', b'"akPublic":'),
        FILE.replace(b'"tree_size"', b'"tree_sizes":"1","tree_size"', 1),
        json.dumps(json.loads(FILE)).encode(),
        json.dumps(json.loads(FILE), separators=(",", ":")).encode(),
        b"{}",
        b"[]",
    ],
)
def test_there_is_one_encoding(changed: bytes) -> None:
    assert changed != FILE, "the change changed nothing"
    with pytest.raises(Malformed):
        formats.proof_from_json(changed)


def test_spare_bits_of_base64_are_zero() -> None:
    """Two characters carry one byte and four spare bits."""
    proof = dataclasses.replace(NODES[0].proof(), ak_public=b"\x10")
    file = formats.proof_to_json(proof)
    assert b'"ak_public":"EA"' in file
    with pytest.raises(Malformed):
        formats.proof_from_json(file.replace(b'"ak_public":"EA"', b'"ak_public":"EB"'))
    with pytest.raises(Malformed):
        formats.proof_from_json(file.replace(b'"ak_public":"EA"', b'"ak_public":"EA=="'))
    with pytest.raises(Malformed):
        formats.proof_from_json(file.replace(b'"ak_public":"EA"', b'"ak_public":"E+"'))
