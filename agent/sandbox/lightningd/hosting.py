"""Runs a network's nodes behind their sockets, in this process's event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from agent.sandbox.lightningd.network import Fault, Network
from agent.sandbox.lightningd.node import Node
from agent.sandbox.lightningd.server import Bell, NodeServer


class Hosting:
    """All nodes of a network, each on `<directory>/<name>.sock`.

    :param peers: whether they answer commando on a port as well; it loads pyln-proto.
    """

    def __init__(self, network: Network[Node], directory: Path, *, peers: bool = False) -> None:
        self.network = network
        self._directory = directory
        self._peers = peers
        self._closing: list[Callable[[], None]] = []
        self._servers: dict[str, NodeServer] = {}
        self._time: asyncio.Task[None] | None = None
        self.bell: Bell | None = None

    def socket(self, name: str) -> Path:
        """Where a node listens."""
        return self._directory / f"{name}.sock"

    async def __aenter__(self) -> Hosting:
        self.bell = Bell(self.network)
        self._time = asyncio.create_task(self.bell.pass_time(), name="network time")
        for name, node in self.network.nodes.items():
            self._servers[name] = NodeServer(node, self.socket(name), self.bell)
            await self._servers[name].start()
        if self._peers:
            self._open_peer_ports(self.bell)
        return self

    def _open_peer_ports(self, bell: Bell) -> None:
        from agent.sandbox.lightningd.peer_server import PeerServer  # noqa: PLC0415 - native curve

        for name, node in self.network.nodes.items():
            peer_server = PeerServer(node, bell)
            peer_server.attach(self._servers[name])
            self._closing.append(peer_server.close)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._time is not None:
            self._time.cancel()
        for close in self._closing:
            close()
        for server in self._servers.values():
            await server.stop()

    def server(self, name: str) -> NodeServer:
        """A node's server."""
        return self._servers[name]

    def kill(self, name: str) -> None:
        """Kill a node: connections drop, what is recorded stays."""
        self.network.nodes[name].kill()

    async def restart(self, name: str, channel_after_s: float = 0.0) -> None:
        """Start a killed node again."""
        await self._servers[name].start()
        self.network.nodes[name].restart(channel_after_s)

    async def order(self, command: dict[str, Any]) -> dict[str, Any]:
        """Carry out one order of a control line; see `python -m agent.sandbox.lightningd --help`.

        :raises KeyError, ValueError, TypeError: when it is none.
        """
        network, what = self.network, command["cmd"]
        if what == "kill":
            self.kill(command["node"])
        elif what == "restart":
            await self.restart(command["node"], float(command.get("channel_after_s", 0)))
        elif what == "disconnect":
            network.nodes[command["node"]].disconnect(float(command["seconds"]))
        elif what == "hold":
            network.holds.everything = bool(command["on"])
        elif what == "fault":
            network.faults.append(
                Fault(
                    command["node"],
                    command["point"],
                    command["action"],
                    command.get("method", ""),
                )
            )
        else:
            raise ValueError(f"cmd: {what}")
        network.advance()
        return {}
