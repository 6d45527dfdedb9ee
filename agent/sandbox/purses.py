"""Lightning nodes for a bed: the double as a process of its own, or real nodes by their sockets."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.errors import HearthError
from agent.sandbox.child import BedError, Child
from agent.sandbox.exchange.purse import Purse
from agent.sandbox.exchange.purse import PurseError as ExchangePurseError
from agent.settle.remote import absent

OPERATOR = "operator"
PLAY_NETWORKS = ("regtest", "signet", "testnet")


class PurseError(HearthError):
    """The Lightning nodes that were named cannot serve a demo."""


class LightningProcess:
    """A network of doubles, one node a name; it keeps its books over kill -9."""

    def __init__(self, directory: Path, names: Sequence[str]) -> None:
        self.directory = directory
        self.names = names
        self.nodes: dict[str, dict[str, Any]] = {}
        self._child = Child("the lightning double", directory.with_suffix(".log"))

    def start(self) -> None:
        """Start it and wait until it says where its nodes listen.

        :raises BedError: when it does not.
        """
        if remedy := absent():
            raise BedError(f"{self._child.name}: {remedy}")
        options = ("--dir", str(self.directory), "--keep", "--peers", *self.names)
        self.nodes = self._child.start("agent.sandbox.lightningd", *options)

    def socket(self, name: str) -> Path:
        """Where a node listens."""
        return Path(self.nodes[name]["socket"])

    def command(self, **words: object) -> dict[str, Any]:
        """Give it one order; `python -m agent.sandbox.lightningd --help` lists them.

        :raises BedError: when it is down or refuses.
        """
        return self._child.command(**words)

    @property
    def pid(self) -> int:
        """Its process id; 0 while it is down."""
        return self._child.pid

    def stop(self, *, kill: bool = False) -> None:
        """End it."""
        self._child.end(kill=kill)


@dataclass(frozen=True, slots=True)
class RealNodes:
    """Lightning nodes that are there already."""

    sockets: Mapping[str, Path]  # `operator` and the name of each exchange
    network: str


def real_nodes(text: str, exchange_names: Sequence[str]) -> RealNodes:
    """Find the nodes that a demo shall move money between.

    :param text: lightning-rpc sockets with commas between: the operator's, then the exchanges';
        exchanges may share one.
    :raises PurseError: when they do not answer, or move money of worth.
    """
    paths = [Path(part.strip()) for part in text.split(",") if part.strip()]
    if not 2 <= len(paths) <= 1 + len(exchange_names):
        raise PurseError(f"{text!r}: name the operator's lightning-rpc and one an exchange, OP,EX")
    own, *others = paths
    networks = {path: asyncio.run(_network(path)) for path in paths}
    if len(set(networks.values())) > 1 or networks[own] not in PLAY_NETWORKS:
        said = ", ".join(f"{path} is on {name}" for path, name in networks.items())
        raise PurseError(f"{said}; name nodes of one network out of {', '.join(PLAY_NETWORKS)}")
    shared = [others[number % len(others)] for number in range(len(exchange_names))]
    sockets = {OPERATOR: own, **dict(zip(exchange_names, shared, strict=True))}
    return RealNodes(sockets, networks[own])


async def _network(socket: Path) -> str:
    try:
        return str((await Purse(socket).call("getinfo")).get("network"))
    except ExchangePurseError as error:
        raise PurseError(f"{socket}: {error}; is it a lightning-rpc that we may use?") from None


def agent_configuration(sockets: Mapping[str, Path], network: str) -> str:
    """The part of an agent's configuration that names its node."""
    return (
        f'\n[settlement]\nrail = "cln"\nsocket = "{sockets[OPERATOR]}"\nnetwork = "{network}"\n'
        "least_msat = 1\nage_seconds = 5\ninvoice_life_seconds = 3600\n"
    )
