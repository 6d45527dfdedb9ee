"""One optional attribute of a device: what it says, or nothing.

An inventory lists what is known. That one attribute of one device is missing, not for us to read
or answered with an error (a device that is being pulled answers anything) takes nothing from the
rest, so here an empty string stands for it; whole sources that fail still raise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from probes.component import clean
from probes.errors import ProbeError

if TYPE_CHECKING:
    from probes.host import Host


def text(host: Host, path: str) -> str:
    """Return the attribute as it stands."""
    try:
        return host.text(path)
    except ProbeError:
        return ""


def name(host: Host, path: str) -> str:
    """Return the attribute as a name for people: padding and placeholders removed."""
    return clean(text(host, path))


def hex_id(host: Host, path: str) -> str:
    """Return a number such as 0x10DE as `10de`."""
    return text(host, path).removeprefix("0x").lower()


def number(host: Host, path: str) -> int | None:
    """Return a decimal integer, None where there is none."""
    try:
        return host.integer(path)
    except ProbeError:
        return None


def target(host: Host, path: str) -> str:
    """Return the last component of what a link points to (`driver`, `subsystem`)."""
    try:
        return host.link(path)
    except ProbeError:
        return ""


def names(host: Host, path: str) -> tuple[str, ...]:
    """Return the names in a directory, none where there is no such directory."""
    try:
        return host.names(path)
    except ProbeError:
        return ()
