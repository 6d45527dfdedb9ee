"""What daemon and worker say to each other: one JSON object a line. Pure.

The first line names the access; it stays out of the command line, as runes are secrets. Then a
request is {id, lane, act, args}, an answer {id, kind, value}: `kind` is the name of a type below.
"""

from __future__ import annotations

from typing import Any

import msgspec

from agent.settle.access import Access, RuneAccess, SocketAccess
from agent.settle.rail import (
    Attempt,
    DecodedInvoice,
    Invoice,
    InvoiceState,
    LabelTaken,
    NotOffered,
    NotPaid,
    Paid,
    Payment,
    PaymentOrder,
    RailDown,
    RailError,
    RailForbids,
    RailHealth,
    RailRefused,
    Unknown,
)

# Lanes: a call that waits for payments must not keep the others waiting.
COMMAND, WAIT = "command", "wait"

_ACCESS: dict[str, type[Access]] = {"socket": SocketAccess, "rune": RuneAccess}
_VALUES: dict[str, Any] = {
    "Attempts": tuple[Attempt, ...],
    "DecodedInvoice": DecodedInvoice,
    "Invoice": Invoice,
    "InvoiceState": InvoiceState | None,
    "NotPaid": NotPaid,
    "Paid": Paid,
    "Payments": tuple[Payment, ...],
    "RailHealth": RailHealth,
    "Text": str,
    "Unknown": Unknown,
}
_ERRORS: dict[str, type[RailError]] = {
    error.__name__: error
    for error in (LabelTaken, NotOffered, RailDown, RailForbids, RailRefused, RailError)
}
# What each act answers with; `pay` answers with one of three and names it itself.
_KINDS = {
    "attempts": "Attempts",
    "check_rune": "Text",
    "decode": "DecodedInvoice",
    "health": "RailHealth",
    "invoice": "Invoice",
    "invoice_from_offer": "Text",
    "invoice_state": "InvoiceState",
    "paid_after": "Payments",
}


class Broken(Exception):
    """A line that is none of ours."""


class Request(msgspec.Struct, frozen=True):
    """One act that is wanted."""

    id: int
    lane: str
    act: str
    args: dict[str, Any]


class Answer(msgspec.Struct, frozen=True):
    """What came of it."""

    id: int
    kind: str
    value: Any


def write(value: object) -> bytes:
    """One line."""
    return msgspec.json.encode(value) + b"\n"


def write_access(access: Access) -> bytes:
    """The first line."""
    kind = "socket" if isinstance(access, SocketAccess) else "rune"
    return write({"kind": kind, "value": access})


def read_access(line: bytes) -> Access:
    """Read the first line.

    :raises Broken: when it is none.
    """
    try:
        raw = msgspec.json.decode(line)
        return msgspec.convert(raw["value"], _ACCESS[raw["kind"]])
    except (msgspec.MsgspecError, KeyError, TypeError) as error:
        raise Broken(str(error)) from None


def read_request(line: bytes) -> Request:
    """Read a request.

    :raises Broken: when it is none.
    """
    try:
        request = msgspec.json.decode(line, type=Request)
        if request.act == "pay":
            order = msgspec.convert(request.args["order"], PaymentOrder)
            return Request(request.id, request.lane, request.act, {"order": order})
        if request.act == "attempts":
            hashed = msgspec.convert(request.args["payment_hash"], bytes)
            return Request(request.id, request.lane, request.act, {"payment_hash": hashed})
    except (msgspec.MsgspecError, KeyError) as error:
        raise Broken(str(error)) from None
    return request


def answer(request: Request, value: object) -> bytes:
    """One answer's line."""
    kind = _KINDS.get(request.act) or type(value).__name__
    return write(Answer(request.id, kind, value))


def answer_error(request: Request, error: RailError) -> bytes:
    """One answer's line, for an act that failed."""
    return write(Answer(request.id, type(error).__name__, str(error)))


def read_answer(line: bytes) -> tuple[int, object]:
    """Read an answer: its request's number, and the value or the error to raise.

    :raises Broken: when it is none.
    """
    try:
        raw = msgspec.json.decode(line, type=Answer)
        if raw.kind in _ERRORS:
            return raw.id, _ERRORS[raw.kind](str(raw.value))
        return raw.id, msgspec.convert(raw.value, _VALUES[raw.kind])
    except (msgspec.MsgspecError, KeyError) as error:
        raise Broken(str(error)) from None
