"""`hearth exchanges`: whom this host is enrolled with."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from agent.cli.options import DEFAULT_PATH, AsJson, ConfigFile
from agent.cli.out import echo

if TYPE_CHECKING:
    from agent.journal.store import View


def exchanges(config: ConfigFile = DEFAULT_PATH, as_json: AsJson = False) -> None:
    """List the exchanges that this host is enrolled with. Works with and without a daemon."""
    from agent.cli.owner import read_journal
    from agent.config_file import load

    rows = read_journal(load(config), _rows)
    if as_json:
        echo(json.dumps(rows, indent=2))
        return
    if not rows:
        echo("no exchanges; enrol with: hearth enroll HOST:PORT --token TOKEN [--ca FILE]")
    for row in rows:
        echo(
            f"{row['exchange_id'][:16]}  {row['name']:20}  {row['endpoint']:24}"
            f"  {row['assurance']}  until {row['certificate_expires'][:10]}"
        )


def _rows(view: View) -> list[dict[str, str]]:
    from agent.exchange.enrolment import known
    from agent.wire.readable import assurance_name

    return [
        {
            "exchange_id": item.exchange_id,
            "name": item.display_name,
            "endpoint": item.session_endpoint,
            "assurance": assurance_name(item.assurance),
            "certificate_expires": datetime.fromtimestamp(
                item.expire_ns // 1_000_000_000, UTC
            ).isoformat(),
        }
        for _, item in known(view)
    ]
