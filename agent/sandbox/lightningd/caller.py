"""Asks a node of this process directly: no socket, no wire, and so any clock."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agent.sandbox.lightningd.command import Interrupted
from agent.sandbox.lightningd.node import Node
from agent.sandbox.lightningd.refusal import Refusal
from agent.settle.calls import Lost, Refused


class DirectCaller:
    """Implements `agent.settle.calls.Caller`. A call that would wait is lost."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def call(self, method: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """See `Caller.call`."""
        if not self._node.up:
            raise Lost("the node is down")
        try:
            return self._node.call(method, **params)
        except Refusal as refusal:
            raise Refused(refusal.code, refusal.message) from None
        except Interrupted as interrupted:
            raise Lost(str(interrupted)) from None
