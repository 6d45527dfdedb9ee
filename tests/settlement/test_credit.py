"""Unpaid exposure, prepayment and nodes that are away, over journal, engine, rail and double."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import msgspec
import pytest
from hearth.v1 import lease_pb2

from agent.config import Settlement
from agent.core.credit import CreditLevel
from agent.core.lease import CloseReason, LeaseState
from agent.exchange import outbox
from agent.settle.rail import RailDown
from tests.fakes.shop import OFFER, Shop
from tests.fakes.spine import SECOND
from tests.settlement.test_engine import finish


async def levels(shop: Shop) -> list[int]:
    return [notice.level for notice in await shop.told("CreditNotice")]


async def test_exposure_is_answered_step_by_step(tmp_path: Path) -> None:
    offer = msgspec.structs.replace(OFFER, credit_limit_msat=20_000)
    shop = await Shop.open(tmp_path, offer=offer, exchanges=2)
    await shop.world.lease(hours=24)
    await shop.minutes(12)  # 32 msat a second
    assert await levels(shop) == [CreditLevel.WARNED]
    await shop.acknowledge()
    await shop.settle()
    await shop.pay()
    await shop.settle()
    assert await levels(shop) == [CreditLevel.WARNED, CreditLevel.WITHIN]
    await shop.minutes(12)
    shop.passes(3601)
    await shop.settle()
    assert (await levels(shop))[-1] == CreditLevel.NOT_RENEWED
    decision = await shop.world.reserve(2)
    assert decision.outcome == lease_pb2.LEASE_OUTCOME_CREDIT
    decision = await shop.world.reserve(3, pen=shop.world.pens[1])
    assert decision.outcome == lease_pb2.LEASE_OUTCOME_ACCEPTED, "another exchange's debt"
    shop.passes(3600)
    await shop.settle()
    assert (await levels(shop))[-1] == CreditLevel.STOPPED
    stored = await shop.stored()
    assert stored.lease.state is LeaseState.CLOSING
    assert stored.lease.reason is CloseReason.CREDIT_LIMIT
    await shop.minutes(1)
    assert (await shop.stored()).lease.state is LeaseState.CLOSED
    assert shop.world.findings() == []
    shop.world.node.close()


async def test_far_beyond_the_limit_nothing_waits(tmp_path: Path) -> None:
    offer = msgspec.structs.replace(OFFER, credit_limit_msat=5_000)
    shop = await Shop.open(tmp_path, offer=offer)
    await shop.world.lease(hours=24)
    await shop.minutes(6)
    assert await levels(shop) == [
        CreditLevel.WARNED,
        CreditLevel.NOT_RENEWED,
        CreditLevel.STOPPED,
    ]
    shop.world.node.close()


async def test_a_week_without_the_node_loses_nothing(tmp_path: Path) -> None:
    """The rail is down for seven days; the lease's terms allow for it."""
    offer = msgspec.structs.replace(OFFER, credit_limit_msat=10**9, receipt_seconds=3600)
    shop = await Shop.open(tmp_path, offer=offer)
    await shop.world.lease(hours=24 * 20)
    shop.operator.kill()
    for _ in range(7):
        for _ in range(24):
            # A sample a minute is as good as sixty here; each is within the meter's patience.
            await shop.world.seconds(2)
            shop.world.clock.tick(3598 * SECOND)
            await shop.world.seconds(2)
        await shop.acknowledge()
        with pytest.raises(RailDown):
            await shop.settle()
    assert (await shop.stored()).lease.state is LeaseState.ACTIVE
    assert len((await shop.books()).bills) == 1
    shop.operator.restart()
    for _ in range(2):
        await shop.settle()
        await shop.pay()
        await shop.settle()
    books = await shop.books()
    assert books.received == (await shop.world.receipts())[-1].gross_msat_total
    assert len(await shop.told("Invoice")) == 2, "one that waited, one for all since"
    assert shop.world.findings() == []
    shop.world.node.close()


async def test_prepaid_is_invoiced_ahead_drawn_down_and_returned(tmp_path: Path) -> None:
    offer = msgspec.structs.replace(
        OFFER, mode="prepaid", advance_msat=40_000, credit_limit_msat=20_000
    )
    shop = await Shop.open(tmp_path, offer=offer)
    await shop.world.lease()
    await shop.settle()
    (first,) = await shop.told("Invoice")
    assert first.amount_msat == first.advance_msat == 40_000
    assert first.label.endswith("/0")
    await shop.pay()
    await shop.settle()
    assert (await shop.books()).exposure < 0
    await shop.minutes(6)
    await shop.acknowledge()
    await shop.settle()
    assert len(await shop.told("Invoice")) == 1, "less than half is used"
    await shop.minutes(6)
    await shop.acknowledge()
    await shop.settle()
    second = (await shop.told("Invoice"))[-1]
    assert second.amount_msat == second.uncontested_msat_total, "filled up again"
    await shop.pay()
    await shop.settle()
    await finish(shop)
    (refund,) = await shop.told("RefundStatement")
    gross = (await shop.world.receipts())[-1].gross_msat_total
    assert refund.msat == first.amount_msat + second.amount_msat - gross
    shop.world.node.close()


async def test_without_a_rail_nobody_is_cut_off(tmp_path: Path) -> None:
    offer = msgspec.structs.replace(OFFER, credit_limit_msat=5_000)
    shop = await Shop.open(tmp_path, offer=offer, settlement=Settlement())
    await shop.world.lease()
    await shop.minutes(20)
    await shop.acknowledge()
    await shop.settle()
    assert await levels(shop) == [CreditLevel.WARNED]
    assert (await shop.stored()).lease.state is LeaseState.ACTIVE
    shop.world.node.close()


async def test_without_a_rail_any_more_what_was_begun_is_taken_back(tmp_path: Path) -> None:
    offer = msgspec.structs.replace(OFFER, credit_limit_msat=20_000)
    shop = await Shop.open(tmp_path, offer=offer)
    await shop.world.lease(hours=24)
    await shop.minutes(12)
    shop.passes(3601)
    await shop.settle()
    begun = [CreditLevel.WARNED, CreditLevel.NOT_RENEWED]
    assert await levels(shop) == begun
    shop.engine.desk = dataclasses.replace(
        shop.engine.desk, policy=dataclasses.replace(shop.engine.desk.policy, collects=False)
    )
    shop.passes(3601)  # enough to end the lease
    await shop.settle()
    shop.passes(3601)
    await shop.settle()
    assert await levels(shop) == [*begun, CreditLevel.WARNED]
    assert (await shop.stored()).lease.state is LeaseState.ACTIVE
    shop.world.node.close()


async def test_nobody_escapes_by_saying_that_it_cannot_be_invoiced_any_more(tmp_path: Path) -> None:
    offer = msgspec.structs.replace(OFFER, credit_limit_msat=5_000)
    shop = await Shop.open(tmp_path, offer=offer)
    await shop.world.lease(hours=24)
    row = shop.world.pens[0].row
    await shop.world.node.journal.write(lambda change: outbox.settles(change, row, settles=False))
    await shop.minutes(6)
    assert (await levels(shop))[-1] == CreditLevel.STOPPED
    shop.world.node.close()
