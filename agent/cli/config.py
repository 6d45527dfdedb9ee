"""`hearth config`: look at the configuration without running anything."""

from __future__ import annotations

import typer

from agent.cli.options import DEFAULT_PATH, ConfigFile
from agent.cli.out import echo

app = typer.Typer(no_args_is_help=True, help="Look at the configuration without running anything.")


@app.callback()
def config() -> None:
    """Look at the configuration without running anything."""


@app.command()
def check(config: ConfigFile = DEFAULT_PATH) -> None:
    """Read the configuration as the daemon would; exit 2 and say what is wrong.

    Wrong is also a rail whose package is not installed: the daemon runs, and nobody is paid.
    """
    from agent.config_file import load
    from agent.config_rules import overreserved
    from agent.errors import ConfigError
    from agent.leases import places
    from agent.sensors import configured
    from agent.settle.registry import lacking, open_rail
    from probes.host import Host
    from probes.inventory import resources, take

    settings, host = load(config), Host()
    probes = configured(settings)
    places(settings.lease.cgroup_root, host)
    open_rail(settings.settlement)
    if remedy := lacking(settings.settlement):
        raise ConfigError(f"{config}: settlement.rail: {settings.settlement.rail}: {remedy}")
    for key, wrong in overreserved(settings, dict(resources(take(host)))):
        raise ConfigError(f"{config}: {key}: {wrong}")
    echo(f"{config}: fine; {len(probes)} probes")
