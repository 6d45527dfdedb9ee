"""Every row of the table "situation, answer" of docs/settlement.md: what the agent makes of it.

That the double answers as the table says, and the rail reads it so, is tested in
tests/unit/test_lightning_payments.py. Here a rebate is being paid, through books, journal and rail.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hearth.v1 import lease_pb2, settlement_pb2

from agent.core.payout import PayoutState
from agent.sandbox.lightningd.network import Fault
from agent.settle.rail import RailError
from tests.fakes.shop import Shop
from tests.fakes.spine import SECOND

REASON = settlement_pb2.PayoutRefusalReason
HOUR = 3600
QUIET = 901  # seconds after its last try that a payment counts as ended


@dataclass
class Rebate:
    """One that is stated, and what becomes of it."""

    shop: Shop
    statement: lease_pb2.RebateStatement
    digest: bytes
    asked: int = 0

    async def ask(self) -> str:
        """The exchange sends an invoice for it."""
        self.asked += 1
        bolt11 = self.shop.payout_invoice(self.digest, self.statement.msat, f"try-{self.asked}")
        await self.shop.ask_payout(self.digest, bolt11)
        return bolt11

    async def work(self, after_s: int = 0) -> None:
        """Let time pass, then have the agent do what is due, as far as the node lets it."""
        self.shop.passes(after_s)
        with contextlib.suppress(RailError):  # as in the engine: it tries again later
            await self.shop.settle()

    async def again(self) -> None:
        """A moment later, when the same may be tried again."""
        await self.work(61)

    async def state(self) -> PayoutState:
        return (await self.shop.books()).payouts[0].state

    def tries(self) -> list[str]:
        """What the operator's node has of all attempts."""
        rows = self.shop.operator.call("listsendpays")["payments"]
        return [str(row["status"]) for row in rows]

    def received(self) -> list[str]:
        """Labels of the invoices that the exchange's node was paid."""
        rows = self.shop.exchange.call("listinvoices")["invoices"]
        return [str(row["label"]) for row in rows if row["status"] == "paid"]

    async def is_paid(self, label: str = "try-1") -> None:
        """Once, and everywhere: at the node, in the books, in the payments, to the exchange."""
        assert self.received() == [label]
        assert self.tries().count("complete") == 1
        assert await self.state() is PayoutState.PAID
        rows = await self.shop.ask("SELECT msat FROM payments")
        assert rows == [(-self.statement.msat,)]
        (notice,) = await self.shop.told("PaymentNotice")
        assert notice.statement_sha256 == self.digest
        tries = self.tries()
        await self.again()
        assert (self.tries(), self.received()) == (tries, [label])
        assert self.shop.world.findings() == []

    async def is_open(self, tries: int) -> None:
        """Neither paid nor failed, whatever the node was asked."""
        assert await self.state() is PayoutState.PAYING
        assert len(self.tries()) == tries
        assert await self.shop.ask("SELECT msat FROM payments") == []

    async def is_refused(self) -> None:
        """For certain not paid; another invoice may come, and is paid."""
        assert await self.state() is PayoutState.FAILED_SAFE
        assert self.received() == []
        assert (await self.shop.told("PayoutRefusal"))[
            -1
        ].reason == REASON.PAYOUT_REFUSAL_REASON_FAILED
        await self.ask()
        await self.work()
        if not self.received():  # a node remembers for an hour where it did not get through
            await self.work(HOUR - 120)
        await self.is_paid("try-2")


@pytest.fixture
async def rebate(tmp_path: Path) -> AsyncIterator[Rebate]:
    shop = await Shop.open(tmp_path)
    statement = await shop.missed()
    yield Rebate(shop, statement, await shop.payload_sha256("RebateStatement"))
    shop.world.node.close()


async def already_paid(rebate: Rebate) -> None:
    """By an agent that died before it wrote that down."""
    bolt11 = await rebate.ask()
    rebate.shop.operator.call("xpay", invstring=bolt11)
    await rebate.work()
    await rebate.is_paid()


async def paid_and_then_expired(rebate: Rebate) -> None:
    await rebate.ask()
    rebate.shop.network.faults.append(Fault("operator", "paid", "kill"))
    await rebate.work()
    rebate.shop.passes(2 * HOUR)
    await rebate.shop.restart()
    rebate.shop.operator.restart()
    await rebate.work()
    await rebate.is_paid()


async def expired_and_never_attempted(rebate: Rebate) -> None:
    rebate.shop.operator.kill()
    await rebate.ask()
    await rebate.work(HOUR + 10)
    assert await rebate.state() is PayoutState.PAYING
    rebate.shop.operator.restart()
    await rebate.work()
    await rebate.is_open(0)
    await rebate.work(QUIET)
    await rebate.is_refused()


async def in_flight(rebate: Rebate) -> None:
    rebate.shop.network.holds.everything = True
    await rebate.ask()
    for _ in range(5):
        await rebate.again()
        await rebate.is_open(1)
    rebate.shop.network.holds.everything = False
    await rebate.work()
    await rebate.is_paid()


async def retry_after_a_crash(rebate: Rebate) -> None:
    await rebate.ask()
    rebate.shop.network.holds.everything = True
    rebate.shop.network.faults.append(Fault("operator", "sent", "kill"))
    await rebate.work()
    rebate.shop.operator.restart(channel_after_s=600)
    await rebate.shop.restart()
    for _ in range(5):
        await rebate.again()
        await rebate.is_open(1)
    rebate.shop.network.holds.everything = False
    await rebate.work(600)
    await rebate.is_paid()


async def no_route(rebate: Rebate) -> None:
    rebate.shop.operator.disconnect(300)
    await rebate.ask()
    for _ in range(3):
        await rebate.again()
        await rebate.is_open(0)
    await rebate.work(300)
    await rebate.is_paid()


async def fee_above_the_limit(rebate: Rebate) -> None:
    network = rebate.shop.network
    usual = network.habits
    network.habits = replace(usual, fee_base_msat=1_000_000)
    await rebate.ask()
    for _ in range(3):
        await rebate.again()
        await rebate.is_open(0)
    network.habits = usual
    await rebate.again()
    await rebate.is_paid()


async def invoice_deleted(rebate: Rebate) -> None:
    await rebate.ask()
    rebate.shop.exchange.call("delinvoice", label="try-1", status="unpaid")
    await rebate.work()
    for _ in range(3):  # the node said that it is of no use: it is not asked again
        await rebate.again()
        await rebate.is_open(1)
    await rebate.work(QUIET)
    await rebate.is_refused()


async def expired_while_held(rebate: Rebate) -> None:
    rebate.shop.network.holds.everything = True
    await rebate.ask()
    await rebate.work(30)
    await rebate.work(HOUR + QUIET)
    await rebate.is_open(1)  # however long it takes: it may still arrive
    rebate.shop.network.holds.everything = False
    await rebate.work()
    await rebate.is_refused()


async def payee_offline(rebate: Rebate) -> None:
    await rebate.ask()
    rebate.shop.exchange.disconnect(120)
    await rebate.work()
    await rebate.is_open(1)
    await rebate.work(1200)  # it is back, and the node believes otherwise
    await rebate.is_open(1)
    await rebate.work(HOUR)
    await rebate.work(QUIET)
    await rebate.is_refused()


async def an_offer(rebate: Rebate) -> None:
    made = rebate.shop.exchange.call("offer", amount=rebate.statement.msat, description="rebates")
    for _ in range(2):
        await rebate.shop.ask_payout(rebate.digest, made["bolt12"])
        await rebate.again()
    refusals = [item.reason for item in await rebate.shop.told("PayoutRefusal")]
    assert refusals == [REASON.PAYOUT_REFUSAL_REASON_UNREADABLE] * 2
    assert (rebate.tries(), rebate.received()) == ([], [])
    await rebate.ask()
    await rebate.work()
    await rebate.is_paid()


async def the_deadline_passes(rebate: Rebate) -> None:
    rebate.shop.network.holds.everything = True
    await rebate.ask()
    rebate.shop.network.faults.append(Fault("operator", "sent", "hang"))
    await rebate.work()
    await rebate.is_open(1)
    await rebate.work(HOUR + QUIET)
    await rebate.is_open(1)
    row = rebate.shop.exchange.invoices["try-1"]
    row.status, row.expires_at = "unpaid", rebate.shop.exchange.now + 60  # it had taken it in time
    rebate.shop.network.holds.everything = False
    await rebate.work()
    await rebate.is_paid()


ROWS: dict[str, tuple[Callable[[Rebate], Awaitable[None]], ...]] = {
    "already paid": (already_paid,),
    "paid, then the invoice expired": (paid_and_then_expired,),
    "expired, never attempted": (expired_and_never_attempted,),
    "in flight": (in_flight,),
    "retry after a crash, the channel not back yet": (retry_after_a_crash,),
    "no route; fee or delay above the limit": (no_route, fee_above_the_limit),
    "invoice unknown, deleted, expired while held": (invoice_deleted, expired_while_held),
    "payee offline": (payee_offline,),
    "`xpay` on an offer, twice": (an_offer,),
    "the agent's deadline passes": (the_deadline_passes,),
}


@pytest.mark.parametrize(
    "situation",
    [
        pytest.param(situation, id=f"{row}: {situation.__name__}")
        for row, situations in ROWS.items()
        for situation in situations
    ],
)
async def test_what_the_agent_makes_of(
    rebate: Rebate, situation: Callable[[Rebate], Awaitable[None]]
) -> None:
    await situation(rebate)


def test_every_row_of_the_table_is_here() -> None:
    text = (Path(__file__).parents[2] / "docs/settlement.md").read_text("utf-8")
    table = text[text.index("| situation | the node says |") :].split("\n\n")[0]
    rows = re.findall(r"^\| (.+?) \|", table, re.MULTILINE)
    assert rows[0] == "situation"
    assert rows[1:] == list(ROWS)


@pytest.mark.parametrize("restarted", [False, True])
async def test_a_clock_that_is_set_and_a_host_that_slept_end_no_payment(
    rebate: Rebate, *, restarted: bool
) -> None:
    """The node was told to pay and shows nothing yet: it has not had the time to."""
    await rebate.ask()
    rebate.shop.network.faults.append(Fault("operator", "request", "hang", "xpay"))
    await rebate.work()
    await rebate.is_open(0)
    if restarted:
        await rebate.shop.restart()
        await rebate.work()
    rebate.shop.world.clock.step(2 * HOUR * SECOND)
    rebate.shop.world.clock.suspend(2 * HOUR * SECOND)
    await rebate.work()
    await rebate.is_open(0)
    await rebate.work(QUIET - 2)
    await rebate.is_open(0)
    await rebate.work(1)
    await rebate.is_refused()


async def test_what_failed_is_found_failed_by_every_start_after_a_wait(rebate: Rebate) -> None:
    await rebate.ask()
    rebate.shop.network.faults.append(Fault("operator", "request", "hang", "xpay"))
    await rebate.work()
    for _ in range(3):
        await rebate.shop.restart()
        await rebate.work(HOUR + QUIET)
        await rebate.is_open(0)  # as far as this start can tell
    await rebate.work(QUIET)
    await rebate.is_refused()


async def test_a_clock_that_is_set_back_holds_no_look_up(rebate: Rebate) -> None:
    rebate.shop.network.holds.everything = True
    await rebate.ask()
    await rebate.work()
    await rebate.is_open(1)
    rebate.shop.world.clock.step(-2 * HOUR * SECOND)
    rebate.shop.network.holds.everything = False
    rebate.shop.passes(6)
    await rebate.shop.cashier._round()  # unlike `work` with the rests that are due
    assert await rebate.state() is PayoutState.PAID
