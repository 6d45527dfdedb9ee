"""`hearth lease`: what the operator does for a tenant."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Annotated

import typer

from agent.cli.options import DEFAULT_PATH, ConfigFile

app = typer.Typer(no_args_is_help=True, help="Leases on this host.")


@app.callback()
def lease() -> None:
    """Leases on this host."""


@app.command(context_settings={"ignore_unknown_options": True})
def run(
    lease: Annotated[str, typer.Argument(help="Lease id, or as much of it as is unique.")],
    command: Annotated[list[str], typer.Argument(help="Command and its arguments, after --.")],
    config: ConfigFile = DEFAULT_PATH,
) -> None:
    """Run a command in a lease: metered, and held to the lease's limits.

    It takes the place of this process, as the user who calls (root), and never is a child of the
    daemon: a restart of the daemon does not reach it.
    """
    from hearth.admin.v1 import admin_pb2

    from agent.cli.socket import ask
    from agent.config_file import load
    from agent.core.lease import LeaseKey
    from agent.errors import CgroupError
    from agent.leases import places
    from probes.host import Host

    settings = load(config)
    status = ask(
        Path(settings.admin_socket),
        lambda stub: stub.Status(admin_pb2.StatusRequest(), timeout=10),
    )
    found = [item for item in status.leases if item.lease_id.startswith(lease)]
    active = [item for item in found if item.state == "ACTIVE"]
    if len(active) != 1:
        states = ", ".join(f"{item.lease_id} is {item.state}" for item in found) or "there is none"
        raise CgroupError(f"lease {lease}: one active lease is wanted; {states}")
    key = LeaseKey(active[0].exchange_id, active[0].lease_id)
    words = places(settings.lease.cgroup_root, Host()).command(key, command)
    if (program := shutil.which(words[0])) is None:
        raise CgroupError(f"{words[0]}: no such command")
    os.execv(program, words)  # noqa: S606 - no shell is wanted
