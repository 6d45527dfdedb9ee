"""`hearth exchanges`: whom this host is enrolled with."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import typer

from agent.cli.options import DEFAULT_PATH, AsJson, ConfigFile


def exchanges(config: ConfigFile = DEFAULT_PATH, as_json: AsJson = False) -> None:
    """List the exchanges that this host is enrolled with. Works with and without a daemon."""
    from agent.config_file import load
    from agent.exchange.enrolment import known
    from agent.journal.store import View, connect
    from agent.wire.readable import assurance_name

    journal = Path(load(config).state_dir) / "journal.sqlite"
    rows = []
    for _, item in known(View(connect(journal, readonly=True))):
        expire = datetime.fromtimestamp(item.expire_ns // 1_000_000_000, UTC)
        rows.append(
            {
                "exchange_id": item.exchange_id,
                "name": item.display_name,
                "endpoint": item.session_endpoint,
                "assurance": assurance_name(item.assurance),
                "certificate_expires": expire.isoformat(),
            }
        )
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    if not rows:
        typer.echo("no exchanges; enrol with: hearth enroll HOST:PORT --token TOKEN [--ca FILE]")
    for row in rows:
        typer.echo(
            f"{row['exchange_id'][:16]}  {row['name']:20}  {row['endpoint']:24}"
            f"  {row['assurance']}  until {row['certificate_expires'][:10]}"
        )
