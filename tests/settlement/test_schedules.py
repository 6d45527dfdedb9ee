"""No range invoiced twice, no rebate paid twice, no payment missed, no exposure unseen."""

from __future__ import annotations

import pytest

from tests.settlement.schedule import Life

STEPS = 60


def run(seed: int) -> Life:
    life = Life.begin(seed)
    life.model.faults = life.dice.choice([0.0, 0.1, 0.3])
    life.crashing = life.dice.choice([0.0, 0.03, 0.1])
    life.live(STEPS)
    life.rest()
    return life


def test_random_schedules() -> None:
    """The same as the long test, with as many as a second or two allow."""
    lives = [run(seed) for seed in range(300)]
    # The test would prove nothing if nothing happened in it.
    assert sum(len(life.payments) for life in lives) > 500
    assert sum(len(life.sent) for life in lives) > 100
    assert sum(len(life.netted) for life in lives) > 50
    assert sum(bill.state.name == "EXPIRED" for life in lives for bill in life.account.bills) > 50
    assert {level.name for life in lives for level in life.levels} == {
        "WITHIN",
        "WARNED",
        "NOT_RENEWED",
        "STOPPED",
    }


@pytest.mark.long
@pytest.mark.parametrize("part", range(10))
def test_ten_thousand_random_schedules(part: int) -> None:
    for seed in range(1000 * part, 1000 * (part + 1)):
        run(seed)
