"""`hearth demo`: the main job on this host, with what it needs around it."""

from __future__ import annotations

import json
import re
import signal
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agent.cli.options import AsJson

if TYPE_CHECKING:
    from agent.sandbox.demo import Stop, Watcher
    from agent.sandbox.moment import Moment

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|h|)")
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600}


def seconds(text: str) -> float:
    """Read "30s", "2m", "1h" or plain seconds."""
    found = _DURATION.fullmatch(text.strip())
    if found is None or float(found[1]) <= 0:
        raise typer.BadParameter("a duration such as 30s, 2m or 45")
    return float(found[1]) * _SECONDS[found[2]]


def demo(
    duration: Annotated[
        float | None,
        typer.Option(
            "--for", parser=seconds, metavar="TIME", help="End after 30s, 2m, ...; else on Ctrl-C."
        ),
    ] = None,
    directory: Annotated[
        Path | None,
        typer.Option("--dir", help="Empty or new folder for all files; default: a new one."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show the whole way on this host: inventory, enrolment, leases, receipts, proof.

    The host, its counters, the cgroups, mTLS, signatures and the log are real; the TPM is swtpm,
    the meters, the two exchanges and the money are simulated. Exit 0 only when all is well.
    Ctrl-C ends it in good order, a second one at once.
    """
    from agent.sandbox.demo import Demo, Stop, prepare

    where = prepare(directory or Path(tempfile.mkdtemp(prefix="hearth-demo-")))
    stop = Stop()
    _listen(stop)
    watcher: Watcher = _Quiet() if as_json else _Lines()
    try:
        outcome = Demo(where, watcher, stop).run(duration)
    except KeyboardInterrupt:
        sys.stderr.write("hearth demo: aborted; everything was stopped\n")
        raise typer.Exit(130) from None
    if as_json:
        typer.echo(json.dumps(outcome.as_json(), indent=2))
    for problem in outcome.problems():
        typer.echo(f"hearth demo: {problem}", err=True)
    raise typer.Exit(1 if outcome.problems() else 0)


def _listen(stop: Stop) -> None:
    """Take Ctrl-C and SIGTERM: the first asks for an orderly end, the second ends at once."""

    def handler(number: int, frame: object) -> None:
        if stop.asked:
            for signals in (signal.SIGINT, signal.SIGTERM):
                signal.signal(signals, signal.SIG_IGN)
            raise KeyboardInterrupt
        stop.asked = True

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handler)


class _Quiet:
    def event(self, text: str) -> None: ...

    def moment(self, now: Moment) -> None: ...


class _Lines:
    def event(self, text: str) -> None:
        typer.echo(text)

    def moment(self, now: Moment) -> None: ...
