"""Core Lightning over commando: JSON-RPC inside the peer protocol, permitted call by call by runes.

Imported in the rail's worker process only, as pyln-proto needs a native curve. One connection
carries all calls, since a node keeps only one with a peer; replies are matched by number.
"""

from __future__ import annotations

import json
import os
import queue
import secrets
import socket
import threading
from collections.abc import Mapping
from typing import Any

from cryptography.exceptions import InvalidTag
from pyln.proto.primitives import PrivateKey, PublicKey
from pyln.proto.wire import LightningConnection

from agent.settle.access import RuneAccess
from agent.settle.calls import Lost, failure
from agent.settle.peer_wire import INIT, BadMessage, Joiner, Type, cut, message_type, pong

CONNECT_S = 10.0
# What pyln-proto lets through: broken lines, broken bytes, broken keys.
_FAILURES = (OSError, ValueError, AssertionError, InvalidTag)
_PAYING = {"xpay", "sendamount", "xkeysend", "fetchinvoice", "decode"}
_LOOKING = {"listsendpays"}


class WholeReads:
    """A socket that reads and writes all it is asked to: pyln-proto takes that for granted."""

    def __init__(self, sock: socket.socket) -> None:
        # pyln sends a message in two parts: the second would wait for an acknowledgement.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sock = sock

    def recv(self, length: int) -> bytes:
        """Read exactly so many bytes.

        :raises OSError: when the peer hangs up.
        """
        whole = b""
        while len(whole) < length:
            some = self._sock.recv(length - len(whole))
            if not some:
                raise ConnectionResetError("the node hung up")
            whole += some
        return whole

    def send(self, raw: bytes) -> None:
        """Write all of it."""
        self._sock.sendall(raw)


class Link:
    """One connection. A thread reads; `ask` may be called from any other."""

    def __init__(self, access: RuneAccess) -> None:
        key = bytes.fromhex(access.key) if access.key else os.urandom(32)
        try:
            self._sock = socket.create_connection((access.host, access.port), CONNECT_S)
            self._peer = LightningConnection(
                WholeReads(self._sock),
                PublicKey(bytes.fromhex(access.node_id)),
                PrivateKey(key),
                is_initiator=True,
            )
            self._peer.shake()
            self._peer.send_message(INIT)
            # BOLT 1: the peer's init is its first message. Only it proves that the peer has the
            # key of its id, as pyln does not check the handshake's second act.
            first = message_type(self._peer.read_message())
            self._sock.settimeout(None)
        except _FAILURES as error:
            raise Lost(f"{access.host}:{access.port}: {_said(error)}") from None
        if first != Type.INIT:
            raise Lost("the node does not begin with init")
        self.dead = False
        self._lock = threading.Lock()
        self._waiting: dict[int, queue.SimpleQueue[bytes | None]] = {}
        threading.Thread(target=self._read, name="commando", daemon=True).start()

    def ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Send a request and wait for its reply.

        :raises Lost: when the connection ends first.
        """
        number = secrets.randbits(63)
        answer: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        with self._lock:
            if self.dead:
                raise Lost("disconnected")
            self._waiting[number] = answer
        body = json.dumps({"jsonrpc": "2.0", "id": f"hearth#{number}", **request}).encode()
        try:
            for raw in cut(number, body, Type.COMMAND_PART, Type.COMMAND_END):
                self._peer.send_message(raw)
        except OSError as error:
            raise Lost(str(error)) from None
        reply = answer.get()
        if reply is None:
            raise Lost("disconnected")
        try:
            decoded = json.loads(reply)
        except ValueError as error:
            raise Lost(f"the reply is not JSON: {error}") from None
        if not isinstance(decoded, dict):
            raise Lost("the reply is not an object")
        return decoded

    def _read(self) -> None:
        joiner = Joiner(Type.REPLY_PART, Type.REPLY_END)
        try:
            while True:
                self._take(joiner, self._peer.read_message())
        except _FAILURES:
            pass  # told to everybody who waits, below
        with self._lock:
            self.dead = True
            waiting, self._waiting = self._waiting, {}
        for answer in waiting.values():
            answer.put(None)
        self._sock.close()

    def _take(self, joiner: Joiner, raw: bytes) -> None:
        kind = message_type(raw)
        if kind == Type.PING:
            answer = pong(raw)
            if answer is not None:
                self._peer.send_message(answer)
        elif kind == Type.ERROR:
            raise BadMessage("the node refuses this connection")
        elif kind in (Type.REPLY_PART, Type.REPLY_END):
            whole = joiner.take(raw)
            if whole is None:
                return
            with self._lock:
                waiting = self._waiting.pop(whole[0], None)
            if waiting is not None:
                waiting.put(whole[1])


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__


class CommandoCaller:
    """Asks with the rune that belongs to the call; connects again when it has to."""

    def __init__(self, access: RuneAccess) -> None:
        self._access = access
        self._lock = threading.Lock()
        self._link: Link | None = None

    def call(self, method: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """See `Caller.call`."""
        with self._lock:
            if self._link is None or self._link.dead:
                self._link = Link(self._access)
            link = self._link
        reply = link.ask({"method": method, "params": dict(params), "rune": self._rune(method)})
        if "error" in reply:
            raise failure(reply["error"])
        result = reply.get("result")
        if not isinstance(result, dict):
            raise Lost("the reply has no result")
        return result

    def _rune(self, method: str) -> str:
        """The one that should permit it; without one the node refuses, in its own words."""
        if method in _PAYING:
            return self._access.pay_rune or self._access.invoice_rune
        if method in _LOOKING:
            return self._access.payments_rune or self._access.invoice_rune
        return self._access.invoice_rune
