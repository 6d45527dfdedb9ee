"""`hearth receipts`: what was signed, read from the journal; with and without a daemon."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agent.cli.options import DEFAULT_PATH, MOST_SEQUENCE, AsJson, ConfigFile, Lease
from agent.cli.out import echo, writing

if TYPE_CHECKING:
    from agent.journal.store import View

app = typer.Typer(no_args_is_help=True, help="Receipts of this host.")

Sequence = Annotated[
    int,
    typer.Argument(help="Sequence; 0: the newest under a checkpoint.", min=0, max=MOST_SEQUENCE),
]


@app.callback()
def receipts() -> None:
    """Receipts of this host."""


@app.command("list")
def list_(config: ConfigFile = DEFAULT_PATH, as_json: AsJson = False) -> None:
    """List every lease with its receipts."""
    from agent.cli.owner import read_journal
    from agent.config_file import load

    rows = read_journal(load(config), _rows)
    if as_json:
        echo(json.dumps(rows, indent=2))
        return
    if not rows:
        echo("no leases yet")
    for row in rows:
        echo(
            f"{row['exchange_id'][:12]}/{row['lease_id']}  {row['state']:10}"
            f"  {row['receipts']:5} issued  {row['acknowledged']:5} acknowledged"
            f"  {row['acknowledged_msat']:>12} msat"
        )


def _rows(view: View) -> list[dict[str, Any]]:
    from agent.journal import ledger

    return [
        {
            "exchange_id": item.lease.key.exchange_id,
            "lease_id": item.lease.key.lease_id,
            "state": item.lease.state.name,
            "units": dict(item.lease.units),
            "receipts": item.lease.receipt_sequence,
            "acknowledged": item.acked_through,
            "acknowledged_msat": item.acked_msat,
        }
        for item in ledger.leases(view)
    ]


@app.command()
def show(lease: Lease, sequence: Sequence = 0, config: ConfigFile = DEFAULT_PATH) -> None:
    """Print one receipt as JSON."""
    from agent.cli.owner import read_journal
    from agent.config_file import load
    from agent.journal.proofs import find_receipt
    from agent.wire.readable import receipt_json
    from attest.formats import decode_envelope

    def text(view: View) -> str:
        index = find_receipt(view, lease, sequence)
        return receipt_json(decode_envelope(view.envelope(index)).payload)

    echo(read_journal(load(config), text))


@app.command("export-proof")
def export_proof(
    lease: Lease,
    sequence: Sequence = 0,
    out: Annotated[Path, typer.Option("--out", "-o", help="Where to write the file.")] = Path(
        "receipt-proof.json"
    ),
    config: ConfigFile = DEFAULT_PATH,
) -> None:
    """Write one receipt with all that proves it; check it with `hearth verify`."""
    from agent.cli.owner import read_journal
    from agent.config_file import load
    from agent.exchange.enrolment import known
    from agent.journal.proofs import export, find_receipt

    def proof(view: View) -> str:
        index = find_receipt(view, lease, sequence)
        return export(view, index, [item.ak_chain for _, item in known(view)]).decode()

    content = read_journal(load(config), proof)
    with writing(out):
        out.write_text(content, "utf-8")
    echo(str(out))
