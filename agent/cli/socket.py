"""Asking the daemon on its socket."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar, cast

import grpc
from hearth.admin.v1.admin_pb2_grpc import AdminServiceStub

from agent.errors import DaemonError, HearthError

T = TypeVar("T")

DEADLINE_S = 10.0


def ask(socket: Path, question: Callable[[AdminServiceStub], T]) -> T:
    """Ask the daemon one question.

    :raises DaemonError: when it does not answer.
    :raises HearthError: with the exit code that the daemon gave for a refusal.
    """
    with grpc.insecure_channel(f"unix:{socket}") as channel:
        try:
            return question(AdminServiceStub(channel))
        except grpc.RpcError as error:
            raise _translate(socket, error) from None


def _translate(socket: Path, error: grpc.RpcError) -> HearthError:
    # What a stub raises is an RpcError and a Call at once, which the types do not say.
    call = cast("grpc.Call", error)
    code, text = call.code(), str(call.details())
    number, colon, rest = text.partition(":")
    if colon and number.isdecimal():
        refused = HearthError(rest)
        refused.exit_code = int(number)  # type: ignore[misc]  # as the daemon's own error had it
        return refused
    if code is grpc.StatusCode.UNAVAILABLE:
        return DaemonError(f"{socket}: no daemon answers; start it with `hearth run` or systemctl")
    return DaemonError(f"{socket}: {code.name}: {text}")
