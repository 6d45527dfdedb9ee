"""A full disk: space that was set aside is given up, then taken back."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from agent.errors import JournalError, Overloaded
from agent.journal.space import Reserve
from agent.journal.store import Journal, Transaction

SIZE = 1 << 20


@dataclass(frozen=True)
class Disk(Reserve):
    """A reserve on a disk of so many pages: giving it up makes room for some more."""

    journals: list[Journal] = field(default_factory=list)
    more: int = 50

    def limit(self, pages: int) -> None:
        for journal in self.journals:
            journal._writer.execute(f"PRAGMA max_page_count={pages}")

    def pages(self) -> int:
        return int(self.journals[0]._writer.execute("PRAGMA page_count").fetchone()[0])

    def give_up(self) -> bool:
        there = super().give_up()
        if there and self.journals:
            self.limit(self.pages() + self.more)
        return there


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    return Disk(tmp_path / "reserve", SIZE)


@pytest.fixture
def journal(tmp_path: Path, disk: Disk) -> Iterator[Journal]:
    made = Journal(tmp_path / "journal.sqlite", disk)
    disk.journals.append(made)
    yield made
    made.close()


def grow(name: str, pages: int = 1) -> object:
    def change(transaction: Transaction) -> str:
        transaction.set_meta(name, bytes(4000 * pages))
        return name

    return change


def test_a_reserve_has_blocks_behind_it_and_goes_at_once(tmp_path: Path) -> None:
    reserve = Reserve(tmp_path / "reserve", SIZE)
    assert not reserve.give_up()
    assert reserve.make()
    facts = reserve.path.stat()
    assert facts.st_size == SIZE
    assert facts.st_blocks * 512 >= SIZE
    assert facts.st_mode & 0o777 == 0o600
    assert reserve.make()
    assert reserve.give_up()
    assert list(tmp_path.iterdir()) == []


def test_no_reserve_is_taken_from_a_disk_that_is_nearly_full(tmp_path: Path) -> None:
    disk = os.statvfs(tmp_path)
    reserve = Reserve(tmp_path / "reserve", disk.f_bavail * disk.f_frsize * 2 // 3)
    assert not reserve.make()
    assert list(tmp_path.iterdir()) == []


def test_a_journal_sets_space_aside(journal: Journal, disk: Disk) -> None:
    assert disk.path.exists()
    assert not journal.full


async def test_what_meets_a_full_disk_gets_the_reserve(journal: Journal, disk: Disk) -> None:
    disk.limit(disk.pages())
    assert await journal.write(grow("a")) == "a"
    assert journal.full
    assert not disk.path.exists()
    assert await journal.write(grow("b")) == "b"
    assert await journal.read(lambda view: len(view.meta("a") or b"")) == 4000


async def test_without_a_reserve_nothing_of_a_change_stands(journal: Journal, disk: Disk) -> None:
    disk.limit(disk.pages())
    with pytest.raises(Overloaded):
        await journal.write(grow("a", disk.more + 10))
    assert journal.full
    assert await journal.read(lambda view: view.meta("a")) is None
    with pytest.raises(Overloaded):
        await journal.write(grow("a", disk.more + 10))


async def test_when_there_is_room_again_all_is_as_before(journal: Journal, disk: Disk) -> None:
    disk.limit(disk.pages())
    await journal.write(grow("a"))
    disk.limit(1 << 30)
    assert journal.recover()
    assert not journal.full
    assert disk.path.stat().st_size == SIZE
    assert await journal.write(grow("b", 100)) == "b"


async def test_as_long_as_there_is_none_it_stays_full(journal: Journal, disk: Disk) -> None:
    disk.limit(disk.pages())
    await journal.write(grow("a"))
    disk.path.mkdir()  # in the way, as a full disk is
    disk.path.rmdir()
    object.__setattr__(disk, "size", 1 << 60)
    assert not journal.recover()
    assert journal.full


async def test_a_change_that_is_wrong_is_not_run_twice(journal: Journal, disk: Disk) -> None:
    """The group that it was in is tried again, after the reserve was given up."""
    runs = []

    def wrong(transaction: Transaction) -> None:
        runs.append(1)
        raise JournalError("wrong")

    disk.limit(disk.pages())
    first = journal.submit(wrong)
    with pytest.raises(JournalError, match="wrong"):
        first.result(10)
    await journal.write(grow("a"))
    assert len(runs) == 1


def test_a_disk_too_full_for_a_reserve_is_full_from_the_start(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.sqlite", Reserve(tmp_path / "reserve", 1 << 60))
    assert journal.full
    assert not journal.recover()
    journal.close()


# --- a real disk of 4 MiB ---------------------------------------------------------------------


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("only root mounts a small disk")
    directory = tmp_path / "disk"
    directory.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", directory], check=True)
    yield directory
    subprocess.run(["umount", "--lazy", directory], check=True)


def fill(directory: Path) -> Path:
    """Take all that is left."""
    filler = directory / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(4096)):
            pass
    return filler


async def test_a_disk_that_fills_up_and_is_cleared(small: Path) -> None:
    reserve = Reserve(small / "reserve", SIZE)
    journal = Journal(small / "journal.sqlite", reserve)
    await journal.write(grow("a"))
    filler = fill(small)
    for number in range(20):
        await journal.write(grow(f"b{number}", 3))
    assert journal.full
    assert not reserve.path.exists()
    assert not journal.recover()
    filler.unlink()
    assert journal.recover()
    assert reserve.path.exists()
    assert await journal.read(lambda view: view.meta("b19")) == bytes(12000)
    journal.close()


async def test_a_disk_that_somebody_fills_to_the_last(small: Path) -> None:
    """The reserve is gone as well: nothing of a change stands, and nothing is lost."""
    journal = Journal(small / "journal.sqlite", Reserve(small / "reserve", SIZE))
    await journal.write(grow("a"))
    filler = fill(small)
    with pytest.raises(Overloaded):
        await journal.write(grow("b", 1000))
    fill(small).rename(small / "more")
    with pytest.raises(Overloaded):
        await journal.write(grow("c", 1000))
    assert await journal.read(lambda view: view.meta("a")) == bytes(4000)
    filler.unlink(missing_ok=True)
    (small / "more").unlink()
    assert journal.recover()
    assert await journal.write(grow("c", 100)) == "c"
    journal.close()


def test_a_start_on_a_full_disk_uses_the_reserve(small: Path) -> None:
    """SQLite needs a few pages only to open; without them there would be no agent to finish."""
    reserve = Reserve(small / "reserve", SIZE)
    Journal(small / "journal.sqlite", reserve).close()
    fill(small)
    again = Journal(small / "journal.sqlite", reserve)
    assert again.full
    assert again.submit(grow("a")).result(10) == "a"
    assert not reserve.path.exists()
    again.close()
    with pytest.raises(JournalError):
        fill(small)
        Journal(small / "journal.sqlite", reserve)
