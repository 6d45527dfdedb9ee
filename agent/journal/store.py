"""The durable joint: one SQLite file, one writer thread with group commit.

Every change is a function of a `Transaction`, run under a savepoint of its own inside a commit that
it shares with whatever else was waiting. Its result is given out only after that commit is on disk
(WAL, synchronous=FULL). So the event loop never waits for a disk, and what follows from each other
stands or falls together.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from agent.errors import JournalError, Overloaded
from agent.journal.schema import SCHEMA, VERSION
from agent.journal.space import Reserve
from attest import merkle

T = TypeVar("T")

NO_JOURNAL = (
    "there is no journal yet; the daemon makes it when it starts: hearth run,"
    " or systemctl start hearth-agent"
)
GROUP = 1000  # changes in one commit
DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
STORED_LEVEL = 3  # subtrees below 2^3 leaves are hashed anew from their leaves when needed


def connect(path: Path, *, readonly: bool = False) -> sqlite3.Connection:
    """Open the journal's file.

    :raises JournalError: when it is not there, not readable, or of a newer version than this agent.
    """
    connection: sqlite3.Connection | None = None
    try:
        uri = f"{path.absolute().as_uri()}?mode={'ro' if readonly else 'rwc'}"
        connection = sqlite3.connect(
            uri, uri=True, isolation_level=None, check_same_thread=False, timeout=10
        )
        _prepare(connection, path, readonly=readonly)
    except (sqlite3.Error, OSError) as error:
        if connection is not None:
            connection.close()
        raise JournalError(f"{path}: {_why(path, error, readonly=readonly)}") from error
    except JournalError:
        if connection is not None:
            connection.close()
        raise
    return connection


def _why(path: Path, error: Exception, *, readonly: bool) -> str:
    """What SQLite's "unable to open database file" does not say, with the remedy."""
    try:
        path.open("rb" if readonly else "r+b").close()
    except FileNotFoundError:
        return NO_JOURNAL if readonly else str(error)
    except PermissionError:
        if os.access(path.parent, os.W_OK):
            return "not for the owner of its folder; it must be their own file (chown)"
        return "not for this user; do it as root, or as the user that the daemon runs as"
    except OSError as reason:
        return reason.strerror or str(error)
    return str(error)


def _prepare(connection: sqlite3.Connection, path: Path, *, readonly: bool) -> None:
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > VERSION:
        raise JournalError(
            f"{path}: written by a newer agent (schema {version}, this one knows {VERSION}); "
            "install that version again"
        )
    connection.execute("PRAGMA foreign_keys=ON")
    if readonly:
        if version == 0:
            raise JournalError(f"{path}: {NO_JOURNAL}")
        return
    path.chmod(0o600)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    if version < VERSION:
        connection.executescript(f"BEGIN;{SCHEMA};PRAGMA user_version={VERSION};COMMIT")


def _of_the_disk(error: Exception) -> bool:
    """Whether an error says that the disk is full or gone, and not that a statement is wrong."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    return isinstance(error, sqlite3.OperationalError) and code & 0xFF != sqlite3.SQLITE_ERROR


def _full(error: BaseException | None) -> bool:
    """Whether the disk has no room left (EDQUOT counts)."""
    code = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF == sqlite3.SQLITE_FULL or code == sqlite3.SQLITE_IOERR_SHMSIZE


def any_of(values: Iterable[int]) -> str:
    """What `IN (SELECT value FROM json_each(?))` takes for its parameter."""
    return json.dumps([int(value) for value in values])


class View:
    """Reading the journal, in a transaction or beside it."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection

    def one(self, sql: str, *values: object) -> tuple[Any, ...] | None:
        """Return the first row, or None."""
        row: tuple[Any, ...] | None = self.connection.execute(sql, values).fetchone()
        return row

    def all(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """Return all rows."""
        return self.connection.execute(sql, values).fetchall()

    def size(self) -> int:
        """Number of leaves."""
        row = self.one("SELECT coalesce(max(idx) + 1, 0) FROM entries")
        return int(row[0]) if row else 0

    def node(self, level: int, index: int) -> bytes:
        """Hash of the perfect subtree of 2^level leaves that starts at leaf index * 2^level."""
        if level == 0:
            row = self.one("SELECT leaf FROM entries WHERE idx = ?", index)
        elif level < STORED_LEVEL:
            return merkle.hash_children(
                self.node(level - 1, 2 * index), self.node(level - 1, 2 * index + 1)
            )
        else:
            row = self.one("SELECT hash FROM nodes WHERE level = ? AND idx = ?", level, index)
        if row is None:
            raise JournalError(f"the log lacks node {index} of level {level}; run a journal check")
        return bytes(row[0])

    def root(self, size: int) -> bytes:
        """Root of the first `size` leaves."""
        return merkle.root(size, self.node)

    def envelope(self, index: int) -> bytes:
        """The serialised SignedEnvelope of a leaf.

        :raises JournalError: when there is no such leaf.
        """
        row = self.one("SELECT envelope FROM entries WHERE idx = ?", index)
        if row is None:
            raise JournalError(f"the log has no leaf {index}")
        return bytes(row[0])

    def meta(self, key: str) -> bytes | None:
        """One of the node's own constants."""
        row = self.one("SELECT value FROM meta WHERE key = ?", key)
        return None if row is None else bytes(row[0])


class Transaction(View):
    """One change: all of it is durable, or none."""

    def execute(self, sql: str, *values: object) -> sqlite3.Cursor:
        """Run one statement."""
        return self.connection.execute(sql, values)

    def set_meta(self, key: str, value: bytes) -> None:
        """Set one of the node's own constants."""
        self.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", key, value)

    def append(self, envelope: bytes, leaf: bytes, exchanges: Sequence[int] = ()) -> int:
        """Append a leaf, put it on the way to `exchanges`, and return its index.

        :param envelope: a serialised SignedEnvelope, kept as it is.
        :param leaf: its leaf hash, 32 bytes.
        """
        return self.append_many([(envelope, leaf)], exchanges)

    def append_many(
        self, leaves: Sequence[tuple[bytes, bytes]], exchanges: Sequence[int] = ()
    ) -> int:
        """Append several leaves at once and return the index of the first."""
        first = size = self.size()
        stored: list[tuple[int, int, bytes]] = []
        fresh: dict[tuple[int, int], bytes] = {}

        def node(level: int, index: int) -> bytes:
            known = fresh.get((level, index))
            return self.node(level, index) if known is None else known

        for _, leaf in leaves:
            for level, index, value in merkle.completed_nodes(size, leaf, node):
                fresh[level, index] = value
                if level >= STORED_LEVEL:
                    stored.append((level, index, value))
            size += 1
        self.connection.executemany(
            "INSERT INTO entries VALUES (?, ?, ?)",
            [(first + place, leaf, envelope) for place, (envelope, leaf) in enumerate(leaves)],
        )
        self.connection.executemany("INSERT INTO nodes VALUES (?, ?, ?)", stored)
        for exchange in exchanges:
            last = self._outbox_grow(exchange, len(leaves))
            self.execute(
                "INSERT INTO outbox SELECT ?1, ?2 + idx, idx, NULL FROM entries WHERE idx >= ?3",
                exchange,
                last + 1 - first,
                first,
            )
        return first

    def enqueue(self, exchange: int, index: int) -> None:
        """Put a leaf that stands already on the way to one more exchange."""
        last = self._outbox_grow(exchange, 1)
        self.execute("INSERT INTO outbox VALUES (?, ?, ?, NULL)", exchange, last + 1, index)

    def enqueue_unlogged(self, exchange: int, envelope: bytes) -> None:
        """Send an envelope that is no leaf of the log (a refusal)."""
        last = self._outbox_grow(exchange, 1)
        self.execute("INSERT INTO outbox VALUES (?, ?, NULL, ?)", exchange, last + 1, envelope)

    def _outbox_grow(self, exchange: int, count: int) -> int:
        row = self.one("SELECT outbox_last FROM exchanges WHERE id = ?", exchange)
        if row is None:
            raise JournalError(f"no exchange {exchange}")
        self.execute(
            "UPDATE exchanges SET outbox_last = outbox_last + ? WHERE id = ?", count, exchange
        )
        return int(row[0])


Change = Callable[[Transaction], T]


class Journal:
    """The journal of one host. Only one process writes it."""

    def __init__(self, path: Path, reserve: Reserve | None = None) -> None:
        """Open it, or make it.

        :param reserve: space that is given up when the disk is full.
        :raises JournalError: when it cannot be opened.
        """
        self.path = path
        self._reserve = reserve
        # The disk is full, or too full for a reserve: take nothing new on, finish what there is.
        self.full = False
        self._writer = self._opened()
        if reserve is not None and not self.full:
            self.full = not reserve.make()
        self._reader = connect(path, readonly=True)
        self._changes: queue.SimpleQueue[tuple[Change[Any], Future[Any]] | None] = (
            queue.SimpleQueue()
        )
        self._reads = ThreadPoolExecutor(1, "journal-read")
        self._closing = False
        self.commits = 0  # progress, for the watchdog
        self.on_commit: Callable[[], object] = lambda: None  # called by the writer's thread
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._thread.start()

    def _opened(self) -> sqlite3.Connection:
        try:
            return connect(self.path)
        except JournalError as error:
            if not _full(error.__cause__) or not self._give_up():
                raise
        return connect(self.path)

    def _give_up(self) -> bool:
        """Note that the disk is full; whether space was given up, so that trying again may help."""
        self.full = True
        return self._reserve is not None and self._reserve.give_up()

    def recover(self) -> bool:
        """Set the reserve aside again, if there is room; whether all is as it should be."""
        if self.full and (self._reserve is None or self._reserve.make()):
            self.full = False
        return not self.full

    def submit(self, change: Change[T]) -> Future[T]:
        """Hand a change to the writer; the future answers after the commit.

        :raises Overloaded: out of the future, when the disk is full or the commit failed: nothing
            of the change stands, and it may be tried again.
        """
        future: Future[T] = Future()
        if self._closing:
            future.set_exception(JournalError("the journal is closed"))
        else:
            self._changes.put((change, future))
        return future

    async def write(self, change: Change[T]) -> T:
        """Run a change and wait for its commit; see `submit`.

        Whoever stops waiting does not stop the change: what was handed in stands or falls whole.
        """
        return await asyncio.shield(asyncio.wrap_future(self.submit(change)))

    async def read(self, query: Callable[[View], T]) -> T:
        """Run a query beside the writer, on what is committed.

        :raises JournalError: when the journal is closed, or its file does not read.
        """

        def run() -> T:
            # One snapshot for all that the query asks.
            self._reader.execute("BEGIN")
            try:
                return query(View(self._reader))
            finally:
                self._reader.execute("COMMIT")

        if self._closing:
            raise JournalError("the journal is closed")
        try:
            return await asyncio.wrap_future(self._reads.submit(run))
        except sqlite3.DatabaseError as error:
            raise JournalError(f"{self.path}: {error}") from error

    def close(self) -> None:
        """Finish what was handed in, then close."""
        self._closing = True
        self._changes.put(None)
        self._thread.join()
        self._reads.shutdown()
        self._reader.close()
        self._writer.close()

    def _named(self, error: Exception) -> Exception:
        """A damaged file is an error of the journal, whatever the change was."""
        if getattr(error, "sqlite_errorcode", 0) & 0xFF not in DAMAGED:
            return error
        named = JournalError(f"{self.path}: {error}; run a journal check")
        named.__cause__ = error
        return named

    def _run(self) -> None:
        last = False
        while not last:
            group = [self._changes.get()]
            with contextlib.suppress(queue.Empty):
                while len(group) < GROUP:
                    group.append(self._changes.get_nowait())
            last = None in group
            work = [item for item in group if item is not None]
            if work:
                self._commit(work)

    def _commit(self, work: Iterable[tuple[Change[Any], Future[Any]]]) -> None:
        pending = [item for item in work if item[1].set_running_or_notify_cancel()]
        error = self._attempt(pending)
        if _full(error) and self._give_up():
            pending = [item for item in pending if not item[1].done()]
            error = self._attempt(pending)
        if error is not None:
            failure = Overloaded(f"{self.path}: {error}")
            for _, future in pending:
                if not future.done():
                    future.set_exception(failure)

    def _attempt(self, pending: list[tuple[Change[Any], Future[Any]]]) -> sqlite3.Error | None:
        """Run all changes in one commit and answer; or nothing stands and the error is returned."""
        done: list[tuple[Future[Any], Any]] = []
        connection = self._writer
        try:
            connection.execute("BEGIN IMMEDIATE")
            for change, future in pending:
                connection.execute("SAVEPOINT change")
                try:
                    result = change(Transaction(connection))
                except Exception as error:  # handed to whoever asked for the change
                    if _of_the_disk(error):
                        raise  # nothing of the group stands
                    connection.execute("ROLLBACK TO change")
                    future.set_exception(self._named(error))
                else:
                    done.append((future, result))
                connection.execute("RELEASE change")
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            with contextlib.suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            return error
        self.commits += 1
        for future, result in done:
            future.set_result(result)
        self.on_commit()
        return None
