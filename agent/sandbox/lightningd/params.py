"""Parameters by name or by position, checked and refused in Core Lightning's words."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from agent.sandbox.lightningd.refusal import Code, Refusal

Args = dict[str, Any]
_MSAT = re.compile(r"([0-9]+(?:\.[0-9]+)?)(msat|sat|btc)?")
_SIZES = {None: 1, "msat": 1, "sat": 1000, "btc": 100_000_000_000}


class Bad(Exception):
    """A value that is not of its kind; the message says what it should be."""


@dataclass(frozen=True, slots=True)
class Param:
    """One parameter: its name, its reader, whether it must be there."""

    name: str
    read: Callable[[Any], Any]
    required: bool = False


def read_params(spec: Sequence[Param], given: Mapping[str, Any] | Sequence[Any]) -> Args:
    """Check what was given against the specification; what is missing is None.

    :raises Refusal: -32602.
    """
    by_name = {param.name: param for param in spec}
    if not isinstance(given, Mapping):
        if len(given) > len(spec):
            raise Refusal(Code.BAD_PARAMETER, f"too many parameters: got {len(given)}")
        given = {param.name: value for param, value in zip(spec, given, strict=False)}
    args: Args = dict.fromkeys(by_name)
    for name, value in given.items():
        if name not in by_name:
            raise Refusal(
                Code.BAD_PARAMETER,
                f"unknown parameter: {name}, this may be caused by a failure to autodetect "
                "key=value-style parameters. Please try using the -k flag and explicit key=value "
                "pairs of parameters.",
            )
        try:
            args[name] = None if value is None else by_name[name].read(value)
        except Bad as error:
            token = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
            raise Refusal(Code.BAD_PARAMETER, f"{name}: {error}: invalid token '{token}'") from None
    for param in spec:
        if param.required and args[param.name] is None:
            raise Refusal(Code.BAD_PARAMETER, f"missing required parameter: {param.name}")
    return args


def _msat(value: Any, what: str) -> int:
    match = None
    if isinstance(value, int | str) and not isinstance(value, bool):
        match = _MSAT.fullmatch(str(value))
    if match is None:
        raise Bad(what)
    exact = Decimal(match[1]) * _SIZES[match[2]]
    if exact != int(exact):
        raise Bad(what)
    return int(exact)


def positive_msat_or_any(value: Any) -> int | str:
    """An invoice's amount."""
    what = "should be positive msat or 'any'"
    if value == "any":
        return "any"
    amount = _msat(value, what)
    if amount <= 0:
        raise Bad(what)
    return amount


def msat(value: Any) -> int:
    """An amount."""
    return _msat(value, "should be a millisatoshi amount")


def label(value: Any) -> str:
    """A label: a string, or a number as one."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise Bad("should be a string or number")
    return str(value)


def text(value: Any) -> str:
    """A string."""
    if not isinstance(value, str):
        raise Bad("should be a string")
    return value


def boolean(value: Any) -> bool:
    """True or false, also as strings."""
    if value in (True, "true"):
        return True
    if value in (False, "false"):
        return False
    raise Bad("should be 'true' or 'false'")


def integer(value: Any) -> int:
    """A number. A negative one is let through where the node lets it through."""
    if isinstance(value, bool) or not re.fullmatch(r"-?[0-9]{1,20}", str(value)):
        raise Bad("should be an unsigned 64 bit integer")
    return int(value)


def hash_hex(value: Any) -> str:
    """32 bytes in hex."""
    if not isinstance(value, str) or not re.fullmatch(r"[0-9a-f]{64}", value):
        raise Bad("should be a 32 byte hex value")
    return value


def node_id(value: Any) -> str:
    """A node's id."""
    if not isinstance(value, str) or not re.fullmatch(r"0[23][0-9a-f]{64}", value):
        raise Bad("should be a node id")
    return value


def anything(value: Any) -> Any:
    """Whatever it is."""
    return value


def array(value: Any) -> list[Any]:
    """A list."""
    if not isinstance(value, list):
        raise Bad("should be an array")
    return value
