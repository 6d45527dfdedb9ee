"""One TOML file plus conf.d/*.toml, decoded strictly.

An unknown key, a wrong type, a value out of bounds or one that has no effect is a `ConfigError`
that names file, key and what would be accepted.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import msgspec

from agent.config import DEFAULT_PATH, Config
from agent.config_rules import contradictions
from agent.errors import ConfigError


def _merge(base: dict[str, Any], extra: dict[str, Any]) -> dict[str, Any]:
    """Tables merge key by key; anything else in a later file replaces the earlier value."""
    merged = dict(base)
    for key, value in extra.items():
        old = merged.get(key)
        both = isinstance(old, dict) and isinstance(value, dict)
        merged[key] = _merge(old, value) if both and isinstance(old, dict) else value
    return merged


def _decode(raw: dict[str, Any], origin: Path) -> Config:
    try:
        config = msgspec.convert(raw, Config, strict=True)
    except msgspec.ValidationError as error:
        from agent.accepted import accepted  # noqa: PLC0415 - when something is wrong only

        what, _, where = str(error).partition(" - at ")
        path = where.strip("`").removeprefix("$").removeprefix(".")
        what = what.replace("Object contains", "has the").replace("Object missing", "lacks the")
        remedy = accepted(Config, path)
        raise ConfigError(
            f"{origin}: {path or 'top level'}: {what.replace('field', 'key')}"
            + (f"; accepted: {remedy}" if remedy else "")
        ) from None
    return config


def load(path: Path) -> Config:
    """Read `path` and the conf.d folder beside it, in name order.

    :raises ConfigError: naming the file, the key and what would be accepted.
    """
    raw: dict[str, Any] = {}
    for part in (path, *sorted((path.parent / "conf.d").glob("*.toml"))):
        try:
            own = tomllib.loads(part.read_text("utf-8"))
        except FileNotFoundError:
            if part == DEFAULT_PATH:
                continue  # every key has a default
            raise ConfigError(f"{part}: no such file; give --config FILE or create it") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"{part}: not TOML: {error}") from None
        except OSError as error:
            raise ConfigError(f"{part}: {error.strerror}; make it readable for this user") from None
        _decode(own, part)  # names the very file that is wrong
        raw = _merge(raw, own)
    config = _decode(raw, path)
    for key, wrong in contradictions(config):
        raise ConfigError(f"{path}: {key}: {wrong}")
    return config
