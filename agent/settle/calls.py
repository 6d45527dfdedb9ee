"""Asking a Core Lightning node, whatever the way to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol


class Refused(Exception):
    """The node's `error`: a code and its words."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"{message} ({code})")
        self.code = code


class Lost(Exception):
    """No answer: not connected, disconnected, or something that is none."""


class Caller(Protocol):
    """Asks the node. Blocking, without a deadline: its process is killed at one."""

    def call(self, method: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """Return the result.

        :raises Refused: when the node says no.
        :raises Lost: when no answer came.
        """
        ...


def failure(error: object) -> Refused | Lost:
    """Read the `error` of a reply: an object with code and message, or it is no answer."""
    if isinstance(error, dict) and isinstance(error.get("code"), int):
        return Refused(error["code"], str(error.get("message", "")))
    return Lost(str(error))
