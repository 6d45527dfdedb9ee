"""Writing: to the terminal, and where `--out` says."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer

from agent.errors import ConfigError

# C0 and C1 but tab and newline, and what no encoding has: of a terminal they are orders.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


def echo(text: object = "", *, err: bool = False, nl: bool = True) -> None:
    """Print a text, with a blank for whatever would drive a terminal: some of it is not ours.

    It may be an exchange's, or out of a journal whose owner was taken over.
    """
    typer.echo(_CONTROL.sub(" ", str(text)), err=err, nl=nl)


def clear() -> None:
    """Empty the screen, where there is one (console_codes(4))."""
    if sys.stdout.isatty():
        typer.echo("\x1b[H\x1b[2J", nl=False)


@contextmanager
def writing(out: Path) -> Iterator[None]:
    """Write a file in here.

    :raises ConfigError: for whatever the system has against it.
    """
    try:
        yield
    except OSError as error:
        raise ConfigError(f"{out}: {error.strerror}; name another place with --out") from None
