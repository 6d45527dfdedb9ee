"""The `hearth` command. Exit codes are in `agent.errors`."""

from __future__ import annotations

import errno
import os
import sys

import typer

from agent.cli import (
    attest,
    config,
    demo,
    enroll,
    exchanges,
    inventory,
    journal,
    lease,
    receipts,
    run,
    settlement,
    settlement_reports,
    status,
    verify,
)
from agent.cli.out import echo
from agent.errors import HearthError
from attest.errors import AttestError
from probes.errors import ProbeError

NO_ROOM = 9  # exit code
COMPLETE = "_HEARTH_COMPLETE"  # a shell asks for completions

app = typer.Typer(
    name="hearth",
    help="Node agent of a guild of small, heat-reusing datacentres.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("run")(run.run)
app.command("status")(status.status)
app.command("enroll")(enroll.enroll)
app.command("exchanges")(exchanges.exchanges)
app.command("inventory")(inventory.inventory)
app.command("verify")(verify.verify)
app.command("demo")(demo.demo)
app.add_typer(receipts.app, name="receipts")
app.add_typer(lease.app, name="lease")
app.add_typer(attest.app, name="attest")
app.add_typer(journal.app, name="journal")
app.add_typer(config.app, name="config")
settlement.app.command("status")(settlement_reports.status)
settlement.app.command("metrics")(settlement_reports.metrics)
settlement.app.command("history")(settlement_reports.history)
settlement.app.command("export")(settlement_reports.export)
settlement.app.command("statement")(settlement_reports.statement)
settlement.app.command("proof")(settlement_reports.proof)
settlement.app.command("adjust", context_settings={"ignore_unknown_options": True})(
    settlement_reports.adjust
)
receipts.app.command("export")(settlement_reports.export)
app.add_typer(settlement.app, name="settlement")


def _version(wanted: bool) -> None:
    if wanted:
        from agent.version import version

        echo(f"hearth {version()}")
        raise typer.Exit


@app.callback()
def hearth(
    show_version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Say which version this is."
    ),
) -> None:
    """Node agent of a guild of small, heat-reusing datacentres."""


def main() -> None:
    """Run one command; an error is one line that names the thing and the remedy."""
    # gRPC reads it when it is loaded; what its core would print is in the error that we print.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    if COMPLETE in os.environ:
        # Typer would put our plain texts through rich's Markdown, which the package leaves out, and
        # takes them as they are where there is no rich: None says so to importlib.
        sys.modules["rich"] = None  # type: ignore[assignment]
    try:
        app()
    except (HearthError, AttestError, ProbeError) as error:
        echo(f"hearth: {error}", err=True)
        sys.exit(error.exit_code)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        remedy = "make room, or send it elsewhere"
        echo(f"hearth: standard output: {error.strerror}; {remedy}", err=True)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left has no place
        sys.exit(NO_ROOM)


if __name__ == "__main__":
    main()
