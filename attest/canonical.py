"""Canonical JSON (RFC 8785) of a message: one encoding for each value. Pure.

Field names as in the .proto, bytes as unpadded base64url, 64-bit integers as decimal strings, enums
by name, fields with default values left out. Nothing here decides what is canonical while reading:
the reader takes what it understands, and the caller encodes it again and compares the bytes.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from typing import cast

from attest.errors import Malformed

Json = dict[str, object]
_UINT64 = re.compile(r"[1-9][0-9]{0,19}")


def serialise(document: Json) -> bytes:
    """RFC 8785 bytes of nested objects, lists and strings with ASCII names; no numbers."""
    try:
        return json.dumps(
            document, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":")
        ).encode()
    except UnicodeEncodeError as error:
        raise Malformed("a lone surrogate in a JSON string") from error


def parse(content: bytes, limit: int) -> Json:
    """The object in `content`, which is not yet known to be canonical.

    :raises Malformed: for anything but a JSON object in UTF-8 of at most `limit` bytes.
    """
    if len(content) > limit:
        raise Malformed(f"{len(content)} bytes are more than the {limit} allowed")
    try:
        document = json.loads(content.decode())
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError is a ValueError
        raise Malformed("not a JSON document in UTF-8") from error
    return as_object(document, "the file")


def without_defaults(fields: Json) -> Json:
    """The fields whose value is not a default one: no empty string and no empty list."""
    return {name: value for name, value in fields.items() if value not in ("", [])}


def from_bytes(value: bytes) -> str:
    """Unpadded base64url (RFC 4648, 5)."""
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def from_uint64(value: int) -> str:
    """A decimal string; the default 0 is the empty string, which `without_defaults` leaves out.

    :raises Malformed: for a value outside 64 bits.
    """
    if not 0 <= value < 2**64:
        raise Malformed(f"{value} is not an unsigned 64-bit integer")
    return str(value) if value else ""


def as_object(value: object, where: str) -> Json:
    """A JSON object, or Malformed."""
    if not isinstance(value, dict):
        raise Malformed(f"{where} is not a JSON object")
    return cast("Json", value)


def text_in(fields: Json, name: str) -> str:
    """A string field; absent is empty."""
    value = fields.get(name, "")
    if not isinstance(value, str):
        raise Malformed(f"{name} is not a string")
    return value


def bytes_in(fields: Json, name: str) -> bytes:
    """A bytes field; absent is empty."""
    return to_bytes(fields.get(name, ""), name)


def to_bytes(value: object, where: str) -> bytes:
    """Bytes from unpadded base64url."""
    if not isinstance(value, str):
        raise Malformed(f"{where} is not a string of base64url")
    try:
        padded = value.encode("ascii") + b"=" * (-len(value) % 4)
        return base64.b64decode(padded, altchars=b"-_", validate=True)
    except (UnicodeEncodeError, binascii.Error) as error:
        raise Malformed(f"{where} is not unpadded base64url") from error


def uint64_in(fields: Json, name: str) -> int:
    """A 64-bit field; absent is 0."""
    value = text_in(fields, name)
    if not value:
        return 0
    if not _UINT64.fullmatch(value):
        raise Malformed(f"{name} is not a 64-bit integer in a decimal string")
    return int(value)


def list_in(fields: Json, name: str) -> list[object]:
    """A repeated field; absent is empty."""
    value = fields.get(name, [])
    if not isinstance(value, list):
        raise Malformed(f"{name} is not a list")
    return value


def object_in(fields: Json, name: str) -> Json:
    """A message field that must be there."""
    if name not in fields:
        raise Malformed(f"{name} is missing")
    return as_object(fields[name], name)
