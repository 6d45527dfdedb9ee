"""What the daemon must not carry: each costs megabytes of memory (docs/dependencies.md)."""

from __future__ import annotations

import subprocess
import sys

# structlog imports rich where it finds it; a None in its place in sys.modules keeps it out.
LIST = """
import agent.daemon, sys
print(*(name for name, module in sys.modules.items() if module is not None), sep="\\n")
"""
TOO_HEAVY = {"typer", "rich", "prometheus_client", "pyln", "pymodbus", "meterbus"}
# What keeps the books, and whoever has no rail keeps them too; the rest is loaded with a rail.
SETTLEMENT = {
    "agent.settle.alarms",
    "agent.settle.books",
    "agent.settle.engine",
    "agent.settle.till",
}


def test_importing_the_daemon_loads_no_driver_and_no_command_line() -> None:
    loaded = subprocess.run(
        [sys.executable, "-c", LIST],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout.split()
    assert "agent.daemon" in loaded
    assert TOO_HEAVY & {name.partition(".")[0] for name in loaded} == set()
    assert {name for name in loaded if name.startswith("agent.settle.")} == SETTLEMENT
