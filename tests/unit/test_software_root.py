"""A root without a TPM: signs, vouches for nothing, and says so."""

from __future__ import annotations

import hashlib

import pytest

from attest.errors import TpmError
from attest.keys import Algorithm, SoftwareKey, verify_signature
from attest.root import Root
from attest.software import SoftwareRoot


def test_it_is_a_root_that_signs_and_vouches_for_nothing() -> None:
    key = SoftwareKey.generate()
    root: Root = SoftwareRoot(key)
    assert root.identity.spki == key.spki
    assert root.identity.node_id == hashlib.sha256(key.spki).hexdigest()
    assert root.identity.ak_public == b"" and root.identity.incarnation == b""
    quote = root.quote(b"qualifying").result(0)
    assert (quote.attest, quote.pcrs) == (b"", ())
    for message, signature in (
        (b"qualifying", quote.signature),
        (b"note", root.sign_note(b"note").result(0)),
    ):
        verify_signature(key.spki, Algorithm.ECDSA_P256_SHA256, message, signature)
    endorsement = root.endorsement().result(0)
    assert (endorsement.ek_public, endorsement.ek_certificate_chain) == (b"", ())
    with pytest.raises(TpmError, match="no TPM"):
        root.activate(b"", b"").result(0)
    root.close()


def test_the_same_key_is_the_same_node() -> None:
    key = SoftwareKey.generate()
    again = SoftwareKey.from_pem(key.to_pem())
    assert SoftwareRoot(key).identity == SoftwareRoot(again).identity
