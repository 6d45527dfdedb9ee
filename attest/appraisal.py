"""What an exchange may believe of evidence, claim by claim. Pure.

RFC 9334's Verifier. Tiers are those of EAT Attestation Results (draft-ietf-rats-ear); there is no
single verdict, because a quote that holds still says nothing of what nobody looked at.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum

from attest import eventlog
from attest.errors import Malformed, Mismatch
from attest.evidence import evidence_data, quoted
from attest.formats import (
    MAX_INLINE,
    Blob,
    Evidence,
    EvidencePayload,
    decode_evidence,
    decode_evidence_payload,
)
from attest.identity import TrustedNode
from attest.keys import Algorithm, algorithm_of, verify_signature
from attest.root import REQUIRED_PCRS, SHA256_BANK
from attest.tcg import Attest, Public


class Tier(IntEnum):
    """Trust tiers of AR4SI and EAR."""

    NONE = 0  # the verifier has no opinion
    AFFIRMING = 2
    WARNING = 32
    CONTRAINDICATED = 96


@dataclass(frozen=True, slots=True)
class Claim:
    """One claim of the trustworthiness vector (AR4SI names), and why it stands where it does."""

    name: str
    tier: Tier
    reason: str


@dataclass(frozen=True, slots=True)
class Appraisal:
    """Evidence of which nothing was false. Look at the claims before relying on it."""

    payload: EvidencePayload
    claims: tuple[Claim, ...]
    quote: Attest | None  # None without a TPM
    pcrs: tuple[tuple[int, bytes], ...]  # SHA-256 bank; empty without a TPM


def appraise(
    evidence: bytes,
    node: TrustedNode,
    exchange_id: str,
    nonce: bytes,
    required_pcrs: Sequence[int] = REQUIRED_PCRS,
) -> Appraisal:
    """Check evidence of a known node against a nonce that the caller made and has not used before.

    :param evidence: serialised `Evidence`. :param nonce: as sent; its freshness is the caller's.
    :raises AttestError: when anything in it is false, missing or malformed.
    """
    parsed = decode_evidence(evidence)
    qualifying = evidence_data(exchange_id, nonce, parsed.payload)
    ak = node.ak
    if ak is None:
        quote = None
        pcrs: tuple[tuple[int, bytes], ...] = ()
        _check_software(parsed, node, qualifying)
    else:
        pcrs = _required_bank(parsed)
        quote = _check_quote(parsed, ak, qualifying, pcrs, required_pcrs)
    payload = decode_evidence_payload(parsed.payload)
    _check_payload(payload, exchange_id, has_tpm=ak is not None)
    return Appraisal(payload, _claims(parsed, payload, pcrs), quote, pcrs)


def _check_software(evidence: Evidence, node: TrustedNode, qualifying: bytes) -> None:
    if evidence.quote or evidence.quote_signature or evidence.pcr_banks:
        raise Mismatch("a quote from a node without a TPM")
    if evidence.time or evidence.time_signature:
        raise Mismatch("a TPM's time from a node without a TPM")
    if not evidence.software_signature:
        raise Malformed("the evidence is not signed by the node key")
    verify_signature(
        node.software_spki, Algorithm.ECDSA_P256_SHA256, qualifying, evidence.software_signature
    )


def _check_quote(
    evidence: Evidence,
    ak: Public,
    qualifying: bytes,
    pcrs: tuple[tuple[int, bytes], ...],
    required: Sequence[int],
) -> Attest:
    if evidence.software_signature:
        raise Mismatch("a software signature from a node with a TPM")
    return quoted(ak, qualifying, evidence.quote, evidence.quote_signature, pcrs, required=required)


def _required_bank(evidence: Evidence) -> tuple[tuple[int, bytes], ...]:
    if [bank.algorithm for bank in evidence.pcr_banks] != [SHA256_BANK]:
        raise Mismatch("the evidence carries not exactly the SHA-256 bank of PCRs")
    return evidence.pcr_banks[0].values


def _check_payload(payload: EvidencePayload, exchange_id: str, *, has_tpm: bool) -> None:
    if payload.exchange_id != exchange_id:
        raise Mismatch("the evidence is for another exchange")
    for name, value in (
        ("inventory_digest", payload.inventory_digest),
        ("tls_spki_sha256", payload.tls_spki_sha256),
        ("log_root", payload.log_root),
    ):
        if len(value) != 32:
            raise Malformed(f"{name} has {len(value)} bytes, not 32")
    if len(payload.agent_code_sha256) not in (0, 32):
        raise Malformed("agent_code_sha256 is neither empty nor 32 bytes")
    if not payload.boot_id or not payload.log_id:
        raise Malformed("the evidence names no boot or no log")
    if payload.incarnation and not has_tpm:
        raise Mismatch("an incarnation from a node without a TPM")
    algorithm_of(payload.envelope_spki)


def _claims(
    evidence: Evidence, payload: EvidencePayload, pcrs: tuple[tuple[int, bytes], ...]
) -> tuple[Claim, ...]:
    bound = f"inventory {payload.inventory_digest.hex()[:16]}, generation"
    hardware = Claim(
        "hardware",
        Tier.NONE,
        f"{bound} {payload.inventory_generation}, is what the agent's software saw; "
        "the signature binds it and does not make it true",
    )
    executables = Claim("executables", Tier.NONE, _executables(evidence, payload))
    if not pcrs:
        return (
            Claim(
                "instance-identity",
                Tier.WARNING,
                "the node key answered this nonce; a key file can be copied",
            ),
            Claim("configuration", Tier.NONE, "no TPM, so nothing is known of how it booted"),
            executables,
            hardware,
        )
    identity = Claim(
        "instance-identity", Tier.AFFIRMING, "the enrolled AK quoted this nonce and payload"
    )
    configuration = _configuration(evidence.event_log, pcrs)
    claims = (identity, configuration, executables, hardware)
    if not evidence.time:
        return claims
    return (*claims, Claim("time", Tier.NONE, "the TPM's time is attached and not appraised"))


def _configuration(blob: Blob | None, pcrs: tuple[tuple[int, bytes], ...]) -> Claim:
    """How it booted. A log is judged by the quoted PCRs, never the other way round.

    A log that does not fit contraindicates and is not an error: the quote holds all the same, and
    some firmware keeps a wrong log.
    """
    quoted_pcrs = f"PCRs {_listed(index for index, _ in pcrs)} are quoted"
    if blob is None:
        return Claim("configuration", Tier.NONE, f"{quoted_pcrs}; the event log is not attached")
    if not blob.inline:
        reason = (
            f"{quoted_pcrs}; the event log of {blob.size_bytes} bytes is too long to be attached"
        )
        return Claim("configuration", Tier.NONE, reason)
    if len(blob.inline) > MAX_INLINE:
        raise Malformed(f"an attached event log of more than {MAX_INLINE} bytes")
    if (blob.size_bytes, blob.sha256) != (len(blob.inline), hashlib.sha256(blob.inline).digest()):
        raise Mismatch("the event log is not the one that its size and digest name")
    judged = {index: value for index, value in pcrs if index in eventlog.FIRMWARE_PCRS}
    if not judged:
        return Claim("configuration", Tier.NONE, f"{quoted_pcrs}, none of which firmware extends")
    try:
        log = eventlog.parse(blob.inline)
    except Malformed as error:
        return Claim("configuration", Tier.CONTRAINDICATED, str(error))
    replayed = eventlog.replay(log)
    if wrong := [index for index, value in judged.items() if replayed[index] != value]:
        reason = f"the event log does not replay to the quoted PCRs {_listed(wrong)}"
        return Claim("configuration", Tier.CONTRAINDICATED, reason)
    state = eventlog.secure_boot(log) if 7 in judged else eventlog.SecureBoot.UNKNOWN
    return Claim(
        "configuration",
        Tier.AFFIRMING if state is eventlog.SecureBoot.ON else Tier.WARNING,
        f"the event log replays to the quoted PCRs {_listed(judged)}; Secure Boot: {state.value};"
        " whose keys, boot loader and kernel it names is not judged",
    )


def _listed(indices: Iterable[int]) -> str:
    return ", ".join(str(index) for index in indices)


def _executables(evidence: Evidence, payload: EvidencePayload) -> str:
    digest = "its own code's digest" if payload.agent_code_sha256 else "no digest of its code"
    logs = [
        name
        for name, log in (("IMA", evidence.ima_log), ("userspace", evidence.userspace_log))
        if log is not None
    ]
    attached = f"{' and '.join(logs)} log attached and not appraised" if logs else "no log attached"
    return f"the agent states {digest}; {attached}"
