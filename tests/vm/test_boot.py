"""Reboots in the middle of a lease: in good order, and by the reset button."""

from __future__ import annotations

import pytest

from .conftest import UNITS, World, until

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def lease(world: World) -> str:
    return world.place()


@pytest.mark.parametrize("how", ["reboot", "reset"])
def test_a_lease_survives(world: World, lease: str, how: str) -> None:
    world.work(lease)
    world.receipts_go_on(lease)
    before, log = world.status(), world.exchange.figures()["log_id"]
    challenges = world.exchange.figures()["challenges_passed"]
    used = world.receipt(lease)["totals"]["VCPU"]["used_unit_ms"]

    world.machine.does(how)
    world.connect()
    world.back()
    after = world.status()
    assert after.boot_id != before.boot_id
    assert (after.node_id, after.log_id) == (before.node_id, before.log_id)
    assert after.inventory_generation == before.inventory_generation
    # The slice is another one, empty, with the limits that were sold.
    until("the lease is in force", lambda: world.lease(lease).limits_in_force)
    assert world.tenant() == ""
    directory = world.lease(lease).cgroup
    limits = world.machine.run(f"cat {directory}/cpu.max {directory}/memory.max").splitlines()
    assert limits == [f"{UNITS['VCPU'] * 100_000} 100000", str(UNITS["MEMORY_MB"] * 1024 * 1024)]

    world.receipts_go_on(lease)
    total = world.receipt(lease)["totals"]["VCPU"]
    assert total["used_unit_ms"] >= used
    assert total["missing_ms"] > 0
    assert total["delivered_unit_ms"] + total["missing_ms"] <= total["reserved_unit_ms"]
    assert world.exchange.figures()["log_id"] == log

    # It booted as before, and says so to a fresh challenge.
    passed = world.exchange.figures()["challenges_passed"]
    until("a challenge", lambda: world.exchange.figures()["challenges_passed"] > passed)
    assert world.exchange.figures()["challenges_passed"] > challenges
    claims = {claim["name"]: claim for claim in world.exchange.figures()["claims"]}
    assert claims["configuration"]["tier"] == "affirming"


def test_all_of_it_holds_in_the_end(world: World, lease: str) -> None:
    final = world.close_lease(lease)
    total = final["totals"]["VCPU"]
    assert total["delivered_unit_ms"] < total["reserved_unit_ms"]
    assert ": fine; " in world.machine.run("hearth journal check")
