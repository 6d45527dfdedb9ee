"""Settlement over journal, engine, rail and double, without processes; time is the test's."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import structlog
from hearth.v1 import lease_pb2, settlement_pb2

from agent.config import Caps, Settlement
from agent.core import bolt11
from agent.core.bill import BillState
from agent.core.bounds import MOST_MSAT
from agent.core.credit import CreditLevel
from agent.core.lease import CloseReason, LeaseState
from agent.core.payout import PayoutState, Spent
from agent.core.settling import Seen, Status
from agent.errors import MalformedMessage, RateLimited, SettlementError
from agent.exchange import outbox
from agent.journal import settlement
from agent.sandbox.lightningd.caller import DirectCaller
from agent.sandbox.lightningd.signer import NodeKey, encode
from agent.settle.alarms import alarms
from agent.settle.lightning import LightningNode
from agent.settle.rail import Invoice, RailDown, RailRefused
from agent.settle.statement import StatementRail
from tests.fakes import spine
from tests.fakes.direct_rail import DirectRail
from tests.fakes.shop import MONEY, OFFER, Shop
from tests.fakes.spine import SECOND

REFUSED = settlement_pb2.PayoutRefusalReason


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    opened = await Shop.open(tmp_path)
    yield opened
    opened.world.node.close()


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


# --- rebates -------------------------------------------------------------------------------------


async def test_a_missed_service_level_is_given_back_without_a_claim(shop: Shop) -> None:
    statement = await shop.missed()
    assert 690_000 <= statement.availability_ppm <= 710_000
    receipts = await shop.world.receipts()
    window = [item for item in receipts if item.sequence <= 10]
    assert abs(statement.msat - window[-1].gross_msat_total // 10) <= 1
    digest = await shop.payload_sha256("RebateStatement")
    await shop.ask_payout(digest, shop.payout_invoice(digest, statement.msat))
    await shop.settle()
    (row,) = shop.exchange.call("listinvoices")["invoices"]
    assert row["status"] == "paid"
    (notice,) = await shop.told("PaymentNotice")
    assert notice.statement_sha256 == digest
    assert notice.payment_hash.hex() == row["payment_hash"]
    assert hashlib.sha256(notice.preimage).digest() == notice.payment_hash
    ((msat, fee),) = await shop.ask("SELECT msat, fee_msat FROM payments")
    assert msat == -statement.msat
    assert fee >= 0
    await shop.ask_payout(digest, shop.payout_invoice(digest, statement.msat, "again"))
    await shop.settle()
    assert (await shop.told("PayoutRefusal"))[-1].reason == REFUSED.PAYOUT_REFUSAL_REASON_PAID
    assert shop.world.findings() == []


async def test_what_nobody_asks_for_is_netted_and_not_paid_then(shop: Shop) -> None:
    statement = await shop.missed()
    shop.passes(7201)
    await shop.minutes(1)
    await shop.acknowledge()
    await shop.settle()
    (invoice,) = await shop.told("Invoice")
    receipts = await shop.world.receipts()
    assert invoice.amount_msat == receipts[-1].gross_msat_total - statement.msat
    digest = await shop.payload_sha256("RebateStatement")
    assert list(invoice.netted_statement_sha256) == [digest]
    await shop.ask_payout(digest, shop.payout_invoice(digest, statement.msat))
    await shop.settle()
    assert (await shop.told("PayoutRefusal"))[-1].reason == REFUSED.PAYOUT_REFUSAL_REASON_NETTED
    assert shop.exchange.call("listinvoices")["invoices"][0]["status"] == "unpaid"


@pytest.mark.parametrize(
    ("reason", "wrong"),
    [
        ("AMOUNT", {"more": 1}),
        ("DESCRIPTION", {"text": "something else"}),
        ("EXPIRY", {"life": 30}),
        ("EXPIRY", {"life": 29 * 86_400}),
        ("EXPIRY", {"life": 1 << 62}),  # and more nanoseconds than the books can hold
        ("UNREADABLE", {"bolt11": "lnbcrt1nonsense"}),
        ("UNKNOWN_STATEMENT", {"statement": bytes(32)}),
        ("NETWORK", {"network": "bitcoin"}),
        ("ABOVE_CAP", {"caps": Caps(payment_msat=10)}),
        ("ABOVE_DAY_CAP", {"caps": Caps(day_msat=10)}),
        ("ABOVE_EXCHANGE_CAP", {"caps": Caps(exchange_day_msat=10)}),
    ],
)
async def test_an_invoice_that_is_not_right_is_refused_and_says_why(
    tmp_path: Path, reason: str, wrong: dict[str, Any]
) -> None:
    settings = msgspec.structs.replace(
        MONEY,
        network=wrong.get("network", "regtest"),
        caps=wrong.get("caps", Caps()),
    )
    shop = await Shop.open(tmp_path, settlement=settings)
    statement = await shop.missed()
    digest = await shop.payload_sha256("RebateStatement")
    bolt11 = wrong.get("bolt11") or shop.payout_invoice(
        digest,
        statement.msat + wrong.get("more", 0),
        text=wrong.get("text", ""),
        life=wrong.get("life", 3600),
    )
    await shop.ask_payout(wrong.get("statement", digest), bolt11)
    await shop.settle()
    (refusal,) = await shop.told("PayoutRefusal")
    name = f"PAYOUT_REFUSAL_REASON_{reason}"
    assert settlement_pb2.PayoutRefusalReason.Name(refusal.reason) == name
    assert await shop.told("PaymentNotice") == []
    assert shop.operator.call("listsendpays")["payments"] == []
    shop.world.node.close()


async def test_with_the_least_access_only_invoices_without_an_amount_are_paid(
    tmp_path: Path,
) -> None:
    """Such access goes through `sendamount`: it sends what is due and the most it may cost."""
    runes = {"pay_rune_file": "/a/rune", "payments_rune_file": "/another"}
    settings = msgspec.structs.replace(MONEY, rail="cln-commando", **runes)
    shop = await Shop.open(tmp_path, settlement=settings)
    shop.rail = DirectRail(LightningNode(DirectCaller(shop.operator), capped=True))
    shop.begin()
    statement = await shop.missed()
    digest = await shop.payload_sha256("RebateStatement")
    await shop.ask_payout(digest, shop.payout_invoice(digest, statement.msat, "named"))
    await shop.settle()
    (refusal,) = await shop.told("PayoutRefusal")
    assert refusal.reason == REFUSED.PAYOUT_REFUSAL_REASON_AMOUNT_NAMED
    assert shop.operator.call("listsendpays")["payments"] == []
    bolt11 = shop.payout_invoice(digest, statement.msat, "open", named=False)
    await shop.ask_payout(digest, bolt11)
    await shop.settle()
    await shop.settle()
    most = statement.msat + Caps().fee_least_msat
    (sent,) = shop.operator.call("listsendpays")["payments"]
    assert sent["amount_sent_msat"] == most
    assert await shop.ask("SELECT msat, fee_msat FROM payments") == [
        (-statement.msat, most - statement.msat)
    ]
    open_one = shop.exchange.invoices["open"]
    assert (open_one.status, open_one.received_msat) == ("paid", most - 1)  # the hop's fee
    assert shop.exchange.invoices["named"].status == "unpaid"
    assert (await shop.books()).payouts[0].state is PayoutState.PAID
    shop.world.node.close()


async def test_who_cannot_see_its_payments_begins_none(tmp_path: Path) -> None:
    """With a pay rune alone a payout would be under way for ever, and never netted."""
    settings = msgspec.structs.replace(MONEY, rail="cln-commando", pay_rune_file="/a/rune")
    shop = await Shop.open(tmp_path, settlement=settings)
    statement = await shop.missed()
    digest = await shop.payload_sha256("RebateStatement")
    await shop.ask_payout(digest, shop.payout_invoice(digest, statement.msat, named=False))
    (refusal,) = await shop.told("PayoutRefusal")
    assert refusal.reason == REFUSED.PAYOUT_REFUSAL_REASON_NO_RAIL
    await shop.acknowledge()
    await shop.settle()
    ((netted,),) = await shop.ask("SELECT state FROM payouts")
    assert netted == PayoutState.NETTED
    shop.world.node.close()


async def test_another_invoice_is_taken_only_when_the_first_has_failed(shop: Shop) -> None:
    statement = await shop.missed()
    digest = await shop.payload_sha256("RebateStatement")
    shop.network.holds.everything = True
    await shop.ask_payout(digest, shop.payout_invoice(digest, statement.msat, "first"))
    await shop.settle()
    assert (await shop.books()).payouts[0].state is PayoutState.PAYING
    await shop.ask_payout(digest, shop.payout_invoice(digest, statement.msat, "second"))
    assert (await shop.told("PayoutRefusal"))[
        -1
    ].reason == REFUSED.PAYOUT_REFUSAL_REASON_PAYING_ANOTHER
    shop.passes(3600 + 901)
    shop.network.holds.everything = False
    await shop.settle()
    assert (await shop.books()).payouts[0].state is PayoutState.FAILED_SAFE
    assert (await shop.told("PayoutRefusal"))[-1].reason == REFUSED.PAYOUT_REFUSAL_REASON_FAILED
    await shop.ask_payout(digest, shop.payout_invoice(digest, statement.msat, "third"))
    await shop.settle()
    assert (await shop.books()).payouts[0].state is PayoutState.PAID
    paid = [
        row for row in shop.exchange.call("listinvoices")["invoices"] if row["status"] == "paid"
    ]
    assert [row["label"] for row in paid] == ["third"]


@pytest.mark.parametrize("held", [False, True])
async def test_one_payment_is_the_proof_of_one_payout(shop: Shop, *, held: bool) -> None:
    statement = await shop.missed()
    await shop.freeze(frozen=True)
    await shop.minutes(3)
    await shop.freeze(frozen=False)
    await shop.minutes(7)
    first, second = [await shop.payload_sha256("RebateStatement", place) for place in (0, 1)]
    invoice = shop.payout_invoice(first, statement.msat, "first")
    shop.network.holds.everything = held
    await shop.ask_payout(first, invoice)
    await shop.settle()
    other = (await shop.told("RebateStatement"))[-1]
    own = bolt11.decode(shop.payout_invoice(second, other.msat, "second"))
    again = dataclasses.replace(own, payment_hash=bolt11.decode(invoice).payment_hash)
    await shop.ask_payout(second, encode(again, NodeKey.named("exchange")))
    await shop.settle()
    (refusal,) = await shop.told("PayoutRefusal")
    assert refusal.reason == REFUSED.PAYOUT_REFUSAL_REASON_PAID
    assert (await shop.books()).payouts[1].state is PayoutState.PLANNED
    assert await shop.ask("SELECT count(*) FROM payments") == [(int(not held),)]


async def test_what_may_still_be_paid_counts_for_as_long_as_it_may(tmp_path: Path) -> None:
    """Payees that are away for days and come back at once do not get a week's limit on one day."""
    caps = Caps(payment_msat=7_000, day_msat=7_000, exchange_day_msat=7_000)
    patient = msgspec.structs.replace(MONEY, caps=caps, net_rebates_after_seconds=30 * 86_400)
    shop = await Shop.open(tmp_path, settlement=patient)
    statement = await shop.missed()
    await shop.freeze(frozen=True)
    await shop.minutes(3)
    await shop.freeze(frozen=False)
    await shop.minutes(7)
    other = (await shop.told("RebateStatement"))[-1]
    first, second = [await shop.payload_sha256("RebateStatement", place) for place in (0, 1)]
    invoice = shop.payout_invoice(first, statement.msat, "first", life=9 * 86_400)
    shop.network.holds.everything = True
    await shop.ask_payout(first, invoice)
    await shop.settle()

    async def refusals(label: str) -> list[int]:
        invoice = shop.payout_invoice(second, other.msat, label, life=9 * 86_400)
        await shop.ask_payout(second, invoice)
        await shop.settle()
        return [item.reason for item in await shop.told("PayoutRefusal")]

    above = REFUSED.PAYOUT_REFUSAL_REASON_ABOVE_DAY_CAP
    shop.passes(5 * 86_400)
    assert await refusals("while the first is on its way") == [above]
    shop.network.holds.everything = False
    await shop.settle()
    assert (await shop.books()).payouts[0].state is PayoutState.PAID
    (notice,) = await shop.told("PaymentNotice")
    assert hashlib.sha256(notice.preimage).digest() == notice.payment_hash, "found afterwards"
    for exchange, own in ((shop.world.pens[0].row, statement.msat + 1), (99, 0)):
        now = shop.engine.unix_ns()
        spent = await shop.world.node.journal.read(
            lambda view, exchange=exchange, now=now: settlement.spent(view, exchange, now)
        )
        assert spent == Spent(statement.msat + 1, own), "with the fee that it cost"
    shop.passes(86_300)
    assert await refusals("less than a day after it was paid") == [above] * 2
    await shop.restart()
    shop.passes(101)
    assert await refusals("a day after it was paid") == [above] * 2
    await shop.settle()
    assert [item.state for item in (await shop.books()).payouts] == [PayoutState.PAID] * 2
    shop.world.node.close()


async def test_what_an_earlier_rail_began_is_never_given_back_again_by_hand(shop: Shop) -> None:
    statement = await shop.missed()
    digest = await shop.payload_sha256("RebateStatement")
    shop.network.holds.everything = True
    await shop.ask_payout(digest, shop.payout_invoice(digest, statement.msat))
    await shop.settle()
    earlier = shop.rail
    shop.rail = StatementRail(shop.world.state / "statements")
    shop.begin()
    for _ in range(3):
        shop.passes(86_400)
        await shop.engine.look(ticking=True)
        await shop.cashier._round()
        assert (await shop.books()).payouts[0].state is PayoutState.PAYING
    shop.rail = earlier
    shop.begin()
    shop.network.holds.everything = False
    await shop.settle()
    assert (await shop.books()).payouts[0].state is not PayoutState.PAYING


async def test_both_sides_state_one_rebate(shop: Shop) -> None:
    statement = await shop.missed()
    own = lease_pb2.RebateStatement()
    own.CopyFrom(statement)
    await shop.say(own)
    digest = hashlib.sha256(own.SerializeToString(deterministic=True)).digest()
    await shop.ask_payout(digest, shop.payout_invoice(digest, statement.msat))
    await shop.settle()
    assert (await shop.books()).payouts[0].state is PayoutState.PAID
    wrong = lease_pb2.RebateStatement()
    wrong.CopyFrom(statement)
    wrong.msat += 1
    with pytest.raises(MalformedMessage, match="computed"):
        await shop.say(wrong)
    for seconds in (600, -600, 1, -1):  # not over, before the lease, of no window
        other = lease_pb2.RebateStatement()
        other.CopyFrom(statement)
        other.window.start_time.seconds += seconds
        other.window.end_time.seconds += seconds
        with pytest.raises(MalformedMessage, match="window"):
            await shop.say(other)


async def test_the_whole_lease_may_be_one_window(tmp_path: Path) -> None:
    offer = msgspec.structs.replace(OFFER, window_seconds=0)
    shop = await Shop.open(tmp_path, offer=offer)
    await shop.world.lease()
    await shop.minutes(4)
    await shop.freeze(frozen=True)
    await shop.minutes(3)
    await shop.freeze(frozen=False)
    await shop.minutes(3)
    assert await shop.told("RebateStatement") == [], "it is not over yet"
    await shop.world.release()
    await shop.minutes(1)
    (statement,) = await shop.told("RebateStatement")
    assert 690_000 <= statement.availability_ppm <= 710_000
    late = lease_pb2.RebateStatement()
    late.CopyFrom(statement)
    late.window.start_time.seconds += 1
    with pytest.raises(MalformedMessage, match="window"):
        await shop.say(late)
    own = lease_pb2.RebateStatement()
    own.CopyFrom(statement)
    await shop.say(own)
    assert [item.msat for item in (await shop.books()).payouts] == [statement.msat]
    shop.world.node.close()


# --- credit --------------------------------------------------------------------------------------


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
