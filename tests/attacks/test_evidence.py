"""Evidence: replayed, relabelled, of another type, over other PCRs, with something more or less."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from attest import formats, tcg
from attest.errors import AttestError, BadSignature, Malformed, Mismatch
from attest.evidence import evidence_data
from attest.formats import Evidence, PcrBank
from attest.verify import appraise
from tests.fakes.fake_node import FakeNode
from tests.fakes.fake_tpm import PCRS, FakeTpm, Made, pcr_digest

NONCE = bytes(range(32))
TPM = FakeTpm()
NODE = FakeNode(TPM)
SOFTWARE = FakeNode(None)
GOOD = NODE.evidence("x", NONCE)
QUALIFYING = evidence_data("x", NONCE, GOOD.payload)


def _appraise(evidence: Evidence, node: FakeNode = NODE, nonce: bytes = NONCE) -> None:
    appraise(formats.encode_evidence(evidence), node.node, "x", nonce)


def _with(made: Made, pcrs: tuple[tuple[int, bytes], ...] = PCRS) -> Evidence:
    return replace(
        GOOD,
        quote=made.attest,
        quote_signature=made.signature,
        pcr_banks=(PcrBank(tcg.SHA256, pcrs),),
    )


def test_the_good_one_is_good() -> None:
    _appraise(GOOD)
    _appraise(SOFTWARE.evidence("x", NONCE), SOFTWARE)
    _appraise(_with(TPM.quote(QUALIFYING)))


@pytest.mark.parametrize("node", [NODE, SOFTWARE])
def test_a_replayed_nonce(node: FakeNode) -> None:
    with pytest.raises(AttestError):
        _appraise(node.evidence("x", bytes(32)), node)


@pytest.mark.parametrize("node", [NODE, SOFTWARE])
def test_the_nonce_of_another_exchange(node: FakeNode) -> None:
    """One exchange relays another's challenge: its id is inside what is signed."""
    with pytest.raises(AttestError):
        _appraise(node.evidence("y", NONCE), node)


def test_a_payload_for_another_exchange() -> None:
    payload = NODE.evidence_payload("y")
    with pytest.raises(Mismatch, match="another exchange"):
        _appraise(NODE.evidence("x", NONCE, payload))


@pytest.mark.parametrize("node", [NODE, SOFTWARE])
def test_another_payload_under_the_quote(node: FakeNode) -> None:
    evidence = node.evidence("x", NONCE)
    changed = replace(node.evidence_payload("x"), inventory_generation=2)
    with pytest.raises(AttestError):
        _appraise(replace(evidence, payload=formats.encode_evidence_payload(changed)), node)


def test_the_fields_of_the_payload_do_not_run_together() -> None:
    """Length prefixes: moving a byte from one field to the next is another question."""
    assert evidence_data("ab", b"c", b"d") != evidence_data("a", b"bc", b"d")
    assert evidence_data("a", b"bc", b"d") != evidence_data("a", b"b", b"cd")


def test_a_wrong_magic() -> None:
    with pytest.raises(Malformed, match="magic"):
        _appraise(_with(TPM.quote(QUALIFYING, magic=0xFF544348)))


@pytest.mark.parametrize("kind", [FakeTpm.certify, FakeTpm.time, FakeTpm.nv])
def test_another_attestation_poses_as_a_quote(kind: Callable[[FakeTpm, bytes], Made]) -> None:
    with pytest.raises(Mismatch, match="poses as a quote"):
        _appraise(_with(kind(TPM, QUALIFYING)))


def test_pcr_12_relabelled_as_pcr_7() -> None:
    """A genuine quote: the digest is right, only the selection names other PCRs."""
    made = TPM.quote(QUALIFYING, selections=[(tcg.SHA256, (0, 2, 4, 12))])
    with pytest.raises(Mismatch, match="exactly the required PCRs"):
        _appraise(_with(made))


@pytest.mark.parametrize(
    "selections",
    [
        [(0x0004, (0, 2, 4, 7))],  # the SHA-1 bank
        [(0x000C, (0, 2, 4, 7))],
        [(tcg.SHA256, (0, 2, 4, 7)), (0x0004, ())],
        [(0x0004, ()), (tcg.SHA256, (0, 2, 4, 7))],
        [(tcg.SHA256, (0, 2)), (tcg.SHA256, (4, 7))],
        [(tcg.SHA256, (0, 2, 4, 7, 16))],
        [(tcg.SHA256, (0, 2, 4))],
    ],
)
def test_other_banks_and_selections(selections: list[tuple[int, tuple[int, ...]]]) -> None:
    with pytest.raises(Mismatch, match="exactly the required PCRs"):
        _appraise(_with(TPM.quote(QUALIFYING, selections=selections)))


def test_the_bank_is_swapped_in_the_evidence() -> None:
    for banks in (
        (),
        (PcrBank(0x0004, PCRS),),
        (PcrBank(tcg.SHA256, PCRS), PcrBank(0x0004, ())),
        (PcrBank(tcg.SHA256, PCRS), PcrBank(tcg.SHA256, PCRS)),
    ):
        with pytest.raises(Mismatch):
            _appraise(replace(GOOD, pcr_banks=banks))


@pytest.mark.parametrize(
    "pcrs",
    [
        PCRS[:3],
        (*PCRS, (16, bytes(32))),
        PCRS[::-1],
        (*PCRS, PCRS[-1]),
        (*PCRS[:3], (7, bytes(32))),
        (*PCRS[:3], (7, PCRS[3][1][:31])),
        (*PCRS[:3], (8, PCRS[3][1])),
        (),
    ],
)
def test_missing_added_or_changed_pcrs(pcrs: tuple[tuple[int, bytes], ...]) -> None:
    with pytest.raises(AttestError):
        _appraise(replace(GOOD, pcr_banks=(PcrBank(tcg.SHA256, pcrs),)))


def test_bytes_moved_between_two_pcrs() -> None:
    """The digest is over the values joined: their lengths must be fixed."""
    joined = PCRS[0][1] + PCRS[1][1]
    moved = ((0, joined[:31]), (2, joined[31:]), *PCRS[2:])
    assert pcr_digest(moved) == pcr_digest(PCRS)
    with pytest.raises(Malformed, match="32 bytes"):
        _appraise(replace(GOOD, pcr_banks=(PcrBank(tcg.SHA256, moved),)))


def test_a_quote_over_fewer_pcrs_than_are_required() -> None:
    three = PCRS[:3]
    with pytest.raises(Mismatch):
        _appraise(_with(TPM.quote(QUALIFYING, three), three))


@pytest.mark.parametrize("extra", [b"\0", b"\xff" * 8])
def test_trailing_bytes(extra: bytes) -> None:
    made = TPM.quote(QUALIFYING)
    longer = made.attest + extra
    with pytest.raises(Malformed, match="follow"):
        _appraise(_with(Made(longer, TPM.tpm_signature(longer))))
    with pytest.raises(Malformed, match="follow"):
        _appraise(_with(Made(made.attest, made.signature + extra)))


def test_every_byte_of_a_quote() -> None:
    for field in ("quote", "quote_signature", "payload"):
        value: bytes = getattr(GOOD, field)
        for at in range(len(value)):
            flipped = value[:at] + bytes([value[at] ^ 1]) + value[at + 1 :]
            with pytest.raises(AttestError):
                _appraise(replace(GOOD, **{field: flipped}))


def test_a_software_signature_stands_in_for_a_quote() -> None:
    signed = Evidence(GOOD.payload, software_signature=TPM.key.sign(QUALIFYING))
    with pytest.raises(AttestError):
        _appraise(signed)
    with pytest.raises(Mismatch, match="software signature"):
        _appraise(replace(GOOD, software_signature=TPM.key.sign(QUALIFYING)))


def test_tpm_fields_from_a_node_without_one() -> None:
    good = SOFTWARE.evidence("x", NONCE)
    for changed in (
        {"quote": GOOD.quote},
        {"quote_signature": GOOD.quote_signature},
        {"pcr_banks": GOOD.pcr_banks},
        {"time": b"t"},
        {"time_signature": b"t"},
    ):
        with pytest.raises(Mismatch, match="without a TPM"):
            _appraise(replace(good, **changed), SOFTWARE)
    payload = replace(SOFTWARE.evidence_payload("x"), incarnation=b"\0\x0b" + bytes(32))
    with pytest.raises(Mismatch, match="without a TPM"):
        _appraise(SOFTWARE.evidence("x", NONCE, payload), SOFTWARE)
    with pytest.raises(Malformed, match="not signed"):
        _appraise(replace(good, software_signature=b""), SOFTWARE)


def test_a_software_key_of_another_node() -> None:
    other = FakeNode(None, seed="other")
    with pytest.raises(BadSignature):
        _appraise(other.evidence("x", NONCE), SOFTWARE)


@pytest.mark.parametrize(
    "changed",
    [
        {"inventory_digest": b""},
        {"tls_spki_sha256": bytes(31)},
        {"log_root": bytes(33)},
        {"agent_code_sha256": bytes(5)},
        {"boot_id": ""},
        {"log_id": ""},
        {"envelope_spki": b"no key"},
    ],
)
def test_a_payload_that_says_too_little(changed: dict[str, object]) -> None:
    payload = replace(NODE.evidence_payload("x"), **changed)  # type: ignore[arg-type]  # by name
    with pytest.raises(Malformed):
        _appraise(NODE.evidence("x", NONCE, payload))


def test_an_answer_to_one_question_answers_no_other() -> None:
    """The quote of a key binding, shown as evidence."""
    binding = formats.decode_key_binding(NODE.leaves[NODE.binding].payload)
    posed = replace(GOOD, quote=binding.quote, quote_signature=binding.quote_signature)
    with pytest.raises(Mismatch, match="another question"):
        _appraise(posed)
