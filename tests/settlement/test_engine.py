"""Settlement over journal, engine, rail and double, without processes; time is the test's."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
from pathlib import Path
from typing import Any

import msgspec
import pytest
import structlog
from hearth.v1 import lease_pb2, settlement_pb2

from agent.core.bill import BillState
from agent.core.bounds import MOST_MSAT
from agent.core.lease import LeaseState
from agent.core.settling import Seen, Status
from agent.errors import MalformedMessage, RateLimited, SettlementError
from agent.sandbox.lightningd.caller import DirectCaller
from agent.settle.alarms import alarms
from agent.settle.lightning import LightningNode
from agent.settle.rail import Invoice, RailDown, RailRefused
from tests.fakes import spine
from tests.fakes.direct_rail import DirectRail
from tests.fakes.shop import MONEY, Shop
from tests.fakes.spine import SECOND


async def said(shop: Shop) -> list[str]:
    """Names of the alarms as `hearth status` and `hearth settlement status` have them."""
    now = shop.engine.unix_ns()
    found = await shop.world.node.journal.read(lambda view: alarms(view, now))
    return [item.name for item in found]


async def finish(shop: Shop) -> None:
    """The lease ends, and everything about it is paid."""
    await shop.world.release()
    await shop.minutes(1)
    await shop.acknowledge()
    await shop.settle()


async def test_receipts_become_money(shop: Shop) -> None:
    await shop.world.lease()
    await shop.minutes(3)
    assert await shop.told("Invoice") == []
    await shop.acknowledge()
    await shop.settle()
    (invoice,) = await shop.told("Invoice")
    receipts = await shop.world.receipts()
    assert invoice.amount_msat == receipts[-1].gross_msat_total
    assert invoice.through_sequence == receipts[-1].sequence
    assert invoice.label.endswith(f"/{spine.lease_id(1)}/{receipts[-1].sequence}")
    await shop.pay()
    await shop.settle()
    (notice,) = await shop.told("PaymentNotice")
    assert hashlib.sha256(notice.preimage).digest() == invoice.payment_hash
    assert notice.amount_msat == invoice.amount_msat
    await finish(shop)
    assert len(await shop.told("Invoice")) == 2
    await shop.pay()
    await shop.settle()
    assert (await shop.stored()).lease.state is LeaseState.SETTLED
    books = await shop.books()
    assert books.exposure == books.owed == 0
    numbers = await shop.ask("SELECT number FROM payments ORDER BY number")
    assert numbers == [(1,), (2,)]
    assert shop.world.findings() == []


async def test_small_amounts_wait_until_they_are_worth_an_invoice(tmp_path: Path) -> None:
    shop = await Shop.open(
        tmp_path, settlement=msgspec.structs.replace(MONEY, least_msat=10_000, age_seconds=1800)
    )
    await shop.world.lease()
    await shop.minutes(2)  # about 30 msat a second
    await shop.acknowledge()
    await shop.settle()
    assert await shop.told("Invoice") == []
    await shop.minutes(5)
    await shop.acknowledge()
    await shop.settle()
    assert len(await shop.told("Invoice")) == 1, "by amount"
    await shop.pay()
    await shop.settle()
    await shop.minutes(1)
    await shop.acknowledge()
    await shop.settle()
    assert len(await shop.told("Invoice")) == 1
    shop.passes(1801)
    await shop.settle()
    assert len(await shop.told("Invoice")) == 2, "by age"
    shop.world.node.close()


async def test_what_is_paid_too_much_is_credit_and_comes_back(shop: Shop) -> None:
    await shop.world.lease()
    await shop.minutes(3)
    await shop.acknowledge()
    await shop.settle()
    paid = await shop.pay(extra_msat=100_000)
    await shop.settle()
    assert (await shop.books()).received == paid
    await shop.minutes(3)
    await shop.acknowledge()
    await shop.settle()
    assert len(await shop.told("Invoice")) == 1, "credit is used up first"
    await finish(shop)
    (refund,) = await shop.told("RefundStatement")
    receipts = await shop.world.receipts()
    assert refund.msat == paid - receipts[-1].gross_msat_total
    statement = await shop.payload_sha256("RefundStatement")
    await shop.ask_payout(statement, shop.payout_invoice(statement, refund.msat))
    await shop.settle()
    assert (await shop.books()).returned == refund.msat
    assert (await shop.stored()).lease.state is LeaseState.SETTLED
    assert shop.exchange.call("listinvoices")["invoices"][0]["status"] == "paid"


async def test_an_expired_invoice_comes_again_under_another_label(shop: Shop) -> None:
    await shop.world.lease()
    await shop.minutes(2)
    await shop.acknowledge()
    await shop.settle()
    shop.passes(7201)
    await shop.settle()
    await shop.settle()
    first, second = await shop.told("Invoice")
    assert second.label == f"{first.label}-r2"
    assert second.amount_msat == first.amount_msat
    await shop.pay()
    await shop.settle()
    books = await shop.books()
    assert books.received == first.amount_msat
    states = await shop.ask("SELECT state FROM invoices ORDER BY label")
    assert states == [(BillState.EXPIRED,), (BillState.PAID,)]


async def test_a_payment_that_the_node_forgot_is_shown_by_the_exchange(shop: Shop) -> None:
    await shop.world.lease()
    await shop.minutes(2)
    await shop.acknowledge()
    await shop.settle()
    (invoice,) = await shop.told("Invoice")
    await shop.pay()
    preimage = shop.preimage(invoice.payment_hash)
    shop.operator.call("delinvoice", label=invoice.label, status="paid")
    await shop.restart()
    await shop.settle()
    assert [bill.state for bill in (await shop.books()).bills] == [BillState.LOST]
    now = shop.engine.unix_ns()
    told = await shop.world.node.journal.read(lambda view: alarms(view, now))
    assert [item.name for item in told] == ["invoice-lost"]
    await shop.minutes(2)
    await shop.acknowledge()
    await shop.settle()
    second = (await shop.told("Invoice"))[-1]
    assert second.pending_msat == invoice.amount_msat, "what may be paid is not asked for again"
    shop.engine.desk = dataclasses.replace(shop.engine.desk, exchange_ns=lambda _: SECOND)
    await shop.say(
        settlement_pb2.PaymentNotice(
            lease_id=invoice.lease_id, payment_hash=invoice.payment_hash, preimage=preimage
        )
    )
    await shop.settle()
    books = await shop.books()
    assert books.received == invoice.amount_msat
    assert len(books.bills) == 1
    ((paid_ns,),) = await shop.ask("SELECT paid_ns FROM payments")
    assert paid_ns == shop.engine.unix_ns(), "not in 1970, where the exchange says that it is"


async def test_an_invoice_that_is_found_again_is_told_once(shop: Shop) -> None:
    await shop.world.lease()
    await shop.minutes(2)
    await shop.acknowledge()
    await shop.settle()
    (invoice,) = await shop.told("Invoice")
    row = (await shop.stored()).row
    states = [
        (await shop.engine.enter(row, Seen(invoice.label, status))).bills[0].state
        for status in (Status.MISSING, Status.UNPAID)
    ]
    assert states == [BillState.LOST, BillState.INVOICED]
    assert len(await shop.told("Invoice")) == 1


async def test_what_is_settled_is_settled_once(shop: Shop) -> None:
    await shop.world.lease()
    await shop.minutes(3)
    await finish(shop)
    await shop.pay()
    await shop.settle()
    assert (await shop.stored()).lease.state is LeaseState.SETTLED
    await shop.engine.adjust(spine.lease_id(1), 500, "forgotten", "")
    await shop.settle()
    await shop.settle()
    assert (await shop.told("Invoice"))[-1].amount_msat == 500
    await shop.pay()
    await shop.settle()
    assert (await shop.books()).closed
    moves = [item.state for item in await shop.told("LeaseUpdate")]
    assert moves.count(lease_pb2.LEASE_STATE_SETTLED) == 1
    assert shop.world.findings() == []


async def test_what_the_node_warns_of_is_passed_on(shop: Shop) -> None:
    shop.operator.receivable_msat = 0
    await shop.world.lease()
    await shop.minutes(2)
    await shop.acknowledge()
    with structlog.testing.capture_logs() as lines:
        await shop.settle()
    (warned,) = [line for line in lines if line["event"] == "invoice_warned"]
    assert "capacity" in warned["warning"]
    assert len(await shop.told("Invoice")) == 1, "it is sent: capacity may come"


async def test_a_label_of_a_journal_that_was_lost_is_left_alone(shop: Shop) -> None:
    await shop.world.lease()
    await shop.minutes(3)
    label = f"hearth/{shop.world.pens[0].exchange_id}/{spine.lease_id(1)}/3"
    earlier = shop.operator.call(
        "invoice", amount_msat=7, label=label, description="earlier", deschashonly=True
    )
    await shop.acknowledge()
    await shop.settle()
    await shop.settle()
    (invoice,) = await shop.told("Invoice")
    assert invoice.label == f"{label}-r2"
    paid = await shop.pay()
    shop.exchange.call("xpay", invstring=earlier["bolt11"])
    await shop.settle()
    books = await shop.books()
    assert (books.received, books.owed) == (paid, 0), "what came for another is not counted"
    assert await shop.ask("SELECT pay_index FROM rail") == [(2,)]


async def test_an_invoice_of_another_network_is_told_nobody(tmp_path: Path) -> None:
    """With runes the node cannot be asked on which it is: its invoices say it."""
    elsewhere = msgspec.structs.replace(MONEY, network="bitcoin")
    shop = await Shop.open(tmp_path, settlement=elsewhere)
    await shop.world.lease()
    await shop.minutes(3)
    await shop.acknowledge()
    with structlog.testing.capture_logs() as logged:
        await shop.settle()
    (failed,) = [line for line in logged if line["event"] == "errand_failed"]
    assert failed["error"] == "the node makes invoices for regtest, settlement.network is bitcoin"
    assert await shop.told("Invoice") == []
    shop.passes(3600)
    assert await said(shop) == []
    shop.passes(1)
    assert await said(shop) == ["invoice-stuck"]
    node = shop.world.node
    node.config = msgspec.structs.replace(node.config, settlement=MONEY)
    shop.begin()
    await shop.settle()
    assert len(await shop.told("Invoice")) == 1
    assert await said(shop) == []
    shop.world.node.close()


async def test_what_the_node_refuses_again_and_again_is_said_once(shop: Shop) -> None:
    class Refusing(DirectRail):
        refusing = True

        async def invoice(self, *parts: Any) -> Invoice:
            if self.refusing:
                raise RailRefused("no")
            return await super().invoice(*parts)

    rail = Refusing(LightningNode(DirectCaller(shop.operator)))
    shop.rail = rail
    shop.begin()
    await shop.world.lease()
    await shop.minutes(3)
    await shop.acknowledge()
    failures: list[int] = []
    for refusing in (True, True, False):
        rail.refusing = refusing
        with structlog.testing.capture_logs() as logged:
            await shop.settle()
        failures.append(sum(line["event"] == "errand_failed" for line in logged))
    assert failures == [1, 0, 0]
    assert len(await shop.told("Invoice")) == 1


async def test_a_wrong_preimage_proves_nothing(shop: Shop) -> None:
    await shop.world.lease()
    await shop.minutes(2)
    await shop.acknowledge()
    await shop.settle()
    (invoice,) = await shop.told("Invoice")
    notice = settlement_pb2.PaymentNotice(
        lease_id=invoice.lease_id, payment_hash=invoice.payment_hash, preimage=bytes(32)
    )
    with pytest.raises(MalformedMessage, match="preimage"):
        await shop.say(notice)


@pytest.mark.parametrize("point", ["request", "attempt", "sent", "paid", "reply"])
async def test_killed_at_any_moment_it_goes_on(shop: Shop, point: str) -> None:
    """The node dies inside a call, the agent after it: one invoice, one payment, one rebate."""
    from agent.sandbox.lightningd.network import Fault

    await shop.world.lease()
    await shop.minutes(11)
    await shop.acknowledge()
    shop.network.faults.append(Fault("operator", point, "kill"))
    for _ in range(4):
        try:
            await shop.settle()
        except RailDown:
            await shop.restart()
            shop.operator.restart()
            shop.network.faults.clear()
            shop.passes(61)
    (invoice,) = await shop.told("Invoice")
    await shop.pay()
    await shop.settle()
    assert (await shop.books()).received == invoice.amount_msat
    assert len(shop.operator.call("listinvoices")["invoices"]) == 1


# --- disputes ------------------------------------------------------------------------------------


async def test_a_dispute_is_answered_and_holds_nothing_else_up(shop: Shop) -> None:
    await shop.world.lease()
    await shop.minutes(3)
    with pytest.raises(SettlementError, match="more than there are"):
        await shop.engine.adjust(spine.lease_id(1), MOST_MSAT, "far too much", "")
    dispute = lease_pb2.Dispute(dispute_id="d1", sequence=2, contested_msat=1_000)
    await shop.acknowledge(contested=1_000, disputes=[dispute])
    await shop.acknowledge(contested=1_000, disputes=[dispute])
    await shop.settle()
    (answer,) = await shop.told("DisputeStep")
    assert answer.kind == lease_pb2.DISPUTE_STEP_KIND_ANSWER
    assert len(answer.evidence_sha256) == 2
    (invoice,) = await shop.told("Invoice")
    gross = (await shop.world.receipts())[-1].gross_msat_total
    assert invoice.amount_msat == gross - 1_000
    await shop.pay()
    await shop.settle()
    await shop.say(
        lease_pb2.DisputeStep(dispute_id="d1", kind=lease_pb2.DISPUTE_STEP_KIND_WITHDRAW)
    )
    await shop.acknowledge()
    await shop.settle()
    assert (await shop.told("Invoice"))[-1].amount_msat == 1_000
    with pytest.raises(MalformedMessage, match="no open dispute"):
        await shop.say(
            lease_pb2.DisputeStep(dispute_id="d1", kind=lease_pb2.DISPUTE_STEP_KIND_WITHDRAW)
        )


async def test_disputes_without_end_are_answered_only_so_often(shop: Shop) -> None:
    """Each answer is a leaf; what comes too often is not taken at all, its acknowledgement too."""
    await shop.world.lease()
    await shop.minutes(1)

    def disputes(first: int) -> list[lease_pb2.Dispute]:
        return [
            lease_pb2.Dispute(dispute_id=f"d{number}", sequence=1, contested_msat=1)
            for number in range(first, first + 64)
        ]

    for first in (0, 64):
        await shop.acknowledge(contested=64, disputes=disputes(first))
    with pytest.raises(RateLimited):
        await shop.acknowledge(contested=64, disputes=disputes(128))
    await shop.acknowledge(contested=64, disputes=disputes(0))
    assert len(await shop.told("DisputeStep")) == 128


# --- a node that hangs ---------------------------------------------------------------------------


class Hanging(DirectRail):
    """Takes every call and never answers."""

    def __init__(self) -> None:
        pass

    async def _hang(self, *_: object) -> Any:
        await asyncio.Event().wait()

    health = invoice = invoice_state = paid_after = pay = attempts = _hang  # type: ignore[assignment]


async def test_a_node_that_hangs_holds_nothing_else_up(tmp_path: Path) -> None:
    shop = await Shop.open(tmp_path, rail=Hanging())
    await shop.world.lease()
    tasks = shop.tasks()
    shop.world.node.journal.on_commit = shop.engine.bell.set
    await shop.world.seconds(130)
    await shop.acknowledge()
    async with asyncio.timeout(5):
        while not (await shop.books()).bills:
            shop.engine.bell.set()
            await asyncio.sleep(0.01)
    assert len(await shop.world.receipts()) >= 2
    for task in tasks:
        task.cancel()
    async with asyncio.timeout(5):
        await asyncio.gather(*tasks, return_exceptions=True)
    shop.world.node.close()


async def test_the_operator_corrects_and_so_ends_a_dispute(shop: Shop) -> None:
    await shop.world.lease()
    with pytest.raises(SettlementError, match="more than all"):
        await shop.engine.adjust(spine.lease_id(1), -1, "nothing yet", "")
    await shop.minutes(3)
    with pytest.raises(SettlementError, match="more than there are"):
        await shop.engine.adjust(spine.lease_id(1), MOST_MSAT, "far too much", "")
    dispute = lease_pb2.Dispute(dispute_id="d1", sequence=2, contested_msat=1_000)
    await shop.acknowledge(contested=1_000, disputes=[dispute])
    assert await shop.engine.adjust(spine.lease_id(1)[:36], -400, "half of it", "d1") == (
        spine.lease_id(1),
        -400,
    )
    (correction,) = await shop.told("Adjustment")
    assert (correction.msat, correction.dispute_id) == (-400, "d1")
    await shop.acknowledge()
    await shop.settle()
    paid = await shop.pay()
    await shop.settle()
    shop.passes(3_600)  # what is left is small: it waits until it is old
    await shop.settle()
    paid += await shop.pay()
    await shop.settle()
    gross = (await shop.world.receipts())[-1].gross_msat_total
    assert (await shop.books()).received == paid == gross - 400
    for wrong, why in ((("ffff", -1, "", ""), "0 leases"), (("", -1, "", "d2"), "no open dispute")):
        with pytest.raises(SettlementError, match=why):
            await shop.engine.adjust(*wrong)
    assert shop.world.findings() == []
