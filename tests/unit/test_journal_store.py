"""The durable joint: what is promised when a change returns, fails, or meets a full disk."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import sqlite3
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.errors import JournalError, Overloaded
from agent.journal.schema import VERSION
from agent.journal.store import Change, Journal, Transaction, View, connect
from attest import merkle


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    opened = Journal(tmp_path / "journal.sqlite")
    yield opened
    opened.close()


def leaf(text: str) -> tuple[bytes, bytes]:
    return text.encode(), hashlib.sha256(text.encode()).digest()


def adding(text: str) -> Change[int]:
    return lambda change: change.append(*leaf(text))


def filling(change: Transaction) -> None:
    """More than any small disk takes."""
    for number in range(1000):
        change.append(b"x" * 10_000, hashlib.sha256(b"%d" % number).digest())


def gate(journal: Journal) -> threading.Event:
    """Hold the writer until the event is set: what is handed in meanwhile is one group."""
    opened, waiting = threading.Event(), threading.Event()

    def hold(change: Transaction) -> None:
        waiting.set()
        opened.wait(10)

    journal.submit(hold)
    assert waiting.wait(10)
    return opened


def on_disk(path: Path) -> list[bytes]:
    other = sqlite3.connect(path)
    try:
        return [row[0] for row in other.execute("SELECT envelope FROM entries ORDER BY idx")]
    finally:
        other.close()


async def test_what_returned_is_on_disk(journal: Journal) -> None:
    assert await journal.write(adding("one")) == 0
    assert await journal.write(adding("two")) == 1
    assert on_disk(journal.path) == [b"one", b"two"]


async def test_the_file_is_its_owners_alone(journal: Journal) -> None:
    assert stat.S_IMODE(journal.path.stat().st_mode) == 0o600
    assert journal._writer.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL
    assert journal._writer.execute("PRAGMA journal_mode").fetchone() == ("wal",)


async def test_many_changes_share_a_commit(journal: Journal) -> None:
    opened = gate(journal)
    futures = [journal.submit(adding(str(number))) for number in range(500)]
    opened.set()
    places = await asyncio.gather(*map(asyncio.wrap_future, futures))
    assert places == list(range(500))
    assert journal.commits <= 3


async def test_a_change_that_fails_leaves_its_neighbours_alone(journal: Journal) -> None:
    def broken(change: Transaction) -> None:
        for number in range(20):
            change.append(*leaf(f"broken {number}"))
        change.set_meta("broken", b"1")
        raise ValueError("not today")

    opened = gate(journal)
    before = journal.submit(adding("before"))
    failed = journal.submit(broken)
    after = journal.submit(adding("after"))
    opened.set()
    assert await asyncio.wrap_future(before) == 0
    assert await asyncio.wrap_future(after) == 1
    with pytest.raises(ValueError, match="not today"):
        await asyncio.wrap_future(failed)
    assert on_disk(journal.path) == [b"before", b"after"]
    assert await journal.read(lambda view: view.meta("broken")) is None
    naive = merkle.hash_children(leaf("before")[1], leaf("after")[1])
    assert await journal.read(lambda view: view.root(2)) == naive


async def test_a_wrong_statement_is_the_changes_fault_alone(journal: Journal) -> None:
    opened = gate(journal)
    wrong = journal.submit(lambda change: change.execute("SELECT nonsense"))
    right = journal.submit(adding("right"))
    opened.set()
    with pytest.raises(sqlite3.OperationalError, match="nonsense"):
        await asyncio.wrap_future(wrong)
    assert await asyncio.wrap_future(right) == 0


async def test_a_duplicate_is_the_changes_fault_alone(journal: Journal) -> None:
    twice = "INSERT INTO meta VALUES ('key', x'00')"
    await journal.write(lambda change: change.execute(twice) and None)
    with pytest.raises(sqlite3.IntegrityError):
        await journal.write(lambda change: change.execute(twice) and None)
    assert await journal.write(adding("on")) == 0


async def test_a_full_disk_is_pushed_back_and_leaves_nothing(journal: Journal) -> None:
    await journal.write(adding("before"))
    pages = journal._writer.execute("PRAGMA page_count").fetchone()[0]
    journal._writer.execute(f"PRAGMA max_page_count = {pages + 50}")
    opened = gate(journal)
    first = journal.submit(adding("same group"))
    full = journal.submit(filling)
    last = journal.submit(adding("same group, after"))
    opened.set()
    for future in (first, full, last):
        with pytest.raises(Overloaded, match="full"):
            await asyncio.wrap_future(future)
    assert on_disk(journal.path) == [b"before"]
    assert await journal.read(View.size) == 1
    # What is small still fits, and once there is room again so does everything.
    assert await journal.write(adding("small")) == 1
    journal._writer.execute("PRAGMA max_page_count = 1000000")
    await journal.write(filling)
    assert await journal.read(View.size) == 1002


async def test_a_damaged_file_is_an_error_of_the_journal(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.sqlite")
    for number in range(200):
        await journal.write(lambda change, key=f"{number}": change.set_meta(key, b"x" * 3000))
    journal.close()
    raw = bytearray(journal.path.read_bytes())
    for page in range(60, len(raw) // 4096):
        raw[page * 4096 : page * 4096 + 100] = b"\xff" * 100
    journal.path.write_bytes(raw)
    journal = Journal(journal.path)
    with pytest.raises(JournalError, match="malformed") as caught:
        await journal.write(lambda change: [change.meta(f"{number}") for number in range(200)])
    assert not isinstance(caught.value, Overloaded)
    with pytest.raises(JournalError, match="malformed"):
        await journal.read(lambda view: [view.meta(f"{number}") for number in range(200)])
    journal.close()


async def test_overload_can_be_tried_again(journal: Journal) -> None:
    assert Overloaded.retryable
    assert not JournalError.retryable


async def test_who_stops_waiting_does_not_stop_the_change(journal: Journal) -> None:
    opened = gate(journal)
    waiting = asyncio.create_task(journal.write(adding("kept")))
    await asyncio.sleep(0)
    waiting.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await waiting
    opened.set()
    assert await journal.write(adding("next")) == 1
    assert on_disk(journal.path) == [b"kept", b"next"]


async def test_closing_finishes_what_was_handed_in(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.sqlite")
    opened = gate(journal)
    futures = [journal.submit(adding(str(number))) for number in range(2500)]
    closing = asyncio.create_task(asyncio.to_thread(journal.close))
    await asyncio.sleep(0.05)
    opened.set()
    await closing
    assert [future.result(0) for future in futures] == list(range(2500))
    assert len(on_disk(journal.path)) == 2500


async def test_a_closed_journal_says_so(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.sqlite")
    journal.close()
    with pytest.raises(JournalError, match="closed"):
        await journal.write(adding("late"))
    with pytest.raises(JournalError, match="closed"):
        await journal.read(View.size)
    journal.close()  # twice is harmless


async def test_a_reader_sees_one_moment(journal: Journal) -> None:
    await journal.write(adding("one"))

    def sizes(view: View) -> tuple[int, int]:
        before = view.size()
        journal.submit(adding("two")).result(10)
        return before, view.size()

    assert await journal.read(sizes) == (1, 1)
    assert await journal.read(View.size) == 2


async def test_every_commit_is_told(journal: Journal) -> None:
    told = threading.Event()
    journal.on_commit = told.set
    await journal.write(adding("one"))
    assert told.wait(10)


async def test_the_outbox_of_each_exchange_counts_for_itself(journal: Journal) -> None:
    def enrol(change: Transaction) -> None:
        for name in ("a", "b"):
            change.execute("INSERT INTO exchanges (exchange_id, enrolment) VALUES (?, x'00')", name)

    await journal.write(enrol)
    await journal.write(lambda change: change.append(*leaf("both"), [1, 2]))
    await journal.write(lambda change: change.append_many([leaf("x"), leaf("y")], [2]))
    await journal.write(lambda change: change.enqueue(1, 2))
    await journal.write(lambda change: change.enqueue_unlogged(1, b"refusal"))
    rows = await journal.read(
        lambda view: view.all("SELECT * FROM outbox ORDER BY exchange, sequence")
    )
    assert rows == [
        (1, 1, 0, None),
        (1, 2, 2, None),
        (1, 3, None, b"refusal"),
        (2, 1, 0, None),
        (2, 2, 1, None),
        (2, 3, 2, None),
    ]
    with pytest.raises(JournalError, match="no exchange 9"):
        await journal.write(lambda change: change.append(*leaf("nobody"), [9]))


async def test_a_missing_leaf_or_node_is_no_hash(journal: Journal) -> None:
    with pytest.raises(JournalError, match="no leaf 0"):
        await journal.read(lambda view: view.envelope(0))
    with pytest.raises(JournalError, match="journal check"):
        await journal.read(lambda view: view.root(1))


# --- opening ---


def test_a_newer_schema_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    newer = sqlite3.connect(path)
    newer.execute(f"PRAGMA user_version = {VERSION + 1}")
    newer.commit()
    newer.close()
    before = path.read_bytes()
    for readonly in (False, True):
        with pytest.raises(JournalError, match=f"schema {VERSION + 1}, this one knows {VERSION}"):
            connect(path, readonly=readonly)
    assert path.read_bytes() == before


def test_what_is_no_journal_is_an_error_with_its_name(tmp_path: Path) -> None:
    for name, content in (("text", b"hello " * 1000), ("empty", b"")):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(JournalError, match=name):
            connect(path, readonly=True)
    with pytest.raises(JournalError, match="absent"):
        connect(tmp_path / "absent", readonly=True)
    with pytest.raises(JournalError, match="nowhere"):
        connect(tmp_path / "nowhere" / "journal.sqlite")


async def test_it_is_the_same_journal_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    first = Journal(path)
    for number in range(20):
        await first.write(adding(str(number)))
    root = await first.read(lambda view: view.root(20))
    first.close()
    second = Journal(path)
    assert await second.read(lambda view: view.root(20)) == root
    assert await second.write(adding("20")) == 20
    second.close()
