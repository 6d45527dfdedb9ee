"""Rebates and refunds over journal, engine, rail and double: paid once, or refused, or netted."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hearth.v1 import lease_pb2, settlement_pb2

from agent.config import Caps
from agent.core import bolt11
from agent.core.payout import PayoutState, Spent
from agent.errors import MalformedMessage
from agent.journal import settlement
from agent.sandbox.lightningd.caller import DirectCaller
from agent.sandbox.lightningd.signer import NodeKey, encode
from agent.settle.lightning import LightningNode
from agent.settle.statement import StatementRail
from agent.settle.till import MOST_STATEMENTS
from tests.fakes.direct_rail import DirectRail
from tests.fakes.shop import MONEY, OFFER, Shop

REFUSED = settlement_pb2.PayoutRefusalReason


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
    shop.passes(901)
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


async def test_a_rebate_is_stated_a_few_times_and_not_for_ever(shop: Shop) -> None:
    other = lease_pb2.RebateStatement()
    other.CopyFrom(await shop.missed())
    for number in range(1, MOST_STATEMENTS):  # after our own
        other.availability_ppm = number
        await shop.say(other)
    await shop.say(other)  # the same again
    other.availability_ppm = 0
    with pytest.raises(MalformedMessage, match="stated 8 times"):
        await shop.say(other)
    assert len((await shop.books()).payouts[0].statements) == MOST_STATEMENTS


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
