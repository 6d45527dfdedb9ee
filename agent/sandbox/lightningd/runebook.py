"""The runes of one node: made, checked, withdrawn (lightning-createrune(7))."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from agent.sandbox.lightningd.refusal import Code, Refusal
from agent.settle.runes import Alternative, Call, NotARune, Restriction, Rune, parse, refusal

READ_ONLY = (
    (("method", "^", "list"), ("method", "^", "get"), ("method", "=", "summary")),
    (("method", "/", "listdatastore"),),
)


def _padded(text: bytes) -> bytes:
    """SHA-256's own padding, which stands between the restrictions that are hashed."""
    return text + b"\x80" + b"\0" * (-(len(text) + 9) % 64) + (len(text) * 8).to_bytes(8, "big")


def authenticate(secret: bytes, unique_id: str, restrictions: Sequence[Restriction]) -> bytes:
    """The code of a rune: the hash state after the secret and every restriction."""
    whole = _padded(secret)
    for row in Rune(b"", unique_id, tuple(restrictions)).body().split("&"):
        last = whole + row.encode()
        whole = _padded(last)
    return hashlib.sha256(last).digest()


@dataclass(slots=True)
class RuneBook:
    """What was handed out. `foreign`: texts taken for our own, for recorded ones."""

    secret: bytes
    clock: Callable[[], float]
    made: list[str] = field(default_factory=list)
    last_used: dict[str, float] = field(default_factory=dict)
    blacklist: list[tuple[int, int]] = field(default_factory=list)
    foreign: set[str] = field(default_factory=set)
    next_id: int = 0

    def make(self, restrictions: Sequence[Restriction], base: Rune | None = None) -> Rune:
        """Make a rune, or narrow an old one, which keeps its id."""
        if base is None:
            base = Rune(b"", str(self.next_id), ())
            self.next_id += 1
        rows = (*base.restrictions, *restrictions)
        rune = Rune(authenticate(self.secret, base.unique_id, rows), base.unique_id, rows)
        if not base.code:
            self.made.append(rune.text())
        return rune

    def blacklisted(self, rune: Rune) -> bool:
        """Whether it was withdrawn."""
        number = int(rune.unique_id) if rune.unique_id.isdigit() else -1
        return any(start <= number <= end for start, end in self.blacklist)

    def check(
        self, text: str, method: str, params: Mapping[str, Any] | Sequence[Any], node_id: str = ""
    ) -> None:
        """Let a call pass, which counts as a use.

        :raises Refusal: -32602, 1501, 1502 or 1503.
        """
        rune = read_rune(text)
        ours = authenticate(self.secret, rune.unique_id, rune.restrictions) == rune.code
        if not ours and text not in self.foreign:
            raise Refusal(Code.RUNE_UNKNOWN, "Not authorized: Not derived from master")
        if self.blacklisted(rune):
            raise Refusal(Code.RUNE_BLACKLISTED, "Not authorized: Blacklisted rune")
        now, used = self.clock(), self.last_used.get(rune.unique_id)
        since = None if used is None else int((now - used) * 1_000_000_000)
        reason = refusal(rune, Call(method, params, node_id, int(now), since))
        if reason is not None:
            raise Refusal(Code.RUNE_FORBIDS, f"Not permitted: {reason}")
        self.last_used[rune.unique_id] = now

    def shown(self, text: str) -> dict[str, Any]:
        """The row of showrunes."""
        rune = read_rune(text)
        row: dict[str, Any] = {"rune": text}
        if self.blacklisted(rune):
            row["blacklisted"] = True
        if rune.unique_id in self.last_used:
            row["last_used"] = self.last_used[rune.unique_id]
        rows = [
            {
                "alternatives": [
                    {
                        "fieldname": alternative.field,
                        "value": alternative.value,
                        "condition": alternative.condition,
                        "english": alternative.english(),
                    }
                    for alternative in restriction
                ],
                "english": " OR ".join(alternative.english() for alternative in restriction),
            }
            for restriction in rune.restrictions
        ]
        english = " AND ".join(str(one["english"]) for one in rows)
        return {
            **row,
            "unique_id": rune.unique_id,
            "restrictions": rows,
            "restrictions_as_english": english,
        }


def read_rune(text: str) -> Rune:
    """Take a rune apart.

    :raises Refusal: when it is none.
    """
    try:
        return parse(text)
    except NotARune:
        raise Refusal(
            Code.BAD_PARAMETER, f"rune: should be base64 string: invalid token '\"{text}\"'"
        ) from None


def read_restrictions(value: object) -> list[Restriction]:
    """Read what createrune is given: "readonly", or a list of lists of alternatives.

    :raises Refusal: -32602.
    """
    if value == "readonly":
        return [tuple(Alternative(*fields) for fields in row) for row in READ_ONLY]
    if not isinstance(value, list):
        raise _bad_restriction(value)
    rows = [row if isinstance(row, list) else [row] for row in value]
    try:
        return [tuple(Alternative.parse(str(text)) for text in row) for row in rows]
    except NotARune:
        raise _bad_restriction(value[0]) from None


def _bad_restriction(value: object) -> Refusal:
    return Refusal(
        Code.BAD_PARAMETER,
        "restrictions: not a valid restriction (should be array): "
        f"invalid token '{json.dumps(value)}'",
    )
