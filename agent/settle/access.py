"""How a rail's node is reached: what the configuration names, read and checked."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from agent.config import Settlement
from agent.errors import ConfigError
from agent.settle.runes import NotARune, parse

_NODE = re.compile(r"(0[23][0-9a-f]{64})@(\[[0-9a-fA-F:]+\]|[^:\[\]@]+):([0-9]{1,5})")
_HEX_KEY = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class SocketAccess:
    """Core Lightning's own unix socket: full control of the node."""

    socket: str


@dataclass(frozen=True, slots=True)
class RuneAccess:
    """Commando over the peer protocol: what the runes permit, and nothing else."""

    node_id: str
    host: str
    port: int
    invoice_rune: str
    pay_rune: str = ""
    payments_rune: str = ""
    key: str = ""  # hex of our own key, for runes bound to it; empty: a new one each time


Access = SocketAccess | RuneAccess


def read_access(settings: Settlement) -> Access:
    """Read what the settings name.

    :raises ConfigError: naming the key and what would be accepted.
    """
    if settings.rail == "cln":
        if not settings.socket:
            raise ConfigError("settlement.socket: the path of lightning-rpc is needed")
        return SocketAccess(settings.socket)
    match = _NODE.fullmatch(settings.node)
    if match is None or not 0 < int(match[3]) < 65_536:
        raise ConfigError("settlement.node: <66 hex digits>@<host>:<port> is needed")
    return RuneAccess(
        node_id=match[1],
        host=match[2].strip("[]"),
        port=int(match[3]),
        invoice_rune=_rune("invoice_rune_file", settings.invoice_rune_file, needed=True),
        pay_rune=_rune("pay_rune_file", settings.pay_rune_file),
        payments_rune=_rune("payments_rune_file", settings.payments_rune_file),
        key=read_key(settings.key_file),
    )


def read_secret(path: Path) -> str:
    """Read a file with one rune or key in it.

    :raises ConfigError: when it cannot be read, or is no text.
    """
    try:
        return path.read_text("ascii").strip()
    except OSError as error:
        raise ConfigError(
            f"{path}: {error.strerror}; name a file that this user may read"
        ) from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not text; it must hold one rune or key, and no more") from None


def _rune(key: str, path: str, *, needed: bool = False) -> str:
    if not path and not needed:
        return ""
    if not path:
        raise ConfigError(f"settlement.{key}: a file with a rune is needed")
    text = read_secret(Path(path))
    try:
        parse(text)
    except NotARune as error:
        raise ConfigError(f"settlement.{key}: {path}: not a rune: {error}") from None
    return text


def read_key(path: str) -> str:
    """Read the key that runes are bound to; none when no file is named.

    :raises ConfigError: when there is no key in it.
    """
    if not path:
        return ""
    text = read_secret(Path(path))
    if not _HEX_KEY.fullmatch(text):
        raise ConfigError(f"settlement.key_file: {path}: 64 hex digits are needed")
    return text
