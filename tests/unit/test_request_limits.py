"""An exchange that asks too often: refused before anything is kept, and nobody else is held up."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hearth.v1 import lease_pb2

from agent.clock import SECOND
from agent.errors import RateLimited
from agent.journal.store import View
from agent.market import MOST_REQUESTS
from tests.fakes import spine
from tests.fakes.spine import Pen
from tests.fakes.world import World

ONE = {"VCPU": 1}
TABLES = ("entries", "outbox", "answers", "leases")


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = await World.open(tmp_path / "state", exchanges=2)
    await made.offering.refresh(made.links)
    yield made
    assert made.findings() == []
    made.node.close()


async def rows(world: World) -> dict[str, int]:
    def count(view: View) -> dict[str, int]:
        counted = {name: view.one(f"SELECT count(*) FROM {name}") for name in TABLES}  # noqa: S608
        return {name: row[0] if row else 0 for name, row in counted.items()}

    return await world.node.journal.read(count)


async def flood(world: World, pen: Pen, wanted: list[Any]) -> list[int]:
    """Hand all of it in; until when the refused ones are to wait, in ns."""
    refused = []
    for envelope in wanted:
        try:
            await spine.tell(world.market, pen, envelope)
        except RateLimited as error:
            refused.append(error.retry_ns)
    return refused


async def reserves(world: World, pen: Pen, count: int, first: int = 0) -> list[Any]:
    _, offer = await spine.newest_offer(world.node.journal, pen.row)
    return [
        pen.reserve(offer, spine.lease_id(number), ONE) for number in range(first, first + count)
    ]


async def test_reserves_beyond_the_limit_leave_nothing_behind(world: World) -> None:
    pen = world.pens[0]
    assert await flood(world, pen, await reserves(world, pen, MOST_REQUESTS)) == []
    before = await rows(world)
    refused = await flood(world, pen, await reserves(world, pen, 500, first=1000))
    assert len(refused) == 500
    assert set(refused) == {SECOND}
    assert await rows(world) == before


async def test_one_a_second_is_answered_after_that(world: World) -> None:
    pen = world.pens[0]
    await flood(world, pen, await reserves(world, pen, MOST_REQUESTS + 1))
    before = (await rows(world))["outbox"]
    world.clock.tick(3 * SECOND)
    assert len(await flood(world, pen, await reserves(world, pen, 10, first=1000))) == 7
    assert (await rows(world))["outbox"] == before + 3


async def test_a_flood_of_one_is_no_limit_for_another(world: World) -> None:
    noisy, quiet = world.pens
    await flood(world, noisy, await reserves(world, noisy, 2 * MOST_REQUESTS))
    assert await flood(world, quiet, await reserves(world, quiet, MOST_REQUESTS)) == []


async def test_a_request_that_was_limited_may_be_asked_again(world: World) -> None:
    pen = world.pens[0]
    await flood(world, pen, await reserves(world, pen, MOST_REQUESTS, first=1000))
    again = await reserves(world, pen, 1)
    assert await flood(world, pen, again) == [SECOND]
    world.clock.tick(SECOND)
    assert await flood(world, pen, again) == []
    decision = await spine.newest_decision(world.node.journal, pen.row)
    assert decision.lease_id == spine.lease_id(0)


async def test_the_same_request_again_and_again_counts_too(world: World) -> None:
    pen = world.pens[0]
    again = (await reserves(world, pen, 1)) * (2 * MOST_REQUESTS)
    assert len(await flood(world, pen, again)) == MOST_REQUESTS


async def test_whatever_is_refused_counts(world: World) -> None:
    """Agreements and releases of leases that are none; each has an answer of its own."""
    pen = world.pens[0]
    offer, _ = await spine.newest_offer(world.node.journal, pen.row)
    now = world.clock.wall_ns
    wrong: list[Any] = []
    for number in range(MOST_REQUESTS):
        lease_id = spine.lease_id(number)
        terms = pen.agreement(offer, lease_id, ONE, b"token", now, now + 60 * SECOND)
        release = lease_pb2.LeaseRelease(lease_id=lease_id, fencing_token=b"token")
        release.reason = lease_pb2.CLOSE_REASON_TENANT_DONE
        wrong += [pen.sign(terms), pen.sign(release)]
    assert await flood(world, pen, wrong[:MOST_REQUESTS]) == []
    before = await rows(world)
    assert len(await flood(world, pen, wrong[MOST_REQUESTS:])) == MOST_REQUESTS
    assert len(await flood(world, pen, wrong[:2])) == 2  # the answers that are kept are not sent
    assert await rows(world) == before


async def test_an_exchange_that_asked_too_often_may_still_end_its_leases(world: World) -> None:
    pen = world.pens[0]
    await world.lease(1, ONE)
    await flood(world, pen, await reserves(world, pen, 2 * MOST_REQUESTS, first=1000))
    await world.release(1)
    await world.delivery.reconcile()
    assert (await world.stored(1)).lease.state.name == "CLOSED"


async def test_a_hold_that_was_granted_may_still_be_agreed(world: World) -> None:
    pen = world.pens[0]
    decision = await world.reserve(1, ONE)
    await flood(world, pen, await reserves(world, pen, 2 * MOST_REQUESTS, first=1000))
    offer, _ = await spine.newest_offer(world.node.journal, pen.row)
    now = world.clock.wall_ns
    terms = pen.agreement(
        offer, spine.lease_id(1), ONE, decision.fencing_token, now, now + 60 * SECOND
    )
    await spine.tell(world.market, pen, pen.sign(terms))
    assert (await world.stored(1)).lease.state.name == "COMMITTED"
