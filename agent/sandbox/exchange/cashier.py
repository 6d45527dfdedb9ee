"""Paying what was accepted and asking for what is due, through the exchange's own node."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import structlog

from agent.core.bolt11 import decode
from agent.core.invoice import payout_text
from agent.sandbox.exchange import billing, payouts
from agent.sandbox.exchange.billing import Bill, BillState
from agent.sandbox.exchange.identity import Exchange
from agent.sandbox.exchange.payouts import Wanted
from agent.sandbox.exchange.purse import Purse, PurseError
from agent.sandbox.exchange.store import Store

LOOK_S = 0.5
PAYOUT_LIFE_S = 3600
LATE_S = 120  # after an invoice ended, until it counts as not paid

logger = structlog.get_logger()


@dataclass(slots=True)
class Cashier:
    """Does one thing after another; whatever was begun before a crash is found in the store."""

    exchange: Exchange
    store: Store
    purse: Purse | None
    wake: Callable[[str], None]  # a node has something to read
    paying: bool = True
    asking: bool = True
    _silent: set[str] = field(default_factory=set)  # what failed and was said already

    async def run(self) -> None:
        """Look again and again."""
        while True:
            await asyncio.sleep(LOOK_S)
            silence_ns = round(self.exchange.options.rebate_silence * 10**9)
            for node_id in await self.store.run(payouts.state_unstated, self.exchange, silence_ns):
                self.wake(node_id)
            if self.purse is None:
                continue
            for bill in await self.store.run(billing.payable):
                await self._carefully(bill.label, self._settle(self.purse, bill))
            for payout in await self.store.run(payouts.wanted) if self.asking else []:
                await self._carefully(payout.label, self._ask(self.purse, payout))

    async def _carefully(self, what: str, work: Awaitable[None]) -> None:
        try:
            await work
        except PurseError as error:
            if what not in self._silent:
                logger.warning("purse_failed", what=what, error=str(error))
            self._silent.add(what)
        else:
            self._silent.discard(what)

    async def _settle(self, purse: Purse, bill: Bill) -> None:
        """Pay an invoice once, or find out what became of it."""
        sent = await purse.sent(bill.payment_hash)
        now_s = self.exchange.now_ns() // 10**9
        if sent.status in ("", "failed"):
            if now_s >= bill.expire_s + LATE_S:
                await self.store.run(billing.move, bill, BillState.EXPIRED)
                return
            if now_s >= bill.expire_s or not self.paying:
                return
            await self.store.run(billing.move, bill, BillState.PAYING)
            try:
                await purse.pay(bill.bolt11, bill.most_fee_msat)
            except PurseError as error:  # no answer to a payment says that it was not made
                logger.info("payment_unclear", label=bill.label, error=str(error))
            sent = await purse.sent(bill.payment_hash)
        if sent.status == "complete":
            await self.store.run(billing.show_paid, self.exchange, bill, sent.preimage)
            self.wake(bill.node_id)

    async def _ask(self, purse: Purse, payout: Wanted) -> None:
        """Make an invoice for a payout and send it."""
        text = payout_text(self.exchange.exchange_id, payout.lease_id, payout.statement_sha256)
        bolt11 = await purse.invoice(
            payout.label, None if payout.open_amount else payout.msat, text, PAYOUT_LIFE_S
        )
        payment_hash = decode(bolt11).payment_hash
        await self.store.run(payouts.ask, self.exchange, payout, bolt11, payment_hash)
        self.wake(payout.node_id)
