"""The rail's own process: `python -m agent.settle.worker`, started and killed by the daemon.

A call to a node cannot be given up from within its process: pyln-client has no timeout, and a
thread cannot be stopped. A process can. Nothing is kept here: what counts is in the node and in
the journal. It ends with its standard input, and so with the daemon.
"""

from __future__ import annotations

import os
import queue
import sys
import threading

from agent.settle.access import Access, SocketAccess
from agent.settle.lightning import LightningNode
from agent.settle.rail import RailError
from agent.settle.worker_messages import (
    COMMAND,
    WAIT,
    Broken,
    Request,
    answer,
    answer_error,
    read_access,
    read_request,
)

ACTS = frozenset(
    {
        "attempts",
        "check_rune",
        "decode",
        "health",
        "invoice",
        "invoice_from_offer",
        "invoice_state",
        "paid_after",
        "pay",
    }
)


def node_at(access: Access) -> LightningNode:
    """Load the driver for this access, and no other."""
    if isinstance(access, SocketAccess):
        from agent.settle.cln import SocketCaller  # noqa: PLC0415 - patches json, on purpose late

        return LightningNode(SocketCaller(access.socket))
    from agent.settle.commando import CommandoCaller  # noqa: PLC0415 - loads a native curve

    return LightningNode(CommandoCaller(access), capped=True)


class Worker:
    """Two lanes, one call at a time in each."""

    def __init__(self, node: LightningNode) -> None:
        self._node = node
        self._writing = threading.Lock()
        self._lanes: dict[str, queue.SimpleQueue[Request]] = {}
        for lane in (COMMAND, WAIT):
            self._lanes[lane] = queue.SimpleQueue()
            threading.Thread(target=self._run, args=(lane,), name=lane, daemon=True).start()

    def take(self, line: bytes) -> None:
        """Put a request into its lane.

        :raises Broken: when it is none.
        """
        request = read_request(line)
        if request.lane not in self._lanes or request.act not in ACTS:
            raise Broken(f"{request.lane} {request.act}")
        self._lanes[request.lane].put(request)

    def _run(self, lane: str) -> None:
        while True:
            request = self._lanes[lane].get()
            try:
                line = answer(request, getattr(self._node, request.act)(**request.args))
            except RailError as error:
                line = answer_error(request, error)
            with self._writing:
                sys.stdout.buffer.write(line)
                sys.stdout.buffer.flush()


def main() -> None:
    """Serve until standard input ends; what is under way then is left to the node."""
    lines = sys.stdin.buffer
    worker = Worker(node_at(read_access(lines.readline())))
    for line in lines:
        worker.take(line)
    os._exit(0)  # the lanes may be in calls that never return


if __name__ == "__main__":
    main()
