"""What an operator reads, and which exit code a script gets, when a command cannot be done."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import grpc.aio
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from grpc.aio import ServicerContext
from hearth.admin.v1 import admin_pb2
from hearth.admin.v1.admin_pb2_grpc import (
    AdminServiceServicer,
    add_AdminServiceServicer_to_server,
)

from agent.cli.config import check as check_configuration
from agent.cli.out import echo
from agent.cli.settlement_reports import _csv
from agent.cli.socket import ask
from agent.errors import ConfigError, DaemonError, ExchangeRefused, HearthError, JournalError
from agent.exchange import enrolment as rows
from agent.exchange.link import pem
from agent.node import held
from agent.refusal import refusing
from agent.sandbox.lightningd.methods import make_node
from agent.sandbox.lightningd.network import Network
from attest.errors import TpmError
from tests.fakes.fake_ca import FakeCa, Wish
from tests.fakes.spine import lease_id
from tests.fakes.world import World

PATHS = (ROOT := Path(__file__).parents[2], ROOT / "proto/gen/python")
NOBODY = 65534
TOKEN = "a" * 20 + "." + "0" * 64
FAILURES = (
    (ExchangeRefused("12: the token is used up"), 6),
    (JournalError("/var/lib/hearth: no room"), 7),
    (TpmError("no TPM answers"), 5),
)


class Refusing(AdminServiceServicer):
    """Fails each call in the same way."""

    def __init__(self, failure: Exception) -> None:
        self.failure = failure

    async def _fail(self) -> admin_pb2.StatusResponse:
        raise self.failure

    async def Status(  # noqa: N802
        self,
        request: admin_pb2.StatusRequest,
        context: ServicerContext[admin_pb2.StatusRequest, admin_pb2.StatusResponse],
    ) -> admin_pb2.StatusResponse:
        return await refusing(context, self._fail())


async def _answer(failure: Exception, socket: Path) -> HearthError:
    server = grpc.aio.server()
    add_AdminServiceServicer_to_server(Refusing(failure), server)
    server.add_insecure_port(f"unix:{socket}")
    await server.start()
    try:
        with pytest.raises(HearthError) as caught:
            await asyncio.to_thread(
                ask, socket, lambda stub: stub.Status(admin_pb2.StatusRequest(), timeout=30)
            )
        return caught.value
    finally:
        await server.stop(None)


@pytest.mark.parametrize(("failure", "code"), FAILURES)
async def test_what_the_daemon_refuses_ends_a_command_with_the_daemons_code(
    failure: Exception, code: int, tmp_path: Path
) -> None:
    error = await _answer(failure, tmp_path / "a.sock")
    assert (str(error), error.exit_code) == (str(failure), code)


async def test_an_error_that_is_none_of_ours_has_no_code_of_ours(tmp_path: Path) -> None:
    error = await _answer(ValueError("6:not a refusal"), tmp_path / "a.sock")
    assert type(error) is DaemonError
    assert error.exit_code == 4


def hearth(*words: str, user: int | None = None) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "agent.cli.app", *words],
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, PATHS))},
        user=user,
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.returncode, done.stderr


def test_what_is_not_ours_drives_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    echo("\x1b]0;a title\x07 a\tname\x9b31m of\r two\nlines\udc80 é")
    assert capsys.readouterr().out == " ]0;a title  a\tname 31m of  two\nlines  é\n"
    _, said = hearth("exchanges", "--config", "/there is \x1b[31mno.toml")
    assert said.startswith("hearth: /there is  [31mno.toml")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "hearth.toml"
    file.write_text(
        f'state_dir = "{tmp_path / "state"}"\nadmin_socket = "{tmp_path / "a.sock"}"\n'
        '[tpm]\ntcti = "none"\n[logging]\nlevel = "error"\n'
    )
    return file


@pytest.mark.parametrize(
    "words",
    [("exchanges",), ("receipts", "list"), ("journal", "check"), ("settlement", "history")],
)
def test_before_the_first_start_a_command_names_the_remedy(
    words: tuple[str, ...], config: Path
) -> None:
    code, said = hearth(*words, "--config", str(config))
    assert code == 7
    assert f"{config.parent}/state/journal.sqlite: there is no journal yet" in said
    assert "hearth run" in said
    assert not (config.parent / "state").exists()  # asking makes nothing


@pytest.fixture
async def settled(tmp_path: Path) -> Path:
    """A journal with one receipt under a checkpoint, and its configuration."""
    state = tmp_path / "state"
    world = await World.open(state)
    await world.lease()
    await world.seconds(2)
    await world.release()
    await world.seconds(1)
    await world.checkpoint()
    root = world.node.root.identity
    chain = FakeCa("honest").ak_chain(root.spki, root.node_id, "software")
    enrolment = world.pens[0].enrolment(ak_chain=chain)
    await world.node.journal.write(lambda change: rows.keep(change, enrolment))
    world.node.close()
    config = tmp_path / "hearth.toml"
    config.write_text(f'state_dir = "{state}"\n[tpm]\ntcti = "none"\n')
    return config


@pytest.mark.parametrize(
    "words",
    [
        ("receipts", "export-proof", lease_id(1), "--out", "/nowhere/x"),
        ("receipts", "export-proof", lease_id(1), "--out", "/"),
        ("receipts", "export-proof", lease_id(1), str(1 << 63)),
        ("receipts", "show", lease_id(1), str(1 << 63)),
        ("settlement", "proof", lease_id(1), str(1 << 63)),
        ("settlement", "export", "--out", "/nowhere/x"),
        ("settlement", "metrics", "--out", "/nowhere/x"),
        ("settlement", "metrics", "--out", "/"),
        ("inventory", "--root", "/nowhere"),
    ],
)
def test_what_cannot_be_written_or_counted_is_refused_as_usage(
    words: tuple[str, ...], settled: Path
) -> None:
    own = () if words[0] == "inventory" else ("--config", str(settled))
    code, said = hearth(*words, *own)
    assert code == 2, said
    assert "Traceback" not in said
    assert words[-1] in said or "9223372036854775807" in said


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("history", "--exchange", "zz"), "no exchange's id begins with 'zz'"),
        (("export", "--exchange", "zz"), "no exchange's id begins with 'zz'"),
        (("export", "--format", "focus", "--exchange", "zz"), "no exchange's id begins with 'zz'"),
        (("statement", "2027", "zz"), "no exchange's id begins with 'zz'"),
        (("statement", "20270", ""), "2099"),
        (("export", "--format", "focus", "--what", "payments"), "use csv or jsonl"),
        (("proof", "ffff", "1"), "0 leases begin with 'ffff'"),
        (("proof", lease_id(1), "1"), "no payment covers receipt 1"),
    ],
)
def test_no_record_of_money_is_empty_by_a_slip_of_the_pen(
    words: tuple[str, ...], why: str, settled: Path
) -> None:
    code, said = hearth("settlement", *words, "--config", str(settled))
    assert code in (2, 7)
    assert why in said


def test_output_that_has_no_room_is_neither_true_nor_false() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "agent.cli.app", "inventory", "--json"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, PATHS))},
        )
    assert done.returncode == 9
    assert done.stderr == (
        "hearth: standard output: No space left on device; make room, or send it elsewhere\n"
    )


@pytest.mark.parametrize(
    ("text", "cell"),
    [("=1+1", "'=1+1"), ("@sum", "'@sum"), ("-4", "-4"), ("-0.25", "-0.25"), ("-4+1", "'-4+1")],
)
def test_no_cell_is_a_formula(text: str, cell: str) -> None:
    assert _csv([{"name": text}], ["name"]) == f"name\n{cell}\n"


@pytest.mark.parametrize("content", [b"", b"rubbish"])
def test_a_damaged_node_key_is_named(content: bytes, config: Path) -> None:
    (config.parent / "state").mkdir()
    (config.parent / "state" / "node.pem").write_bytes(content)
    code, said = hearth("run", "--config", str(config))
    assert code == 7, said
    assert said.startswith(f"hearth: {config.parent}/state/node.pem: ")
    assert "move the state directory away" in said


def test_a_state_directory_that_is_none_is_a_configuration_error(config: Path) -> None:
    (config.parent / "state").touch()
    code, said = hearth("run", "--config", str(config))
    assert code == 2
    assert said.startswith(f"hearth: state_dir: {config.parent}/state: ")
    assert "set it to a folder that this user may write" in said


def test_enrolling_without_a_place_for_the_state_says_so(config: Path) -> None:
    (config.parent / "state").touch()
    with pytest.raises(ConfigError, match="state_dir"):
        held(config.parent / "state")
    code, _ = hearth("enroll", "127.0.0.1:1", "--token", TOKEN, "--config", str(config))
    assert code == 2


def test_trouble_that_passes_is_not_a_configuration_error(tmp_path: Path) -> None:
    """The unit does not start again after 2: a machine short of descriptors must not stay down."""
    program = (
        "import os, resource, sys; from pathlib import Path; from agent.node import Lock\n"
        "from agent.errors import HearthError\n"
        "free = os.dup(0); os.close(free)\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (free, free))\n"
        "try: Lock(Path(sys.argv[1])).take()\n"
        "except HearthError as error: sys.exit(error.exit_code)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False, timeout=60)
    assert done.returncode == 7


@pytest.mark.skipif(os.geteuid() != 0, reason="gives its privileges up, so must have them")
def test_what_is_shut_to_this_user_is_not_said_to_be_missing() -> None:
    with tempfile.TemporaryDirectory() as directory:  # tmp_path lies where only we may go
        here = Path(directory)
        here.chmod(0o755)
        (here / "run").mkdir(mode=0o700)
        (here / "state").mkdir(mode=0o700)
        config = here / "hearth.toml"
        config.write_text(f'state_dir = "{here}/state"\nadmin_socket = "{here}/run/a.sock"\n')
        code, said = hearth("exchanges", "--config", str(config), user=NOBODY)
        assert (code, "not for this user; do it as root" in said) == (7, True), said
        code, said = hearth("status", "--config", str(config), user=NOBODY)
        assert (code, "not for this user; ask as root" in said) == (4, True), said


IMPOSSIBLE = {
    "more than there is": (
        "[reserve]\nvcpu = 1_000_000",
        "reserve.vcpu: 1000000; accepted: at most",
    ),
    "no place for leases": (
        '[lease]\ncgroup_root = "/tmp/x"',
        "lease.cgroup_root: /tmp/x: not in",
    ),
    "a rail without its node": (
        '[settlement]\nrail = "cln-commando"',
        "settlement.node: <66 hex digits>@<host>:<port> is needed",
    ),
    "a meter nobody knows": (
        '[[sensors.modbus]]\nname = "a"\nhost = "127.0.0.1"\nmap = "none"',
        "sensors: ",
    ),
}


@pytest.mark.parametrize("command", [("config", "check"), ("run",)])
@pytest.mark.parametrize("case", IMPOSSIBLE)
def test_what_this_host_cannot_do_is_refused_before_it_is_done(
    case: str, command: tuple[str, ...], config: Path
) -> None:
    text, words = IMPOSSIBLE[case]
    config.write_text(config.read_text() + text)
    code, said = hearth(*command, "--config", str(config))
    assert code == 2, said
    assert words in said
    assert len(said.splitlines()) == 1, said


@pytest.mark.parametrize("rail", ["cln", "cln-commando", "statement", "none"])
def test_a_rail_whose_package_is_not_there_is_not_fine(
    rail: str, tmp_path: Path, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rune = tmp_path / "rune"
    rune.write_text(make_node(Network(seed=1), "somebody").call("createrune")["rune"])
    own = {
        "cln": 'socket = "/run/lightning-rpc"',
        "cln-commando": f'node = "02{"ab" * 32}@[::1]:9735"\ninvoice_rune_file = "{rune}"',
        "statement": f'directory = "{tmp_path}"',
        "none": "",
    }[rail]
    config.write_text(config.read_text() + f'[settlement]\nrail = "{rail}"\n{own}\n')
    check_configuration(config)
    monkeypatch.setitem(sys.modules, "pyln", None)  # not there, to importlib
    if not rail.startswith("cln"):
        check_configuration(config)
        return
    with pytest.raises(ConfigError) as caught:
        check_configuration(config)
    assert caught.value.exit_code == 2
    assert str(caught.value) == (
        f"{config}: settlement.rail: {rail}: pyln-client is not there;"
        " install the package hearth-agent-lightning"
    )


@pytest.mark.parametrize(
    ("words", "remedy"),
    [
        (("verify", "PROOF", "--roots", "FILE"), "name CA certificates, or a folder of them"),
        (("settlement", "setup", "--rune", "FILE"), "name a file that this user may read"),
        (("inventory", "--capture", "FILE"), "name a new folder with --capture"),
    ],
)
def test_a_file_that_cannot_be_opened_is_named_with_the_remedy(
    words: tuple[str, ...], remedy: str, tmp_path: Path
) -> None:
    proof = tmp_path / "proof"
    proof.touch()
    file = proof / "missing"  # below a file
    named = {"PROOF": str(proof), "FILE": str(file)}
    code, said = hearth(*(named.get(word, word) for word in words))
    assert code == 2
    assert said.startswith(f"hearth: {file}: Not a directory; {remedy}")
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize("content", [b"", b"hello\n", b"-----BEGIN CERTIFICATE-----\nAA\n"])
def test_a_ca_file_without_a_certificate_is_named(content: bytes, config: Path) -> None:
    ca = config.parent / "ca.pem"
    ca.write_bytes(content)
    words = ("enroll", "127.0.0.1:1", "--token", TOKEN, "--ca", str(ca), "--config", str(config))
    code, said = hearth(*words)
    assert code == 2
    assert said.startswith(f"hearth: --ca {ca}: ")
    assert len(said.splitlines()) == 1


def test_a_connection_that_fails_is_one_line(config: Path) -> None:
    """Nothing that gRPC's core prints stands around the error; a DER file of a CA does as well."""
    ours, theirs = FakeCa("ours"), FakeCa("theirs")
    ca = config.parent / "ca.der"
    ca.write_bytes(ours.der)
    leaf = theirs.issue(theirs.key.public_key(), Wish())
    key = theirs.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    server = grpc.server(ThreadPoolExecutor(1))
    credentials = grpc.ssl_server_credentials([(key, pem([leaf]))])
    port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    try:
        words = ("--token", TOKEN, "--ca", str(ca), "--config", str(config))
        code, said = hearth("enroll", f"127.0.0.1:{port}", *words)
    finally:
        server.stop(None)
    assert code == 6, said
    assert "CERTIFICATE_VERIFY_FAILED" in said
    assert len(said.splitlines()) == 1, said
