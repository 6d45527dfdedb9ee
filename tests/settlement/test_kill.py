"""kill -9 of agent, exchange and nodes while money flows: nothing paid twice, nothing lost."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from agent.sandbox.bed import Bed
from agent.sandbox.child import BedError
from agent.sandbox.exchange.purse import Purse
from agent.sandbox.lightningd.network import POINTS
from tests.fakes.money_bed import hearth, lease, opened, until

KILLS = 12
VICTIMS = ("agent", "exchange", "nodes", "operator inside a call")


def kill(world: Bed, victim: str, dice: random.Random) -> None:
    """End one of them at once and start it again."""
    lightning, exchange = world.lightning, world.exchanges[0]
    assert lightning is not None
    if victim == "agent":
        world.agent.kill()
        world.agent.start()
        world.agent.wait()
    elif victim == "exchange":
        exchange.kill()
        exchange.start()
    elif victim == "nodes":
        lightning.stop(kill=True)
        lightning.start()
    else:
        point = dice.choice(POINTS)
        lightning.command(cmd="fault", node="operator", point=point, action="kill")
        time.sleep(dice.uniform(0.5, 2))
        lightning.command(cmd="restart", node="operator", channel_after_s=dice.choice([0, 2]))


def freeze(world: Bed, *, frozen: bool) -> None:
    """Miss the service level, or keep it again."""
    with contextlib.suppress(BedError, OSError):
        for held in world.agent.status().leases:
            if held.cgroup:
                (Path(held.cgroup) / "cgroup.freeze").write_text("01"[frozen])


def invoices(world: Bed, node: str) -> list[dict[str, Any]]:
    """What a node has of its invoices."""
    assert world.lightning is not None
    purse = Purse(world.lightning.socket(node))
    rows: list[dict[str, Any]] = asyncio.run(purse.call("listinvoices"))["invoices"]
    return rows


def paid(rows: list[dict[str, Any]]) -> dict[str, int]:
    """Label and amount of what was paid."""
    return {row["label"]: row["amount_received_msat"] for row in rows if row["status"] == "paid"}


def check(world: Bed) -> None:
    """Hold the nodes, which know what happened, against the books of both sides."""
    came, went = paid(invoices(world, "operator")), paid(invoices(world, "northern"))
    rows = json.loads(hearth(world, "settlement", "history", "--most", "10000", "--json"))
    assert [row["number"] for row in rows] == list(range(1, len(rows) + 1))
    assert {row["reference"]: row["msat"] for row in rows if row["msat"] > 0} == came
    given = [row for row in rows if row["msat"] < 0]
    assert len({row["reference"] for row in given}) == len(given)
    assert sorted(-row["msat"] for row in given) == sorted(went.values())
    # payout/<lease>/<statement>[-rN]: of the invoices for one statement one was paid at most.
    statements = Counter(label.split("/")[2].partition("-r")[0] for label in went)
    assert set(statements.values()) <= {1}
    books = lease(world)
    money, gross = books["money"], books["receipt"]["gross_msat"]
    netted = sum(item["msat"] for item in money["payouts"] if item["state"] == "NETTED")
    refunds = sum(item["msat"] for item in money["payouts"] if item["kind"] == "REFUND")
    assert sum(came.values()) == money["paid_msat"] == gross - netted + refunds
    assert sum(went.values()) == money["returned_msat"]
    through = [int(label.split("/")[3].partition("-")[0]) for label in came]
    assert len(set(through)) == len(through), "a watermark was paid twice"
    assert "fine" in hearth(world, "journal", "check")


@pytest.mark.long
@pytest.mark.parametrize("seed", range(2))
def test_killed_while_money_flows(seed: int) -> None:
    dice = random.Random(seed)
    with opened() as world:
        exchange = world.exchanges[0]
        exchange.command(cmd="place", units={"VCPU": 1, "MEMORY_MB": 64})
        until("an invoice paid", lambda: lease(world)["money"]["paid_msat"])
        for number in range(KILLS):
            freeze(world, frozen=number % 3 == 0)
            time.sleep(dice.uniform(0.3, 6))
            kill(world, dice.choice(VICTIMS), dice)
        kill(world, "nodes", dice)  # a fault that met no call goes with them
        freeze(world, frozen=False)
        money = lease(world)["money"]
        assert money["payouts"], "nothing was missed, so nothing is shown about rebates"
        until("all are up", lambda: exchange.figures()["receipts_verified"])
        exchange.command(cmd="release")
        until(
            "everything settled",
            lambda: lease(world)["stage"] == "SETTLED",
            lambda: (lease(world), hearth(world, "settlement", "status", "--json")),
        )
        check(world)
