"""`hearth journal`: hold the journal against itself; with and without a daemon."""

from __future__ import annotations

from pathlib import Path

import typer

from agent.cli.options import DEFAULT_PATH, ConfigFile

app = typer.Typer(no_args_is_help=True, help="Check the journal.")


@app.callback()
def journal() -> None:
    """Check the journal."""


@app.command()
def check(config: ConfigFile = DEFAULT_PATH) -> None:
    """Check every leaf, node, note, receipt and delivery; exit 7 if anything is wrong."""
    from agent.config_file import load
    from agent.errors import JournalError
    from agent.journal.fsck import check
    from agent.journal.store import View, connect

    path = Path(load(config).state_dir) / "journal.sqlite"
    connection = connect(path, readonly=True)
    connection.execute("BEGIN")  # one snapshot, whatever a daemon writes meanwhile
    view = View(connection)
    found = check(view, None)
    for line in found:
        typer.echo(line)
    if found:
        raise JournalError(f"{path}: {len(found)} findings; keep the file as it is and report them")
    row = view.one("SELECT (SELECT count(*) FROM receipts), (SELECT count(*) FROM checkpoints)")
    receipts, checkpoints = row or (0, 0)
    typer.echo(
        f"{path}: fine; {view.size()} leaves, {receipts} receipts, {checkpoints} checkpoints"
    )
