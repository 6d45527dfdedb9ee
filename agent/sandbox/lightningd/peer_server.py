"""The double's peer port: BOLT 8 noise, `init`, and commando inside. Loads pyln-proto.

pyln's connections block, so each has a thread; the calls themselves run in the event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
from typing import Any

from cryptography.exceptions import InvalidTag
from pyln.proto.primitives import PrivateKey
from pyln.proto.wire import LightningConnection

from agent.sandbox.lightningd.access import ask_with_rune
from agent.sandbox.lightningd.filters import filtered
from agent.sandbox.lightningd.node import Node
from agent.sandbox.lightningd.refusal import Code, Refusal
from agent.sandbox.lightningd.server import Bell, NodeServer, outcome
from agent.settle.commando import WholeReads
from agent.settle.peer_wire import INIT, Joiner, Type, cut, message_type, pong

_BROKEN = (OSError, ValueError, AssertionError, InvalidTag)


class PeerServer:
    """Answers commando on a loopback port. A killed node keeps its port and answers nobody."""

    def __init__(self, node: Node, bell: Bell) -> None:
        self._node, self._bell = node, bell
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._loop = asyncio.get_running_loop()
        self._open: set[socket.socket] = set()
        self._closed = False
        node.commando_port = self.port
        threading.Thread(target=self._accept, name=f"{node.name} peers", daemon=True).start()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._listener.getsockname()[1])

    def attach(self, server: NodeServer) -> None:
        """Hang up when the node is killed."""
        server.on_kill.append(self.hang_up)

    def hang_up(self) -> None:
        """End all connections."""
        for sock in list(self._open):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Stop listening and hang up."""
        self._closed = True
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes accept; close alone does not
        self._listener.close()
        self.hang_up()

    def _accept(self) -> None:
        while not self._closed:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            if self._node.up:
                threading.Thread(target=self._serve, args=(sock,), daemon=True).start()
            else:
                sock.close()

    def _serve(self, sock: socket.socket) -> None:
        self._open.add(sock)
        try:
            peer = LightningConnection(
                WholeReads(sock), None, PrivateKey(self._node.key.secret), is_initiator=False
            )
            peer.shake()
            peer.send_message(INIT)
            if message_type(peer.read_message()) == Type.INIT:
                self._talk(peer, peer.remote_pubkey.serializeCompressed().hex())
        except _BROKEN:
            pass  # the peer broke off, or off the protocol: a node hangs up
        finally:
            self._open.discard(sock)
            sock.close()

    def _talk(self, peer: LightningConnection, peer_id: str) -> None:
        joiner = Joiner(Type.COMMAND_PART, Type.COMMAND_END)
        while True:
            raw = peer.read_message()
            kind = message_type(raw)
            if kind == Type.PING:
                answer = pong(raw)
                if answer is not None:
                    peer.send_message(answer)
            elif kind in (Type.COMMAND_PART, Type.COMMAND_END):
                whole = joiner.take(raw)
                if whole is not None:
                    work = self._answer(peer, peer_id, *whole)
                    asyncio.run_coroutine_threadsafe(work, self._loop)

    async def _answer(
        self, peer: LightningConnection, peer_id: str, number: int, body: bytes
    ) -> None:
        reply = await self._reply(peer_id, body)
        if reply is None:
            return
        with contextlib.suppress(OSError):
            for raw in cut(number, json.dumps(reply).encode(), Type.REPLY_PART, Type.REPLY_END):
                peer.send_message(raw)

    async def _reply(self, peer_id: str, body: bytes) -> dict[str, Any] | None:
        """What goes back; None when the call is lost, as commando then says nothing at all."""
        try:
            asked = json.loads(body)
        except ValueError:
            asked = None
        if not isinstance(asked, dict) or "method" not in asked or "id" not in asked:
            return {"error": Refusal(Code.COMMANDO_REMOTE, "Not a JSON object").body()}
        if not self._node.up:
            return None
        command = ask_with_rune(
            self._node, peer_id, asked["method"], asked.get("params"), asked.get("rune")
        )
        await outcome(command, self._bell)
        if command.lost:
            return None
        head = {"jsonrpc": "2.0", "id": asked["id"]}
        try:
            return {**head, "result": filtered(command.answer(), asked.get("filter"))}
        except Refusal as refusal:
            return {**head, "error": refusal.body()}
