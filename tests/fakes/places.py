"""Cgroups as plain files, with counters that a test moves."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from agent.core.lease import LeaseKey, Units
from agent.errors import CgroupError
from agent.leases import limits_of, name_of


class FakePlaces:
    """`agent.leases.Places`."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.broken = False  # nothing can be made
        self.stuck = False  # nothing ends
        self.barred: set[LeaseKey] = set()  # of these nothing can be made, and nothing ends
        self.pause: Callable[[], None] = lambda: None  # what making and ending take

    @property
    def root(self) -> Path:
        return self._root

    def directory(self, key: LeaseKey) -> Path:
        return self._root / name_of(key)

    def create(self, key: LeaseKey, units: Units) -> Path:
        self.pause()
        if self.broken or key in self.barred:
            raise CgroupError(f"{self._root}: broken for the test")
        directory = self.directory(key)
        if not directory.exists():
            directory.mkdir(parents=True)
            self.use(key, 0)
            (directory / "memory.current").write_text("1048576\n")
            self.freeze(key, frozen=False)
        for file, content in limits_of(units).items():
            (directory / file).write_text(content)
        return directory

    def use(self, key: LeaseKey, usage_us: int) -> None:
        """Set the CPU time used since the cgroup was made."""
        text = f"usage_usec {usage_us}\nuser_usec {usage_us}\nsystem_usec 0\n"
        (self.directory(key) / "cpu.stat").write_text(text)

    def freeze(self, key: LeaseKey, *, frozen: bool) -> None:
        events = self.directory(key) / "cgroup.events"
        events.write_text(f"populated 1\nfrozen {int(frozen)}\n")

    def empty(self, key: LeaseKey) -> None:
        self.pause()
        if self.stuck or key in self.barred:
            raise CgroupError(f"{self.directory(key)}: stuck for the test")

    def remove(self, key: LeaseKey) -> None:
        shutil.rmtree(self.directory(key), ignore_errors=True)
