"""A network of nodes as a process: `python -m agent.sandbox.lightningd --dir D operator exchange`.

The first line on standard output says where they listen: {"operator": {"id", "socket", "port"}}.
Then one JSON order a line on standard input, one JSON object back:

    {"cmd": "kill", "node": "operator"}        {"cmd": "restart", "node": "operator"}
    {"cmd": "disconnect", "node": "operator", "seconds": 5}
    {"cmd": "hold", "on": true}                payments are neither taken nor returned
    {"cmd": "fault", "node": "operator", "point": "paid", "action": "kill", "method": ""}

Points: request attempt sent paid reply; actions: kill drop hang. The end of standard input ends
the process; --keep makes it find its books again, also after kill -9.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from agent.sandbox.lightningd.hosting import Hosting
from agent.sandbox.lightningd.ledger_file import LedgerFile
from agent.sandbox.lightningd.methods import make_node
from agent.sandbox.lightningd.network import Network
from agent.sandbox.lightningd.node import Node


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dir", type=Path, required=True, help="where the sockets are made")
    parser.add_argument("--keep", action="store_true", help="keep the books in ledger.json there")
    parser.add_argument("--peers", action="store_true", help="answer commando as well")
    parser.add_argument("nodes", nargs="+", help="names of the nodes")
    return parser.parse_args(arguments)


async def serve(options: argparse.Namespace) -> None:
    """Run until standard input ends."""
    network: Network[Node] = Network()
    for name in options.nodes:
        make_node(network, name)
    options.dir.mkdir(parents=True, exist_ok=True)
    books = LedgerFile(network, options.dir / "ledger.json")
    if options.keep:
        books.load()
    async with Hosting(network, options.dir, peers=options.peers) as hosting:
        if options.keep:
            network.saved = books.save
        network.advance()
        _say(
            {
                name: {
                    "id": node.node_id,
                    "socket": str(hosting.socket(name)),
                    "port": node.commando_port,
                }
                for name, node in network.nodes.items()
            }
        )
        async for line in _Lines():
            _say(await _carried_out(hosting, line))


async def _carried_out(hosting: Hosting, line: bytes) -> dict[str, object]:
    try:
        return {"ok": True, **await hosting.order(json.loads(line))}
    except (KeyError, TypeError, ValueError) as error:
        return {"ok": False, "error": f"{type(error).__name__}: {error}"}


class _Lines:
    """Standard input, read in a thread: it may be a file, which no event loop can wait for."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[bytes] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()
        threading.Thread(target=self._read, name="standard input", daemon=True).start()

    def _read(self) -> None:
        while line := sys.stdin.buffer.readline():
            self._loop.call_soon_threadsafe(self._queue.put_nowait, line)
        self._loop.call_soon_threadsafe(self._queue.put_nowait, b"")

    def __aiter__(self) -> _Lines:
        return self

    async def __anext__(self) -> bytes:
        line = await self._queue.get()
        if not line:
            raise StopAsyncIteration
        return line


def _say(answer: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(serve(_options(sys.argv[1:])))
