"""Why a node's message is not taken. The last good state stands."""

from __future__ import annotations

from hearth.v1.session_pb2 import NackReason


class Refused(Exception):
    """One refused message; becomes a Nack."""

    def __init__(self, reason: NackReason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
