"""The runner of the measurements: what it takes, what it says, and what is owed."""

from __future__ import annotations

import datetime
import importlib.util
import re

import pytest

from bench import run

ROW = {
    "name": "rss",
    "value": 66.9,
    "unit": "MiB",
    "bar": "<= 72",
    "peer": "bare interpreter",
    "peer_value": 20.7,
    "ratio": 3.23,
}


@pytest.mark.parametrize(
    ("value", "bar", "verdict"),
    [(72, "<= 72", True), (72.1, "<= 72", False), (50_000, ">= 50000", True), (1, "", None)],
)
def test_a_bar_is_judged_in_the_rows_own_unit(value: float, bar: str, verdict: bool | None) -> None:
    assert run.holds({**ROW, "value": value, "bar": bar}) is verdict


@pytest.mark.parametrize(
    "row",
    [
        {**ROW, "bar": "under 72"},
        {**ROW, "value": None},
        {**ROW, "name": "speed"},
        {key: value for key, value in ROW.items() if key != "ratio"},
    ],
)
def test_a_row_that_could_not_be_judged_is_refused(row: run.Row) -> None:
    with pytest.raises((TypeError, ValueError)):
        run.checked(row)


def test_the_page_shows_what_is_missed_and_what_is_owed() -> None:
    rows = [ROW, {**ROW, "name": "verify", "value": 99, "peer": None, "peer_value": None}]
    page = run.page(rows, ["drain"], "a machine", datetime.date(2026, 1, 2))
    assert "2026-01-02, a machine." in page
    assert "| 66.9 MiB | <= 72 MiB | holds | bare interpreter | 20.7 MiB | 3.23 |" in page
    assert "| 99 MiB | <= 72 MiB | **missed** |" in page
    assert "Not measured yet: drain." in page


def test_the_machine_is_described() -> None:
    assert re.search(r"\d+ hardware threads, \d+ GiB, Linux \d", run.machine())


def test_what_is_owed_is_not_there_and_what_is_listed_is() -> None:
    assert [name for name in run.MODULES if importlib.util.find_spec(name) is None] == []
    assert [name for name in run.OWED if importlib.util.find_spec(name) is not None] == []
