"""A virtual machine with a TPM (tests/testbed/machine), the package on it, an exchange beside it.

The exchange runs here, at native speed, and is reached from the machine through ssh: the machine
itself reaches nothing. Emulation is slow, so every wait is long and ends as soon as it may.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import grpc
import pytest
from hearth.admin.v1 import admin_pb2
from hearth.admin.v1.admin_pb2_grpc import AdminServiceStub

from agent.sandbox.bed import ExchangeProcess
from agent.sandbox.child import BedError

ROOT = Path(__file__).parents[2]
BED = ROOT / "tests" / "testbed"
MACHINE = str(BED / "machine")
SUITE = "bookworm"
TESTBED = Path(os.environ.get("TESTBED", "/var/tmp/hearth-testbed")) / SUITE
READY = "ready"  # the snapshot that tests/testbed/prepare makes
TOOLS = ("qemu-system-x86_64", "swtpm", "mmdebstrap", "ssh")
UNITS = {"VCPU": 1, "MEMORY_MB": 256}
WAIT_S = 240.0
COMMAND_S = 400.0


class Machine:
    """The machine, by the words of tests/testbed/machine."""

    def __init__(self, name: str) -> None:
        self.name = name

    def does(self, *words: str, seconds: float = COMMAND_S) -> str:
        """Give it one word and return what it says."""
        done = subprocess.run(
            ["env", f"NAME={self.name}", f"SUITE={SUITE}", "DISK=installed.raw", MACHINE, *words],
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds,
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode == 0, f"{words}: exit {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def run(self, command: str, seconds: float = COMMAND_S) -> str:
        """Run a shell command in it as root."""
        return self.does("exec", command, seconds=seconds).strip()


def until(what: str, holds: Callable[[], bool], seconds: float = WAIT_S) -> None:
    """Wait for something to hold."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        time.sleep(0.5)


@dataclass(slots=True)
class World:
    """The machine with its agent, and an exchange."""

    machine: Machine
    exchange: ExchangeProcess
    socket: Path  # the agent's admin socket, brought here

    def connect(self) -> None:
        """Bring the exchange's ports there and the admin socket here; anew after each boot."""
        ready = self.exchange.ready
        words = ["forward", "-L", f"{self.socket}:/run/hearth/admin.sock"]
        for port in (ready["enrol_port"], ready["session_port"]):
            words += ["-R", f"127.0.0.1:{port}:127.0.0.1:{port}"]
        self.machine.does(*words)

    def _ask(self, question: Callable[[AdminServiceStub], Any], seconds: float) -> Any:
        with grpc.insecure_channel(f"unix:{self.socket}") as channel:
            try:
                return question(AdminServiceStub(channel))
            except grpc.RpcError as error:
                raise BedError(f"the agent: {cast('grpc.Call', error).details()}") from None

    def status(self) -> admin_pb2.StatusResponse:
        """How things stand.

        :raises BedError: when the agent does not answer.
        """
        answer: admin_pb2.StatusResponse = self._ask(
            lambda stub: stub.Status(admin_pb2.StatusRequest(), timeout=60), 60
        )
        return answer

    def enroll(self) -> None:
        ready = self.exchange.ready
        request = admin_pb2.EnrollRequest(
            endpoint=f"127.0.0.1:{ready['enrol_port']}",
            token=ready["token"],
            ca_pem=Path(ready["ca_file"]).read_bytes(),
        )
        self._ask(lambda stub: stub.Enroll(request, timeout=200), 200)

    def answers(self) -> bool:
        """Whether the agent is there and in session."""
        try:
            return any(exchange.connected for exchange in self.status().exchanges)
        except BedError:
            return False

    def back(self) -> None:
        """Wait until the agent is in session."""
        until("the agent is in session", self.answers)

    def place(self) -> str:
        """A lease, once there is an offer; its id when it is active."""

        def placed() -> bool:
            try:
                self.exchange.command(cmd="place", units=UNITS)
            except BedError:
                return False
            return True

        until("a lease is placed", placed)
        until("the lease is active", lambda: bool(self.active()))
        return self.active()[0].lease_id

    def active(self) -> list[admin_pb2.LeaseStatus]:
        try:
            return [item for item in self.status().leases if item.state == "ACTIVE"]
        except BedError:
            return []

    def lease(self, lease_id: str) -> admin_pb2.LeaseStatus:
        """What the agent says of one lease."""
        (found,) = [item for item in self.status().leases if item.lease_id == lease_id]
        return found

    def sensor(self, name: str) -> int | None:
        """The last value of a sensor, in its unit."""
        values = [item.value for item in self.status().sensors if item.sensor == name]
        return values[0] if values else None

    def fault(self, probe: str) -> str:
        """What keeps a probe from reading."""
        return "".join(item.fault for item in self.status().sensors if item.sensor == probe)

    def receipt(self, lease_id: str) -> dict[str, Any]:
        """The last receipt that the exchange stored; none missing, fallen or refused."""
        figures = self.exchange.figures()
        wrong = ("gaps", "regressions", "receipts_rejected", "others_rejected", "log_breaks")
        assert {name: figures[name] for name in wrong if figures[name]} == {}
        found: dict[str, Any] = figures["lease"][lease_id]["receipt"] or {"sequence": 0}
        return found

    def receipts_go_on(self, lease_id: str, count: int = 2) -> None:
        """Wait for more receipts than there are."""
        reached = self.receipt(lease_id)["sequence"]
        until("receipts", lambda: self.receipt(lease_id)["sequence"] >= reached + count)

    def work(self, lease_id: str) -> str:
        """Let a tenant keep one CPU busy in the lease; returns its process, see `tenant`."""
        self.machine.run(
            f"systemd-run --quiet hearth lease run {lease_id} -- "
            """bash -c 'exec -a tenant-at-work bash -c "while :; do :; done"'"""
        )
        until("the tenant works", lambda: bool(self.tenant()))
        return self.tenant()

    def tenant(self) -> str:
        """The tenant's process as the kernel knows it: pid, start, cgroup; empty without one."""
        return self.machine.run(
            "p=$(pgrep -f ^tenant-at-work | head -1); [ -z $p ] || "
            "echo $p $(cut -d' ' -f22 /proc/$p/stat) $(cat /proc/$p/cgroup)"
        )

    def close_lease(self, lease_id: str) -> dict[str, Any]:
        """Let the exchange release it; the final receipt."""
        self.exchange.command(cmd="release", lease_id=lease_id)
        until("the final receipt", lambda: bool(self.receipt(lease_id).get("final")))
        return self.receipt(lease_id)


@pytest.fixture(scope="session")
def package() -> Path:
    """The core package, as `make deb` left it."""
    dist = Path(os.environ.get("HEARTH_DIST", ROOT / "dist"))
    found = sorted(dist.glob("hearth-agent_*_amd64.deb"))
    assert len(found) == 1, f"{dist} has {len(found)} packages; run `make deb` in a clean one"
    return found[0]


@pytest.fixture(scope="session")
def snapshot(package: Path) -> None:
    """The system with this package, booted once: every test goes on from there."""
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing or os.geteuid() != 0:
        pytest.skip(f"needs root and {', '.join(missing or TOOLS)}")
    subprocess.run([BED / "prepare", package], check=True, timeout=590)


@pytest.fixture(scope="module")
def world(snapshot: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A machine fresh from the snapshot, enrolled with an exchange that pins the EK's issuer."""
    directory = tmp_path_factory.mktemp("vm")
    roots = directory / "tpm-ca.pem"
    names = ("issuercert.pem", "swtpm-localca-rootca-cert.pem")
    roots.write_bytes(b"".join((TESTBED / "ca" / name).read_bytes() for name in names))
    exchange = ExchangeProcess(
        directory / "exchange",
        "northern",
        (
            *("--virtual-tpm-roots", str(roots)),
            *("--heartbeat", "5", "--challenge-interval", "20"),
            *("--challenge-answer-period", "120"),
        ),
    )
    machine = Machine(f"vm-{os.getpid()}")
    with contextlib.ExitStack() as undo:
        exchange.start()
        undo.callback(exchange.stop)
        undo.callback(machine.does, "kill")
        machine.does("restore", READY)
        made = World(machine, exchange, directory / "admin.sock")
        made.connect()
        made.enroll()
        made.back()
        yield made
