"""Every rail there is. A new one is a module and a line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from agent.config import Settlement
from agent.errors import ConfigError
from agent.settle.access import read_access
from agent.settle.none import NoRail
from agent.settle.rail import Rail
from agent.settle.remote import RemoteRail, absent
from agent.settle.statement import StatementRail


def _none(_settings: Settlement) -> Rail:
    return NoRail()


def _core_lightning(settings: Settlement) -> Rail:
    return RemoteRail(settings.rail, read_access(settings))


def _statement(settings: Settlement) -> Rail:
    if not settings.directory:
        raise ConfigError("settlement.directory: a folder for the statements is needed")
    return StatementRail(Path(settings.directory))


RAILS: Mapping[str, Callable[[Settlement], Rail]] = {
    "none": _none,
    "cln": _core_lightning,
    "cln-commando": _core_lightning,
    "statement": _statement,
}


def open_rail(settings: Settlement) -> Rail:
    """Return the configured rail. Nothing is started or connected before its first call.

    :raises ConfigError: naming the key that is wrong.
    """
    return RAILS[settings.rail](settings)


def lacking(settings: Settlement) -> str:
    """What to install before the configured rail answers; "" where all of it is there."""
    return absent() if RAILS[settings.rail] is _core_lightning else ""
