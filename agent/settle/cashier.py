"""What goes on at the rail: errands run, payments heard, its health watched.

Each is a task of its own, and only these are ever waited for by nobody: a node that hangs delays
its own errands, and neither sampling nor receipts nor the end of the process.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from typing import Any, NoReturn

import structlog

from agent.clock import SECOND
from agent.core.bill import UNSURE, Account
from agent.core.payout import PayoutState
from agent.core.settlement import outstanding
from agent.core.settling import Handed, Inspect, Pay, Request, Work
from agent.errors import Overloaded
from agent.journal import rail as rail_rows
from agent.journal import settlement
from agent.journal.store import Transaction
from agent.node import Node
from agent.settle.engine import TICK_S, Settlement
from agent.settle.errands import Errands, seen
from agent.settle.rail import (
    Invoice,
    InvoiceState,
    InvoiceStatus,
    Payment,
    Rail,
    RailDown,
    RailError,
)

logger = structlog.get_logger()

AFTER_START_S = 3.0  # until the first call
LISTEN_S = 60  # one wait for payments
HEALTH_S = 60.0
REST_NS = 5 * SECOND  # between two errands about the same thing
LOST_REST_NS = 600 * SECOND
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0


@dataclass(slots=True)
class Cashier:
    """Does at the rail what the books ask for, and enters what comes of it."""

    engine: Settlement
    rail: Rail
    _rests: dict[str, int] = field(default_factory=dict)  # errand -> not before
    _watched: dict[bytes, int] = field(default_factory=dict)  # see Errands
    _failing: set[str] = field(default_factory=set)  # errands whose failure was said
    _swept: bool = False
    _error: str | None = None  # of the rail; None: nothing is known yet
    _warnings: str | None = None

    @property
    def node(self) -> Node:
        """Whose books they are."""
        return self.engine.node

    def tasks(self) -> dict[str, Coroutine[Any, Any, NoReturn]]:
        """What runs for ever, by name."""
        return {
            "settlement-errands": self._later(self.run_errands),
            "settlement-payments": self._later(self.hear_payments),
            "settlement-rail": self._later(self.watch_rail),
        }

    @staticmethod
    async def _later(work: Callable[[], Coroutine[Any, Any, NoReturn]]) -> NoReturn:
        """Leave the start to the first offer: a driver takes most of a second to load."""
        await asyncio.sleep(AFTER_START_S)
        await work()

    # --- errands ---------------------------------------------------------------------------------

    async def run_errands(self) -> NoReturn:
        """Do at the rail what the books ask for, one after another."""

        async def step() -> None:
            self.engine.work.clear()
            await self._round()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TICK_S):
                    await self.engine.work.wait()

        await self._over_and_over(step)

    async def _over_and_over(self, step: Callable[[], Awaitable[None]]) -> NoReturn:
        """Take a step for ever: after longer and longer pauses while the rail is down."""
        pause = FIRST_PAUSE_S
        while True:
            try:
                await step()
                pause = FIRST_PAUSE_S
            except RailError as error:
                await self._note_down(str(error))
                pause = min(2 * pause, LONGEST_PAUSE_S)
                await asyncio.sleep(pause)
            except Overloaded as error:
                logger.warning("journal_overloaded", error=str(error))
                await self.node.clock.sleep(SECOND)

    async def _round(self) -> None:
        accounts = await self.node.journal.read(settlement.open_accounts)
        sweeping = not self._swept
        for row, books in accounts:
            errands = Errands(
                self.rail,
                lambda event, row=row: self.engine.enter(row, event),  # type: ignore[misc]  # bound now
                self.engine.unix_ns,
                self.engine.desk.policy.invoice_life_ns // SECOND,
                self.engine.desk.policy.network,
                self._awake_ns,
                self._watched,
            )
            for work in self._due(books, sweeping=sweeping):
                name = f"{books.lease_id} {_name(work)}"
                try:
                    await errands.run(work)
                except RailDown:
                    raise
                except RailError as error:
                    if name not in self._failing:
                        logger.warning("errand_failed", errand=name, error=str(error))
                    self._failing.add(name)
                else:
                    self._failing.discard(name)
        self._swept = True
        now = self._awake_ns()
        self._rests = {name: at for name, at in self._rests.items() if at > now}
        going_on = {item.payment_hash for _, books in accounts for item in books.payouts}
        self._watched = {key: at for key, at in self._watched.items() if key in going_on}

    def _awake_ns(self) -> int:
        """CLOCK_MONOTONIC by now."""
        return self.node.clock.now().monotonic_ns

    def _due(self, books: Account, *, sweeping: bool) -> Iterator[Work]:
        """The errands whose time has come; after a start all that is unsure is looked at."""
        now = self._awake_ns()
        work = list(outstanding(books, self.engine.unix_ns()))
        if sweeping:
            named = {item.label for item in work if isinstance(item, Inspect)}
            asked = [bill.label for bill in books.bills if bill.state in UNSURE[1:]]
            work += [Inspect(label) for label in asked if label not in named]
        for item in work:
            name = f"{books.lease_id} {_name(item)}"
            if self._rests.get(name, 0) > now:
                continue
            # What the node no longer knows is asked for seldom, everything else soon again.
            lost = isinstance(item, Inspect) and not sweeping
            self._rests[name] = now + (LOST_REST_NS if lost else REST_NS)
            yield item

    # --- payments --------------------------------------------------------------------------------

    async def hear_payments(self) -> NoReturn:
        """Wait for payments, from where the journal is."""
        loop = asyncio.get_running_loop()

        async def step() -> None:
            began = loop.time()
            if not await self._hear() and loop.time() - began < 1:
                await asyncio.sleep(1)  # a rail that does not wait

        await self._over_and_over(step)

    async def _hear(self) -> bool:
        """Enter what was paid since the last look; whether there was any."""
        own = self.node.config.settlement
        place = f"{own.rail} {own.socket or own.node or own.directory}"
        if await self.node.journal.read(rail_rows.place) != place:
            await self.node.journal.write(lambda change: rail_rows.listen(change, place))
        after = await self.node.journal.read(rail_rows.pay_index)
        payments = await self.rail.paid_after(after, LISTEN_S)
        await self._note_up()
        if payments:
            await self.node.journal.write(lambda change: self._received(change, payments))
        return bool(payments)

    def _received(self, change: Transaction, payments: tuple[Payment, ...]) -> None:
        """Enter payments and how far they were heard, in one transaction."""
        for payment in payments:
            row = settlement.lease_of_label(change, payment.label)
            if row is not None:
                self.engine.enter_in(change, row, seen(payment.label, _paid(payment)))
            elif not self.engine.desk.policy.pays:
                self._handed(change, payment)
            rail_rows.heard(change, payment.pay_index)

    def _handed(self, change: Transaction, payment: Payment) -> None:
        """Enter what somebody gave back by hand, where the rail cannot."""
        found = settlement.payout_of_label(change, payment.label)
        if found is None:
            return
        row, key = found
        event = Handed(key, payment.amount_received_msat, payment.paid_ns)
        item = self.engine.enter_in(change, row, event).payout(key)
        if item is None or item.state is not PayoutState.PAID:
            logger.warning("payout_by_hand_not_due", label=payment.label)

    # --- the rail's health -----------------------------------------------------------------------

    async def watch_rail(self) -> NoReturn:
        """Look at the rail now and then, and keep what there is to say about it."""
        while True:
            try:
                health = await self.rail.health()
            except RailError as error:
                await self._note_down(str(error))
            else:
                await self._note_up()
                warnings = list(health.warnings)
                if health.network not in (None, self.engine.desk.policy.network):
                    warnings.append(
                        f"the node is on {health.network}, settlement.network is"
                        f" {self.engine.desk.policy.network}: nobody can pay its invoices"
                    )
                await self._warn("\n".join(warnings))
            await asyncio.sleep(HEALTH_S)

    async def _warn(self, warnings: str) -> None:
        if warnings == self._warnings:
            return
        self._warnings = warnings
        for line in warnings.splitlines():
            logger.warning("rail_warns", rail=self.rail.name, warning=line)
        await self.node.journal.write(lambda change: rail_rows.warns(change, warnings))

    async def _note_down(self, error: str) -> None:
        if self._error == error:
            return
        if not self._error:
            logger.warning("rail_down", rail=self.rail.name, error=error)
        self._error = error
        now = self.engine.unix_ns()
        with contextlib.suppress(Overloaded):
            await self.node.journal.write(lambda change: rail_rows.down(change, now, error))

    async def _note_up(self) -> None:
        if self._error == "":
            return
        logger.info("rail_up", rail=self.rail.name)
        self._error = ""
        with contextlib.suppress(Overloaded):
            await self.node.journal.write(rail_rows.up)

    async def close(self) -> None:
        """Let go of the rail; what is under way there is found again at the next start."""
        await self.rail.close()


def _name(work: Work) -> str:
    match work:
        case Request(bill):
            return f"request {bill.label}"
        case Inspect(label):
            return f"inspect {label}"
        case Pay(payout):
            return f"pay {payout.key}"


def _paid(payment: Payment) -> InvoiceState:
    invoice = Invoice(payment.label, "", payment.payment_hash, payment.amount_received_msat, 0)
    return InvoiceState(invoice, InvoiceStatus.PAID, payment)
