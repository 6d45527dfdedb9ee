"""A process that computes: the tenant of a sandbox lease.

`python -m agent.sandbox.workload PERMILLE` waits for a line on standard input, so that it can be
moved into a cgroup before it uses anything, then computes for that share of one CPU until standard
input ends, and so never outlives who started it.
"""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from agent.errors import HearthError
from agent.interpreter import python

PERIOD_S = 0.1
END_S = 5.0


class WorkloadError(HearthError):
    """A workload cannot be put into its lease."""


@dataclass(slots=True)
class Workload:
    """One tenant of one lease."""

    permille: int
    cgroup: Path
    _process: subprocess.Popen[bytes]

    @classmethod
    def start(cls, permille: int, cgroup: Path) -> Workload:
        """Start it inside the lease's cgroup; not one instruction of its work runs outside.

        :param permille: share of one CPU.
        :raises CgroupError: when it cannot be moved there.
        """
        from agent.leases import attach  # noqa: PLC0415 - the tenant itself needs none of it

        process = subprocess.Popen(
            [
                # Frozen it sees no end of its input: the kernel ends it with us (prctl(2)).
                *("setpriv", "--pdeathsig", "KILL"),
                *(*python(), "-m", "agent.sandbox.workload", str(permille)),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        workload = cls(permille, cgroup, process)
        try:
            attach(cgroup, process.pid)
            if process.stdin is not None:
                process.stdin.write(b"go\n")
                process.stdin.flush()
        except OSError as error:
            workload.stop()
            raise WorkloadError(f"{cgroup}: the workload does not start: {error}") from error
        except BaseException:
            workload.stop()
            raise
        return workload

    def stop(self) -> None:
        """End it and wait until it is gone; its cgroup's counters stand still then."""
        process = self._process
        if process.stdin is not None:
            with contextlib.suppress(OSError):
                process.stdin.close()
        try:
            process.wait(END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def compute(permille: int) -> None:
    """Burn that share of one CPU until standard input ends."""
    burn = PERIOD_S * permille / 1000
    number = 1
    while True:
        began, spent = time.monotonic(), time.process_time()
        while time.process_time() - spent < burn:  # its share also on a host that is busy
            for _ in range(1000):
                number = number * 6364136223846793005 + 1442695040888963407 & (1 << 64) - 1
        rest = max(0.0, PERIOD_S - (time.monotonic() - began))
        if select.select([sys.stdin.fileno()], [], [], rest)[0]:
            return


def main() -> None:
    """Wait for the line, then compute."""
    if os.read(sys.stdin.fileno(), 16):  # not buffered: `compute` waits on the descriptor
        compute(int(sys.argv[1]))


if __name__ == "__main__":
    main()
