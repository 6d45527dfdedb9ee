"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from agent.config import DEFAULT_PATH

ConfigFile = Annotated[
    Path, typer.Option("--config", "-c", help="Configuration file.", envvar="HEARTH_CONFIG")
]
MOST_SEQUENCE = (1 << 63) - 1  # of what a journal counts

Lease = Annotated[
    str,
    typer.Argument(
        help="Lease id, or the beginning of one; EXCHANGE/LEASE where it is not unique."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]

__all__ = ["DEFAULT_PATH", "MOST_SEQUENCE", "AsJson", "ConfigFile", "Lease"]
