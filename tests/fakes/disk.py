"""A disk that is full when the test says so: every commit fails, as SQLite has it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from agent.journal.store import Journal


class FullDisk:
    """The writer's connection, whose commits fail."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
        if sql == "COMMIT":
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise error
        return self._connection.execute(sql, *values)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


@contextmanager
def full(journal: Journal) -> Iterator[None]:
    """Within this nothing can be written."""
    writer = journal._writer
    journal._writer = FullDisk(writer)  # type: ignore[assignment]  # it quacks like one
    try:
        yield
    finally:
        journal._writer = writer
        assert journal.recover()  # as the daemon does once a second
