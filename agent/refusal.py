"""How an error of the daemon reaches the command line with its exit code: in trailing metadata."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TypeVar

import grpc
from grpc.aio import ServicerContext

from agent.errors import HearthError, Refused
from attest.errors import AttestError
from probes.errors import ProbeError

T = TypeVar("T")
Request = TypeVar("Request")
Response = TypeVar("Response")

EXIT_CODE = "hearth-exit-code"  # decimal, 1 to 255; only errors of ours have it


async def refusing(context: ServicerContext[Request, Response], work: Awaitable[T]) -> T:
    """Do the work of a call; an error of ours is answered with its text and its exit code."""
    try:
        return await work
    except (HearthError, AttestError, ProbeError) as error:
        status = grpc.StatusCode
        code = status.UNAVAILABLE if error.retryable else status.FAILED_PRECONDITION
        await context.abort(code, str(error), ((EXIT_CODE, str(error.exit_code)),))


def refused(call: grpc.Call) -> Refused | None:
    """The error that `refusing` answered with; None: the call failed without the daemon's doing."""
    for key, value in call.trailing_metadata() or ():
        if key == EXIT_CODE and isinstance(value, str):
            return Refused(str(call.details()), int(value))
    return None
