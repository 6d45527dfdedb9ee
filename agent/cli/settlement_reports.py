"""`hearth settlement status | metrics | history | export | statement | proof`, from the journal.

They work with and without a daemon.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from agent.cli.options import DEFAULT_PATH, MOST_SEQUENCE, AsJson, ConfigFile, Lease
from agent.cli.out import echo, writing
from agent.core.bounds import MOST_MSAT

if TYPE_CHECKING:
    from agent.config import Config
    from agent.journal.settlement import Rate
    from agent.journal.store import View
    from agent.settle.report import Names

T = TypeVar("T")

# How what a spreadsheet computes begins (OWASP, CSV injection).
FORMULA = ("=", "+", "-", "@", "\t", "\r")
NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?")
Exchange = Annotated[
    str, typer.Option("--exchange", help="Only this exchange: the beginning of its id.")
]
Out = Annotated[
    Path | None, typer.Option("--out", "-o", help="Where to write; standard output by default.")
]


class Format(StrEnum):
    """How rows are written."""

    FOCUS = "focus"
    CSV = "csv"
    JSONL = "jsonl"


class What(StrEnum):
    """What plain rows are about."""

    RECEIPTS = "receipts"
    PAYMENTS = "payments"


def _read(path: Path, question: Callable[[Config, View, Names], T], exchange: str = "") -> T:
    """Answer from configuration, journal, names of the exchanges; a JSON value.

    :param exchange: one is meant whose id begins so.
    """
    from agent.cli.owner import read_journal
    from agent.config_file import load
    from agent.errors import JournalError
    from agent.exchange.enrolment import known

    config = load(path)

    def answer(view: View) -> T:
        exchanges = dict(known(view))
        if exchange and not any(e.exchange_id.startswith(exchange) for e in exchanges.values()):
            raise JournalError(
                f"no exchange's id begins with {exchange!r}; `hearth exchanges --json` lists them"
            )
        return question(config, view, {row: item.display_name for row, item in exchanges.items()})

    return read_journal(config, answer)


def _rate(config: Config) -> Rate:
    """Today's; what is wrong with it goes where no program reads rows."""
    from agent.settle.engine import read_rate

    rate, trouble = read_rate(config)
    if trouble:
        echo(f"hearth: {trouble}", err=True)
    return rate


def status(config: ConfigFile = DEFAULT_PATH, as_json: AsJson = False) -> None:
    """Show alarms, the rail, and where the money of each lease stands."""
    said = _read(config, _standing)
    if as_json:
        echo(json.dumps({**said, "payouts_open": dict(said["payouts_open"])}, indent=2))
        return
    echo(f"rail      {said['rail']}")
    for text in said["alarms"]:
        echo(f"alarm     {text}")
    if not said["leases"]:
        echo("no lease has books yet")
    for row in said["leases"]:
        worth = f" ({row['exposure_amount']} {row['currency']})" if row["currency"] else ""
        echo(
            f"{str(row['lease_id'])[:13]}  {row['exchange_name']:12.12}  {row['state']:8}"
            f"  billed {row['gross_msat']:>12}  received {row['received_msat']:>12}"
            f"  unpaid {row['exposure_msat']:>12} of {row['credit_limit_msat']} msat{worth}"
            f"  {row['credit']}"
        )
        if row["invoice"]:
            label = str(row["invoice"])
            echo(
                f"{'':13}  invoice {row['invoice_state']} {row['invoice_msat']} msat,"
                f" through {label.rsplit('/', 1)[1]}"
            )
        if row["payouts_open_msat"] or row["payouts_paid_msat"] or row["netted_msat"]:
            echo(
                f"{'':13}  given back: paid {row['payouts_paid_msat']}, netted"
                f" {row['netted_msat']}, open {row['payouts_open_msat']} msat"
            )
    for label, msat in said["payouts_open"]:
        echo(f"to give back  {msat} msat  {label}")


def _standing(settings: Config, view: View, names: Names) -> dict[str, Any]:
    from agent.settle import report
    from agent.settle.alarms import alarms

    return {
        "rail": settings.settlement.rail,
        "alarms": [item.text for item in alarms(view, time.time_ns())],
        "leases": report.standings(view, names, _rate(settings)),
        "payouts_open": report.open_payouts(view),
    }


def metrics(config: ConfigFile = DEFAULT_PATH, out: Out = None) -> None:
    """Write where the money stands in Prometheus' text format, alarms among it.

    With --out the file is replaced as a whole, for the textfile collector of node-exporter.
    """
    from agent.settle.metrics import exposition

    def now(settings: Config, view: View, _names: Names) -> str:
        return exposition(view, settings.settlement.rail, time.time_ns())

    text = _read(config, now)
    if out is None:
        echo(text, nl=False)
        return
    made = out.parent / f".{out.name}.{os.getpid()}"
    with writing(out):
        try:
            made.write_text(text, encoding="utf-8")
            made.replace(out)
        finally:
            made.unlink(missing_ok=True)


def history(
    config: ConfigFile = DEFAULT_PATH,
    exchange: Exchange = "",
    most: Annotated[int, typer.Option("--most", min=1, help="Only the newest.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List payments, newest last."""
    from agent.settle import report

    def newest(_settings: Config, view: View, names: Names) -> list[dict[str, Any]]:
        return [dict(row) for row in report.payments(view, names, exchange=exchange)][-most:]

    rows = _read(config, newest, exchange)
    if as_json:
        echo(json.dumps(rows, indent=2))
        return
    if not rows:
        echo("no payments yet")
    for row in rows:
        worth = f"  {row['amount']} {row['currency']}" if row["currency"] else ""
        echo(
            f"{row['exchange_name']:12.12} {row['number']:>6}  {row['paid']}"
            f"  {row['msat']:>12} msat{worth}  {row['reference']}"
        )


def export(
    config: ConfigFile = DEFAULT_PATH,
    form: Annotated[Format, typer.Option("--format", help="How to write it.")] = Format.CSV,
    what: Annotated[What, typer.Option("--what", help="For csv and jsonl.")] = What.RECEIPTS,
    exchange: Exchange = "",
    out: Out = None,
) -> None:
    """Write billing records: FOCUS 1.4, or receipts or payments as plain CSV or JSON Lines."""
    from agent.settle import focus, report

    if form is Format.FOCUS and what is What.PAYMENTS:
        raise typer.BadParameter("FOCUS has charges, not payments; use csv or jsonl for those")

    def records(settings: Config, view: View, names: Names) -> str:
        if form is Format.FOCUS:
            issuer = focus.Issuer(settings.site.id, _rate(settings))
            return _csv(focus.rows(view, names, issuer, exchange=exchange), focus.COLUMNS)
        rows = (
            report.plain(view, names, exchange=exchange)
            if what is What.RECEIPTS
            else report.payments(view, names, exchange=exchange)
        )
        columns = report.RECEIPT_COLUMNS if what is What.RECEIPTS else report.PAYMENT_COLUMNS
        return _csv(rows, columns) if form is Format.CSV else _lines(rows)

    _write(_read(config, records, exchange), out)


def statement(
    year: Annotated[int, typer.Argument(min=2009, max=2099, help="Calendar year, UTC.")],
    exchange: Annotated[str, typer.Argument(help="Exchange: the beginning of its id.")],
    config: ConfigFile = DEFAULT_PATH,
    out: Out = None,
) -> None:
    """Write the year's statement for one exchange as CSV, for a tax adviser.

    Numbers run on without a gap over all years; each row has the exchange rate of its payment and
    who stated it. The last row has the sums.
    """
    from agent.errors import JournalError
    from agent.settle import report

    def records(_settings: Config, view: View, names: Names) -> str:
        rows = list(report.payments(view, names, exchange=exchange, year=year))
        if len({row["exchange_id"] for row in rows}) > 1:
            raise JournalError(
                f"more than one exchange begins with {exchange!r}; give more of its id"
            )
        return _csv([*rows, report.sums(rows)], report.PAYMENT_COLUMNS)

    _write(_read(config, records, exchange), out)


def adjust(
    lease: Lease,
    msat: Annotated[
        int,
        typer.Argument(min=-MOST_MSAT, max=MOST_MSAT, help="Below zero: the exchange owes less."),
    ],
    reason: Annotated[str, typer.Option("--reason", help="What the exchange is told.")],
    dispute: Annotated[str, typer.Option("--dispute", help="Id of the dispute it ends.")] = "",
    config: ConfigFile = DEFAULT_PATH,
) -> None:
    """Sign a correction of what a lease owes; the daemon must run."""
    from hearth.admin.v1 import admin_pb2

    from agent.cli.socket import DEADLINE_S, ask
    from agent.config_file import load

    request = admin_pb2.AdjustRequest(lease_id=lease, msat=msat, reason=reason, dispute_id=dispute)
    done = ask(
        Path(load(config).admin_socket), lambda stub: stub.Adjust(request, timeout=DEADLINE_S)
    )
    echo(f"{done.lease_id}: {done.adjustment_msat_total} msat of corrections in all")


def proof(
    lease: Lease,
    sequence: Annotated[
        int, typer.Argument(help="Sequence of the receipt.", min=1, max=MOST_SEQUENCE)
    ],
    config: ConfigFile = DEFAULT_PATH,
    out: Annotated[Path, typer.Option("--out", "-o")] = Path("payment-proof.json"),
) -> None:
    """Write the signed notice of the payment that covers a receipt, with all that proves it."""
    from agent.exchange.enrolment import known
    from agent.journal.proofs import export as prove
    from agent.settle.report import payment_leaf

    def covering(_settings: Config, view: View, _names: Names) -> str:
        index = payment_leaf(view, lease, sequence)
        return prove(view, index, [item.ak_chain for _, item in known(view)]).decode()

    content = _read(config, covering)
    with writing(out):
        out.write_text(content, "utf-8")
    echo(str(out))


def _csv(rows: Iterable[Mapping[str, object]], columns: Iterable[str]) -> str:
    text = io.StringIO()
    names = list(columns)
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({name: _cell(row.get(name)) for name in names})
    return text.getvalue()


def _cell(value: object) -> object:
    """A cell that no spreadsheet takes for a formula: a name is somebody else's words."""
    if isinstance(value, str) and value[:1] in FORMULA and not NUMBER.fullmatch(value):
        return f"'{value}"
    return value


def _lines(rows: Iterable[Mapping[str, object]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def _write(text: str, out: Path | None) -> None:
    if out is None:
        echo(text, nl=False)
        return
    with writing(out):
        out.write_text(text)
    echo(f"{out}: written {datetime.now(UTC).isoformat(timespec='seconds')}")
