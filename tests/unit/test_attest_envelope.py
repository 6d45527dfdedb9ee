"""DSSE envelopes, held against securesystemslib, which must be there."""

from __future__ import annotations

import hashlib

import pytest
from cryptography.hazmat.primitives.serialization import load_der_public_key
from hypothesis import given
from hypothesis import strategies as st
from securesystemslib.dsse import Envelope as TheirEnvelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import Signature as TheirSignature
from securesystemslib.signer import SSlibKey

from attest import envelope
from attest.envelope import payload_type
from attest.errors import BadSignature, Malformed
from attest.keys import SoftwareKey

KEY = SoftwareKey.generate()
OTHER = SoftwareKey.generate()
OFFER = payload_type("Offer")


def test_the_example_of_the_specification() -> None:
    assert envelope.pae("http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )


@given(st.text(max_size=60), st.binary(max_size=300))
def test_the_same_pae_as_securesystemslib(kind: str, payload: bytes) -> None:
    theirs = TheirEnvelope(payload, kind, {})
    assert envelope.pae(kind, payload) == theirs.pae()


def test_securesystemslib_accepts_our_signature_and_no_other() -> None:
    signed = envelope.sign(OFFER, b"payload", KEY)
    public = SSlibKey.from_crypto(load_der_public_key(KEY.spki))  # type: ignore[arg-type]  # P-256
    (by,) = signed.signatures
    good = TheirSignature(public.keyid, by.signature.hex())
    theirs = TheirEnvelope(signed.payload, signed.payload_type, {public.keyid: good})
    assert theirs.verify([public], 1)
    changed = TheirEnvelope(b"payloae", signed.payload_type, {public.keyid: good})
    with pytest.raises(VerificationError):
        changed.verify([public], 1)


def test_names_and_types() -> None:
    assert OFFER == "application/vnd.hearth.v1.Offer+protobuf"
    assert envelope.message_name(OFFER) == "Offer"
    for wrong in (
        "",
        "Offer",
        OFFER + " ",
        OFFER.upper(),
        OFFER.replace("Offer", "offer"),
        "\ud800",
    ):
        with pytest.raises(Malformed):
            envelope.message_name(wrong)
    with pytest.raises(Malformed):
        payload_type("Of/fer")


def test_the_leaf_is_over_the_pae() -> None:
    pae = envelope.pae(OFFER, b"payload")
    assert envelope.leaf_hash(OFFER, b"payload") == hashlib.sha256(b"\0" + pae).digest()


def test_a_countersignature_stands_beside_the_first() -> None:
    signed = envelope.countersign(envelope.sign(OFFER, b"payload", KEY), OTHER)
    envelope.verify(signed, KEY.spki)
    envelope.verify(signed, OTHER.spki)
    with pytest.raises(BadSignature):
        envelope.verify_only(signed, KEY.spki)
    envelope.verify_only(envelope.sign(OFFER, b"payload", KEY), KEY.spki)


def test_no_signature_or_two_by_one_key_are_refused() -> None:
    for signed in (envelope.sign(OFFER, b"payload"), envelope.sign(OFFER, b"payload", KEY, KEY)):
        with pytest.raises(BadSignature):
            envelope.verify(signed, KEY.spki)
        with pytest.raises(BadSignature):
            envelope.verify_only(signed, KEY.spki)


def test_a_receipt_is_not_an_offer() -> None:
    """The type is signed with the bytes."""
    signed = envelope.sign(OFFER, b"payload", KEY)
    relabelled = envelope.Envelope(payload_type("Receipt"), signed.payload, signed.signatures)
    with pytest.raises(BadSignature):
        envelope.verify(relabelled, KEY.spki)
