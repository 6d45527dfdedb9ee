"""Lightning nodes for a bed: the double as a process of its own, or real nodes by their sockets."""

from __future__ import annotations

import asyncio
import contextlib
import json
import select
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.errors import HearthError
from agent.sandbox.exchange.purse import Purse
from agent.sandbox.exchange.purse import PurseError as ExchangePurseError

START_S = 20.0
ANSWER_S = 10.0
STOP_S = 10.0
OPERATOR = "operator"
PLAY_NETWORKS = ("regtest", "signet", "testnet")


class PurseError(HearthError):
    """The double does not start or answer."""


@dataclass(slots=True)
class LightningProcess:
    """A network of doubles, one node a name; it keeps its books over kill -9."""

    directory: Path
    names: Sequence[str]
    nodes: dict[str, dict[str, Any]] = field(default_factory=dict)
    _process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start it and wait until it says where its nodes listen.

        :raises PurseError: when it does not.
        """
        command = [sys.executable, "-m", "agent.sandbox.lightningd", "--dir", str(self.directory)]
        with self.directory.with_suffix(".log").open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "--keep", "--peers", *self.names],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        self.nodes = self._line(START_S)

    def _line(self, seconds: float) -> dict[str, Any]:
        out = self._process.stdout if self._process is not None else None
        if out is None or not select.select([out], [], [], seconds)[0]:
            raise PurseError(f"{self.directory}: the lightning double does not answer")
        line = out.readline()
        if not line:
            raise PurseError(f"{self.directory}: the lightning double ended; see its log")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def socket(self, name: str) -> Path:
        """Where a node listens."""
        return Path(self.nodes[name]["socket"])

    def command(self, **words: object) -> dict[str, Any]:
        """Give it one order; `python -m agent.sandbox.lightningd --help` lists them.

        :raises PurseError: when it is down or refuses.
        """
        process = self._process
        if process is None or process.stdin is None:
            raise PurseError(f"{self.directory}: the lightning double is down")
        process.stdin.write(json.dumps(words) + "\n")
        process.stdin.flush()
        answer = self._line(ANSWER_S)
        if not answer.get("ok"):
            raise PurseError(f"{words}: {answer.get('error')}")
        return answer

    @property
    def pid(self) -> int:
        """Its process id; 0 while it is down."""
        return self._process.pid if self._process is not None else 0

    def stop(self, *, kill: bool = False) -> None:
        """End it."""
        process, self._process = self._process, None
        if process is None:
            return
        if process.stdin is not None:
            with contextlib.suppress(OSError):
                process.stdin.close()
        if kill:
            process.kill()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


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
