"""Asking the daemon on its socket."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar, cast

import grpc
from hearth.admin.v1.admin_pb2_grpc import AdminServiceStub

from agent.errors import DaemonError, HearthError
from agent.refusal import refused

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
    if (answer := refused(call)) is not None:
        return answer
    code = call.code()
    if code is not grpc.StatusCode.UNAVAILABLE:
        return DaemonError(f"{socket}: {code.name}: {call.details()}")
    if _closed_to_us(socket):
        return DaemonError(f"{socket}: not for this user; ask as root or as one of its group")
    return DaemonError(f"{socket}: no daemon answers; start it with `hearth run` or systemctl")


def _closed_to_us(socket: Path) -> bool:
    """Whether the socket, or the folder it is in, is there and shut to this user."""
    try:
        socket.stat()
    except PermissionError:
        return True
    except OSError:
        return False
    return not os.access(socket, os.W_OK)  # unix(7): to connect is to write
