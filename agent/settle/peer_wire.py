"""Peer messages that commando needs (BOLT 1; Core Lightning's plugins/commando.c). Pure.

A request or reply is JSON, cut into messages of at most 65,000 bytes: a type, a 64-bit number that
belongs to the request, a part; the type says whether another part follows.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum

MOST_PART = 65_000
MOST_WHOLE = 64 << 20


class Type(IntEnum):
    """Message types."""

    WARNING = 1
    INIT = 16
    ERROR = 17
    PING = 18
    PONG = 19
    COMMAND_PART = 0x4C4D
    COMMAND_END = 0x4C4F
    REPLY_PART = 0x594B
    REPLY_END = 0x594D


class BadMessage(ValueError):
    """Bytes that are not the message they say they are."""


# No features and no chain named: nothing that a node could miss or refuse.
INIT = struct.pack("!HHH", Type.INIT, 0, 0)


def message_type(raw: bytes) -> int:
    """The type of a message.

    :raises BadMessage: when it is too short to have one.
    """
    if len(raw) < 2:
        raise BadMessage("a message without a type")
    return int.from_bytes(raw[:2], "big")


def pong(ping: bytes) -> bytes | None:
    """The answer to a ping, or None when none is wanted (BOLT 1: 65,532 bytes or more)."""
    if len(ping) < 4:
        raise BadMessage("a ping without a length")
    length = int.from_bytes(ping[2:4], "big")
    return struct.pack("!HH", Type.PONG, length) + bytes(length) if length < 65_532 else None


def cut(number: int, body: bytes, part: Type, end: Type) -> Iterator[bytes]:
    """Cut a request or a reply into messages."""
    for at in range(0, max(1, len(body)), MOST_PART):
        last = at + MOST_PART >= len(body)
        head = struct.pack("!HQ", end if last else part, number)
        yield head + body[at : at + MOST_PART]


@dataclass(slots=True)
class Joiner:
    """Joins the parts of requests or replies."""

    part: Type
    end: Type
    _open: dict[int, bytes] = field(default_factory=dict)

    def take(self, raw: bytes) -> tuple[int, bytes] | None:
        """Take one message; return number and body when it was the last part of one.

        :raises BadMessage: when it is too short, or becomes too long.
        """
        if len(raw) < 10:
            raise BadMessage("a commando message without a number")
        kind, number = struct.unpack("!HQ", raw[:10])
        body = self._open.pop(number, b"") + raw[10:]
        if len(body) > MOST_WHOLE:
            raise BadMessage("too long")
        if kind == self.end:
            return number, body
        self._open[number] = body
        return None
