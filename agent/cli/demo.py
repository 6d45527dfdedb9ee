"""`hearth demo`: the main job on this host, with what it needs around it."""

from __future__ import annotations

import json
import re
import signal
import tempfile
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agent.cli.lines import account, changes, real, simulated
from agent.cli.options import AsJson
from agent.cli.out import echo
from agent.errors import HearthError

if TYPE_CHECKING:
    from agent.sandbox.demo import Stop, Watcher
    from agent.sandbox.moment import Moment

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|h|)")
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
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
    lightning: Annotated[
        str,
        typer.Option(
            "--lightning",
            envvar="HEARTH_CLN_SOCKETS",
            metavar="OPERATOR,EXCHANGE",
            help="lightning-rpc sockets of real nodes, no mainnet; default: doubles.",
        ),
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Show the whole way on this host: inventory, enrolment, leases, receipts, money, proof.

    The host, its counters, the cgroups, mTLS, signatures and the log are real; the TPM is swtpm,
    the meters, the two exchanges and, unless real ones are named, the Lightning nodes are
    simulated. One lease is soon frozen for a few seconds, so that there is a rebate to show.
    Exit 0 only when all is well.
    Ctrl-C ends it in good order, a second one at once.
    """
    from agent.sandbox.demo import Demo, Stop, prepare

    where = prepare(directory or Path(tempfile.mkdtemp(prefix="hearth-demo-")))
    stop = Stop()
    _listen(stop)
    try:
        with _watcher(duration, as_json) as watcher:
            outcome = Demo(where, watcher, stop, lightning).run(duration)
    except KeyboardInterrupt:
        echo(f"hearth demo: aborted, all of it stopped; its logs are in {where}", err=True)
        raise typer.Exit(130) from None
    except HearthError:
        echo(f"hearth demo: stopped all of it; its logs are in {where}", err=True)
        raise
    for text in [json.dumps(outcome.as_json(), indent=2)] if as_json else account(outcome):
        echo(text)
    for problem in outcome.problems():
        echo(f"hearth demo: {problem}", err=True)
    raise typer.Exit(1 if outcome.problems() else 0)


def _listen(stop: Stop) -> None:
    """Take Ctrl-C, SIGTERM and a terminal that is closed.

    The first asks for an orderly end, the second ends at once.
    """

    def handler(number: int, frame: object) -> None:
        if stop.asked:
            for other in _SIGNALS:
                signal.signal(other, signal.SIG_IGN)
            raise KeyboardInterrupt
        stop.asked = True

    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup(1)
            signal.signal(number, handler)


def _watcher(duration: float | None, as_json: bool) -> AbstractContextManager[Watcher]:
    """A screen on a terminal that can draw one, lines elsewhere, nothing beside JSON."""
    if as_json:
        return nullcontext(_Quiet())
    from rich.console import Console

    console = Console(highlight=False)
    if not console.is_terminal or console.is_dumb_terminal:
        return nullcontext(_Lines())
    from agent.cli.screen import Screen
    from probes.host import Host
    from probes.inventory import take

    return Screen(console, take(Host()), duration)


class _Quiet:
    def event(self, text: str) -> None:
        """Say nothing."""

    def moment(self, now: Moment) -> None:
        """Say nothing."""


class _Lines:
    def __init__(self) -> None:
        self._before: Moment | None = None

    def event(self, text: str) -> None:
        """Print it."""
        echo(text)

    def moment(self, now: Moment) -> None:
        """Print what changed, and at first what is real and what is not."""
        if self._before is None:
            echo(f"real: {real(now)}")
            echo(f"simulated: {simulated(now)}")
        for text in changes(self._before, now):
            echo(text)
        self._before = now
