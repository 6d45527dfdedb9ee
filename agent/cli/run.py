"""`hearth run`: hand over to the daemon's own process image."""

from __future__ import annotations

import os
import sys

from agent.cli.options import DEFAULT_PATH, ConfigFile
from agent.interpreter import python


def run(config: ConfigFile = DEFAULT_PATH) -> None:
    """Run the daemon until it is told to stop.

    The process becomes `python -m agent.daemon`: what this command line loaded is not in it.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    # Two arenas are enough for a process that mostly sleeps; more keep memory that was once used.
    # What libraries would print is in our errors.
    quiet = {"TSS2_LOG": "all+none", "GRPC_VERBOSITY": "NONE"}
    environment = {"MALLOC_ARENA_MAX": "2", **quiet, **os.environ}
    command = [*python(), "-m", "agent.daemon", str(config)]
    os.execve(command[0], command, environment)  # noqa: S606 - no shell is wanted
