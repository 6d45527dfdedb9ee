"""`hearth settlement`: how the operator is paid."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agent.cli.options import DEFAULT_PATH, ConfigFile
from agent.cli.out import echo
from agent.core.bounds import MOST_MSAT as BITCOIN_MSAT
from agent.settle.audit import Purpose, pauses
from agent.settle.runes import Alternative

if TYPE_CHECKING:
    from agent.config import Settlement
    from agent.settle.audit import Check
    from agent.settle.inspection import Inspected, Limits

app = typer.Typer(no_args_is_help=True, help="How the operator is paid.")

MOST_MSAT, EVERY = 1_000_000, "1min"


def _interval(every: str | None) -> str | None:
    """Hold it against what a node understands: it goes into a command that somebody types."""
    if every is not None and not pauses(Alternative("per", "=", every)):
        raise typer.BadParameter(f"{every!r}; a second or more is needed, like 30sec, 1min, 2hour")
    return every


MostMsat = Annotated[
    int | None,
    typer.Option(
        "--most-msat",
        min=1,
        max=BITCOIN_MSAT,
        help=f"Most that one rebate may cost, fees included; default: {MOST_MSAT}.",
    ),
]
Every = Annotated[
    str | None,
    typer.Option(
        "--every", callback=_interval, help=f"Least time between two rebates; default: {EVERY}."
    ),
]
RuneFile = Annotated[
    Path | None, typer.Option("--rune", help="Check this rune instead of the configured ones.")
]
For = Annotated[Purpose, typer.Option("--for", help="What that rune is meant for.")]
Socket = Annotated[
    Path | None,
    typer.Option("--socket", help="lightning-rpc: let the node itself check the runes."),
]
NewKey = Annotated[
    Path | None, typer.Option("--new-key", help="Make a key to bind the runes to, and stop.")
]


@app.callback()
def settlement() -> None:
    """How the operator is paid."""


@app.command()
def setup(
    config: ConfigFile = DEFAULT_PATH,
    most_msat: MostMsat = None,
    every: Every = None,
    rune: RuneFile = None,
    purpose: For = Purpose.INVOICE,
    socket: Socket = None,
    new_key: NewKey = None,
) -> None:
    """Say how to give the agent as little power over the node as it needs, and check what it has.

    The commands that make runes are written out where one is missing or not as it should be, and
    whenever limits are given. Exit 1 when a rune allows what it must not, or refuses what the agent
    needs.
    """
    if new_key is not None:
        _make_key(new_key)
        return
    from agent.config_file import load
    from agent.settle.access import read_secret
    from agent.settle.inspection import Limits, runes_of

    settings = load(config).settlement
    if rune is not None:
        given = {purpose: read_secret(rune)}
    elif settings.rail in ("none", "statement"):
        given = {}
    else:
        from agent.settle.access import read_access

        given = dict(runes_of(read_access(settings)))
    bad = False
    if rune is None:
        _say_access(settings)
    for what, text in given.items():
        bad |= _say_rune(what, text, socket, settings.caps.payment_msat)
    wanted = bad or len(given) < len(Purpose) or (most_msat, every) != (None, None)
    if rune is None and wanted and settings.rail != "statement":
        _say_commands(Limits(most_msat or MOST_MSAT, every or EVERY), settings.key_file)
    if bad:
        raise typer.Exit(1)


def _make_key(path: Path) -> None:
    from agent.core.secp256k1 import N, compressed, times_generator
    from agent.errors import ConfigError

    number = secrets.randbelow(N - 1) + 1
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; name a file that is not there yet") from None
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(f"{number:064x}\n")
    echo(f"{path}: made; its id is {compressed(times_generator(number)).hex()}")


def _key_id(key_file: str) -> str:
    from agent.core.secp256k1 import compressed, times_generator
    from agent.settle.access import read_key

    if not key_file:
        return ""
    return compressed(times_generator(int(read_key(key_file), 16))).hex()


def _say_access(settings: Settlement) -> None:
    from agent.settle.inspection import FULL_CONTROL

    match settings.rail:
        case "none":
            echo("no rail is configured: nothing is invoiced over Lightning")
        case "statement":
            echo(f"rail statement, {settings.directory}: no node to be set up")
        case "cln":
            echo(f"rail cln, {settings.socket}\n  WARNING: {FULL_CONTROL}")
        case _:
            echo(f"rail {settings.rail}, {settings.node}")


def _say_rune(purpose: Purpose, text: str, socket: Path | None, most_msat: int) -> bool:
    import asyncio

    from agent.errors import ConfigError
    from agent.settle.inspection import inspect
    from agent.settle.runes import NotARune

    try:
        judged = inspect(text, purpose, most_msat)
    except NotARune as error:
        text = f"{purpose} rune: not a rune: {error}; what createrune answered as `rune` is needed"
        raise ConfigError(text) from None
    _say_judgement(judged)
    node_says = [] if socket is None else asyncio.run(_ask_node(text, purpose, socket))
    for line in node_says:
        echo(f"  {line}")
    return bool(judged.findings or judged.missing or node_says)


def _say_judgement(judged: Inspected) -> None:
    fine = not judged.findings and not judged.missing
    echo(f"{judged.purpose} rune: {'fine' if fine else 'not as it should be'}")
    for finding in judged.findings:
        echo(f"  {'DRAINS THE NODE' if finding.drains else 'too much'}: {finding.text}")
    for method in judged.missing:
        echo(f"  too little: it refuses {method}")


async def _ask_node(text: str, purpose: Purpose, socket: Path) -> list[str]:
    """What the node itself says otherwise than it should (`checkrune`)."""
    from agent.settle.access import SocketAccess
    from agent.settle.audit import CHECKS, holder
    from agent.settle.remote import RemoteRail
    from agent.settle.runes import parse

    rail = RemoteRail("cln", SocketAccess(str(socket)))
    try:
        said = []
        for check in CHECKS[purpose]:
            params = check.params if isinstance(check.params, tuple) else dict(check.params)
            answer = await rail.check_rune(text, check.method, params, holder(parse(text)))
            said += _contradiction(check, answer)
        return said
    finally:
        await rail.close()


def _contradiction(check: Check, answer: str) -> list[str]:
    if "too soon" in answer:  # a `rate` or `per`: it says nothing about the call itself
        return []
    if check.must_pass and answer:
        return [f"the node refuses {check.method}: {answer}"]
    if not check.must_pass and not answer:
        return [f"the node allows {check.method}: {check.why}"]
    return []


def _say_commands(limits: Limits, key_file: str) -> None:
    from agent.settle.inspection import commands

    key_id = _key_id(key_file)
    made = commands(limits, key_id)
    echo("\nThe least that is needed, to be typed where the node runs:\n")
    echo(f"# to be paid\n{made[Purpose.INVOICE]}\n")
    echo(
        f"# to pay rebates: at most {limits.most_msat} msat each, fees included, once in "
        f"{limits.every}\n{made[Purpose.PAY]}\n\n# to see what was paid: no rebate without it\n"
        f"{made[Purpose.PAYMENTS]}\n"
    )
    echo(
        "Put each rune alone into a file that only hearth can read, and name the files:\n\n"
        "[settlement]\n"
        'rail = "cln-commando"\n'
        'node = "<id>@<host>:9735"\n'
        + (f'key_file = "{key_file}"\n' if key_file else "")
        + 'invoice_rune_file = "/etc/hearth/settlement/invoice.rune"\n'
        'pay_rune_file = "/etc/hearth/settlement/pay.rune"\n'
        'payments_rune_file = "/etc/hearth/settlement/payments.rune"\n'
    )
    if not key_id:
        echo(
            "Whoever holds a rune may use it. To bind them to this host: hearth settlement setup\n"
            "--new-key /etc/hearth/settlement/lightning.key, name it as key_file and ask again."
        )
    echo("In the node's own configuration: xpay-slow-mode=true")
