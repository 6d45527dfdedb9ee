"""Opening the daemon's state as the user whose it is.

That user may have been taken over, and what it owns is then made to harm whoever opens it: a
database that no SQLite wrote, links where files should be. So root opens nothing there. A child
does, which has become the owner for good, and answers in JSON. It has nothing of root's terminal,
which it could read and draw on, and is in a session of its own: into that of root's session it
could type (ioctl_tty(2), TIOCSTI).
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import grp
import json
import os
import pwd
import signal
import sqlite3
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TypeVar, cast

from agent.cli.out import echo
from agent.errors import ConfigError, HearthError, JournalError, Refused
from attest.errors import AttestError
from probes.errors import ProbeError

if TYPE_CHECKING:
    from agent.config import Config
    from agent.journal.store import View

T = TypeVar("T")

MOST_ERRORS = 1 << 16  # bytes that are shown
PR_SET_PDEATHSIG = 1  # prctl(2)


def read_journal(settings: Config, question: Callable[[View], T]) -> T:
    """What a question finds in the journal, on one snapshot; a JSON value.

    :raises JournalError: when there is no journal, or it cannot be read.
    """
    from agent.journal.store import View, connect

    path = Path(settings.state_dir) / "journal.sqlite"

    def answer() -> T:
        with contextlib.closing(connect(path, readonly=True)) as connection:
            try:
                connection.execute("BEGIN")  # whatever a daemon writes meanwhile
                return question(View(connection))
            except sqlite3.DatabaseError as error:
                raise JournalError(f"{path}: {error}; keep the file as it is") from error

    return as_owner(path.parent, answer)


def as_owner(state: Path, work: Callable[[], T], groups: Sequence[str] = ()) -> T:
    """Do the work as the owner of a directory, where this is root and the owner is not.

    :param work: returns a JSON value.
    :param groups: of which the owner's process is a member beside those that it has.
    :raises HearthError: what the work raises of ours, with the same exit code.
    """
    owner = _other(state)
    if owner is None:
        return cast("T", json.loads(json.dumps(work())))
    receive, send = os.pipe()
    with os.fdopen(os.memfd_create("stderr"), "rb") as errors:
        if (child := os.fork()) == 0:
            os.close(receive)
            _serve(send, errors.fileno(), lambda: _done(state, owner, groups, work))
        os.close(send)
        try:
            with os.fdopen(receive, encoding="ascii", errors="replace") as answer:
                text = answer.read()
        except KeyboardInterrupt:  # which a session of its own does not hear
            os.kill(child, signal.SIGKILL)
            raise
        finally:
            os.waitpid(child, 0)
        errors.seek(0)
        echo(errors.read(MOST_ERRORS).decode(errors="replace"), err=True, nl=False)
    return cast("T", _answered(state, text))


def _serve(send: int, errors: int, ask: Callable[[], object]) -> NoReturn:
    """Answer away from root's terminal, and end; what else is said is kept for the parent."""
    try:
        os.setsid()
        nothing = os.open(os.devnull, os.O_RDWR)
        # Where root had closed its own, they are among these.
        send, *those = (
            fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 3)
            for descriptor in (send, nothing, nothing, errors)
        )
        for descriptor, instead in enumerate(those):
            os.dup2(instead, descriptor)
        with os.fdopen(send, "w", encoding="ascii") as answer:
            json.dump(ask(), answer)
    except Exception:  # noqa: BLE001 - the parent gets no answer, and says so
        traceback.print_exc()
    finally:
        os._exit(0)


def _other(state: Path) -> os.stat_result | None:
    """Who else has it, as root must ask; None: nobody, or there is none, or this is not root."""
    with contextlib.suppress(OSError):
        if os.geteuid() == 0 and (facts := state.stat()).st_uid != 0:
            return facts
    return None


def _become(owner: os.stat_result, groups: Sequence[str]) -> None:
    """Be that user and nobody else; there is no way back."""
    try:
        account = pwd.getpwuid(owner.st_uid)
        own = os.getgrouplist(account.pw_name, account.pw_gid)
        primary = account.pw_gid
    except KeyError:  # a user that was removed
        own, primary = [], owner.st_gid
    for name in groups:
        with contextlib.suppress(KeyError):
            own.append(grp.getgrnam(name).gr_gid)
    os.setgroups(own)
    os.setgid(primary)
    os.setuid(owner.st_uid)
    os.umask(0o077)  # as in systemd/hearth-agent.service
    # Its session hears nothing of what ends the parent. After setuid(2), which would undo it.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _done(
    state: Path, owner: os.stat_result, groups: Sequence[str], work: Callable[[], object]
) -> tuple[int, object]:
    """Exit code and text of what went wrong, or 0 and the answer."""
    try:
        _become(owner, groups)
    except OSError as error:  # root without a capability, as in some containers and units
        remedy = f"run this as user {owner.st_uid}, whose it is"
        return ConfigError.exit_code, f"{state}: not opened as root: {error.strerror}; {remedy}"
    try:
        return 0, work()
    except (HearthError, AttestError, ProbeError) as error:
        return error.exit_code, str(error)


def _answered(state: Path, text: str) -> object:
    """What came of it; nothing of how it is made is trusted."""
    try:
        code, said = json.loads(text)
        code = int(code)
    except (ValueError, TypeError, OverflowError, RecursionError):
        raise JournalError(f"{state}: what reads it for us ended without an answer") from None
    if code:
        raise Refused(str(said), code)
    return cast("object", said)
