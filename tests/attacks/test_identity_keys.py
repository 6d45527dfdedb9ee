"""Identity: another EK or AK than the papers say, an AK that can leave or lie, a downgrade."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from attest import tcg
from attest.errors import BadSignature, Malformed, Mismatch
from attest.evidence import quoted
from attest.verify import TrustedNode, TrustRoots, identify, load_roots
from tests.fakes.fake_ca import EKU_EK, FakeCa, Wish
from tests.fakes.fake_tpm import PCRS, AkShape, FakeTpm, ecc_public, private_key, unrestricted

HOST = Path(__file__).parents[1] / "hosts" / "swtpm"
EK_PUBLIC = (HOST / "ek.pub").read_bytes()[2:]
AK_PUBLIC = FakeTpm().ak_public
VENDOR = FakeCa("vendor root")
NONCE = bytes(32)


def test_the_ek_is_not_the_one_in_the_certificate() -> None:
    other = VENDOR.issue(private_key("another ek").public_key(), Wish(usages=(EKU_EK,)))
    with pytest.raises(Mismatch, match="not the one in its certificate"):
        identify([other], EK_PUBLIC, AK_PUBLIC, b"", TrustRoots(hardware=(VENDOR.der,)))


def test_an_ek_whose_attributes_are_an_aks() -> None:
    with pytest.raises(Mismatch, match="EK"):
        identify([], AK_PUBLIC, AK_PUBLIC, b"", TrustRoots())


@pytest.mark.parametrize(
    "bit",
    [
        tcg.FIXED_TPM,
        tcg.FIXED_PARENT,
        tcg.SENSITIVE_DATA_ORIGIN,
        tcg.USER_WITH_AUTH,
        tcg.NO_DA,
        tcg.RESTRICTED,
        tcg.SIGN,
        tcg.DECRYPT,
        tcg.ADMIN_WITH_POLICY,
        1 << 2,  # stClear
        1 << 11,  # encryptedDuplication
        1 << 19,  # x509sign
    ],
)
def test_an_ak_with_one_attribute_changed(bit: int) -> None:
    """Duplicable, imported or unrestricted: each would let something sign that no TPM said."""
    tpm = FakeTpm(shape=AkShape(attributes=tcg.AK_ATTRIBUTES ^ bit))
    with pytest.raises(Mismatch, match="attributes"):
        TrustedNode(tpm.node_id, tpm.ak_public, b"")


def test_an_unrestricted_key_forges_a_quote() -> None:
    """The signature is right and so is every byte; only the key's attributes tell."""
    tpm = FakeTpm(shape=unrestricted())
    forged = tpm.quote(NONCE)
    with pytest.raises(Mismatch, match="attributes"):
        quoted(tpm.public, NONCE, forged.attest, forged.signature, PCRS)


@pytest.mark.parametrize(
    "shape",
    [
        AkShape(scheme=struct.pack(">HH", tcg.ECDSA, 0x0004)),  # SHA-1
        AkShape(scheme=struct.pack(">HH", tcg.ECDSA, 0x000C)),
        AkShape(scheme=struct.pack(">H", tcg.NULL)),
        AkShape(name_alg=0x000C),
        AkShape(policy=bytes(32)),
        AkShape(symmetric=struct.pack(">HHH", tcg.AES, 128, tcg.CFB)),
        AkShape(kdf=struct.pack(">HH", 0x0020, tcg.SHA256)),
    ],
)
def test_a_downgraded_or_odd_ak(shape: AkShape) -> None:
    tpm = FakeTpm(shape=shape)
    with pytest.raises(Mismatch):
        TrustedNode(tpm.node_id, tpm.ak_public, b"")


def test_name_algorithms_and_schemes_that_are_none() -> None:
    for shape in (
        AkShape(name_alg=0x0004),
        AkShape(scheme=struct.pack(">HH", 0x001A, tcg.SHA256)),
        AkShape(curve=0x0010),
    ):
        with pytest.raises(Malformed):
            FakeTpm(shape=shape)


def test_a_downgraded_signature() -> None:
    tpm = FakeTpm()
    quote = tpm.quote(NONCE)
    for scheme, digest in ((tcg.ECDSA, 0x0004), (tcg.ECDSA, 0x000C), (0x001C, tcg.SHA256)):
        signature = tpm.tpm_signature(quote.attest, scheme, digest)
        with pytest.raises(Malformed, match="ECDSA with SHA-256"):
            quoted(tpm.public, NONCE, quote.attest, signature, PCRS)


def test_a_point_off_its_curve() -> None:
    public = bytearray(AK_PUBLIC)
    public[-1] ^= 1
    with pytest.raises(Malformed, match="curve"):
        identify([], EK_PUBLIC, bytes(public), b"", TrustRoots())
    p384 = ecc_public(ec.generate_private_key(ec.SECP384R1()).public_key())
    with pytest.raises(Malformed):  # 48-byte coordinates under the name of P-256
        tcg.parse_public(p384)


def test_the_ak_is_swapped() -> None:
    """A quote by one TPM under the name of another."""
    mine, theirs = FakeTpm("mine"), FakeTpm("theirs")
    quote = mine.quote(NONCE)
    with pytest.raises(BadSignature):
        quoted(theirs.public, NONCE, quote.attest, quote.signature, PCRS)


def test_another_hierarchy_or_signer_is_named() -> None:
    tpm = FakeTpm()
    for signer in (b"", tpm.public.name, b"\0\x0b" + bytes(32)):
        quote = tpm.quote(NONCE, signer=signer)
        with pytest.raises(Mismatch, match="signer"):
            quoted(tpm.public, NONCE, quote.attest, quote.signature, PCRS)


def test_a_node_id_is_taken_over() -> None:
    victim, thief = FakeTpm("victim"), FakeTpm("thief")
    with pytest.raises(Mismatch, match="node id"):
        TrustedNode(victim.node_id, thief.ak_public, b"")
    with pytest.raises(Mismatch, match="node id"):
        TrustedNode(victim.node_id, b"", thief.spki)


def test_the_same_key_under_other_attributes_is_another_node() -> None:
    honest = FakeTpm()
    changed = FakeTpm(shape=replace(AkShape(), policy=bytes(32)))
    assert honest.spki == changed.spki
    assert honest.node_id != changed.node_id


def test_the_recorded_ak_is_no_ek() -> None:
    roots = load_roots((HOST / "root.pem").read_bytes())
    recorded = (HOST / "ak.pub").read_bytes()[2:]
    with pytest.raises(Mismatch):
        identify([], recorded, recorded, b"", TrustRoots(virtual=roots))
