"""JSON-RPC errors, with the codes that Core Lightning gives them (lightning-rpc(7))."""

from __future__ import annotations

from enum import IntEnum
from typing import Any


class Code(IntEnum):
    """Error codes, as recorded."""

    INVALID_REQUEST = -32600
    UNKNOWN_METHOD = -32601
    BAD_PARAMETER = -32602
    UNEXPECTED = -3
    GENERIC = -1
    STILL_WAITING = 200
    PAYEE_REFUSES = 203
    NO_ROUTE = 205
    TOO_DEAR = 206
    INVOICE_EXPIRED = 207
    NEVER_ATTEMPTED = 208
    GAVE_UP = 209
    ALREADY_PAID = 219
    LABEL_TAKEN = 900
    PREIMAGE_TAKEN = 901
    EXPIRED_WHILE_WAITING = 903
    WAIT_TIMED_OUT = 904
    NO_SUCH_INVOICE = 905
    OTHER_STATUS = 906
    OFFER_REFUSED = 1004
    OFFER_SILENT = 1005
    KEY_EXISTS = 1202
    KEY_UNKNOWN = 1203
    OTHER_GENERATION = 1204
    RUNE_UNKNOWN = 1501
    RUNE_FORBIDS = 1502
    RUNE_BLACKLISTED = 1503
    COMMANDO_REMOTE = 19536
    COMMANDO_RUNE = 19537


class Refusal(Exception):
    """The `error` of a reply."""

    def __init__(self, code: int, message: str, data: dict[str, Any] | None = None) -> None:
        super().__init__(f"{int(code)}: {message}")
        self.code = int(code)
        self.message = message
        self.data = data

    def body(self) -> dict[str, Any]:
        """The object that goes into the reply."""
        body: dict[str, Any] = {"code": self.code, "message": self.message}
        return body if self.data is None else {**body, "data": self.data}
