"""Writing where `--out` says."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agent.errors import ConfigError


@contextmanager
def writing(out: Path) -> Iterator[None]:
    """Write a file in here.

    :raises ConfigError: for whatever the system has against it.
    """
    try:
        yield
    except OSError as error:
        raise ConfigError(f"{out}: {error.strerror}; name another place with --out") from None
