"""Activation: an answer made for one enrolment is shown in another."""

from __future__ import annotations

from attest.verify import transcript_hmac


def test_replayed_in_another_session() -> None:
    """The same TPM, another begin or challenge: the exchange computes another HMAC."""
    secret, begin, challenge, evidence = b"s" * 32, b"begin", b"challenge", b"evidence"
    answer = transcript_hmac(secret, begin, challenge, evidence)
    assert answer == transcript_hmac(secret, begin, challenge, evidence)
    others = {
        transcript_hmac(b"t" * 32, begin, challenge, evidence),
        transcript_hmac(secret, b"begin2", challenge, evidence),
        transcript_hmac(secret, begin, b"challenge2", evidence),
        transcript_hmac(secret, begin, challenge, b"evidence2"),
        transcript_hmac(secret, begin + b"c", b"hallenge", evidence),
        transcript_hmac(secret, begin, challenge + evidence, b""),
    }
    assert len(others) == 6
    assert answer not in others
