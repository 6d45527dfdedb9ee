"""Root looks into the daemon's state as the daemon's user: what that user planted gains nothing."""

from __future__ import annotations

import grp
import os
import re
import select
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from agent.cli.enroll import UNIT_GROUPS
from agent.cli.owner import as_owner
from agent.errors import DaemonError, HearthError, JournalError
from agent.exchange import enrolment as rows
from attest.errors import TpmError
from tests.fakes.fake_ca import FakeCa
from tests.fakes.spine import lease_id
from tests.fakes.world import World

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes somebody else"),
    # From Python 3.12 on; a command has no other thread, other tests' gRPC in this process has.
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
]

ROOT = Path(__file__).parents[2]
NOBODY = 65534
TOKEN = "a" * 20 + "." + "0" * 64
LEASE = lease_id(1)
READING = (
    ("exchanges",),
    ("receipts", "list", "--json"),
    ("receipts", "show", LEASE),
    ("journal", "check"),
    ("settlement", "status"),
    ("settlement", "metrics"),
    ("settlement", "history"),
    ("settlement", "export"),
    ("settlement", "statement", "2026", ""),
)
WRITING = (
    ("receipts", "export-proof", LEASE),
    ("settlement", "metrics"),
    ("settlement", "export", "--format", "jsonl"),
)


@dataclass(frozen=True, slots=True)
class HostOfRoot:
    """A host whose state is the daemon's user's, and all else root's."""

    here: Path

    @property
    def state(self) -> Path:
        return self.here / "state"

    @property
    def journal(self) -> Path:
        return self.state / "journal.sqlite"

    def give(self) -> None:
        """The state is the daemon's user's."""
        for path in (self.state, *self.state.iterdir()):
            os.chown(path, NOBODY, NOBODY, follow_symlinks=False)

    def plant(self, content: str) -> Path:
        """A link in the journal's place, to a file of root's."""
        secret = self.here / content
        for name in ("journal.sqlite-wal", "journal.sqlite-shm"):
            (self.state / name).unlink(missing_ok=True)
        self.journal.unlink()
        self.journal.symlink_to(secret)
        self.give()
        return secret

    def hearth(self, *words: str, by: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
        command = (*by, sys.executable, "-m", "agent.cli.app", *words)
        return subprocess.run(
            [*command, "--config", self.here / "hearth.toml"],
            check=False,
            cwd=self.here / "roots",
            env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'proto/gen/python'}"},
            capture_output=True,
            text=True,
            timeout=120,
        )


@pytest.fixture
async def host() -> Iterator[HostOfRoot]:
    """With one receipt under a checkpoint; root keeps a copy of the journal for itself."""
    with tempfile.TemporaryDirectory() as directory:  # tmp_path lies where only root may go
        host = HostOfRoot(Path(directory))
        host.here.chmod(0o755)
        (host.here / "roots").mkdir(mode=0o700)
        world = await World.open(host.state)
        await world.lease()
        await world.seconds(2)
        await world.release()
        await world.seconds(1)
        await world.checkpoint()
        identity = world.node.root.identity
        chain = FakeCa("honest").ak_chain(identity.spki, identity.node_id, "software")
        enrolment = world.pens[0].enrolment(ak_chain=chain)
        await world.node.journal.write(lambda change: rows.keep(change, enrolment))
        world.node.close()
        config = host.here / "hearth.toml"
        config.write_text(
            f'state_dir = "{host.state}"\nadmin_socket = "{host.here}/a.sock"\n'
            '[tpm]\ntcti = "none"\n'
        )
        config.chmod(0o600)
        shutil.copy(host.journal, host.here / "roots/journal.sqlite")
        (host.here / "roots/empty").touch(0o600)
        host.give()
        yield host


@pytest.mark.parametrize("words", READING)
def test_what_is_read_is_the_same(words: tuple[str, ...], host: HostOfRoot) -> None:
    done = host.hearth(*words)
    assert (done.returncode, done.stderr) == (0, "")
    os.chown(host.state, 0, 0)  # root's own: nobody else's work
    own = host.hearth(*words)
    untimed = re.compile(r"(_seconds|_time\S*) [0-9.e+]+")
    assert untimed.sub("", done.stdout) == untimed.sub("", own.stdout)


@pytest.mark.parametrize("words", WRITING)
def test_what_is_written_is_roots_and_where_only_root_may(
    words: tuple[str, ...], host: HostOfRoot
) -> None:
    done = host.hearth(*words, "--out", "made")
    assert done.returncode == 0, done.stderr
    made = host.here / "roots/made"
    assert made.stat().st_uid == 0
    assert made.read_text()


def test_what_fails_leaves_what_was_there(host: HostOfRoot) -> None:
    there = host.here / "roots/there"
    there.write_text("before")
    done = host.hearth("receipts", "export-proof", "ffff", "--out", str(there))
    assert (done.returncode, there.read_text()) == (7, "before")
    assert done.stderr.startswith("hearth: 0 leases begin with 'ffff'; ")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("words", [*READING, *WRITING, ("verify", str(ROOT / "README.md"))])
def test_a_planted_link_is_not_followed(words: tuple[str, ...], host: HostOfRoot) -> None:
    host.plant("roots/journal.sqlite")
    done = host.hearth(*words)
    assert (done.returncode, done.stdout) == (7, "")
    assert done.stderr.startswith(f"hearth: {host.journal}: not for the owner of its folder")


@pytest.mark.parametrize("planted", ["roots/journal.sqlite", "roots/empty"])
def test_enrolling_writes_nothing_of_roots(planted: str, host: HostOfRoot) -> None:
    secret = host.plant(planted)
    secret.chmod(0o640)
    before = (secret.read_bytes(), secret.stat().st_mode, secret.stat().st_ctime_ns)
    done = host.hearth("enroll", "127.0.0.1:1", "--token", TOKEN)
    assert done.returncode == 7, done.stderr
    assert (secret.read_bytes(), secret.stat().st_mode, secret.stat().st_ctime_ns) == before


def test_what_enrolling_leaves_is_the_daemons(host: HostOfRoot) -> None:
    ca = host.here / "roots/ca.der"
    ca.write_bytes(FakeCa("theirs").der)
    done = host.hearth("enroll", "127.0.0.1:1", "--token", TOKEN, "--ca", str(ca))
    assert done.returncode == 6, done.stderr  # nobody answers there
    assert {path.stat().st_uid for path in host.state.iterdir()} == {NOBODY}


def test_the_daemon_is_not_root_on_somebody_elses_state(host: HostOfRoot) -> None:
    secret = host.plant("roots/empty")
    done = host.hearth("run")
    assert done.returncode == 2
    assert f"belongs to user {NOBODY}, not to root" in done.stderr
    assert secret.read_bytes() == b""


def test_a_damaged_journal_is_named(host: HostOfRoot) -> None:
    journal = host.journal.read_bytes()
    host.journal.write_bytes(journal[:4096] + bytes(len(journal) - 4096))
    done = host.hearth("receipts", "list")
    assert done.returncode == 7
    assert done.stderr.startswith(f"hearth: {host.journal}: ")
    assert len(done.stderr.splitlines()) == 1


def test_it_answers_where_root_closed_what_it_would_say_it_on(host: HostOfRoot) -> None:
    closed = ("sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh")
    done = host.hearth("receipts", "export-proof", LEASE, "--out", "made", by=closed)
    assert done.returncode == 0
    assert (host.here / "roots/made").read_text()
    assert host.hearth("receipts", "show", "ffff", by=closed).returncode == 7


def test_root_that_may_become_nobody_else_opens_nothing(host: HostOfRoot) -> None:
    done = host.hearth("journal", "check", by=("setpriv", "--bounding-set=-setuid"))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"hearth: {host.state}: not opened as root: Operation not permitted;"
        f" run this as user {NOBODY}, whose it is\n"
    )


# --- the process that does it --------------------------------------------------------------------


@pytest.fixture
def state(tmp_path: Path) -> Path:
    os.chown(tmp_path, NOBODY, NOBODY)
    return tmp_path


def test_it_is_the_owner_for_good_and_without_a_terminal(state: Path) -> None:
    def who() -> dict[str, object]:
        try:
            os.setuid(0)
        except PermissionError:
            back = False
        else:
            back = True
        return {
            "users": os.getresuid(),
            "groups": (*os.getresgid(), *sorted(os.getgroups())),
            "leads": os.getsid(0) == os.getpid(),
            "back": back,
            "umask": os.umask(0),
        }

    other = next(group for group in grp.getgrall() if group.gr_gid not in (0, NOBODY))
    assert as_owner(state, who, ("no-such-group", other.gr_name)) == {
        "users": [NOBODY] * 3,
        "groups": [NOBODY] * 3 + sorted((NOBODY, other.gr_gid)),
        "leads": True,
        "back": False,
        "umask": 0o077,
    }
    assert os.geteuid() == 0


def test_it_has_nothing_of_roots_terminal(state: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def hold() -> list[str]:
        os.write(2, b"a warning\x1b]0;a title\x07\n")
        return [str(Path(f"/proc/self/fd/{number}").readlink()) for number in range(3)]

    assert as_owner(state, hold) == ["/dev/null", "/dev/null", "/memfd:stderr (deleted)"]
    out, err = capfd.readouterr()
    assert out == ""
    assert err.endswith("a warning ]0;a title \n")  # after what gRPC of this process says of a fork


def test_it_does_not_outlive_whoever_asks(state: Path) -> None:
    heard, said = os.pipe()
    program = (
        "import os, signal, sys; from pathlib import Path; from agent.cli.owner import as_owner;"
        "state, said = Path(sys.argv[1]), int(sys.argv[2]);"
        "as_owner(state, lambda: os.write(said, b'.') and signal.pause())"
    )
    command = [sys.executable, "-c", program, str(state), str(said)]
    with subprocess.Popen(command, cwd=ROOT, pass_fds=[said]) as asks, os.fdopen(heard) as last:
        os.close(said)
        assert last.read(1) == "."
        asks.kill()
        ended, _, _ = select.select([last], [], [], 60)
        assert ended
        assert last.read(1) == ""


def test_a_fault_of_ours_in_it_is_shown(state: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(JournalError, match="ended without an answer"):
        as_owner(state, lambda: 1 // 0)
    assert capfd.readouterr().err.endswith(
        "\nZeroDivisionError: integer division or modulo by zero\n"
    )


def test_roots_own_state_needs_no_other_process(tmp_path: Path) -> None:
    assert as_owner(tmp_path, os.getpid) == os.getpid()
    assert as_owner(tmp_path / "not there yet", os.getpid) == os.getpid()


@pytest.mark.parametrize(
    "error", [JournalError("no room"), DaemonError("none answers"), TpmError("no TPM")]
)
def test_an_error_comes_back_with_its_exit_code(error: HearthError | TpmError, state: Path) -> None:
    def fail() -> None:
        raise error

    with pytest.raises(HearthError) as caught:
        as_owner(state, fail)
    assert (str(caught.value), caught.value.exit_code) == (str(error), error.exit_code)


@pytest.mark.parametrize(
    "answer", [b"", b"[" * 50_000, b"[0]", b"7", b'["x", 1]', b"[Infinity, 1]", b"\xff"]
)
def test_an_answer_that_is_none_is_an_error(answer: bytes, state: Path) -> None:
    """Of a reader that was taken over, and writes to its pipe what it likes."""
    before = {int(entry.name) for entry in Path("/proc/self/fd").iterdir()}

    def lie() -> None:
        for descriptor in range(3, 1024):
            if descriptor not in before and Path(f"/proc/self/fd/{descriptor}").is_fifo():
                os.write(descriptor, answer)
        os._exit(0)

    with pytest.raises(JournalError, match="ended without an answer"):
        as_owner(state, lie)


def test_enrolling_has_the_groups_of_the_unit() -> None:
    unit = (ROOT / "systemd/hearth-agent.service").read_text()
    assert f"\nSupplementaryGroups={' '.join(UNIT_GROUPS)}\n" in unit
