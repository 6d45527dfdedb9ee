"""The `filter` of a request: which parts of the result are wanted (lightningd-rpc(7))."""

from __future__ import annotations

from typing import Any


def filtered(result: dict[str, Any], wanted: object) -> dict[str, Any]:
    """Leave only what the filter names; without a filter, everything."""
    if not isinstance(wanted, dict):
        return result
    kept = {}
    for name, value in result.items():
        if name in wanted:
            kept[name] = _part(value, wanted[name])
    return kept


def _part(value: Any, wanted: object) -> Any:
    if isinstance(value, dict):
        return filtered(value, wanted)
    if isinstance(value, list) and isinstance(wanted, list) and wanted:
        return [_part(item, wanted[0]) for item in value]
    return value
