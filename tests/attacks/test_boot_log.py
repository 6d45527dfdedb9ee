"""The measured-boot log in evidence: truncated, oversized, retyped, another machine's, made up."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from attest import formats, tcg
from attest.appraisal import Claim, Tier, appraise
from attest.errors import Malformed, Mismatch
from attest.eventlog import parse, replay
from attest.evidence import evidence_data
from attest.formats import MAX_INLINE, Blob, Evidence, PcrBank
from attest.root import REQUIRED_PCRS
from tests.fakes.event_log import (
    DRIVER_CONFIG,
    IPL,
    NO_SECURE_BOOT,
    SECURE_BOOT,
    boot,
    event,
    header,
    locality,
    variable,
)
from tests.fakes.fake_node import FakeNode
from tests.fakes.fake_tpm import FakeTpm

NONCE = bytes(range(32))
TPM = FakeTpm()
NODE = FakeNode(TPM)
GOOD = NODE.evidence("x", NONCE)


def blob(log: bytes) -> Blob:
    return Blob(hashlib.sha256(log).digest(), len(log), log)


def evidence(
    measured: bytes, shown: Blob | None, pcrs: tuple[int, ...] = REQUIRED_PCRS
) -> Evidence:
    """What a machine that booted as `measured` says when it shows another log."""
    values = replay(parse(measured))
    quoted = tuple((index, values[index]) for index in pcrs)
    made = TPM.quote(evidence_data("x", NONCE, GOOD.payload), quoted)
    return replace(
        GOOD,
        quote=made.attest,
        quote_signature=made.signature,
        pcr_banks=(PcrBank(tcg.SHA256, quoted),),
        event_log=shown,
    )


def claim(measured: bytes, shown: Blob | None, pcrs: tuple[int, ...] = REQUIRED_PCRS) -> Claim:
    content = formats.encode_evidence(evidence(measured, shown, pcrs))
    appraisal = appraise(content, NODE.node, "x", NONCE, pcrs)
    return next(claim for claim in appraisal.claims if claim.name == "configuration")


def test_an_honest_log_affirms_and_names_the_state() -> None:
    found = claim(boot(), blob(boot()))
    assert found.tier is Tier.AFFIRMING
    assert "0, 2, 4, 7" in found.reason
    assert "Secure Boot: on" in found.reason


def test_a_log_from_another_locality() -> None:
    begun = header() + locality(3) + boot()[len(header()) :]
    assert claim(begun, blob(begun)).tier is Tier.AFFIRMING
    assert claim(begun, blob(boot())).tier is Tier.CONTRAINDICATED
    assert claim(boot(), blob(begun)).tier is Tier.CONTRAINDICATED


@pytest.mark.parametrize(
    ("secure", "said"), [(NO_SECURE_BOOT, "Secure Boot: off"), (b"", "Secure Boot: not said")]
)
def test_without_secure_boot_it_only_warns(secure: bytes, said: str) -> None:
    found = claim(boot(secure), blob(boot(secure)))
    assert found.tier is Tier.WARNING
    assert said in found.reason


def test_secure_boot_is_not_affirmed_when_pcr_7_is_not_quoted() -> None:
    """The exchange asked for other PCRs: the log's seventh is then nobody's word."""
    forged = boot()
    assert claim(boot(NO_SECURE_BOOT), blob(forged), (0, 2, 4)).tier is Tier.WARNING


LYING = {
    "of another boot": boot(SECURE_BOOT),
    "without its last event": boot(NO_SECURE_BOOT)[: -len(event(4, IPL, b""))],
    "with one event more": boot(NO_SECURE_BOOT, after=event(7, IPL, b"")),
    "empty of events": header(),
    "cut within an event": boot(NO_SECURE_BOOT)[:-3],
    "with a byte more": boot(NO_SECURE_BOOT) + b"\0",
    "not a log": b"log",
    "with the event said to be none": boot(NO_SECURE_BOOT).replace(
        NO_SECURE_BOOT[:8], NO_SECURE_BOOT[:4] + b"\3\0\0\0"
    ),
    "with the event in another PCR": boot(NO_SECURE_BOOT).replace(
        NO_SECURE_BOOT, b"\6" + NO_SECURE_BOOT[1:]
    ),
    "with the state before the digest changed": boot(
        event(7, DRIVER_CONFIG, variable("SecureBoot", b"\1"))
    ),
}


@pytest.mark.parametrize("name", sorted(LYING))
def test_a_log_that_was_not_measured_contraindicates(name: str) -> None:
    assert claim(boot(NO_SECURE_BOOT), blob(LYING[name])).tier is Tier.CONTRAINDICATED


def test_data_rewritten_beside_a_true_digest_are_not_believed() -> None:
    """It replays, since only digests are measured; the state is then not said."""
    off, on = variable("SecureBoot", b"\0"), variable("SecureBoot", b"\1")
    rewritten = boot(event(7, DRIVER_CONFIG, on, measured=off))
    found = claim(boot(NO_SECURE_BOOT), blob(rewritten))
    assert found.tier is Tier.WARNING
    assert "Secure Boot: not said" in found.reason


def test_a_state_extended_by_what_was_booted_is_not_believed() -> None:
    after = boot(NO_SECURE_BOOT, after=SECURE_BOOT)
    found = claim(after, blob(after))
    assert found.tier is Tier.WARNING
    assert "Secure Boot: off" in found.reason


def test_a_log_that_is_not_the_one_its_blob_names() -> None:
    log = boot()
    for wrong in (Blob(bytes(32), len(log), log), replace(blob(log), size_bytes=1)):
        with pytest.raises(Mismatch, match="size and digest"):
            claim(boot(), wrong)


def test_more_than_a_blob_may_carry() -> None:
    with pytest.raises(Malformed, match="more than"):
        claim(boot(), blob(boot(after=event(8, IPL, bytes(MAX_INLINE)))))


def test_a_log_that_is_not_carried_affirms_nothing() -> None:
    found = claim(boot(), Blob(bytes(32), 70_000, b""))
    assert found.tier is Tier.NONE
    assert "70000 bytes" in found.reason
    assert claim(boot(), None).tier is Tier.NONE


def test_pcrs_that_no_firmware_extends_say_nothing_of_the_boot() -> None:
    assert claim(boot(), blob(boot()), (16, 23)).tier is Tier.NONE
