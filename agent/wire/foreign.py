"""Text from outside, before it reaches a log or a terminal."""

from __future__ import annotations


def one_line(text: str | None, most: int = 500) -> str:
    """The text with a blank for whatever is not printable, at most `most` characters.

    A newline would forge a line of its own, an escape sequence drives the reader's terminal.
    """
    return "".join(c if c.isprintable() else " " for c in (text or "")[:most])
