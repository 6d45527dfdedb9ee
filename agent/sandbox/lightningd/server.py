"""The double's sockets: JSON-RPC for its owner on a unix socket, one task a connection."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path

from agent.sandbox.lightningd.command import Command
from agent.sandbox.lightningd.filters import filtered
from agent.sandbox.lightningd.jsonrpc import (
    Garbage,
    Reader,
    Request,
    Unreadable,
    message,
    read_request,
    reply,
)
from agent.sandbox.lightningd.network import Network
from agent.sandbox.lightningd.node import Node
from agent.sandbox.lightningd.refusal import Refusal

_LONGEST_NAP_S = 1.0


class Bell:
    """Wakes those who wait for the network to change, and lets time pass in it."""

    def __init__(self, network: Network[Node]) -> None:
        self._network = network
        self._rung = asyncio.Event()
        network.changed = self.ring

    def ring(self) -> None:
        """Something changed."""
        rung, self._rung = self._rung, asyncio.Event()
        rung.set()

    async def changed(self) -> None:
        """Wait for the next change."""
        await self._rung.wait()

    async def pass_time(self) -> None:
        """Advance the network whenever time alone changes something. Never returns."""
        while True:
            due, rung = self._network.wake_at(), self._rung
            nap = _LONGEST_NAP_S if due is None else due - self._network.clock()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(rung.wait(), min(max(nap, 0.001), _LONGEST_NAP_S))
            self._network.advance()
            await asyncio.sleep(0)


async def outcome(command: Command, bell: Bell) -> None:
    """Wait until a call is answered or lost; forever, when it is neither."""
    while not command.lost and (command.silent or not command.done):
        await bell.changed()


class NodeServer:
    """One node's unix socket. It refuses connections while the node is down."""

    def __init__(self, node: Node, path: Path, bell: Bell) -> None:
        self._node, self._path, self._bell = node, path, bell
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.StreamWriter] = set()
        self.on_kill: list[Callable[[], None]] = []
        node.killed = self._killed

    async def start(self) -> None:
        """Listen; an old socket file is replaced."""
        self._path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._serve, self._path)

    async def stop(self) -> None:
        """Hang up and stop listening; the file stays, as it does after a crash."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        self._hang_up()
        if server is not None:
            await server.wait_closed()

    def _killed(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        self._hang_up()
        for act in self.on_kill:
            act()

    def _hang_up(self) -> None:
        for writer in list(self._connections):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections.add(writer)
        connection = _Connection(self._node, writer, self._bell)
        try:
            await connection.serve(reader)
        except (OSError, Garbage):
            pass  # they hung up, or talked nonsense: lightningd hangs up as well
        finally:
            self._connections.discard(writer)
            writer.close()


class _Connection:
    """Requests of one connection run side by side; each is answered when it is done."""

    def __init__(self, node: Node, writer: asyncio.StreamWriter, bell: Bell) -> None:
        self._node, self._writer, self._bell = node, writer, bell
        self._notifications = False

    async def serve(self, stream: asyncio.StreamReader) -> None:
        """Read requests until the peer hangs up."""
        reader = Reader()
        async with asyncio.TaskGroup() as tasks:
            answers: list[asyncio.Task[None]] = []
            while raw := await stream.read(1 << 16):
                for text in reader.feed(raw):
                    answers.append(tasks.create_task(self._answer(text)))
            for task in answers:
                task.cancel()

    async def _answer(self, text: str) -> None:
        try:
            request = read_request(text)
        except Unreadable as unreadable:
            self._writer.write(reply(unreadable.request_id, error=unreadable.refusal.body()))
            return
        if request.method == "notifications":
            self._notifications = bool(
                request.params.get("enable") if isinstance(request.params, dict) else True
            )
            self._writer.write(reply(request.id, result={}))
            return
        await self._carry_out(request)

    async def _carry_out(self, request: Request) -> None:
        command = self._node.start(request.method, request.params)
        await outcome(command, self._bell)
        if command.lost:
            self._writer.transport.abort()
            return
        if self._notifications:
            for level, words in command.messages:
                self._writer.write(message(request.id, level, words))
        try:
            result = filtered(command.answer(), request.filter)
        except Refusal as refusal:
            self._writer.write(reply(request.id, error=refusal.body()))
        else:
            self._writer.write(reply(request.id, result=result))
        if self._node.stopping:
            await self._writer.drain()
            self._node.stopping = False
            self._node.kill()
