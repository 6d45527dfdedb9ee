"""What all wire drivers share: one deadline for a whole read, and connecting within it."""

from __future__ import annotations

import errno
import socket
import time
from typing import ClassVar

from probes.errors import Absent, Denied, ProbeError, TimedOut


class Unreachable(Absent):
    """Nobody answers at that address, or the connection was cut. It may come back."""

    retryable: ClassVar[bool] = True
    kind: ClassVar[str] = "unreachable"


class Deadline:
    """The moment at which a read must have ended, however many exchanges it takes."""

    __slots__ = ("_end", "_what")

    def __init__(self, seconds: float, what: str) -> None:
        self._end = time.monotonic() + seconds
        self._what = what

    def remaining(self) -> float:
        """Return the seconds left, more than zero.

        :raises TimedOut: when none are.
        """
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimedOut(f"{self._what}: no answer before its deadline")
        return left


def connect(host: str, port: int, deadline: Deadline) -> socket.socket:
    """Open a TCP connection.

    A host name is resolved by the system's resolver, which knows no deadline: prefer addresses.

    :raises Unreachable, Denied, TimedOut: as the network answers.
    """
    try:
        link = socket.create_connection((host, port), timeout=deadline.remaining())
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except OSError as error:
        raise translate(error, f"{host}:{port}") from error
    return link


def translate(error: OSError, what: str) -> ProbeError:
    """Give a socket's error its place among the failures of a probe."""
    if isinstance(error, TimeoutError) or error.errno == errno.ETIMEDOUT:
        return TimedOut(f"{what}: no answer before its deadline")
    if error.errno in (errno.EACCES, errno.EPERM):
        return Denied(f"{what}: {error.strerror}")
    return Unreachable(f"{what}: {error.strerror or error}")
