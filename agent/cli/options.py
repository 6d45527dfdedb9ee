"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from agent.config import DEFAULT_PATH

ConfigFile = Annotated[
    Path, typer.Option("--config", "-c", help="Configuration file.", envvar="HEARTH_CONFIG")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]

__all__ = ["DEFAULT_PATH", "AsJson", "ConfigFile"]
