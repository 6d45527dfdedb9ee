"""What dpkg runs as root, run on a tree of its own (DPKG_ROOT, as `dpkg --root` sets it)."""

from __future__ import annotations

import os
import resource
import sqlite3
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.core.lease import LeaseState
from agent.journal.schema import SCHEMA, VERSION

DEBIAN = Path(__file__).parents[2] / "packaging" / "debian"
NOBODY = 65534
DONE = (LeaseState.SETTLED, LeaseState.EXPIRED, LeaseState.REFUSED, LeaseState.FAILED)


@pytest.fixture
def root() -> Iterator[Path]:
    """A host with an empty journal and a key, that knows no user hearth yet."""
    with tempfile.TemporaryDirectory() as directory:  # tmp_path lies where only root may go
        root = Path(directory)
        root.chmod(0o755)
        with_account(root, "", "")
        if os.geteuid() != 0:  # who nobody is there to become
            with_program(root, "setpriv", 'while [ "${1#--}" != "$1" ]; do shift; done; exec "$@"')
        state = root / "var/lib/hearth"
        state.mkdir(parents=True)
        (state / "node.pem").write_text("key")
        (root / "etc/hearth/conf.d").mkdir(parents=True)
        with_journal(root, SCHEMA, f"PRAGMA user_version = {VERSION};")
        yield root


def with_program(root: Path, name: str, body: str) -> None:
    """One that is found before the system's own."""
    program = root / "bin" / name
    program.parent.mkdir(exist_ok=True)
    program.write_text(f"#!/bin/sh\n{body}\n")
    program.chmod(0o755)


def with_account(root: Path, name: str, shell: str) -> None:
    """A host on which that account is there, and no other that is asked for."""
    line = f"{name}:x:1000:1000:Hester Arthur:/home/{name}:{shell}"
    with_program(root, "getent", f'[ "$2" = "{name}" ] || exit 2\necho "{line}"')


def with_journal(root: Path, *statements: str) -> None:
    journal = sqlite3.connect(root / "var/lib/hearth/journal.sqlite")
    journal.executescript(";".join(statements))
    journal.close()


def lease(state: LeaseState, *, acked: int = 2, open_books: bool = False) -> str:
    """One lease with two receipts."""
    return f"""
        INSERT INTO leases (id, exchange, lease_id, state, body, acked_through)
          VALUES (1, 1, 'x', {int(state)}, x'', {acked});
        INSERT INTO receipts VALUES (1, 1, 1), (1, 2, 2);
        INSERT INTO accounts (lease, open, body) VALUES (1, {int(open_books)}, x'');
    """  # noqa: S608 - numbers only


def script(
    name: str, root: Path, *words: str, limit: Callable[[], None] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run one of them as dpkg does."""
    text = (DEBIAN / f"hearth-agent.{name}").read_text().replace("#SCHEMA#", str(VERSION))
    return subprocess.run(
        ["sh", "-c", text, name, *words],
        env={"DPKG_ROOT": str(root), "PATH": f"{root}/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        preexec_fn=limit,
    )


def archives(root: Path) -> list[Path]:
    return sorted((root / "var/backups").glob("*"))


def kept(root: Path) -> bool:
    """Purge, and say whether it left an archive, which is then looked at."""
    done = script("postrm", root, "purge")
    assert done.returncode == 0, done.stderr
    assert not (root / "var/lib/hearth").exists()
    assert not (root / "etc/hearth").exists()
    found = archives(root)
    if not found:
        assert done.stderr == ""
        return False
    (file,) = found
    assert f"are kept in {file}\n" in done.stderr
    assert file.stat().st_mode & 0o777 == 0o600
    with tarfile.open(file) as archive:
        assert {"hearth/journal.sqlite", "hearth/node.pem"} <= set(archive.getnames())
    return True


def test_nothing_owed_is_dropped(root: Path) -> None:
    assert not kept(root)


@pytest.mark.parametrize("state", list(LeaseState))
def test_a_lease_is_done_with_in_its_last_states_only(root: Path, state: LeaseState) -> None:
    with_journal(root, lease(state))
    assert kept(root) == (state not in DONE)


@pytest.mark.parametrize("state", DONE)
def test_receipts_that_nobody_acknowledged_are_kept(root: Path, state: LeaseState) -> None:
    with_journal(root, lease(state, acked=1))
    assert kept(root)


@pytest.mark.parametrize("state", DONE)
def test_books_of_which_something_may_come_are_kept(root: Path, state: LeaseState) -> None:
    """A refund for a lease that failed; an invoice that was paid after the lease was settled."""
    with_journal(root, lease(state, open_books=True))
    assert kept(root)


@pytest.mark.parametrize("content", [b"", b"no database", b"SQLite format 3\0" + bytes(4096)])
def test_what_cannot_be_judged_is_kept(root: Path, content: bytes) -> None:
    (root / "var/lib/hearth/journal.sqlite").write_bytes(content)
    assert kept(root)


def test_a_planted_pipe_is_not_waited_for(root: Path) -> None:
    journal = root / "var/lib/hearth/journal.sqlite"
    journal.unlink()
    os.mkfifo(journal)
    assert script("preinst", root, "upgrade", "1").returncode == 0
    assert kept(root)


def test_a_journal_without_an_end_is_not_read_to_it(root: Path) -> None:
    with_program(root, "timeout", 'shift 2; exec /usr/bin/timeout --kill-after=5 1 "$@"')
    endless = "WITH RECURSIVE row(n) AS (SELECT 1 UNION ALL SELECT n FROM row)"
    rows = "SELECT n AS id, n AS state, n AS acked_through FROM row"
    with_journal(root, "DROP TABLE leases", f"CREATE VIEW leases AS {endless} {rows}")
    assert kept(root)


def test_without_room_for_the_archive_nothing_is_dropped(root: Path) -> None:
    with_journal(root, lease(LeaseState.ACTIVE))
    (root / "var/lib/hearth/node.pem").write_bytes(bytes(range(256)) * 64)

    def full() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))

    done = script("postrm", root, "purge", limit=full)
    assert done.returncode == 1
    assert "Remedy: make room there" in done.stderr
    assert (root / "var/lib/hearth/node.pem").exists()
    assert archives(root) == []
    assert kept(root)


@pytest.mark.parametrize(
    "words",
    [("remove",), ("upgrade", "2"), ("abort-install",), ("abort-upgrade", "1"), ("disappear",)],
)
def test_only_a_purge_drops_anything(root: Path, words: tuple[str, ...]) -> None:
    before = sorted(root.rglob("*"))
    assert script("postrm", root, *words).returncode == 0
    assert sorted(root.rglob("*")) == before


def test_a_planted_link_leads_nowhere(root: Path) -> None:
    """The agent's user owns its state: what it puts there is not followed by root."""
    outside = root / "outside"
    outside.mkdir()
    (outside / "file").write_text("secret")
    (root / "var/lib/hearth/link").symlink_to(outside)
    with_journal(root, lease(LeaseState.ACTIVE))
    assert kept(root)
    assert (outside / "file").read_text() == "secret"
    with tarfile.open(archives(root)[0]) as archive:
        assert archive.getmember("hearth/link").issym()
        assert "hearth/link/file" not in archive.getnames()


only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes somebody else")


def given(root: Path) -> None:
    """The state is the agent's user's."""
    state = root / "var/lib/hearth"
    for path in (state, *state.iterdir()):
        os.chown(path, NOBODY, NOBODY, follow_symlinks=False)


@only_root
def test_the_agents_user_is_asked_what_is_in_its_journal(root: Path) -> None:
    with_journal(root, lease(LeaseState.ACTIVE))
    given(root)
    asked = root / "asked"
    asked.touch()
    asked.chmod(0o666)
    with_program(root, "python3", f'id -u >>{asked}; id -G >>{asked}; exec /usr/bin/python3 "$@"')
    with_journal(root, f"PRAGMA user_version = {VERSION + 1}")
    assert script("preinst", root, "upgrade", "1").returncode == 1
    assert "1 lease(s) not settled yet" in script("postrm", root, "purge").stderr
    assert asked.read_text().split() == [str(NOBODY)] * 4


@only_root
def test_it_is_asked_where_root_put_its_state_elsewhere(root: Path) -> None:
    state = root / "var/lib/hearth"
    with_journal(root, f"PRAGMA user_version = {VERSION + 1}")
    given(root)
    state.symlink_to(state.rename(root / "disk"))
    asked = root / "asked"
    asked.touch()
    asked.chmod(0o666)
    with_program(root, "python3", f'id -u >>{asked}; exec /usr/bin/python3 "$@"')
    assert script("preinst", root, "upgrade", "1").returncode == 1
    assert script("postrm", root, "purge").returncode == 0
    assert asked.read_text().split() == [str(NOBODY)] * 2


@only_root
@pytest.mark.parametrize("version", [VERSION, VERSION + 1])
def test_a_link_in_the_journals_place_opens_nothing_of_roots(version: int, root: Path) -> None:
    """Root's own file would say: nothing owed; or: of a newer agent."""
    journal = root / "var/lib/hearth/journal.sqlite"
    with_journal(root, f"PRAGMA user_version = {version}")
    own = journal.rename(root / "own.sqlite")
    own.chmod(0o600)
    journal.symlink_to(own)
    given(root)
    assert script("preinst", root, "upgrade", "1").returncode == 0
    assert kept(root)


@pytest.mark.parametrize("words", [("install",), ("install", "1"), ("upgrade", "1")])
def test_a_newer_journal_is_refused(root: Path, words: tuple[str, ...]) -> None:
    assert script("preinst", root, *words).returncode == 0
    with_journal(root, f"PRAGMA user_version = {VERSION + 1}")
    done = script("preinst", root, *words)
    assert done.returncode == 1
    assert f"(schema {VERSION + 1}; this version knows up to {VERSION})" in done.stderr
    # What dpkg runs when the new version gave up.
    assert script("preinst", root, "abort-upgrade", "1").returncode == 0


def test_a_journal_that_does_not_read_is_the_agents_to_speak_of(root: Path) -> None:
    (root / "var/lib/hearth/journal.sqlite").write_bytes(b"no database")
    done = script("preinst", root, "upgrade", "1")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", ["hearth", "hearth-ipmi"])
@pytest.mark.parametrize(
    ("shell", "code"),
    [("/usr/sbin/nologin", 0), ("/bin/false", 0), ("/bin/bash", 1), ("", 1)],
)
def test_somebodys_own_account_is_not_taken(root: Path, name: str, shell: str, code: int) -> None:
    with_account(root, name, shell)
    done = script("preinst", root, "install")
    assert done.returncode == code
    assert ("rename that account" in done.stderr) == bool(code)
    assert (f'log in as "{name}"' in done.stderr) == bool(code)
    assert script("preinst", root, "upgrade", "1").returncode == 0
