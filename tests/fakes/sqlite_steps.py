"""How much work a query is to SQLite, which no clock and no other process disturbs."""

from __future__ import annotations

from collections.abc import Callable

from agent.journal.store import View


def steps(view: View, query: Callable[[View], object]) -> int:
    """SQLite's virtual machine steps, in tens, that a query takes."""
    taken = 0

    def count() -> int:
        nonlocal taken
        taken += 1
        return 0

    view.connection.set_progress_handler(count, 10)
    query(view)
    view.connection.set_progress_handler(None, 0)
    return taken
