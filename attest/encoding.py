"""The one framing used inside everything that is hashed or authenticated here. Pure."""

from __future__ import annotations

from attest.errors import Malformed


def lp(content: bytes) -> bytes:
    """`content` behind its length in four big-endian bytes: joined fields cannot run together.

    :raises Malformed: for 4 GiB and more.
    """
    if len(content) > 0xFFFFFFFF:
        raise Malformed("a length-prefixed field holds less than 4 GiB")
    return len(content).to_bytes(4, "big") + content
