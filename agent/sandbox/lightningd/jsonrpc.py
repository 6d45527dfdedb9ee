"""JSON-RPC as lightningd speaks it: requests one after the other, replies ending "\\n\\n"."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from agent.sandbox.lightningd.refusal import Code, Refusal

MOST_BYTES = 8 << 20


class Garbage(Exception):
    """Bytes that are the start of no request: the node hangs up."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request that can be carried out."""

    id: str | int
    method: str
    params: dict[str, Any] | list[Any]
    filter: Any


class Reader:
    """Cuts a stream into requests; nothing but braces tells where one ends."""

    def __init__(self) -> None:
        self._buffer = ""

    def feed(self, raw: bytes) -> Iterator[str]:
        """Take what was received, and yield every whole object.

        :raises Garbage: when no object can begin like this.
        """
        self._buffer += raw.decode("utf-8", errors="replace")
        if len(self._buffer) > MOST_BYTES:
            raise Garbage("too long")
        while True:
            self._buffer = self._buffer.lstrip()
            if not self._buffer:
                return
            if self._buffer[0] not in "{[":
                raise Garbage(self._buffer[:20])
            end = _end(self._buffer)
            if end is None:
                return
            whole, self._buffer = self._buffer[:end], self._buffer[end:]
            yield whole


def _end(text: str) -> int | None:
    """Where the first object ends; None while it is not whole."""
    depth, quoted, escaped = 0, False, False
    for at, character in enumerate(text):
        if quoted:
            quoted = escaped or character != '"'
            escaped = character == "\\" and not escaped
        elif character == '"':
            quoted = True
        elif character in "{[":
            depth += 1
        elif character in "}]":
            depth -= 1
            if not depth:
                return at + 1
    return None


def read_request(text: str) -> Request:
    """Read one object.

    :raises Unreadable: with the error that answers it.
    """
    try:
        body = json.loads(text)
    except ValueError:
        body = {"jsonrpc": "2.0"} if '"jsonrpc"' in text else None
    if not isinstance(body, dict) or "jsonrpc" not in body:
        words = f"JSON-RPC message does not contain \"jsonrpc\" field: '{text}'"
        raise Unreadable(None, Refusal(Code.INVALID_REQUEST, words))
    request_id = body.get("id")
    if not isinstance(request_id, str | int):
        raise Unreadable(None, Refusal(Code.INVALID_REQUEST, "No id"))
    method, params = body.get("method"), body.get("params")
    if not isinstance(method, str):
        raise Unreadable(request_id, Refusal(Code.INVALID_REQUEST, "No method"))
    if "params" not in body:
        raise Unreadable(request_id, Refusal(Code.INVALID_REQUEST, "No params"))
    if not isinstance(params, dict | list):
        words = "Expected array or object for params"
        raise Unreadable(request_id, Refusal(Code.BAD_PARAMETER, words))
    return Request(request_id, method, params, body.get("filter"))


class Unreadable(Exception):
    """A request that is answered with an error before it is looked up."""

    def __init__(self, request_id: str | int | None, refusal: Refusal) -> None:
        super().__init__(str(refusal))
        self.request_id, self.refusal = request_id, refusal


def reply(request_id: str | int | None, **body: Any) -> bytes:
    """Write a reply: `result` or `error`."""
    return written({"jsonrpc": "2.0", "id": request_id, **body})


def message(request_id: str | int, level: str, text: str) -> bytes:
    """Write a notification about a running call."""
    params = {"id": request_id, "level": level, "message": text}
    return written({"jsonrpc": "2.0", "method": "message", "params": params})


def written(body: dict[str, Any]) -> bytes:
    """JSON without spaces, and the two newlines that end it."""
    return json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode() + b"\n\n"
