"""Proof files: of another node, by a key nobody introduced, with certificates that do not fit."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from attest import checkpoint, formats
from attest.checkpoint import NoteSignature
from attest.envelope import Envelope, countersign, payload_type, sign
from attest.errors import AttestError
from attest.formats import ProofFile
from attest.verify import verify_proof
from tests.fakes.fake_ca import EKU_EK, FakeCa, Wish
from tests.fakes.fake_node import EXCHANGES, FakeNode
from tests.fakes.fake_tpm import FakeTpm, FixedKey, private_key, unrestricted

ROOTS = [each.der for each in EXCHANGES]
NODE = FakeNode(FakeTpm())
SOFTWARE = FakeNode(None)
PROOF = NODE.proof()


def _refused(proof: ProofFile, why: str) -> None:
    with pytest.raises(AttestError, match=why) as caught:
        verify_proof(formats.proof_to_json(proof), ROOTS)
    assert caught.value.exit_code == 1


def _one_chain(node: FakeNode, chain: tuple[bytes, ...]) -> ProofFile:
    return replace(node.proof(), ak_certificates=(chain,))


def test_a_software_ak_beside_a_copied_ek_certificate() -> None:
    """The thief has the node's public papers and a key of its own in the shape of an AK."""
    thief = FakeNode(FakeTpm("thief"))
    copied = replace(thief.proof(), ak_certificates=PROOF.ak_certificates)
    _refused(copied, "AK certificate 1 of 2: the certificate is over another key")
    ek_certificate = EXCHANGES[0].issue(private_key("ek").public_key(), Wish(usages=(EKU_EK,)))
    posing = (ek_certificate, EXCHANGES[0].der)
    _refused(_one_chain(thief, posing), r"AK certificate 1 of 1: .*2\.23\.133\.8\.3")


def test_a_key_that_only_looks_like_an_ak() -> None:
    _refused(FakeNode(FakeTpm(shape=unrestricted())).proof(), "root of trust: .*attributes")


def test_a_stranger_vouches_for_itself() -> None:
    """All of it is consistent, and nobody whom the verifier pinned says so."""
    mallory = FakeCa("mallory")
    chain = mallory.ak_chain(NODE.tpm.spki if NODE.tpm else b"", NODE.node_id, "hardware-tpm")
    result = verify_proof(formats.proof_to_json(_one_chain(NODE, chain)), ROOTS)
    assert result.pinned_by == ()
    assert result.certified_by == (hashlib.sha256(mallory.der).hexdigest(),)


def test_a_strangers_claim_does_not_raise_what_a_pinned_ca_states() -> None:
    mallory = FakeCa("mallory")
    loud = mallory.ak_chain(NODE.root_key.spki, NODE.node_id, "hardware-tpm", "ab" * 32)
    chains = sorted([*PROOF.ak_certificates, loud], key=lambda c: hashlib.sha256(c[-1]).digest())
    result = verify_proof(
        formats.proof_to_json(replace(PROOF, ak_certificates=tuple(chains))), ROOTS
    )
    assert result.assurance.label == "virtual-tpm"


def test_an_envelope_key_that_no_binding_introduces() -> None:
    node = FakeNode(FakeTpm())
    other = FixedKey("nobody's")
    forged = sign(payload_type("Receipt"), node.receipt(9), other)
    index = node.append_envelope(forged)
    _refused(node.proof(index), "receipt signature: .*0 signatures by key")


def test_a_binding_of_another_key_or_log() -> None:
    tpm = FakeTpm()
    for changed, why in (
        ({"log_id": "0" * 64}, "another log"),
        ({"boot_id": "another"}, "key binding quote: .*another question"),
        ({"incarnation": b"x"}, "key binding quote: .*another question"),
        ({"quote": b""}, "key binding quote"),
        ({"quote_signature": b""}, "key binding quote"),
        ({"envelope_spki": FixedKey("other").spki}, "key binding signature"),
    ):
        node = FakeNode(tpm)
        at = node.append("KeyBinding", node.key_binding(**changed))
        proof = node.proof()
        _refused(
            replace(
                proof,
                key_binding=node.leaves[at],
                key_binding_inclusion=node.inclusion(at),
            ),
            why,
        )


def test_a_certify_or_time_attestation_binds_no_key() -> None:
    node = FakeNode(FakeTpm())
    binding = formats.decode_key_binding(node.leaves[node.binding].payload)
    assert node.tpm is not None
    qualifying = formats.decode_key_binding(node.key_binding()).quote
    for made in (node.tpm.certify(qualifying[:32]), node.tpm.time(qualifying[:32])):
        at = node.append(
            "KeyBinding", node.key_binding(quote=made.attest, quote_signature=made.signature)
        )
        _refused(
            replace(
                node.proof(), key_binding=node.leaves[at], key_binding_inclusion=node.inclusion(at)
            ),
            "key binding quote: .*poses as a quote",
        )
    assert binding.quote


def test_something_else_poses_as_the_binding() -> None:
    at = NODE.receipts[0]
    posed = replace(PROOF, key_binding=NODE.leaves[at], key_binding_inclusion=NODE.inclusion(at))
    _refused(posed, "key binding: it is a .*Receipt")


def test_a_binding_or_receipt_that_is_not_in_the_log() -> None:
    other = FakeNode(FakeTpm(), receipts=20)  # the same log, further on
    _refused(replace(PROOF, statement=other.leaves[15]), "receipt inclusion path")
    _refused(
        replace(PROOF, statement_inclusion=other.inclusion(4)),
        "receipt inclusion path: a path in a tree of 22",
    )
    moved = replace(PROOF.key_binding_inclusion, leaf_index=2)
    _refused(replace(PROOF, key_binding_inclusion=moved), "key binding inclusion path")


def test_a_receipt_that_names_another_node_or_log() -> None:
    for field, part in (("node_id", "node"), ("log_id", "log")):
        node = FakeNode(FakeTpm())
        honest = getattr(node, field)
        setattr(node, field, "0" * 64)
        payload = node.receipt(7)
        setattr(node, field, honest)
        _refused(node.proof(node.append("Receipt", payload)), f"receipt: it names another {part}")


def test_a_second_signature_rides_along() -> None:
    for field in ("statement", "key_binding"):
        twice: Envelope = countersign(getattr(PROOF, field), FixedKey("rider"))
        _refused(replace(PROOF, **{field: twice}), "2 signatures, not one")
    line = NoteSignature("witness", b"abcd", b"x")
    _refused(replace(PROOF, note=PROOF.note + checkpoint.assemble(b"", line)[1:]), "one signature")


def test_the_note_of_another_key() -> None:
    """The note names the node and the log, and somebody else signed it."""
    head, text, _ = checkpoint.parse(PROOF.note)
    forger = FixedKey("forger")
    for spki in (forger.spki, NODE.root_key.spki):
        line = checkpoint.signature_by(head.origin, spki, forger.sign(text))
        _refused(replace(PROOF, note=checkpoint.assemble(text, line)), "checkpoint signature")


def test_an_origin_that_is_no_node_and_log() -> None:
    text = checkpoint.text(checkpoint.Checkpoint("example.com/log", 8, NODE.root()))
    line = checkpoint.signature_by("example.com/log", NODE.root_key.spki, NODE.root_key.sign(text))
    _refused(replace(PROOF, note=checkpoint.assemble(text, line)), "checkpoint: the origin")


def test_both_or_neither_root_of_trust() -> None:
    _refused(replace(PROOF, software_spki=SOFTWARE.root_key.spki), "root of trust: .*either")
    _refused(replace(PROOF, ak_public=b""), "root of trust: .*either")


def test_chains_that_are_missing_doubled_or_out_of_order() -> None:
    first, second = PROOF.ak_certificates
    for chains in ((), (second, first), (first, first)):
        _refused(replace(PROOF, ak_certificates=chains), "AK certificates: ")


@pytest.mark.parametrize(
    ("uris", "why"),
    [
        ((), "another node"),
        (("urn:hearth:node:" + "0" * 64,), "another node"),
        (("node", "assurance"), "not exactly one"),
        (("node", "ek", "assurance", "urn:hearth:assurance:hardware-tpm"), "not exactly one"),
        (("node", "ek", "urn:hearth:assurance:best-tpm"), "not exactly one"),
        (("node", "urn:hearth:ek:" + "AB" * 32, "assurance"), "not exactly one"),
        (("node", "node", "ek", "assurance"), "not exactly one"),
    ],
)
def test_certificates_that_state_too_little_or_too_much(uris: tuple[str, ...], why: str) -> None:
    known = {
        "node": f"urn:hearth:node:{NODE.node_id}",
        "ek": "urn:hearth:ek:none",
        "assurance": "urn:hearth:assurance:virtual-tpm",
    }
    stated = [known.get(each, each) for each in uris]
    chain = EXCHANGES[0].ak_chain(NODE.root_key.spki, NODE.node_id, "virtual-tpm", uris=stated)
    _refused(_one_chain(NODE, chain), f"AK certificate 1 of 1: .*{why}")


def test_a_class_that_does_not_fit_the_root_of_trust() -> None:
    for node, assurance, ek in (
        (NODE, "software", "none"),
        (SOFTWARE, "hardware-tpm", "none"),
        (SOFTWARE, "software", "ab" * 32),
    ):
        chain = EXCHANGES[0].ak_chain(node.root_key.spki, node.node_id, assurance, ek)
        _refused(_one_chain(node, chain), "AK certificate 1 of 1: ")


def test_chains_that_are_none() -> None:
    good, ca = PROOF.ak_certificates[0]
    middle = FakeCa("middle", EXCHANGES[0])
    under = middle.ak_chain(NODE.root_key.spki, NODE.node_id, "virtual-tpm")[0]
    roof = EXCHANGES[0].der
    long = verify_proof(formats.proof_to_json(_one_chain(NODE, (under, middle.der, roof))), ROOTS)
    assert len(long.pinned_by) == 1
    for chain in (
        (good,),
        (good, EXCHANGES[0].der if ca != EXCHANGES[0].der else EXCHANGES[1].der),
        (good, ca, ca, ca, ca, ca),
        (ca, ca),
        (under, middle.der),  # ends below a root
        (under, roof),
        (),
    ):
        _refused(_one_chain(NODE, chain), "AK certificate 1 of 1: ")


def test_a_tls_certificate_of_the_same_ca_is_no_ak_certificate() -> None:
    for usages in ((), ("1.3.6.1.5.5.7.3.2",), ("2.23.133.8.3", "1.3.6.1.5.5.7.3.2")):
        chain = EXCHANGES[0].ak_chain(
            NODE.root_key.spki, NODE.node_id, "virtual-tpm", usages=usages
        )
        _refused(_one_chain(NODE, chain), r"2\.23\.133\.8\.3")
    as_ca = EXCHANGES[0].ak_chain(NODE.root_key.spki, NODE.node_id, "virtual-tpm", ca=True)
    _refused(_one_chain(NODE, as_ca), "CA's")


def test_a_ca_certificate_with_the_pinned_key_but_other_bytes_is_not_the_pinned_one() -> None:
    """Pinned means this certificate, not a look-alike with the same name."""
    twin = FakeCa("twin")
    named = FakeCa("exchange one", wish=Wish(ca=True, path_length=3))
    assert named.der != EXCHANGES[0].der
    chain = (named.ak_chain(NODE.root_key.spki, NODE.node_id, "virtual-tpm")[0], named.der)
    result = verify_proof(formats.proof_to_json(_one_chain(NODE, chain)), [*ROOTS, twin.der])
    assert result.pinned_by == ()
