"""What exchanges are offered of a host's units."""

from __future__ import annotations

from pathlib import Path

from hearth.v1 import lease_pb2

from agent.config import Offer, Price
from tests.fakes import spine
from tests.fakes.world import World


async def test_a_class_without_a_price_is_not_given_away(tmp_path: Path) -> None:
    only = Price(unit="delivered-unit-second", resource_class="MEMORY_MB", msat=1)
    world = await World.open(tmp_path, offer=Offer(prices=(only,)))
    refused = await world.reserve(units={"MEMORY_MB": 512, "VCPU": 1})
    assert refused.outcome != lease_pb2.LEASE_OUTCOME_ACCEPTED
    _, offer = await spine.newest_offer(world.node.journal, world.pens[0].row)
    (vcpu,) = [item for item in offer.inventories if item.resource_class == "VCPU"]
    assert (vcpu.total_units, vcpu.reserved_units, vcpu.max_unit) == (64, 64, 0)
    granted = await world.reserve(number=2, units={"MEMORY_MB": 512})
    assert granted.outcome == lease_pb2.LEASE_OUTCOME_ACCEPTED
    world.crash()
