"""A clock that a test moves: hours of timers in a second, suspends, steps and reboots at will."""

from __future__ import annotations

import asyncio
import heapq
from itertools import count

from probes.reading import Instant

SECOND = 1_000_000_000
WALL = 1_800_000_000 * SECOND
TURNS = 50  # of the loop, for whatever a woken task sets in motion


class VirtualClock:
    """`agent.clock.Clock`. Time stands still until `run` moves it."""

    def __init__(self, boot_id: str = "boot-1") -> None:
        self.boot_id = boot_id
        self.boottime_ns = 100 * SECOND
        self.monotonic_ns = 100 * SECOND
        self.wall_ns = WALL
        self._order = count()
        self._sleepers: list[tuple[int, int, asyncio.Future[None]]] = []

    def now(self) -> Instant:
        return Instant(self.boottime_ns, self.monotonic_ns, self.wall_ns, self.boot_id)

    async def sleep(self, nanoseconds: int) -> None:
        if nanoseconds <= 0:
            await asyncio.sleep(0)
            return
        woken = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self.monotonic_ns + nanoseconds, next(self._order), woken))
        await woken

    def tick(self, nanoseconds: int) -> None:
        """Let time pass; nobody is woken."""
        self.boottime_ns += nanoseconds
        self.monotonic_ns += nanoseconds
        self.wall_ns += nanoseconds

    async def run(self, nanoseconds: int) -> None:
        """Let time pass and wake whoever is due, in order."""
        end = self.monotonic_ns + nanoseconds
        await _settle()
        while self._sleepers and self._sleepers[0][0] <= end:
            due, _, woken = heapq.heappop(self._sleepers)
            self.tick(max(0, due - self.monotonic_ns))
            if not woken.done():
                woken.set_result(None)
            await _settle()
        self.tick(end - self.monotonic_ns)

    def suspend(self, nanoseconds: int) -> None:
        """The host sleeps: CLOCK_MONOTONIC stands still."""
        self.boottime_ns += nanoseconds
        self.wall_ns += nanoseconds

    def step(self, nanoseconds: int) -> None:
        """Somebody sets the wall clock."""
        self.wall_ns += nanoseconds

    def reboot(self, off_ns: int, boot_id: str, wall_error_ns: int = 0) -> None:
        """The power is off for that long; the hardware clock may be wrong afterwards."""
        self.boot_id = boot_id
        self.boottime_ns = self.monotonic_ns = 5 * SECOND
        self.wall_ns += off_ns + wall_error_ns


async def _settle() -> None:
    for _ in range(TURNS):
        await asyncio.sleep(0)
