"""kill -9 of the agent, and of exchanges, at any moment: nothing lost, nothing billed twice."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from agent.journal import fsck
from agent.journal.store import View, connect
from agent.leases import attach
from agent.sandbox import bed, books
from agent.sandbox.bed import Bed, BedError

SETTLE_S = 60.0
BURN = "while True: pass"


def settled(world: Bed) -> bool:
    """Whether every receipt of every lease is acknowledged, and every lease is over."""
    status = world.agent.status()
    return all(
        item.receipts_acked == item.receipts_issued and item.undelivered == 0
        for item in status.exchanges
    ) and not any(lease.state in {"ACTIVE", "CLOSING", "COMMITTED"} for lease in status.leases)


def unsettled(world: Bed) -> str:
    """What keeps a world from being settled, for whoever reads a failed test."""
    status = world.agent.status()
    leases = [f"{item.lease_id} {item.state} {item.cgroup}" for item in status.leases]
    sides = [
        f"{item.display_name}: issued {item.receipts_issued}, acknowledged {item.receipts_acked},"
        f" undelivered {item.undelivered}, {item.last_error or 'connected'}"
        for item in status.exchanges
    ]
    return "; ".join([*sides, *leases])


def place_something(world: Bed, dice: random.Random) -> None:
    """Ask a random exchange for a lease, or for the end of all; refusals are answers too."""
    exchange = dice.choice(world.exchanges)
    try:
        if dice.random() < 0.7:
            exchange.command(cmd="place", units={"VCPU": 1, "MEMORY_MB": dice.choice([64, 128])})
        else:
            exchange.command(cmd="release")
    except BedError:
        pass  # no offer accepted yet, or nothing to release


def burn(world: Bed, running: list[subprocess.Popen[bytes]]) -> None:
    """Put a workload into one lease that has none."""
    if len(running) >= 2:
        return
    try:
        leases = [lease for lease in world.agent.status().leases if lease.state == "ACTIVE"]
    except BedError:
        return
    for lease in leases[:1]:
        process = subprocess.Popen([sys.executable, "-c", BURN], start_new_session=True)
        running.append(process)
        attach(Path(lease.cgroup), process.pid)


def torment(world: Bed, kills: int, dice: random.Random) -> None:
    """Kill the agent `kills` times, and now and then an exchange."""
    running: list[subprocess.Popen[bytes]] = []
    try:
        for _ in range(kills):
            deadline = time.monotonic() + dice.uniform(0.3, 3.5)
            while time.monotonic() < deadline:
                place_something(world, dice)
                burn(world, running)
                time.sleep(dice.uniform(0.05, 0.4))
            world.agent.kill()
            if dice.random() < 0.3:
                exchange = dice.choice(world.exchanges)
                exchange.kill()
                exchange.start()
            world.agent.start()
            if dice.random() < 0.5:
                world.agent.wait()
        world.agent.wait()
    finally:
        for process in running:
            process.kill()
            process.wait()


def run(directory: Path, cgroup_root: Path, kills: int, seed: int) -> None:
    dice = random.Random(seed)
    began = time.time_ns()
    world = bed.make(
        directory,
        f"[offer]\nreceipt_seconds = 1\n[log]\ncheckpoint_seconds = 2\n"
        f'[lease]\ncgroup_root = "{cgroup_root}"\n',
        exchange_options=("--heartbeat", "2", "--challenge-interval", "3"),
        with_site=(1, 1),
    )
    try:
        world.agent.start()
        world.agent.wait()
        for exchange in world.exchanges:
            world.agent.enroll(exchange)
        torment(world, kills, dice)
        deadline = time.monotonic() + SETTLE_S
        while not settled(world):
            for exchange in world.exchanges:
                exchange.command(cmd="release")  # a lease that was on its way is active by now
            assert time.monotonic() < deadline, unsettled(world)
            time.sleep(0.5)
        status = world.agent.status()
        figures = [exchange.figures() for exchange in world.exchanges]
        lasted_ms = (time.time_ns() - began) // 1_000_000
        issued = sum(item.receipts_issued for item in status.exchanges)
        assert issued > 0
        for node in figures:
            assert (node["gaps"], node["regressions"], node["receipts_rejected"]) == (0, 0, 0)
            assert node["others_rejected"] == 0
            assert node["log_breaks"] == 0
            for lease in node["lease"].values():
                if lease["receipt"] is not None:
                    assert lease["receipt"]["final"]
                    for total in lease["receipt"]["totals"].values():
                        assert total["delivered_unit_ms"] <= total["reserved_unit_ms"]
                    assert lease["receipt"]["totals"]["VCPU"]["reserved_unit_ms"] <= lasted_ms
        assert sum(node["receipts_stored"] for node in figures) == issued
        capacity = {item.resource_class: item.units for item in status.capacity}
        assert books.oversold(capacity, [node["lease"] for node in figures], time.time_ns()) == 0
        world.agent.stop()
        view = View(connect(directory / "state" / "journal.sqlite", readonly=True))
        assert fsck.check(view, None) == []
    finally:
        world.close()


def test_ten_kills(directory: Path, cgroup_root: Path) -> None:
    """Ten kills in a row; the seed is fixed so that a failure can be looked at."""
    run(directory, cgroup_root, 10, seed=1)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(10))
def test_a_hundred_kills(directory: Path, cgroup_root: Path, seed: int) -> None:
    """Ten times ten kills, each with another seed."""
    run(directory, cgroup_root, 10, seed=100 + seed)
