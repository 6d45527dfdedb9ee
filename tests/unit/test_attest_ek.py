"""EK certificates: a recorded chain, and chains made by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography import x509

from attest import tcg
from attest.certificate import parse_certificate
from attest.ek import check_ek_chain, check_ek_public, trim_der
from attest.errors import Malformed, Mismatch, Untrusted
from attest.verify import load_roots
from tests.fakes.fake_ca import EKU_EK, FakeCa, Wish
from tests.fakes.fake_tpm import private_key

HOST = Path(__file__).parents[1] / "hosts" / "swtpm"
LEAF = (HOST / "ek_cert.der").read_bytes()
ISSUER = load_roots((HOST / "issuer.pem").read_bytes())
ROOT = load_roots((HOST / "root.pem").read_bytes())
VENDOR = FakeCa("vendor root")
MIDDLE = FakeCa("vendor middle", VENDOR)
EK_KEY = private_key("ek").public_key()
EK = Wish(usages=(EKU_EK,))


def test_a_recorded_chain() -> None:
    identity = check_ek_chain([LEAF, *ISSUER], ROOT)
    assert identity == check_ek_chain([LEAF], ROOT, ISSUER)
    assert identity.root_sha256 == parse_certificate(ROOT[0]).sha256
    check_ek_public(tcg.parse_public((HOST / "ek.pub").read_bytes()[2:]), identity)


@pytest.mark.parametrize("der", [LEAF, *ISSUER, *ROOT, VENDOR.der, MIDDLE.der])
def test_the_walker_reads_what_cryptography_reads(der: bytes) -> None:
    ours, theirs = parse_certificate(der), x509.load_der_x509_certificate(der)
    assert ours.tbs == theirs.tbs_certificate_bytes
    assert ours.signature == theirs.signature
    assert ours.issuer == theirs.issuer.public_bytes()
    assert ours.subject == theirs.subject.public_bytes()
    constraints = theirs.extensions.get_extension_for_class(x509.BasicConstraints).value
    assert (ours.is_ca, ours.path_length) == (constraints.ca, constraints.path_length)


@pytest.mark.parametrize("padding", [b"", b"\0" * 40, b"\xff" * 500])
def test_padding_is_trimmed_and_nothing_else(padding: bytes) -> None:
    assert trim_der(LEAF + padding) == LEAF
    for wrong in (b"", b"\x30", LEAF[:-1], b"\x31" + LEAF[1:], b"\x30\x80" + LEAF, bytes(20)):
        with pytest.raises(Malformed):
            trim_der(wrong)


def test_intermediates_in_any_order_and_strangers_among_them() -> None:
    leaf = MIDDLE.issue(EK_KEY, EK)
    stranger = FakeCa("stranger")
    identity = check_ek_chain([leaf, stranger.der, MIDDLE.der, VENDOR.der], [VENDOR.der])
    assert identity.root_sha256 == parse_certificate(VENDOR.der).sha256
    with pytest.raises(Untrusted):
        check_ek_chain([leaf, MIDDLE.der], [stranger.der])
    with pytest.raises(Untrusted):
        check_ek_chain([leaf], [VENDOR.der])


def test_a_second_middle_with_the_same_name_is_tried_as_well() -> None:
    """Cross-certified: one key, two issuers, and only the second one is pinned."""
    other = FakeCa("another root")
    crossed = other.issue(MIDDLE.key.public_key(), Wish(ca=True), common="vendor middle")
    leaf = MIDDLE.issue(EK_KEY, EK)
    for offered in ([crossed, MIDDLE.der], [MIDDLE.der, crossed]):
        assert check_ek_chain([leaf, *offered], [VENDOR.der]).root_sha256
        assert check_ek_chain([leaf, *offered], [other.der]).root_sha256


def test_a_path_length_is_kept() -> None:
    short = FakeCa("short root", wish=Wish(ca=True, path_length=0))
    below = FakeCa("below short", short)
    assert check_ek_chain([short.issue(EK_KEY, EK)], [short.der]).root_sha256
    with pytest.raises(Untrusted):
        check_ek_chain([below.issue(EK_KEY, EK), below.der], [short.der])


def test_a_chain_has_an_end() -> None:
    level, chain = VENDOR, []
    for depth in range(8):
        level = FakeCa(f"level {depth}", level)
        chain.append(level.der)
    with pytest.raises(Untrusted):
        check_ek_chain([level.issue(EK_KEY, EK), *reversed(chain)], [VENDOR.der])
    with pytest.raises(Malformed):
        check_ek_chain([LEAF] * 17, ROOT)
    with pytest.raises(Malformed):
        check_ek_chain([], ROOT)


def test_who_may_not_issue() -> None:
    no_ca = Wish(ca=False)
    mute = Wish(ca=True, sign_certificates=False)
    for wish in (no_ca, mute):
        middle = FakeCa("not a ca", VENDOR, wish)
        with pytest.raises(Untrusted):
            check_ek_chain([middle.issue(EK_KEY, EK), middle.der], [VENDOR.der])


def test_an_unknown_critical_extension() -> None:
    leaf = VENDOR.issue(EK_KEY, Wish(usages=(EKU_EK,), critical="1.2.3.4"))
    with pytest.raises(Malformed, match="not understood"):
        check_ek_chain([leaf], [VENDOR.der])


def test_a_key_that_is_no_ek() -> None:
    identity = check_ek_chain([LEAF, *ISSUER], ROOT)
    ek = (HOST / "ek.pub").read_bytes()[2:]
    signing = ek[:4] + (tcg.AK_ATTRIBUTES).to_bytes(4, "big") + ek[8:]
    with pytest.raises(Mismatch):
        check_ek_public(tcg.parse_public(signing), identity)
