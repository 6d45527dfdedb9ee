"""No range invoiced twice, no rebate paid twice, no payment missed, no exposure unseen.

Each schedule runs over the state machine and the errands; once with a model of a rail that is as
bad as the protocol allows, once with the rail's own code and the Lightning double, which is killed,
hangs, drops connections, loses its channel, forgets.
"""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context

import pytest

from tests.settlement.doubles import Doubles
from tests.settlement.model import Model
from tests.settlement.schedule import run, run_many

NODES = pytest.mark.parametrize("nodes", [Model, Doubles])


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
def test_ten_thousand_random_schedules(nodes: type[Model | Doubles]) -> None:
    """On all processors; anew, since gRPC survives no fork of who has used it."""
    parts = range(0, 10_000, 250)
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        lived = sum(pool.map(partial(run_many, nodes, 250), parts))
    assert lived == 10_000
