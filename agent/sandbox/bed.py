"""A whole small world on one machine: a TPM, exchanges, a site and the agent, each a process.

What `hearth demo` shows and the end-to-end tests try to break. Everything started here ends with
`close`, and with the process that started it.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import grpc
from hearth.admin.v1 import admin_pb2
from hearth.admin.v1.admin_pb2_grpc import AdminServiceStub

from agent.interpreter import python
from agent.sandbox.child import ANSWER_S, START_S, BedError, Child, end, tail
from agent.sandbox.purses import OPERATOR, LightningProcess, agent_configuration
from agent.sandbox.swtpm import Swtpm


class ExchangeProcess:
    """One sandbox exchange; started again it is on the same ports with the same books."""

    def __init__(self, directory: Path, name: str, options: tuple[str, ...]) -> None:
        self.directory = directory
        self.name = name
        self.options = options
        self.ready: dict[str, Any] = {}
        self._child = Child(f"exchange {name}", directory.with_suffix(".log"))

    @property
    def pid(self) -> int:
        """Its process id; 0 while it is down."""
        return self._child.pid

    def start(self) -> None:
        """Start it and wait until it says where it listens.

        :raises BedError: when it does not.
        """
        options = ("--dir", str(self.directory), "--name", self.name, *self.options)
        self.ready = self._child.start("agent.sandbox.exchange", *options)

    def command(self, **words: object) -> dict[str, Any]:
        """Give it one command and return its answer.

        :raises BedError: when it is down or refuses.
        """
        return self._child.command(**words)

    def figures(self) -> dict[str, Any]:
        """What it knows of its only node; empty before one has enrolled."""
        nodes: dict[str, Any] = self.command(cmd="stats")["nodes"]
        return next(iter(nodes.values()), {})

    def kill(self) -> None:
        """kill -9."""
        self._child.end(kill=True)

    def stop(self) -> None:
        """End it in good order."""
        self._child.end()


@dataclass(slots=True)
class SiteProcess:
    """The simulated site's meters."""

    directory: Path
    ports: dict[str, Any] = field(default_factory=dict)
    _process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it says where its meters answer.

        :raises BedError: when it does not.
        """
        ready = self.directory / "site.json"
        ready.unlink(missing_ok=True)
        with (self.directory / "site.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*python(), "-m", "agent.sandbox.site", "--ready-file", str(ready)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_S
        while not ready.exists():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise BedError(f"the site does not start: {tail(self.directory / 'site.log')}")
            time.sleep(0.02)
        self.ports = json.loads(ready.read_text())

    def stop(self) -> None:
        """End it in good order."""
        if self._process is not None:
            end(self._process)
            self._process = None

    def configuration(self, heat_seconds: int, energy_seconds: int) -> str:
        """The part of an agent's configuration that names these meters."""
        ports = self.ports
        return (
            f'[[sensors.modbus]]\nname = "main"\nhost = "127.0.0.1"\n'
            f"port = {ports['modbus_port']}\n"
            f'unit = {ports["modbus_unit"]}\nmap = "{ports["modbus_map"]}"\n'
            f"interval_seconds = {energy_seconds}\n"
            f'[[sensors.mbus]]\nname = "pool"\nhost = "127.0.0.1"\nport = {ports["mbus_port"]}\n'
            f"address = {ports['mbus_address']}\ninterval_seconds = {heat_seconds}\n"
        )


@dataclass(slots=True)
class AgentProcess:
    """The daemon, through `hearth run` as systemd would start it."""

    directory: Path
    configuration: str
    process: subprocess.Popen[bytes] | None = None
    started_ns: int = 0

    @property
    def config_file(self) -> Path:
        """Its configuration."""
        return self.directory / "hearth.toml"

    @property
    def socket(self) -> Path:
        """Its admin socket."""
        return self.directory / "admin.sock"

    @property
    def log(self) -> Path:
        """Where its events go."""
        return self.directory / "agent.log"

    def write_configuration(self) -> None:
        """Write what it will read at its next start."""
        self.config_file.write_text(
            f'state_dir = "{self.directory / "state"}"\nadmin_socket = "{self.socket}"\n'
            + self.configuration
        )

    def start(self) -> None:
        """Start it; it may take a moment until it answers, see `wait`."""
        self.write_configuration()
        self.started_ns = time.time_ns()
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [
                    # It has no standard input to end by: the kernel ends it with us (prctl(2)).
                    *("setpriv", "--pdeathsig", "TERM"),
                    *(*python(), "-m", "agent.cli.app", "run"),
                    *("--config", str(self.config_file)),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def wait(self) -> admin_pb2.StatusResponse:
        """Wait until it answers and return its first status.

        :raises BedError: when it ends or does not answer.
        """
        deadline = time.monotonic() + START_S
        while True:
            try:
                return self.status()
            except BedError:
                if self.process is None or self.process.poll() is not None:
                    raise BedError(f"the agent ended: {tail(self.log)}") from None
                if time.monotonic() > deadline:
                    raise BedError(f"the agent does not answer: {tail(self.log)}") from None
                time.sleep(0.05)

    def status(self) -> admin_pb2.StatusResponse:
        """Ask the daemon how things stand.

        :raises BedError: when it does not answer.
        """
        with self.asking() as stub:
            status: admin_pb2.StatusResponse = stub.Status(
                admin_pb2.StatusRequest(), timeout=ANSWER_S
            )
            return status

    def enroll(self, exchange: ExchangeProcess, token: str | None = None) -> None:
        """Enrol with one sandbox exchange.

        :raises BedError: when it is refused.
        """
        ready = exchange.ready
        request = admin_pb2.EnrollRequest(
            endpoint=f"127.0.0.1:{ready['enrol_port']}",
            token=token or ready["token"],
            ca_pem=Path(ready["ca_file"]).read_bytes(),
        )
        with self.asking() as stub:
            stub.Enroll(request, timeout=60)

    @contextlib.contextmanager
    def asking(self) -> Iterator[AdminServiceStub]:
        """A stub on the admin socket."""
        with grpc.insecure_channel(f"unix:{self.socket}") as channel:
            try:
                yield AdminServiceStub(channel)
            except grpc.RpcError as error:
                # What a stub raises is a Call as well, which the types do not say.
                raise BedError(f"the agent: {cast('grpc.Call', error).details()}") from None

    def kill(self) -> None:
        """kill -9."""
        if self.process is not None:
            end(self.process, kill=True)
            self.process = None

    def stop(self) -> int:
        """End it in good order and return its exit code."""
        if self.process is None:
            return 0
        end(self.process)
        code = self.process.returncode
        self.process = None
        return code


@dataclass(slots=True)
class Bed:
    """Everything, in one directory."""

    directory: Path
    tpm: Swtpm | None
    exchanges: list[ExchangeProcess]
    site: SiteProcess | None
    agent: AgentProcess
    lightning: LightningProcess | None = None

    def close(self) -> None:
        """Stop all of it, the agent first."""
        self.agent.stop()
        for exchange in self.exchanges:
            exchange.stop()
        if self.site is not None:
            self.site.stop()
        if self.lightning is not None:
            self.lightning.stop()
        if self.tpm is not None:
            self.tpm.stop()


def make(
    directory: Path,
    configuration: str,
    *,
    exchange_names: tuple[str, ...] = ("northern", "harbour"),
    exchange_options: tuple[str, ...] = (),
    with_site: tuple[int, int] | None = None,
    with_tpm: bool = True,
    with_lightning: bool = False,
    sockets: Mapping[str, Path] | None = None,
    network: str = "regtest",
) -> Bed:
    """Start a TPM, exchanges and perhaps a site; the agent is made and not started.

    :param configuration: TOML for the agent beside its paths and TPM.
    :param with_site: seconds between two readings of heat and energy.
    :param with_lightning: settle over Lightning doubles, or over the real nodes of `sockets`:
        `operator` and one for each exchange name, on this network.
    :raises HearthError: when a part does not start; what did is stopped again.
    """
    tpm: Swtpm | None = None
    site: SiteProcess | None = None
    exchanges: list[ExchangeProcess] = []
    with contextlib.ExitStack() as undo:
        extra = configuration
        if with_tpm:
            tpm = Swtpm.start(directory / "tpm")
            undo.callback(tpm.stop)
            (directory / "tpm-ca.pem").write_bytes(b"".join(tpm.ca_certificates))
            extra += f'\n[tpm]\ntcti = "{tpm.tcti}"\n'
            trust: tuple[str, ...] = ("--virtual-tpm-roots", str(directory / "tpm-ca.pem"))
        else:
            extra += '\n[tpm]\ntcti = "none"\n'
            trust = ("--allow-software",)
        lightning: LightningProcess | None = None
        if with_lightning and sockets is None:
            lightning = LightningProcess(directory / "ln", (OPERATOR, *exchange_names))
            lightning.start()
            undo.callback(lightning.stop)
            sockets = {name: lightning.socket(name) for name in (OPERATOR, *exchange_names)}
        if sockets is not None:
            extra += agent_configuration(sockets, network)
        for name in exchange_names:
            own: tuple[str, ...] = ()
            if sockets is not None:
                own = ("--lightning", str(sockets[name]), "--network", network)
            exchange = ExchangeProcess(
                directory / f"exchange-{name}", name, (*trust, *own, *exchange_options)
            )
            exchange.start()
            undo.callback(exchange.stop)
            exchanges.append(exchange)
        if with_site is not None:
            site = SiteProcess(directory)
            site.start()
            undo.callback(site.stop)
            extra += site.configuration(*with_site)
        bed = Bed(directory, tpm, exchanges, site, AgentProcess(directory, extra), lightning)
        undo.pop_all()
        return bed
    raise BedError("unreachable")  # an ExitStack suppresses nothing
