"""The owner of the TPM, on a real software TPM: every act, every way to lose it."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path

import pytest
from tpm2_pytss.constants import ESYS_TR

from agent.sandbox.swtpm import Swtpm
from attest import tcg
from attest.credential import make_credential
from attest.errors import TpmError
from attest.keys import Algorithm, verify_signature
from attest.root import REQUIRED_PCRS, Root
from attest.tpm import Tpm
from attest.tpmlink import Link

SECRET = bytes(range(32))


def tools(swtpm: Swtpm, *command: str) -> str:
    """Run one of tpm2-tools on it; nobody else may be connected."""
    if shutil.which(command[0]) is None:
        pytest.skip("tpm2-tools is not installed")
    environment = {**os.environ, "TPM2TOOLS_TCTI": swtpm.tcti}
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, check=True, timeout=30
    ).stdout


@contextmanager
def restarted(directory: Path) -> Iterator[Swtpm]:
    swtpm = Swtpm.start(directory)
    try:
        yield swtpm
    finally:
        swtpm.stop()


@contextmanager
def opened(swtpm: Swtpm) -> Iterator[Tpm]:
    tpm = Tpm.open(swtpm.tcti)
    try:
        yield tpm
    finally:
        tpm.close()


def check_works(tpm: Root) -> None:
    """It quotes, and the quote holds."""
    qualifying = os.urandom(32)
    quote = tpm.quote(qualifying).result(10)
    public = tcg.parse_public(tpm.identity.ak_public)
    attest = tcg.verify_attest(public, quote.attest, quote.signature)
    assert attest.extra_data == qualifying


def challenge(tpm: Tpm) -> tuple[bytes, bytes]:
    ek = tcg.parse_public(tpm.endorsement().result(30).ek_public)
    return make_credential(ek, SECRET, tcg.parse_public(tpm.identity.ak_public).name)


def test_the_ak_is_what_verifiers_demand(tpm: Tpm) -> None:
    ak = tcg.parse_public(tpm.identity.ak_public)
    tcg.check_ak(ak)
    assert tpm.identity.spki == ak.spki
    assert tpm.identity.node_id == hashlib.sha256(ak.name).hexdigest()
    assert tpm.identity.incarnation[:2] == b"\x00\x0b" and len(tpm.identity.incarnation) == 34
    assert tpm.identity.description.startswith("IBM SW TPM firmware ")


@pytest.mark.parametrize("pcrs", [REQUIRED_PCRS, (23,), tuple(range(24)), (7, 4, 4, 0)])
def test_a_quote_speaks_of_exactly_the_pcrs_it_carries(tpm: Tpm, pcrs: tuple[int, ...]) -> None:
    quote = tpm.quote(b"qualifying", pcrs).result(10)
    public = tcg.parse_public(tpm.identity.ak_public)
    attest = tcg.verify_attest(public, quote.attest, quote.signature)
    assert attest.type is tcg.AttestType.QUOTE and attest.extra_data == b"qualifying"
    wanted = tuple(sorted(set(pcrs)))
    assert tuple(pcr for pcr, _ in quote.pcrs) == wanted
    assert isinstance(attest.attested, tcg.QuoteInfo)
    assert attest.attested.selections == ((tcg.SHA256, wanted),)
    digest = hashlib.sha256(b"".join(value for _, value in quote.pcrs)).digest()
    assert attest.attested.pcr_digest == digest


def test_the_ak_sits_in_the_endorsement_hierarchy(tpm: Tpm) -> None:
    """Elsewhere resetCount and restartCount come obfuscated, as large random numbers."""
    quote = tpm.quote(b"").result(10)
    public = tcg.parse_public(tpm.identity.ak_public)
    attest = tcg.verify_attest(public, quote.attest, quote.signature)
    assert attest.reset_count < 1000 and attest.restart_count < 1000


@pytest.mark.parametrize(
    ("qualifying", "pcrs", "why"),
    [
        (b"x" * 65, (0,), "at most 64 bytes"),
        (b"x", (), "one or more of 0 to 23"),
        (b"x", (24,), "one or more of 0 to 23"),
        (b"x", (-1,), "one or more of 0 to 23"),
    ],
)
def test_a_quote_that_cannot_be_is_refused(
    tpm: Tpm, qualifying: bytes, pcrs: tuple[int, ...], why: str
) -> None:
    with pytest.raises(TpmError, match=why):
        tpm.quote(qualifying, pcrs).result(10)
    check_works(tpm)


class Moving(Link):
    """A link under which somebody extends PCR 16 between reading and quoting, some times."""

    extensions = 0

    def _read_pcrs(self, wanted: tuple[int, ...]) -> tuple[tuple[int, bytes], ...]:
        values = super()._read_pcrs(wanted)
        if self.extensions:
            self.extensions -= 1
            self._esapi.pcr_event(ESYS_TR.PCR16, b"meanwhile")
        return values


def test_a_quote_is_repeated_until_it_agrees_with_the_pcrs(fresh_swtpm: Swtpm) -> None:
    link = Moving(fresh_swtpm.tcti)
    before = link.quote(b"", (16,)).pcrs
    link.extensions = 3
    quote = link.quote(b"", (16,))
    assert quote.pcrs != before
    attest = tcg.parse_attest(quote.attest)
    assert isinstance(attest.attested, tcg.QuoteInfo)
    assert attest.attested.pcr_digest == hashlib.sha256(quote.pcrs[0][1]).digest()
    link.extensions = 1000
    with pytest.raises(TpmError, match="PCRs changed"):
        link.quote(b"", (16,))
    link.close()


@pytest.mark.parametrize("size", [0, 1, 200, 1024])
def test_a_signed_note_holds(tpm: Tpm, size: int) -> None:
    text = os.urandom(size // 2).hex().encode().ljust(size, b"\n")
    signature = tpm.sign_note(text).result(10)
    verify_signature(tpm.identity.spki, Algorithm.ECDSA_P256_SHA256, text, signature)


def test_a_note_too_long_is_refused_by_name(tpm: Tpm) -> None:
    with pytest.raises(TpmError, match="at most 1024 bytes, this has 1025"):
        tpm.sign_note(b"x" * 1025).result(10)
    check_works(tpm)


def test_a_note_that_poses_as_an_attestation_is_refused_by_the_tpm(tpm: Tpm) -> None:
    genuine = tpm.quote(b"").result(10).attest
    with pytest.raises(TpmError, match="ticket"):
        tpm.sign_note(genuine).result(10)
    check_works(tpm)


def test_a_credential_is_activated_any_number_of_times(tpm: Tpm) -> None:
    for _ in range(10):
        assert tpm.activate(*challenge(tpm)).result(30) == SECRET


@pytest.mark.parametrize("where", [2, 20, -1])
def test_a_changed_credential_is_refused(tpm: Tpm, where: int) -> None:
    blob, secret = challenge(tpm)
    changed = bytearray(blob)
    changed[where] ^= 1
    with pytest.raises(TpmError):
        tpm.activate(bytes(changed), secret).result(30)
    flipped = bytearray(secret)
    flipped[where] ^= 1
    with pytest.raises(TpmError):
        tpm.activate(blob, bytes(flipped)).result(30)
    assert tpm.activate(blob, secret).result(30) == SECRET


def test_a_credential_for_another_ak_is_refused(tpm: Tpm) -> None:
    ek = tcg.parse_public(tpm.endorsement().result(30).ek_public)
    blob, secret = make_credential(ek, SECRET, b"\x00\x0b" + bytes(32))
    with pytest.raises(TpmError, match="integrity"):
        tpm.activate(blob, secret).result(30)
    assert tpm.activate(*challenge(tpm)).result(30) == SECRET


@pytest.mark.parametrize("kind", ["RSA L-1", "P-384 H-3", "no certificate"])
def test_tpm2_makecredential_agrees(fresh_swtpm: Swtpm, tmp_path: Path, kind: str) -> None:
    if kind != "RSA L-1":
        tools(fresh_swtpm, "tpm2_nvundefine", "-C", "p", "0x01c00002")
    if kind == "no certificate":
        tools(fresh_swtpm, "tpm2_nvundefine", "-C", "p", "0x01c00016")
    with opened(fresh_swtpm) as tpm:
        endorsement = tpm.endorsement().result(30)
        ek = tcg.parse_public(endorsement.ek_public)
        assert ek.type == (tcg.ECC if kind == "P-384 H-3" else tcg.RSA)
        assert len(endorsement.ek_certificate_chain) == (0 if kind == "no certificate" else 1)
        public = len(endorsement.ek_public).to_bytes(2, "big") + endorsement.ek_public
        (tmp_path / "ek.pub").write_bytes(public)
        (tmp_path / "secret").write_bytes(SECRET)
        name = tcg.parse_public(tpm.identity.ak_public).name.hex()
        made = tmp_path / "credential"
        command = ("tpm2_makecredential", "-T", "none", "-u", str(tmp_path / "ek.pub"))
        tools(fresh_swtpm, *command, "-s", str(tmp_path / "secret"), "-n", name, "-o", str(made))
        content = made.read_bytes()
        assert content[:8] == bytes.fromhex("badcc0de00000001")
        cut = 10 + int.from_bytes(content[8:10], "big")
        assert tpm.activate(content[8:cut], content[cut:]).result(30) == SECRET
        assert tpm.activate(*challenge(tpm)).result(30) == SECRET


def test_the_secret_does_not_cross_the_bus_in_the_clear(
    swtpm: Swtpm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded = tmp_path / "bus.pcap"
    monkeypatch.setenv("TCTI_PCAP_FILE", str(recorded))
    tpm = Tpm.open(f"pcap:{swtpm.tcti}")
    blob, secret = challenge(tpm)
    assert tpm.activate(blob, secret).result(30) == SECRET
    tpm.close()
    bus = recorded.read_bytes()
    assert blob in bus, "the recording is not of this exchange"
    assert SECRET not in bus


def test_a_refused_credential_leaves_nothing_behind(fresh_swtpm: Swtpm) -> None:
    with opened(fresh_swtpm) as tpm:
        for _ in range(5):
            with pytest.raises(TpmError):
                tpm.activate(bytes([0, 2, 0, 0]), bytes([0, 1, 0])).result(30)
        transient = tools(fresh_swtpm, "tpm2_getcap", "handles-transient").split()
        assert len(transient) <= 2, transient  # "-" and the AK
    for kind in ("handles-transient", "handles-loaded-session"):
        assert tools(fresh_swtpm, "tpm2_getcap", kind).strip() == ""


def test_the_same_state_is_the_same_node_and_a_cleared_one_is_incarnated_anew(
    fresh_swtpm: Swtpm, tmp_path: Path
) -> None:
    with opened(fresh_swtpm) as tpm:
        first, ek = tpm.identity, tpm.endorsement().result(30)
    fresh_swtpm.kill()
    with restarted(tmp_path / "tpm") as swtpm:
        with opened(swtpm) as tpm:
            assert tpm.identity == first
            assert tpm.endorsement().result(30) == ek
        tools(swtpm, "tpm2_clear", "-c", "p")
        with opened(swtpm) as tpm:
            assert tpm.identity.ak_public == first.ak_public
            assert tpm.identity.incarnation != first.incarnation


def test_a_tpm_gone_in_mid_session_is_an_error_and_its_return_is_noticed(
    fresh_swtpm: Swtpm, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with opened(fresh_swtpm) as tpm:
        check_works(tpm)
        fresh_swtpm.kill()
        for _ in range(3):
            with pytest.raises(TpmError, match="IO failure") as caught:
                tpm.sign_note(b"note").result(10)
            assert caught.value.retryable
        with restarted(tmp_path / "tpm"):
            check_works(tpm)
            assert tpm.activate(*challenge(tpm)).result(30) == SECRET
    assert capfd.readouterr().err == "", "the library must not write to our stderr"


def test_a_tpm_that_was_reset_under_us_is_started_again(fresh_swtpm: Swtpm, tmp_path: Path) -> None:
    with opened(fresh_swtpm) as tpm:
        control = str(tmp_path / "tpm" / "tpm.sock.ctrl")
        tools(fresh_swtpm, "swtpm_ioctl", "--unix", control, "-i")  # no TPM2_Startup follows
        check_works(tpm)


def test_a_tpm_cleared_in_mid_session_is_not_mistaken_for_the_same(fresh_swtpm: Swtpm) -> None:
    with opened(fresh_swtpm) as tpm:
        tools(fresh_swtpm, "tpm2_clear", "-c", "p")
        for _ in range(2):
            with pytest.raises(TpmError, match="another TPM answers, or this one was cleared"):
                tpm.sign_note(b"note").result(10)


def test_clients_without_a_resource_manager_recover_from_each_other(fresh_swtpm: Swtpm) -> None:
    """Six AKs on three slots: each takes the others' away, and none notices."""
    tpms = [Tpm.open(fresh_swtpm.tcti) for _ in range(6)]
    for _ in range(3):
        for tpm in tpms:
            check_works(tpm)
            assert tpm.activate(*challenge(tpm)).result(30) == SECRET
    for tpm in tpms:
        tpm.close()


def test_four_threads_at_once(tpm: Tpm) -> None:
    done: list[int] = []
    acts: tuple[Callable[[], Future[object]], ...] = (
        lambda: tpm.quote(b"q"),
        lambda: tpm.sign_note(b"n"),
    )

    def work(seed: int) -> None:
        for turn in range(50):
            acts[(seed + turn) % 2]().result(30)
        done.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(done) == [0, 1, 2, 3]


@contextmanager
def stopped(swtpm: Swtpm) -> Iterator[None]:
    os.kill(swtpm.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(swtpm.pid, signal.SIGCONT)


def test_a_hung_tpm_does_not_hang_close(fresh_swtpm: Swtpm) -> None:
    tpm = Tpm.open(fresh_swtpm.tcti)
    with stopped(fresh_swtpm):
        running, waiting = tpm.quote(b""), tpm.sign_note(b"")
        with pytest.raises(TimeoutError):
            running.result(0.2)
        began = time.monotonic()
        tpm.close()
        assert time.monotonic() - began < 5
        with pytest.raises(TpmError, match="closed while it did not answer"):
            running.result(0)
        with pytest.raises(TpmError, match="closed"):
            waiting.result(0)
        with pytest.raises(TpmError, match=r"no answer within 0\.3 s"):
            Tpm.open(fresh_swtpm.tcti, seconds=0.3)
    with opened(fresh_swtpm) as again:  # the abandoned threads let go by themselves
        check_works(again)


def test_orders_to_a_hung_tpm_are_bounded(fresh_swtpm: Swtpm) -> None:
    with opened(fresh_swtpm) as tpm:
        with stopped(fresh_swtpm):
            orders = [tpm.sign_note(b"") for _ in range(70)]
            refused = [order for order in orders if order.done()]
            assert 5 <= len(refused) <= 6  # one may be with the TPM already
            for order in refused:
                with pytest.raises(TpmError, match="64 orders wait already"):
                    order.result(0)
        for order in orders:
            if order not in refused:
                assert order.result(10)


def test_a_cancelled_order_is_not_carried_out(fresh_swtpm: Swtpm) -> None:
    with opened(fresh_swtpm) as tpm:
        with stopped(fresh_swtpm):
            running, cancelled = tpm.sign_note(b"first"), tpm.sign_note(b"second")
            assert cancelled.cancel()
        assert running.result(10)
        check_works(tpm)


def test_a_closed_tpm_refuses_and_may_be_closed_again(swtpm: Swtpm) -> None:
    tpm = Tpm.open(swtpm.tcti)
    tpm.close()
    tpm.close()
    for order in (tpm.quote(b""), tpm.sign_note(b""), tpm.endorsement(), tpm.activate(b"", b"")):
        with pytest.raises(TpmError, match="closed"):
            order.result(0)


@pytest.mark.parametrize(
    ("tcti", "why"),
    [
        ("", "no TCTI given"),
        ("nonsense", "not supported"),
        ("swtpm:path=/nowhere/at/all", "IO failure"),
        ("swtpm:port=none", "bad value"),
        ("device:/dev/null/tpm", "IO failure"),
    ],
)
def test_no_tpm_there(tcti: str, why: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(TpmError, match=why) as caught:
        Tpm.open(tcti)
    assert caught.value.exit_code == 5
    assert capfd.readouterr().err == ""


@pytest.mark.hardware("/dev/tpmrm0")
def test_the_tpm_of_this_machine() -> None:
    tpm = Tpm.open("device:/dev/tpmrm0")
    check_works(tpm)
    assert tpm.activate(*challenge(tpm)).result(120) == SECRET
    tpm.close()
