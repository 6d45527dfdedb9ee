"""No range invoiced twice, no rebate paid twice, no payment missed, no exposure unseen.

Each schedule runs over the state machine and the errands; once with a model of a rail that is as
bad as the protocol allows, once with the rail's own code and the Lightning double, which is killed,
hangs, drops connections, loses its channel, forgets.
"""

from __future__ import annotations

import pytest

from tests.settlement.doubles import Doubles
from tests.settlement.model import Model
from tests.settlement.schedule import Life

STEPS = 60
NODES = pytest.mark.parametrize("nodes", [Model, Doubles])


def run(seed: int, nodes: type[Model | Doubles]) -> Life:
    life = Life.begin(seed, nodes)
    life.model.faults = life.dice.choice([0.0, 0.1, 0.3])
    life.crashing = life.dice.choice([0.0, 0.03, 0.1])
    life.live(STEPS)
    life.rest()
    return life


@NODES
def test_random_schedules(nodes: type[Model | Doubles]) -> None:
    """The same as the long test, with as many as a second or two allow."""
    count = 300 if nodes is Model else 100
    lives = [run(seed, nodes) for seed in range(count)]
    # The test would prove nothing if nothing happened in it.
    assert sum(len(life.payments) for life in lives) > count
    assert sum(len(life.sent) for life in lives) > count // 3
    assert sum(len(life.netted) for life in lives) > count // 8
    assert sum(bill.state.name == "EXPIRED" for life in lives for bill in life.account.bills) > 10
    assert {level.name for life in lives for level in life.levels} == {
        "WITHIN",
        "WARNED",
        "NOT_RENEWED",
        "STOPPED",
    }


@pytest.mark.long
@NODES
@pytest.mark.parametrize("part", range(10))
def test_ten_thousand_random_schedules(part: int, nodes: type[Model | Doubles]) -> None:
    for seed in range(1000 * part, 1000 * (part + 1)):
        run(seed, nodes)
