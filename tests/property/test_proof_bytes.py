"""A proof file in which any byte differs is refused, whichever byte and whatever stands for it.

More than one byte may differ where proto/README.md says so, and only there: an ECDSA signature has
a mirror, and a chain of two may be left out.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attest.envelope import Envelope
from attest.errors import AttestError
from attest.formats import InclusionProof, ProofFile, proof_from_json, proof_to_json
from attest.verify import verify_proof
from tests.fakes import mirror
from tests.fakes.fake_node import EXCHANGES, FakeNode
from tests.fakes.fake_tpm import FakeTpm

ROOTS = [each.der for each in EXCHANGES]
NODES = {"tpm": FakeNode(FakeTpm()), "software": FakeNode(None)}
PROOFS = {name: node.proof() for name, node in NODES.items()}
FILES = {name: proof_to_json(proof) for name, proof in PROOFS.items()}


def _refusal(file: bytes) -> str:
    """Why it is refused, with exit code 1."""
    with pytest.raises(AttestError) as caught:
        verify_proof(file, ROOTS)
    assert caught.value.exit_code == 1
    assert str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("kind", sorted(FILES))
def test_the_unchanged_file_holds(kind: str) -> None:
    result = verify_proof(FILES[kind], ROOTS)
    assert len(result.pinned_by) == 2
    assert proof_from_json(FILES[kind]) == PROOFS[kind]


@pytest.mark.parametrize("kind", sorted(FILES))
def test_every_byte_of_the_file(kind: str) -> None:
    file = FILES[kind]
    for at in range(len(file)):
        _refusal(file[:at] + bytes([file[at] ^ 1]) + file[at + 1 :])


@settings(max_examples=400)
@given(st.sampled_from(sorted(FILES)), st.data())
def test_any_byte_becomes_any_other(kind: str, data: st.DataObject) -> None:
    file = FILES[kind]
    at = data.draw(st.integers(0, len(file) - 1))
    other = data.draw(st.integers(0, 255).filter(lambda byte: byte != file[at]))
    _refusal(file[:at] + bytes([other]) + file[at + 1 :])


@settings(max_examples=200)
@given(st.sampled_from(sorted(FILES)), st.data())
def test_bytes_come_or_go(kind: str, data: st.DataObject) -> None:
    file = FILES[kind]
    at = data.draw(st.integers(0, len(file)))
    if data.draw(st.booleans()):
        _refusal(file[:at] + data.draw(st.binary(min_size=1, max_size=3)) + file[at:])
    else:
        end = data.draw(st.integers(at + 1, len(file) + 1))
        if file[:at] + file[end:] != file:
            _refusal(file[:at] + file[end:])


def _flip(value: bytes, at: int) -> bytes:
    return value[:at] + bytes([value[at] ^ 0x01]) + value[at + 1 :]


def _envelope_changes(envelope: Envelope) -> Iterator[tuple[str, Envelope]]:
    for at in range(len(envelope.payload)):
        yield "contents", dataclasses.replace(envelope, payload=_flip(envelope.payload, at))
    (by,) = envelope.signatures
    for name in ("key_id", "signature"):
        value = getattr(by, name)
        for at in range(len(value)):
            changed = dataclasses.replace(by, **{name: _flip(value, at)})
            yield "signature", dataclasses.replace(envelope, signatures=(changed,))


def _inclusion_changes(proof: InclusionProof) -> Iterator[InclusionProof]:
    for step, node in enumerate(proof.path):
        for at in range(len(node)):
            path = (*proof.path[:step], _flip(node, at), *proof.path[step + 1 :])
            yield dataclasses.replace(proof, path=path)
    for delta in (-1, 1):
        yield dataclasses.replace(proof, leaf_index=max(0, proof.leaf_index + delta))
        yield dataclasses.replace(proof, tree_size=proof.tree_size + delta)


@pytest.mark.parametrize("kind", sorted(PROOFS))
def test_every_byte_of_the_receipt_and_its_signature(kind: str) -> None:
    for part, changed in _envelope_changes(PROOFS[kind].statement):
        proof = dataclasses.replace(PROOFS[kind], statement=changed)
        assert _refusal(proof_to_json(proof)).startswith(f"receipt {part}: ")


@pytest.mark.parametrize("kind", sorted(PROOFS))
def test_every_byte_of_the_paths(kind: str) -> None:
    proof = PROOFS[kind]
    for changed in _inclusion_changes(proof.statement_inclusion):
        altered = dataclasses.replace(proof, statement_inclusion=changed)
        assert _refusal(proof_to_json(altered)).startswith("receipt inclusion path: ")
    for changed in _inclusion_changes(proof.key_binding_inclusion):
        altered = dataclasses.replace(proof, key_binding_inclusion=changed)
        assert _refusal(proof_to_json(altered)).startswith("key binding inclusion path: ")


@pytest.mark.parametrize("kind", sorted(PROOFS))
def test_every_byte_of_the_key_binding(kind: str) -> None:
    for part, changed in _envelope_changes(PROOFS[kind].key_binding):
        proof = dataclasses.replace(PROOFS[kind], key_binding=changed)
        assert _refusal(proof_to_json(proof)).startswith(f"key binding {part}: ")


@pytest.mark.parametrize("kind", sorted(PROOFS))
def test_every_byte_of_the_note(kind: str) -> None:
    """Changes that leave it no UTF-8 cannot be written down, so a character is changed instead."""
    note = PROOFS[kind].note.decode()
    for at, character in enumerate(note):
        other = chr(ord(character) ^ 1)
        changed = (note[:at] + other + note[at + 1 :]).encode()
        reason = _refusal(proof_to_json(dataclasses.replace(PROOFS[kind], note=changed)))
        assert reason.startswith(("checkpoint", "root of trust: "))


@pytest.mark.parametrize(("kind", "field"), [("tpm", "ak_public"), ("software", "software_spki")])
def test_every_byte_of_the_root_of_trust(kind: str, field: str) -> None:
    value = getattr(PROOFS[kind], field)
    for at in range(len(value)):
        changed: ProofFile = dataclasses.replace(PROOFS[kind], **{field: _flip(value, at)})
        assert _refusal(proof_to_json(changed)).startswith("root of trust: ")


@pytest.mark.parametrize("kind", sorted(PROOFS))
def test_every_byte_of_the_certificates(kind: str) -> None:
    chains = PROOFS[kind].ak_certificates
    for number, chain in enumerate(chains):
        for place, der in enumerate(chain):
            for at in range(len(der)):
                altered = (*chain[:place], _flip(der, at), *chain[place + 1 :])
                both = (*chains[:number], altered, *chains[number + 1 :])
                proof = dataclasses.replace(PROOFS[kind], ak_certificates=both)
                reason = _refusal(proof_to_json(proof))
                assert reason.startswith(f"AK certificate {number + 1} of 2: ")


def _ca_digest(chain: tuple[bytes, ...]) -> bytes:
    return hashlib.sha256(chain[-1]).digest()


def _chains_with(proof: ProofFile, number: int, place: int) -> tuple[tuple[bytes, ...], ...]:
    """All chains, one certificate's signature in one of them mirrored."""
    return tuple(
        tuple(
            mirror.certificate(der) if (at, step) == (number, place) else der
            for step, der in enumerate(chain)
        )
        for at, chain in enumerate(proof.ak_certificates)
    )


@pytest.mark.parametrize("kind", sorted(PROOFS))
def test_a_signature_has_a_mirror_and_says_the_same(kind: str) -> None:
    proof, shown = PROOFS[kind], verify_proof(FILES[kind], ROOTS)
    statement = mirror.envelope(proof.statement)
    mirrored = {
        "statement": dataclasses.replace(proof, statement=statement),
        "binding": dataclasses.replace(proof, key_binding=mirror.envelope(proof.key_binding)),
        "note": dataclasses.replace(proof, note=mirror.note(proof.note)),
        "first": dataclasses.replace(proof, ak_certificates=_chains_with(proof, 0, 0)),
        "second": dataclasses.replace(proof, ak_certificates=_chains_with(proof, 1, 0)),
    }
    for part, changed in mirrored.items():
        file = proof_to_json(changed)
        assert file != FILES[kind]
        again = verify_proof(file, ROOTS)
        assert again.statement.payload == proof.statement.payload
        assert dataclasses.replace(again, statement=proof.statement) == shown, part


@pytest.mark.parametrize("kind", sorted(PROOFS))
def test_a_pinned_ca_has_no_mirror(kind: str) -> None:
    """It is compared byte for byte: mirrored, it is another CA, which nobody pinned."""
    first, second = PROOFS[kind].ak_certificates
    mirrored = (*first[:-1], mirror.certificate(first[-1]))
    chains = tuple(sorted((mirrored, second), key=_ca_digest))
    changed = dataclasses.replace(PROOFS[kind], ak_certificates=chains)
    shown = verify_proof(proof_to_json(changed), ROOTS)
    assert len(shown.certified_by) == 2
    assert shown.pinned_by == (_ca_digest(second).hex(),)


@pytest.mark.parametrize("kind", sorted(PROOFS))
def test_one_of_two_chains_is_a_proof_as_well(kind: str) -> None:
    for chain in PROOFS[kind].ak_certificates:
        changed = dataclasses.replace(PROOFS[kind], ak_certificates=(chain,))
        shown = verify_proof(proof_to_json(changed), ROOTS)
        assert shown.certified_by == shown.pinned_by == (_ca_digest(chain).hex(),)
    reason = _refusal(proof_to_json(dataclasses.replace(PROOFS[kind], ak_certificates=())))
    assert reason.startswith("AK certificates: ")
