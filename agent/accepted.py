"""What a key of the configuration accepts, in the words of whoever writes it."""

from __future__ import annotations

import re

import msgspec
from msgspec import inspect

_CHOICE = re.compile(r"\^\(([A-Za-z0-9_|-]+)\)\$")
_STEP = re.compile(r"\w+|\[[^\]]*\]")


def accepted(kind: type[msgspec.Struct], path: str) -> str:
    """What stands at `path` (`offer.prices[0].unit`) of a struct, or "" where there is no such key.

    A table's answer is the list of its keys.
    """
    found: inspect.Type = inspect.type_info(kind)
    for step in _STEP.findall(path):
        found = _inside(found, step)
    return _words(found)


def _inside(outer: inspect.Type, step: str) -> inspect.Type:
    outer = _bare(outer)
    if step.startswith("[") and isinstance(outer, inspect.VarTupleType):
        return outer.item_type
    if isinstance(outer, inspect.StructType):
        for field in outer.fields:
            if field.encode_name == step:
                return field.type
    return inspect.AnyType()


def _bare(kind: inspect.Type) -> inspect.Type:
    """What a key is that may also be left out."""
    if isinstance(kind, inspect.UnionType):
        return next(each for each in kind.types if not isinstance(each, inspect.NoneType))
    return kind


def _words(kind: inspect.Type) -> str:
    match _bare(kind):
        case inspect.StructType(fields=fields):
            return "the keys " + ", ".join(field.encode_name for field in fields)
        case inspect.VarTupleType(item_type=item):
            return f"a list, each with {_words(item)}"
        case inspect.IntType(ge=least, le=most):
            return f"an integer from {least} to {most}"
        case inspect.StrType(pattern=str(pattern)):
            choice = _CHOICE.fullmatch(pattern)
            if choice is None:
                return f"text that matches {pattern}"
            return "one of " + ", ".join(f'"{word}"' for word in choice.group(1).split("|"))
        case inspect.StrType():
            return "text"
        case inspect.BoolType():
            return "true or false"
        case _:
            return ""
