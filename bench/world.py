"""The agent as it runs: a daemon started by `hearth run`, a software TPM, sandbox exchanges."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from agent.sandbox import bed
from agent.sandbox.bed import AgentProcess, Bed, ExchangeProcess
from probes.cgroup import find_root
from probes.host import Host

PATIENCE_S = 30.0
TICKS = os.sysconf("SC_CLK_TCK")


@contextmanager
def world(
    configuration: str = "",
    *,
    exchanges: tuple[str, ...] = ("northern", "harbour"),
    options: tuple[str, ...] = (),
    meters: tuple[int, int] | None = None,
) -> Iterator[Bed]:
    """A bed whose agent runs and is enrolled with every exchange.

    :param configuration: TOML for the agent, beside paths, TPM and cgroup root.
    :param meters: seconds between two readings of the heat and of the energy meter; None: none.
    """
    with tempfile.TemporaryDirectory(prefix="hearth-bench-") as name:
        directory = Path(name)
        cgroups = find_root(Host()) / directory.name
        there = bed.make(
            directory,
            f'{configuration}\n[lease]\ncgroup_root = "{cgroups}"\n',
            exchange_names=exchanges,
            exchange_options=options,
            with_site=meters,
        )
        try:
            there.agent.start()
            there.agent.wait()
            for exchange in there.exchanges:
                there.agent.enroll(exchange)
            for exchange in there.exchanges:
                until(lambda exchange=exchange: exchange.figures().get("offers_accepted", 0) > 0)
            yield there
        finally:
            there.close()
            subprocess.run(
                ["find", str(cgroups), "-depth", "-type", "d", "-exec", "rmdir", "{}", ";"],
                check=False,
                capture_output=True,
            )


def until(holds: Callable[[], bool], *, seconds: float = PATIENCE_S, every: float = 0.1) -> None:
    """Wait for something.

    :raises TimeoutError: when it does not come.
    """
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError(f"it did not come within {seconds:g} s")
        time.sleep(every)


def place(exchange: ExchangeProcess, count: int, units: dict[str, int]) -> None:
    """Place so many leases more and wait until all of them run.

    What was asked from an offer that had a newer revision by then is refused, and asked again.
    """
    goal = exchange.figures()["leases"].get("ACTIVE", 0) + count

    def settled() -> bool:
        return set(exchange.figures()["leases"]) <= {"ACTIVE", "REFUSED"}

    deadline = time.monotonic() + PATIENCE_S
    while (missing := goal - exchange.figures()["leases"].get("ACTIVE", 0)) > 0:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{missing} of {count} leases do not run")
        for _ in range(missing):
            exchange.command(cmd="place", units=units)
        until(settled)


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far (proc(5), stat)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def pid_of(agent: AgentProcess) -> int:
    """The daemon's process id."""
    assert agent.process is not None
    return agent.process.pid
