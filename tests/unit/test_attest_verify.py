"""What an exchange runs, on honest nodes."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

from attest import formats, merkle, tcg
from attest.ek import trim_der
from attest.envelope import verify_only
from attest.errors import AttestError, Malformed, Mismatch, Untrusted
from attest.formats import Blob
from attest.keys import key_id
from attest.verify import (
    Assurance,
    Tier,
    TrustedNode,
    TrustRoots,
    appraise,
    identify,
    load_roots,
    verify_bundle,
    verify_key_binding,
    verify_proof,
)
from tests.fakes.fake_node import EXCHANGES, FakeNode
from tests.fakes.fake_tpm import PCRS, FakeTpm

HOST = Path(__file__).parents[1] / "hosts" / "swtpm"
EK_CERTIFICATE = trim_der((HOST / "ek_cert.der").read_bytes())
EK_PUBLIC = (HOST / "ek.pub").read_bytes()[2:]
AK_PUBLIC = (HOST / "ak.pub").read_bytes()[2:]
ISSUER = load_roots((HOST / "issuer.pem").read_bytes())
ROOT = load_roots((HOST / "root.pem").read_bytes())
NODES = {"tpm": FakeNode(FakeTpm()), "software": FakeNode(None)}
NONCE = bytes(range(32))


def test_it_imports_what_a_stranger_can_install() -> None:
    """No grpc, no libtss2, nothing of the agent, no clock and no event loop of its own."""
    code = (
        "import sys, attest.verify\n"
        "bad = {'grpc', 'tpm2_pytss', 'agent', 'probes', 'structlog', 'asyncio', 'pyln'}\n"
        "print(sorted(bad & {name.partition('.')[0] for name in sys.modules}))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": ":".join(path for path in sys.path if path)},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout == "[]\n"


def test_a_recorded_tpm_is_identified_by_class() -> None:
    asked = ([EK_CERTIFICATE], EK_PUBLIC, AK_PUBLIC, b"")
    virtual = identify(*asked, TrustRoots(virtual=ROOT, intermediates=ISSUER))
    assert virtual.assurance is Assurance.VIRTUAL_TPM
    assert virtual.ek_certificate_sha256
    assert virtual.node.node_id == tcg.node_id(tcg.parse_public(AK_PUBLIC))
    assert virtual.ek_public is not None
    hardware = identify(*asked, TrustRoots(hardware=ROOT, intermediates=ISSUER))
    assert hardware.assurance is Assurance.HARDWARE_TPM
    with pytest.raises(Untrusted):
        identify(*asked, TrustRoots(hardware=(EXCHANGES[0].der,)))
    with pytest.raises(Untrusted):
        identify(*asked)


def test_an_ek_without_a_certificate_is_approved_by_hand() -> None:
    spki = tcg.parse_public(EK_PUBLIC).spki
    trust = TrustRoots(approved_ek_spki_sha256=frozenset({key_id(spki)}))
    for chain in ([], [EK_CERTIFICATE], [b"no certificate"]):
        found = identify(chain, EK_PUBLIC, AK_PUBLIC, b"", trust)
        assert found.assurance is Assurance.APPROVED_TPM
        assert found.ek_certificate_sha256 == b""


def test_a_software_node_is_what_it_says() -> None:
    node = NODES["software"]
    found = identify([], b"", b"", node.root_key.spki)
    assert (found.node, found.assurance) == (node.node, Assurance.SOFTWARE)
    with pytest.raises(Malformed):
        identify([EK_CERTIFICATE], b"", b"", node.root_key.spki)
    with pytest.raises(Malformed):
        identify([], b"", AK_PUBLIC, node.root_key.spki)
    with pytest.raises(Malformed):
        identify([], b"", b"", b"")


def test_a_trusted_node_is_its_key() -> None:
    for node in NODES.values():
        assert node.node.spki == node.root_key.spki
        with pytest.raises(Mismatch):
            TrustedNode("0" * 64, node.node.ak_public, node.node.software_spki)


@pytest.mark.parametrize("kind", sorted(NODES))
def test_evidence_of_an_honest_node(kind: str) -> None:
    node = NODES[kind]
    evidence = formats.encode_evidence(node.evidence("x", NONCE))
    appraisal = appraise(evidence, node.node, "x", NONCE)
    assert appraisal.payload == node.evidence_payload("x")
    tiers = {claim.name: claim.tier for claim in appraisal.claims}
    assert tiers.pop("instance-identity") is (Tier.AFFIRMING if node.tpm else Tier.WARNING)
    assert set(tiers) == {"configuration", "executables", "hardware"}
    assert set(tiers.values()) == {Tier.NONE}
    assert appraisal.pcrs == (PCRS if node.tpm else ())
    assert (appraisal.quote is None) == (node.tpm is None)
    assert all(claim.reason for claim in appraisal.claims)


def test_what_nobody_looked_at_is_said_to_be_so() -> None:
    node = NODES["tpm"]
    log = Blob(bytes(32), 3, b"log")
    evidence = dataclasses.replace(
        node.evidence("x", NONCE), ima_log=log, userspace_log=log, time=b"?"
    )
    appraisal = appraise(formats.encode_evidence(evidence), node.node, "x", NONCE)
    claims = {claim.name: claim for claim in appraisal.claims}
    for name in ("executables", "time"):
        assert claims[name].tier is Tier.NONE
        assert "not appraised" in claims[name].reason


@pytest.mark.parametrize("kind", sorted(NODES))
def test_a_key_binding_introduces_the_envelope_key(kind: str) -> None:
    node = NODES[kind]
    spki = verify_key_binding(node.leaves[node.binding], node.node, node.log_id)
    assert spki == node.envelope_key.spki
    for leaf in node.leaves:
        verify_only(leaf, spki)


def test_a_bundle_moves_the_witness_forward() -> None:
    node = NODES["tpm"]
    size = len(node.leaves)
    mine = {index: node.leaf(index) for index in (2, 3, 7)}
    nodes = merkle.multiproof(mine, size, node.read)
    first = verify_bundle(node.node, node.log_id, node.note(3), None, (), {}, ())
    assert first.size == 3
    head = verify_bundle(
        node.node,
        node.log_id,
        node.note(),
        (first.size, first.root),
        merkle.consistency_path(3, size, node.read),
        mine,
        nodes,
    )
    assert (head.size, head.root) == (size, node.root())
    again = (head.size, head.root)
    assert verify_bundle(node.node, node.log_id, node.note(), again, (), {}, ()) == head


@pytest.mark.parametrize("kind", sorted(NODES))
def test_a_proof_says_who_is_believed(kind: str) -> None:
    node = NODES[kind]
    file = formats.proof_to_json(node.proof())
    nobody = verify_proof(file, [])
    assert nobody.pinned_by == ()
    assert len(nobody.certified_by) == 2
    one = verify_proof(file, [EXCHANGES[1].der])
    assert set(one.pinned_by) < set(one.certified_by)
    assert one.assurance is (Assurance.VIRTUAL_TPM if node.tpm else Assurance.SOFTWARE)
    assert one.receipt is not None
    assert (one.receipt.sequence, one.leaf_index, one.size) == (3, node.receipts[2], 8)
    assert (one.node_id, one.log_id) == (node.node_id, node.log_id)


def test_any_leaf_can_be_proven() -> None:
    node = NODES["tpm"]
    for index in range(len(node.leaves)):
        result = verify_proof(formats.proof_to_json(node.proof(index)), [])
        assert result.leaf_index == index
        assert (result.receipt is None) == (index < 2)


def test_the_lowest_word_of_those_believed_counts() -> None:
    node = NODES["tpm"]
    strong = {chain[-1]: chain for chain in node.certificates("hardware-tpm")}
    weak = {chain[-1]: chain for chain in node.certificates("virtual-tpm")}
    first, second = sorted(strong, key=key_id)
    chains = (strong[first], weak[second])
    file = formats.proof_to_json(dataclasses.replace(node.proof(), ak_certificates=chains))
    assert verify_proof(file, [first]).assurance is Assurance.HARDWARE_TPM
    assert verify_proof(file, [second]).assurance is Assurance.VIRTUAL_TPM
    assert verify_proof(file, [first, second]).assurance is Assurance.VIRTUAL_TPM
    assert verify_proof(file, []).assurance is Assurance.VIRTUAL_TPM


def test_roots_as_people_keep_them() -> None:
    pem = (HOST / "root.pem").read_bytes()
    assert load_roots(pem) == load_roots(ROOT[0]) == ROOT
    assert load_roots(b"a comment\n" + pem + (HOST / "issuer.pem").read_bytes()) == ROOT + ISSUER
    for wrong in (b"", b"0", pem[:-30], pem.replace(b"M", b"!", 1), ROOT[0][:-1]):
        with pytest.raises(AttestError):
            load_roots(wrong)
