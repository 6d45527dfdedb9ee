"""What the root of trust signs over, and what a quote must say. Pure.

The formulas are those in `attestation.proto` and `log.proto`; each has a label of its own, so that
an answer to one question is never an answer to another.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence

from attest.encoding import lp
from attest.errors import Malformed, Mismatch
from attest.root import REQUIRED_PCRS, SHA256_BANK
from attest.tcg import Attest, AttestType, Public, QuoteInfo, verify_attest


def evidence_data(exchange_id: str, nonce: bytes, payload: bytes) -> bytes:
    """Qualifying data of the quote in `Evidence`; 32 bytes."""
    return _digest(b"hearth/v1/evidence", exchange_id.encode(), nonce, payload)


def key_binding_data(log_id: str, boot_id: str, spki: bytes, incarnation: bytes) -> bytes:
    """Qualifying data of the quote in `KeyBinding`; 32 bytes."""
    return _digest(b"hearth/v1/key-binding", log_id.encode(), boot_id.encode(), spki, incarnation)


def time_data(exchange_id: str, nonce: bytes) -> bytes:
    """Qualifying data of the TPM2_GetTime in `TimeAttestation`; 32 bytes."""
    return _digest(b"hearth/v1/time", exchange_id.encode(), nonce)


def transcript_hmac(
    secret: bytes, begin: bytes, challenge_payload: bytes, evidence: bytes
) -> bytes:
    """HMAC-SHA256 over the enrolment transcript, keyed by the activated secret (`EnrollProof`)."""
    transcript = lp(begin) + lp(challenge_payload) + hashlib.sha256(evidence).digest()
    return hmac.new(secret, transcript, "sha256").digest()


def quoted(
    ak: Public,
    qualifying: bytes,
    attest: bytes,
    signature: bytes,
    pcrs: Sequence[tuple[int, bytes]],
    *,
    required: Sequence[int] = REQUIRED_PCRS,
) -> Attest:
    """The quote, once it is certain that it is this AK's, over `qualifying` and exactly these PCRs.

    :param pcrs: (index, 32 bytes) of the SHA-256 bank; must be exactly the `required`, ascending.
    :raises AttestError: naming what is wrong.
    """
    quote = attested_quote(ak, qualifying, attest, signature)
    indices = tuple(index for index, _ in pcrs)
    if indices != tuple(sorted(set(required))):
        raise Mismatch(f"the evidence carries PCRs {indices}, not {tuple(sorted(set(required)))}")
    if any(len(value) != 32 for _, value in pcrs):
        raise Malformed("a PCR of the SHA-256 bank has 32 bytes")
    quote_info = quote.attested
    if not isinstance(quote_info, QuoteInfo):
        raise Mismatch("not a quote")
    if quote_info.selections != ((SHA256_BANK, indices),):
        raise Mismatch("the quote is not over exactly the required PCRs of the SHA-256 bank")
    if quote_info.pcr_digest != hashlib.sha256(b"".join(value for _, value in pcrs)).digest():
        raise Mismatch("the PCR values are not those quoted")
    return quote


def attested_quote(ak: Public, qualifying: bytes, attest: bytes, signature: bytes) -> Attest:
    """A quote by this AK over `qualifying`, whatever PCRs it covers.

    :raises AttestError: naming what is wrong.
    """
    parsed = verify_attest(ak, attest, signature)
    if parsed.type is not AttestType.QUOTE:
        raise Mismatch(f"a {parsed.type.name} attestation poses as a quote")
    if parsed.extra_data != qualifying:
        raise Mismatch("the quote answers another question: its qualifying data differ")
    return parsed


def _digest(label: bytes, *fields: bytes) -> bytes:
    return hashlib.sha256(label + b"".join(lp(field) for field in fields)).digest()
