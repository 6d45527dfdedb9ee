"""Time as an argument: the system's, or a test's."""

from __future__ import annotations

import asyncio
from typing import Protocol

from probes.host import Host
from probes.reading import Instant

SECOND = 1_000_000_000


class Clock(Protocol):
    """Reads the clocks and waits."""

    def now(self) -> Instant:
        """Return one moment on all clocks."""
        ...

    async def sleep(self, nanoseconds: int) -> None:
        """Wait that long on CLOCK_MONOTONIC."""
        ...


class SystemClock:
    """The host's own clocks."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def now(self) -> Instant:
        """Return one moment on all clocks."""
        return self._host.now()

    async def sleep(self, nanoseconds: int) -> None:
        """Wait that long on CLOCK_MONOTONIC."""
        await asyncio.sleep(max(0, nanoseconds) / SECOND)
