"""A tenant of the sandbox ends with whoever started it, also while it stands still."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

STARTER = (
    "import sys, time; from pathlib import Path; from agent.sandbox.workload import Workload\n"
    "Workload.start(10, Path(sys.argv[1])); print('started', flush=True); time.sleep(60)"
)


def test_a_tenant_that_stands_still_does_not_outlive_a_killed_demo(tmp_path: Path) -> None:
    procs = tmp_path / "cgroup.procs"  # who is to be in the cgroup
    procs.touch()
    starter = subprocess.Popen(
        [sys.executable, "-c", STARTER, str(tmp_path)], stdout=subprocess.PIPE
    )
    with starter:
        assert starter.stdout is not None
        assert starter.stdout.readline() == b"started\n"
        tenant = int(procs.read_text())
        command = Path(f"/proc/{tenant}/cmdline")
        deadline = time.monotonic() + 10
        while not command.read_text().startswith(sys.executable):  # setpriv goes first
            assert time.monotonic() < deadline, command.read_text()
            time.sleep(0.02)
        try:
            os.kill(tenant, signal.SIGSTOP)
            starter.kill()
            starter.wait(10)
            while Path(f"/proc/{tenant}/exe").exists():  # a zombie has none
                assert time.monotonic() < deadline, "it still stands there"
                time.sleep(0.02)
        finally:
            if Path(f"/proc/{tenant}/exe").exists():
                os.kill(tenant, signal.SIGKILL)
