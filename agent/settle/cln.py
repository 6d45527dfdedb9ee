"""Core Lightning over its own unix socket. Imported in the rail's worker process only.

pyln-client patches `json.JSONEncoder` for its whole process, and turns a misspelt method into a
request of its own: so it stays in that process, and every call names its method.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pyln.client import LightningRpc, RpcError

from agent.settle.calls import Lost, failure


class SocketCaller:
    """Through lightning-rpc. A socket a call, so that a restarted node is found again."""

    def __init__(self, path: str) -> None:
        self._rpc = LightningRpc(path)

    def call(self, method: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """See `Caller.call`."""
        try:
            result = self._rpc.call(method, dict(params))
        except RpcError as error:
            raise failure(error.error) from None
        except (OSError, ValueError, TypeError) as error:
            raise Lost(f"{type(error).__name__}: {error}") from None
        if not isinstance(result, dict):
            raise Lost("the result is not an object")
        return result
