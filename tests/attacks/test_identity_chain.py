"""Identity: a chain that is wrong or missing, a CA posing as an EK, DER broken or padded."""

from __future__ import annotations

from pathlib import Path

import pytest

from attest.certificate import parse_certificate, verify_issued
from attest.ek import check_ek_chain
from attest.errors import AttestError, BadSignature, Malformed, Mismatch, Untrusted
from attest.verify import TrustRoots, identify, load_roots
from tests.fakes.fake_ca import EKU_AK, EKU_EK, FakeCa, Wish
from tests.fakes.fake_tpm import private_key

HOST = Path(__file__).parents[1] / "hosts" / "swtpm"
EK_CERTIFICATE = (HOST / "ek_cert.der").read_bytes()
EK_PUBLIC = (HOST / "ek.pub").read_bytes()[2:]
AK_PUBLIC = (HOST / "ak.pub").read_bytes()[2:]
ISSUER = load_roots((HOST / "issuer.pem").read_bytes())
ROOT = load_roots((HOST / "root.pem").read_bytes())
TRUST = TrustRoots(virtual=ROOT, intermediates=ISSUER)
VENDOR = FakeCa("vendor root")
EK_KEY = private_key("ek").public_key()


def test_the_chain_is_missing() -> None:
    with pytest.raises(Untrusted):
        identify([], EK_PUBLIC, AK_PUBLIC, b"", TRUST)


def test_the_chain_leads_elsewhere() -> None:
    with pytest.raises(Untrusted):
        check_ek_chain([EK_CERTIFICATE, *ISSUER, *ROOT], [VENDOR.der])


def test_a_root_of_the_same_name_with_another_key() -> None:
    """Names are claims; only the signature leads upwards."""
    imposter = FakeCa("imposter")
    named_alike = imposter.issue(imposter.key.public_key(), Wish(ca=True), common="vendor root")
    leaf = VENDOR.issue(EK_KEY, Wish(usages=(EKU_EK,)))
    with pytest.raises(Untrusted):
        check_ek_chain([leaf], [named_alike])
    with pytest.raises(BadSignature):
        verify_issued(parse_certificate(leaf), parse_certificate(named_alike), 0)


@pytest.mark.parametrize("usages", [(), (EKU_AK,), ("1.3.6.1.5.5.7.3.1",)])
def test_a_certificate_for_something_else(usages: tuple[str, ...]) -> None:
    with pytest.raises(Mismatch, match=r"2\.23\.133\.8\.1"):
        check_ek_chain([VENDOR.issue(EK_KEY, Wish(usages=usages))], [VENDOR.der])


def test_a_ca_poses_as_an_ek() -> None:
    both = VENDOR.issue(EK_KEY, Wish(ca=True, usages=(EKU_EK,)))
    with pytest.raises(Mismatch, match="CA"):
        check_ek_chain([both], [VENDOR.der])


def test_padded_or_broken_der() -> None:
    for wrong in (
        EK_CERTIFICATE + b"\0",
        EK_CERTIFICATE[:-1],
        EK_CERTIFICATE[:4] + EK_CERTIFICATE[5:],
        b"\x30\x84\0\0" + EK_CERTIFICATE[2:],  # a length that is not minimal
        b"",
    ):
        with pytest.raises(Malformed):
            identify([wrong], EK_PUBLIC, AK_PUBLIC, b"", TRUST)


def test_every_byte_of_an_ek_certificate() -> None:
    """Whatever is changed in it, it no longer leads to the root."""
    good = check_ek_chain([EK_CERTIFICATE], ROOT, ISSUER)
    for at in range(len(EK_CERTIFICATE)):
        changed = EK_CERTIFICATE[:at] + bytes([EK_CERTIFICATE[at] ^ 1]) + EK_CERTIFICATE[at + 1 :]
        with pytest.raises(AttestError):
            check_ek_chain([changed], ROOT, ISSUER)
    assert good == check_ek_chain([EK_CERTIFICATE], ROOT, ISSUER)
