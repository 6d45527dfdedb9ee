"""The demand side of a demo: exchanges ask for leases, tenants compute in them."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from agent.core.lease import LeaseKey
from agent.errors import CgroupError
from agent.leases import Places
from agent.sandbox.bed import AgentProcess, ExchangeProcess
from agent.sandbox.books import ENDED
from agent.sandbox.child import BedError
from agent.sandbox.workload import Workload, WorkloadError

UNITS = {"VCPU": 1, "MEMORY_MB": 256}
DUTIES_PERMILLE = (1000, 500)
ANSWERED_S = 10.0  # a request, the node's decision and all that follows from it


@dataclass(slots=True)
class Tenants:
    """What is asked of one agent, and what runs in what it gave."""

    agent: AgentProcess
    say: Callable[[str], None]
    placed: list[LeaseKey] = field(default_factory=list)  # asked for, given or not
    _workloads: list[Workload] = field(default_factory=list)

    def ask(self, exchange: ExchangeProcess, units: Mapping[str, int]) -> str | None:
        """Have an exchange ask for a lease; None when its newest offer has no room for it."""
        try:
            answer = exchange.command(cmd="place", units=dict(units))
        except BedError as error:
            if "NotPlaced" not in str(error):
                raise
            return None
        key = LeaseKey(exchange.command(cmd="stats")["exchange_id"], answer["lease_id"])
        self.placed.append(key)
        return key.lease_id

    def place(self, exchange: ExchangeProcess, lease_id: str | None) -> None:
        """See one lease through, asking again while there is room; say what came of it.

        :param lease_id: asked for already; None: the first attempt found no room.
        """
        deadline = time.monotonic() + ANSWERED_S
        why = "its newest offer has no room"
        while time.monotonic() < deadline:
            if lease_id is not None:
                stage, why = self._answer(exchange, lease_id)
                if stage == "ACTIVE":
                    self.say(f"{exchange.name} leases {words(UNITS)} ({lease_id})")
                    return
                if stage != "REFUSED":
                    self.say(f"{exchange.name}: lease {stage}: {self._why_failed(lease_id) or why}")
                    return
                self.say(f"{exchange.name} is refused a lease: {why}")
            free = self._free()
            if any(free.get(name, 0) < count for name, count in UNITS.items()):
                why = f"{words(free)} left"
                break
            time.sleep(0.2)
            lease_id = self.ask(exchange, UNITS)
        self.say(f"{exchange.name} gets no lease of {words(UNITS)}: {why}")

    def ask_too_much(self, exchange: ExchangeProcess) -> None:
        """Ask for one CPU more than is left, which must be refused: no unit is sold twice."""
        left = self._free().get("VCPU", 0)
        lease_id = self.ask(exchange, {"VCPU": left + 1})
        if lease_id is None:
            said = f"refused: the host's newest offer has {left} left"
        else:
            stage, detail = self._answer(exchange, lease_id)
            said = f"refused: {detail}" if stage in ENDED else f"GRANTED ({stage})"
        self.say(f"{exchange.name} asks for {left + 1} VCPU more; {said}")

    def _answer(self, exchange: ExchangeProcess, lease_id: str) -> tuple[str, str]:
        """Wait until a lease runs or never will; its stage and why."""
        deadline = time.monotonic() + ANSWERED_S
        while True:
            lease = exchange.figures()["lease"][lease_id]
            if lease["stage"] == "ACTIVE" or lease["stage"] in ENDED:
                return lease["stage"], lease["detail"].removeprefix("LEASE_OUTCOME_")
            if time.monotonic() > deadline:
                return lease["stage"], "no answer"
            time.sleep(0.05)

    def _free(self) -> dict[str, int]:
        return {part.resource_class: part.units for part in self.agent.status().available}

    def _why_failed(self, lease_id: str) -> str:
        """Return what the agent's own log says of a lease that could not be set up."""
        for line in reversed(self.agent.log.read_text(errors="replace").splitlines()):
            if '"lease_failed"' in line and lease_id in line:
                with contextlib.suppress(ValueError):
                    return str(json.loads(line).get("error", ""))
        return ""

    def start_work(self) -> None:
        """Have a process compute inside each lease's cgroup."""
        active = [lease for lease in self.agent.status().leases if lease.cgroup]
        for lease, permille in zip(active, DUTIES_PERMILLE, strict=False):
            try:
                self._workloads.append(Workload.start(permille, Path(lease.cgroup)))
            except (CgroupError, WorkloadError) as error:
                self.say(f"no work in lease {lease.lease_id}: {error}")
            else:
                self.say(f"a process computes at {permille // 10} % of a CPU in {lease.cgroup}")

    def stop_work(self) -> None:
        """End what computes and wait until it is gone."""
        for workload in self._workloads:
            workload.stop()
        self._workloads.clear()

    def kernel_cpu_ms(self) -> dict[str, int]:
        """What the kernel counted for each lease that has a cgroup, by lease id."""
        counted = {}
        for lease in self.agent.status().leases:
            if lease.cgroup:
                with contextlib.suppress(OSError):
                    counted[lease.lease_id] = cpu_ms(Path(lease.cgroup))
        return counted

    def sweep(self, where: Places) -> None:
        """Remove cgroups that were left because the end was not in good order."""
        for key in self.placed:
            if where.directory(key).exists():
                with contextlib.suppress(CgroupError):
                    where.empty(key)
                    where.remove(key)


def cpu_ms(cgroup: Path) -> int:
    """CPU time of a cgroup by its cpu.stat (cgroup-v2.rst: usage_usec), in ms."""
    lines = (cgroup / "cpu.stat").read_text().splitlines()
    return int(dict(line.split() for line in lines)["usage_usec"]) // 1000


def words(units: Mapping[str, int]) -> str:
    """Units for people: "1 VCPU, 256 MEMORY_MB"."""
    return ", ".join(f"{count} {name}" for name, count in units.items())
