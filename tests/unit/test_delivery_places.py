"""A lease's cgroup that cannot be made, or goes away, while the lease stands."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent.core.lease import LeaseKey
from agent.delivery import REPLACE_AFTER
from tests.fakes.world import World


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = await World.open(tmp_path)
    yield made
    made.crash()


def meter(world: World, key: LeaseKey) -> tuple[int, int]:
    """CPU time used and time missing, of the only lease."""
    (found,) = world.metering.state.leases.values()
    return found.used_cpu_us, found.missing_ns


def vanish(world: World, key: LeaseKey) -> None:
    """Remove a cgroup; a kept descriptor of a real one says so, of a plain file it does not."""
    world.places.remove(key)
    for item in world.metering.running.values():
        item.sampler.close()


async def test_a_cgroup_that_somebody_removed_is_made_again(world: World) -> None:
    key = await world.lease()
    world.places.use(key, 400_000)
    await world.seconds(3)
    used, missing = meter(world, key)
    assert used == 400_000
    vanish(world, key)
    await world.seconds(REPLACE_AFTER - 1)
    assert not world.places.directory(key).exists()
    await world.seconds(2)
    assert world.places.directory(key).exists()
    after = meter(world, key)
    assert after[0] == used
    assert after[1] > missing
    # The new one counts from nothing, and nothing is billed twice.
    world.places.use(key, 300_000)
    await world.seconds(2)
    assert meter(world, key)[0] == used + 300_000


async def test_one_that_cannot_be_made_is_tried_again(world: World) -> None:
    key = await world.lease()
    await world.seconds(2)
    vanish(world, key)
    world.places.broken = True
    await world.seconds(REPLACE_AFTER + 2)
    assert not world.places.directory(key).exists()
    world.places.broken = False
    await world.seconds(REPLACE_AFTER + 2)
    assert world.places.directory(key).exists()
