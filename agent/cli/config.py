"""`hearth config`: look at the configuration without running anything."""

from __future__ import annotations

import typer

from agent.cli.options import DEFAULT_PATH, ConfigFile

app = typer.Typer(no_args_is_help=True, help="Look at the configuration without running anything.")


@app.callback()
def config() -> None:
    """Look at the configuration without running anything."""


@app.command()
def check(config: ConfigFile = DEFAULT_PATH) -> None:
    """Read the configuration as the daemon would; exit 2 and say what is wrong."""
    from agent.config import load
    from agent.sensors import configured

    probes = configured(load(config))
    typer.echo(f"{config}: fine; {len(probes)} probes")
