"""TPM structures: what a TPM that is not ours made, and what none would make."""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path

import pytest

from attest import tcg
from attest.errors import BadSignature, Malformed, Mismatch
from attest.evidence import quoted
from attest.tcg import AttestType, CertifyInfo, NvInfo, QuoteInfo, TimeInfo
from tests.fakes.fake_tpm import PCRS, FakeTpm, pcr_digest

HOST = Path(__file__).parents[1] / "hosts" / "swtpm"
NONCE = bytes(range(1, 33))


def recorded(name: str) -> bytes:
    return (HOST / name).read_bytes()


@pytest.fixture
def ak() -> tcg.Public:
    return tcg.parse_public(recorded("ak.pub")[2:])


def test_a_recorded_quote(ak: tcg.Public) -> None:
    values = recorded("pcrs.bin")
    pcrs = [(index, values[32 * at : 32 * at + 32]) for at, index in enumerate((0, 2, 4, 7))]
    quote = quoted(ak, NONCE, recorded("quote.msg"), recorded("quote.sig"), pcrs)
    assert quote.type is AttestType.QUOTE
    assert quote.extra_data == NONCE
    assert quote.attested == QuoteInfo(((tcg.SHA256, (0, 2, 4, 7)),), pcr_digest(pcrs))


def test_a_recorded_time(ak: tcg.Public) -> None:
    time = tcg.verify_attest(ak, recorded("time.msg"), recorded("time.sig"))
    assert isinstance(time.attested, TimeInfo)
    assert time.extra_data == b"\x01\x02"
    assert time.attested.clock_ms == time.clock_ms
    assert time.attested.reset_count == time.reset_count


def test_names(ak: tcg.Public) -> None:
    raw = recorded("ak.pub")[2:]
    assert ak.name == b"\x00\x0b" + hashlib.sha256(raw).digest()
    assert tcg.node_id(ak) == hashlib.sha256(ak.name).hexdigest()
    assert tcg.parse_attest(recorded("quote.msg")).qualified_signer == tcg.qualified_name(ak)


def test_a_recorded_ek() -> None:
    ek = tcg.parse_public(recorded("ek.pub")[2:])
    assert ek.type == tcg.RSA
    assert ek.symmetric == (tcg.AES, 128, tcg.CFB)
    assert len(ek.auth_policy) == 32
    with pytest.raises(Mismatch):
        tcg.check_ak(ek)


def test_the_other_kinds() -> None:
    tpm = FakeTpm()
    for made, kind in ((tpm.certify(NONCE), CertifyInfo), (tpm.nv(NONCE), NvInfo)):
        assert isinstance(tcg.verify_attest(tpm.public, made.attest, made.signature).attested, kind)


@pytest.mark.parametrize("cut", [1, 2, 10, 33])
def test_truncated_and_trailing_bytes(cut: int) -> None:
    made = FakeTpm().quote(NONCE)
    for parse, content in (
        (tcg.parse_attest, made.attest),
        (tcg.parse_public, FakeTpm().ak_public),
    ):
        with pytest.raises(Malformed):
            parse(content[:-cut])
        with pytest.raises(Malformed):
            parse(content + bytes(cut))


def test_a_signature_of_another_shape_is_malformed() -> None:
    tpm = FakeTpm()
    made = tpm.quote(NONCE)
    for signature in (
        b"",
        made.signature[:-1],
        made.signature + b"\0",
        tpm.tpm_signature(made.attest, algorithm=0x0014),
        tpm.tpm_signature(made.attest, digest=0x0004),  # SHA-1
        made.signature[:4] + struct.pack(">H", 33) + b"\0" + made.signature[6:],
        made.signature[:4] + bytes(4),
    ):
        with pytest.raises(Malformed):
            tcg.verify_attest(tpm.public, made.attest, signature)


def test_zero_signatures_do_not_hold() -> None:
    tpm = FakeTpm()
    zero = struct.pack(">HHH", tcg.ECDSA, tcg.SHA256, 1) + b"\0" + struct.pack(">H", 1) + b"\0"
    with pytest.raises(BadSignature):
        tcg.verify_attest(tpm.public, tpm.quote(NONCE).attest, zero)


def test_too_many_selections_and_odd_flags() -> None:
    tpm = FakeTpm()
    many = tpm.quote(NONCE, selections=[(tcg.SHA256, (0,))] * 17)
    with pytest.raises(Malformed, match="17 PCR selections"):
        tcg.parse_attest(many.attest)
    good = tpm.quote(NONCE, PCRS).attest
    safe = good.index(NONCE) + len(NONCE) + 16
    with pytest.raises(Malformed, match="yes or no"):
        tcg.parse_attest(good[:safe] + b"\x02" + good[safe + 1 :])
