"""What the daemon must not carry: each costs megabytes of memory (docs/dependencies.md)."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest

TOO_HEAVY = {"typer", "rich", "prometheus_client", "pyln", "pymodbus", "meterbus"}


@pytest.mark.skipif(
    importlib.util.find_spec("agent.daemon") is None, reason="there is no agent.daemon yet"
)
def test_importing_the_daemon_loads_no_driver_and_no_command_line() -> None:
    loaded = subprocess.run(
        [sys.executable, "-c", "import agent.daemon, sys; print(*sys.modules, sep='\\n')"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout.split()
    assert "agent.daemon" in loaded
    assert TOO_HEAVY.isdisjoint(name.partition(".")[0] for name in loaded)
