"""`hearth journal`: hold the journal against itself; with and without a daemon."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from agent.cli.options import DEFAULT_PATH, ConfigFile
from agent.cli.out import echo

if TYPE_CHECKING:
    from agent.journal.store import View

app = typer.Typer(no_args_is_help=True, help="Check the journal.")


@app.callback()
def journal() -> None:
    """Check the journal."""


@app.command()
def check(config: ConfigFile = DEFAULT_PATH) -> None:
    """Check every leaf, node, note, receipt and delivery; exit 7 if anything is wrong."""
    from agent.cli.owner import read_journal
    from agent.config_file import load
    from agent.errors import JournalError

    settings = load(config)
    found, holds = read_journal(settings, _look)
    for line in found:
        echo(line)
    path = Path(settings.state_dir) / "journal.sqlite"
    if found:
        raise JournalError(f"{path}: {len(found)} findings; keep the file as it is and report them")
    echo(f"{path}: fine; {holds}")


def _look(view: View) -> tuple[list[str], str]:
    """All findings, and how much there is to find them in."""
    from agent.journal.fsck import check

    found = check(view, None)
    row = view.one("SELECT (SELECT count(*) FROM receipts), (SELECT count(*) FROM checkpoints)")
    receipts, checkpoints = row or (0, 0)
    return found, f"{view.size()} leaves, {receipts} receipts, {checkpoints} checkpoints"
