"""Runes: what a bearer of one may ask of a Core Lightning node. Pure.

A rune is base64url of a 32-byte authentication code and text: restrictions joined by `&`, each of
them alternatives joined by `|`, each of these a field, a condition and a value. Every restriction
must hold, for which one alternative suffices (lightning-createrune(7)). The words of a refusal are
the node's own.
"""

from __future__ import annotations

import base64
import binascii
import json
import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

CODE_BYTES = 32
_FIELD_END = set(string.punctuation) - {"_"}
_ENGLISH = {
    "=": "equal to",
    "/": "unequal to",
    "^": "starts with",
    "$": "ends with",
    "~": "contains",
    "<": "<",
    ">": ">",
    "{": "sorts before",
    "}": "sorts after",
}
_COMPLAINT = {
    "=": "is not equal to",
    "/": "is equal to",
    "^": "does not start with",
    "$": "does not end with",
    "~": "does not contain",
    "<": "is greater or equal to",
    ">": "is less or equal to",
    "{": "is equal to or ordered after",
    "}": "is equal to or ordered before",
}
_CONDITIONS = frozenset(_ENGLISH) | {"!", "#"}
_MOST_S64 = (1 << 63) - 1
_PER_UNITS = {
    "sec": 1_000_000_000,
    "min": 60_000_000_000,
    "hour": 3_600_000_000_000,
    "day": 86_400_000_000_000,
    "msec": 1_000_000,
    "usec": 1_000,
    "nsec": 1,
}


class NotARune(ValueError):
    """Text that is no rune, or a restriction that is none."""


@dataclass(frozen=True, slots=True)
class Alternative:
    """One condition on one field."""

    field: str
    condition: str
    value: str

    @classmethod
    def parse(cls, text: str) -> Alternative:
        """Read `field condition value`, unescaped.

        :raises NotARune: when there is no condition in it.
        """
        end = next((at for at, c in enumerate(text) if c in _FIELD_END), len(text))
        if end == len(text) or text[end] not in _CONDITIONS:
            raise NotARune(f"{text!r} is not a restriction")
        return cls(text[:end], text[end], text[end + 1 :])

    def text(self) -> str:
        """Write it as it stands in a rune."""
        value = self.value.replace("\\", "\\\\").replace("|", "\\|").replace("&", "\\&")
        return self.field + self.condition + value

    def english(self) -> str:
        """Say it in the node's words (showrunes)."""
        if self.condition == "!":
            return f"{self.field} is missing"
        if self.condition == "#":
            return f"comment: {self.field} {self.value}"
        return f"{self.field} {_ENGLISH[self.condition]} {self.value}"


Restriction = tuple[Alternative, ...]


@dataclass(frozen=True, slots=True)
class Rune:
    """A rune taken apart. `restrictions` are without the unique id."""

    code: bytes
    unique_id: str
    restrictions: tuple[Restriction, ...]

    def body(self) -> str:
        """What the authentication code is over, with the unique id first."""
        rows = [f"={self.unique_id}"] if self.unique_id else []
        rows += ["|".join(alternative.text() for alternative in row) for row in self.restrictions]
        return "&".join(rows)

    def text(self) -> str:
        """Base64url of code and body: what is handed out."""
        return base64.urlsafe_b64encode(self.code + self.body().encode()).decode()


def _split(text: str) -> list[list[str]]:
    """Cut at unescaped `&` and `|`."""
    rows: list[list[str]] = [[""]]
    escaped = False
    for character in text:
        if escaped or character not in "\\&|":
            rows[-1][-1] += character
            escaped = False
        elif character == "\\":
            escaped = True
        elif character == "&":
            rows.append([""])
        else:
            rows[-1].append("")
    return rows


def parse(text: str) -> Rune:
    """Take a rune apart; whether the code is right only its node can say.

    :raises NotARune: when it is none.
    """
    try:
        raw = base64.b64decode(text.strip().encode("ascii"), altchars=b"-_", validate=True)
        body = raw[CODE_BYTES:].decode()
    except (binascii.Error, UnicodeError) as error:
        raise NotARune(f"not base64url of text: {error}") from None
    if len(raw) < CODE_BYTES:
        raise NotARune("too short")
    rows = [tuple(map(Alternative.parse, row)) for row in _split(body)] if body else []
    unique_id = ""
    if rows and rows[0][0].field == "":
        if len(rows[0]) != 1 or rows[0][0].condition != "=":
            raise NotARune("the unique id is not alone")
        unique_id = rows.pop(0)[0].value
    if any(alternative.field == "" for row in rows for alternative in row):
        raise NotARune("a second unique id")
    return Rune(raw[:CODE_BYTES], unique_id, tuple(rows))


@dataclass(frozen=True, slots=True)
class Call:
    """What is asked, by whom, when."""

    method: str
    params: Mapping[str, object] | Sequence[object] = field(default_factory=dict)
    node_id: str = ""  # of the asking peer, hex; empty when there is none
    now_s: int = 0
    since_last_use_ns: int | None = None  # None: never used, so no rate is exceeded


def refusal(rune: Rune, call: Call) -> str | None:
    """Return why this call is not permitted, or None when it is."""
    for row in rune.restrictions:
        complaints = []
        for alternative in row:
            complaint = _complaint(alternative, call)
            if complaint is None:
                break
            complaints.append(complaint)
        else:
            return " AND ".join(complaints)
    return None


def _complaint(alternative: Alternative, call: Call) -> str | None:
    if alternative.condition == "#":
        return None
    name = alternative.field
    if name in {"rate", "per"}:
        return _too_soon(alternative, call)
    spoken, value = _value(name, call)
    if value is None:
        return None if alternative.condition == "!" else f"{spoken} not present"
    if alternative.condition == "!":
        return f"{spoken} is present"
    if alternative.condition in "<>":
        return _numeric(alternative, spoken, value)
    holds = _TEXTUAL[alternative.condition](str(value), alternative.value)
    return None if holds else f"{spoken} {_COMPLAINT[alternative.condition]} {alternative.value}"


_TEXTUAL: dict[str, Callable[[str, str], bool]] = {
    "=": lambda value, wanted: value == wanted,
    "/": lambda value, wanted: value != wanted,
    "^": lambda value, wanted: value.startswith(wanted),
    "$": lambda value, wanted: value.endswith(wanted),
    "~": lambda value, wanted: wanted in value,
    "{": lambda value, wanted: value < wanted,
    "}": lambda value, wanted: value > wanted,
}


def _value(name: str, call: Call) -> tuple[str, object | None]:
    """What the node calls a field, and its value: int, or text as it stands in the JSON."""
    plain: dict[str, tuple[str, object | None]] = {
        "time": ("time", call.now_s),
        "id": ("id", call.node_id or None),
        "method": ("method", call.method),
        "pnum": ("number of parameters", len(call.params)),
    }
    if name in plain:
        return plain[name]
    if name.startswith("pname"):
        wanted = name.removeprefix("pname")
        named = call.params if isinstance(call.params, Mapping) else {}
        return f"parameter {wanted}", _token(named.get(wanted))
    if name.startswith("parr") and name[4:].isdigit():
        listed = [] if isinstance(call.params, Mapping) else call.params
        at = int(name[4:])
        return f"parameter {at}", _token(listed[at]) if at < len(listed) else None
    return name, None


def _token(value: object) -> object | None:
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def _numeric(alternative: Alternative, spoken: str, value: object) -> str | None:
    if not isinstance(value, int) or not -_MOST_S64 - 1 <= value <= _MOST_S64:
        return f"{spoken} is not an integer field"
    try:
        bound = int(alternative.value)
    except ValueError:
        return f"{alternative.value} is not a valid integer"
    holds = value < bound if alternative.condition == "<" else value > bound
    return None if holds else f"{spoken} {_COMPLAINT[alternative.condition]} {alternative.value}"


def _too_soon(alternative: Alternative, call: Call) -> str | None:
    every = interval_ns(alternative)
    if every is None:
        return f"malformed {alternative.field}"
    recent = call.since_last_use_ns is not None and call.since_last_use_ns < every
    return "too soon" if recent else None


def interval_ns(alternative: Alternative) -> int | None:
    """How long between two calls: `rate=N` is N a minute, `per=2min` one in two minutes."""
    if alternative.condition != "=":
        return None
    if alternative.field == "rate":
        number = alternative.value
        return 60_000_000_000 // int(number) if number.isdigit() and int(number) else None
    digits = alternative.value.rstrip(string.ascii_letters)
    unit = _PER_UNITS.get(alternative.value[len(digits) :])
    return int(digits or 1) * unit if unit and (digits or "1").isdigit() else None
