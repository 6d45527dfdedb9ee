"""What a node has said and nobody has acted on yet, in order and bounded.

Messages are read while the store is at work on earlier ones. Batches of envelopes that continue
each other and wait together are taken together: one commit for all of them.
"""

from __future__ import annotations

import asyncio
from collections import deque

from hearth.v1.session_pb2 import SessionRequest

AHEAD = 4  # messages: of batches as large as may be, more than the store takes at once


class Intake:
    """One task puts, another takes."""

    def __init__(self, most: int) -> None:
        """Take no more batches together than have `most` envelopes."""
        self._most = most
        self._waiting: deque[SessionRequest] = deque()
        self._idle = False  # whoever takes has acted on all that it took
        self._changed = asyncio.Condition()

    async def put(self, request: SessionRequest) -> None:
        """Add a message once there is room."""
        async with self._changed:
            await self._changed.wait_for(lambda: len(self._waiting) < AHEAD)
            self._waiting.append(request)
            self._changed.notify_all()

    async def drained(self) -> None:
        """Wait until everything that was put is taken and acted on."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._idle and not self._waiting)

    async def take(self) -> list[SessionRequest]:
        """Wait for the next message, and return it with the batches that continue it, in order."""
        async with self._changed:
            self._idle = True
            self._changed.notify_all()
            await self._changed.wait_for(lambda: self._waiting)
            self._idle = False
            taken = [self._waiting.popleft()]
            count = len(taken[0].envelopes.items)
            while count and self._continued(taken[0].delivery_sequence + count, self._most - count):
                taken.append(self._waiting.popleft())
                count += len(taken[-1].envelopes.items)
            self._changed.notify_all()
        return taken

    def _continued(self, sequence: int, most: int) -> bool:
        """Whether what comes next is a batch from this delivery sequence on, of at most so many."""
        if not self._waiting or not self._waiting[0].HasField("envelopes"):
            return False
        following = self._waiting[0]
        return following.delivery_sequence == sequence and len(following.envelopes.items) <= most
