"""What is written on one session's stream, and in which order.

One sender writes: answers that are not journaled (heartbeats, challenges, cursors) go before
envelopes, and these go from the exchange's own cursor, as far as its credit reaches.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import NoReturn

import grpc.aio
from hearth.v1 import session_pb2

from agent.clock import Clock
from agent.core.session import ExchangeAhead, Incoming, Outgoing, ProtocolBroken
from agent.errors import ExchangeError
from agent.exchange import outbox
from agent.exchange.link import Link
from agent.journal.checkpoints import newest
from agent.journal.store import Journal, View
from agent.wire import stream as wire

WRITE_DEADLINE_S = 60.0
MOST_URGENT = 64  # answers that wait to be written before reading stops

Call = grpc.aio.StreamStreamCall[session_pb2.SessionRequest, session_pb2.SessionResponse]


class Sender:
    """One session's writing half. `outgoing` is where the exchange is."""

    def __init__(self, link: Link, journal: Journal, clock: Clock, incoming: Incoming) -> None:
        self._link = link
        self._journal = journal
        self._clock = clock
        self._incoming = incoming
        self._urgent: deque[session_pb2.SessionRequest] = deque()
        self._room = asyncio.Event()  # something urgent was written
        self._beat_due = False
        self._cursor_due = False
        self._witnessed = 0
        self._bundled = 0
        self.outgoing = Outgoing(last=0)
        self.snapshot_due = False

    # --- what is due ---------------------------------------------------------------------------

    async def agree(self, head: wire.Witnessed) -> None:
        """Go on from the head that the exchange has witnessed, if it is one of this log.

        :raises ExchangeAhead: when it is not: this journal lost leaves, or is another one.
        """

        def root(view: View) -> bytes | None:
            return view.root(head.size) if head.size <= view.size() else None

        if await self._journal.read(root) != head.root:
            raise ExchangeAhead(f"the exchange has witnessed {head.size} leaves that are not here")
        self._witnessed = head.size

    def witness(self, size: int) -> None:
        """Take the size of a head that the exchange has witnessed in this session.

        :raises ProtocolBroken: when it was never shown.
        """
        if size > max(self._witnessed, self._bundled):
            raise ProtocolBroken(f"witnessed {size} leaves, shown {self._bundled}")
        self._witnessed = max(self._witnessed, size)

    def say(self, request: session_pb2.SessionRequest) -> None:
        """Have an answer of the moment written before all that is journaled."""
        self._urgent.append(request)
        self._link.bell.set()

    def confirm(self) -> None:
        """Have it said how far the exchange's envelopes were applied."""
        self._cursor_due = True
        self._link.bell.set()

    async def room(self) -> None:
        """Wait while too many answers of the moment are unwritten."""
        while len(self._urgent) >= MOST_URGENT:
            self._room.clear()
            await self._room.wait()

    # --- writing -------------------------------------------------------------------------------

    async def run(self, call: Call) -> NoReturn:
        """Write whatever there is, and wait for the bell."""
        bell = self._link.bell
        while True:
            bell.clear()
            while await self._send_one(call):
                pass
            await bell.wait()

    async def _send_one(self, call: Call) -> bool:
        """Write the most urgent thing that may be written; whether there was any."""
        applied = self._incoming.applied
        if self._beat_due:
            self._beat_due = self._cursor_due = False
            return await self.write(call, wire.heartbeat(self._clock.now().wall_ns, applied))
        if self._urgent:
            self._room.set()
            return await self.write(call, self._urgent.popleft())
        if self._cursor_due:
            self._cursor_due = False
            return await self.write(call, wire.cursor(applied))
        row, outgoing = self._link.row, self.outgoing
        outgoing.last = await self._journal.read(lambda view: outbox.last(view, row))
        if outgoing.window():
            after, most = outgoing.sent, min(outgoing.window(), wire.BATCH_ENVELOPES)
            waiting = await self._journal.read(lambda view: outbox.pending(view, row, after, most))
            if waiting:
                outgoing.sent = waiting[-1].sequence
                return await self.write(call, wire.batch(waiting, self._incoming.applied))
        if self.snapshot_due and outgoing.sent == outgoing.last:
            self.snapshot_due = False
            offers = await self._journal.read(
                lambda view: view.one(
                    "SELECT count(DISTINCT offer_id) FROM offers WHERE exchange = ?", row
                )
            )
            return await self.write(call, wire.snapshot_end(int(offers[0]) if offers else 0))
        return await self._send_bundle(call)

    async def _send_bundle(self, call: Call) -> bool:
        row, witnessed, sent = self._link.row, self._witnessed, self.outgoing.sent
        head = await self._journal.read(newest)
        if self._bundled > witnessed:
            return False  # the next one starts from what is witnessed then
        if head is None or head.size <= witnessed:
            return False
        bundle = await self._journal.read(lambda view: outbox.bundle(view, row, witnessed, sent))
        if bundle is None:
            return False
        self._bundled = bundle.size
        return await self.write(call, wire.checkpoint(bundle))

    async def write(self, call: Call, request: session_pb2.SessionRequest) -> bool:
        """Write one message; True.

        :raises ExchangeError: when the exchange has ended the stream.
        """
        try:
            async with asyncio.timeout(WRITE_DEADLINE_S):
                await call.write(request)
        except asyncio.InvalidStateError:  # its status is on the way to whoever reads
            raise ExchangeError("the exchange ended the stream") from None
        return True

    async def beat(self, interval_ns: int) -> NoReturn:
        """Have a heartbeat written at its interval."""
        while True:
            await self._clock.sleep(interval_ns)
            self._beat_due = True
            self._link.bell.set()
