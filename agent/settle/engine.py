"""Settlement as it runs: books kept up to the ledger, errands run at the rail, payments heard.

Each part is a task of its own, and only the rail's are ever waited for by nobody: a node that hangs
delays its own errands, and neither sampling nor receipts nor the end of the process.
"""

from __future__ import annotations

import asyncio
import contextlib
import tomllib
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import msgspec
import structlog

from agent.clock import SECOND
from agent.config import Config, Currency
from agent.core.bill import UNSURE, Account, Policy
from agent.core.payout import Caps
from agent.core.settlement import outstanding, step
from agent.core.settling import Event, Inspect, Pay, Request, Tick, Work
from agent.errors import Overloaded
from agent.journal import ledger, settlement
from agent.journal import rail as rail_rows
from agent.journal.settlement import NO_RATE, Desk, Rate
from agent.journal.store import Transaction, View
from agent.node import Node
from agent.settle import books as catching_up
from agent.settle import till
from agent.settle.errands import Errands, seen
from agent.settle.rail import Invoice as RailInvoice
from agent.settle.rail import InvoiceState, InvoiceStatus, Payment, Rail, RailDown, RailError

logger = structlog.get_logger()

TICK_S = 10.0
LISTEN_S = 60  # one wait for payments
HEALTH_S = 60.0
REST_NS = 5 * SECOND  # between two errands about the same thing
LOST_REST_NS = 600 * SECOND
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0


def policy_of(config: Config) -> Policy:
    """What the operator configured."""
    own = config.settlement
    return Policy(
        collects=own.rail != "none",
        pays=own.rail == "cln" or (own.rail == "cln-commando" and bool(own.pay_rune_file)),
        # A rune can cap what a call says, and an invoice is no part of that (settle.audit).
        pays_named=own.rail == "cln",
        network=own.network,
        least_msat=own.least_msat,
        age_ns=own.age_seconds * SECOND,
        invoice_life_ns=own.invoice_life_seconds * SECOND,
        net_after_ns=own.net_rebates_after_seconds * SECOND,
        caps=Caps(
            own.caps.payment_msat,
            own.caps.day_msat,
            own.caps.exchange_day_msat,
            own.caps.fee_permille,
            own.caps.fee_least_msat,
        ),
    )


def read_rate(config: Config) -> Rate:
    """The exchange rate by the file, else by the configuration, else none."""
    own = config.settlement
    found = own.currency
    if own.currency_file:
        try:
            raw = tomllib.loads(Path(own.currency_file).read_text("utf-8"))
            found = msgspec.convert(raw, Currency, strict=True)
        except (OSError, ValueError, msgspec.ValidationError) as error:
            logger.warning("currency_file_unreadable", file=own.currency_file, error=str(error))
    return NO_RATE if found is None else Rate(found.code, found.minor_per_bitcoin, found.source)


@dataclass(slots=True)
class Settlement:
    """The engine. `bell` is rung whenever the journal has news."""

    node: Node
    rail: Rail
    exchange_ns: Callable[[str], int]
    bell: asyncio.Event = field(default_factory=asyncio.Event)
    desk: Desk = field(init=False)
    _work: asyncio.Event = field(default_factory=asyncio.Event)
    _rate: Rate = NO_RATE
    _rests: dict[str, int] = field(default_factory=dict)  # errand -> not before
    _swept: bool = False
    _error: str | None = None  # of the rail; None: nothing is known yet
    _warnings: str | None = None

    def __post_init__(self) -> None:
        node = self.node
        self.desk = Desk(
            node.scribe,
            policy_of(node.config),
            self.exchange_ns,
            self.unix_ns,
            lambda: self._rate,
        )

    def unix_ns(self) -> int:
        """Unix time by now."""
        return self.node.clock.now().wall_ns

    def tasks(self) -> dict[str, Coroutine[Any, Any, NoReturn]]:
        """What runs for ever, by name."""
        work = {"settlement-books": self.keep_books()}
        if self.desk.policy.collects:
            work["settlement-errands"] = self.run_errands()
            work["settlement-payments"] = self.hear_payments()
            work["settlement-rail"] = self.watch_rail()
        return work

    # --- the books -------------------------------------------------------------------------------

    async def keep_books(self) -> NoReturn:
        """Bring the books up to the ledger at every change, and let time pass in them."""
        self._rate = await asyncio.to_thread(read_rate, self.node.config)
        loop = asyncio.get_running_loop()
        ticked = loop.time() - TICK_S
        while True:
            self.bell.clear()
            passed = loop.time() - ticked >= TICK_S
            try:
                await self.look(ticking=passed)
            except Overloaded as error:
                logger.warning("journal_overloaded", error=str(error))
                await self.node.clock.sleep(SECOND)
            if passed:
                ticked = loop.time()
                self._rate = await asyncio.to_thread(read_rate, self.node.config)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TICK_S):
                    await self.bell.wait()

    async def look(self, *, ticking: bool) -> None:
        """Bring up to date whatever is not."""

        def behind(view: View) -> list[int]:
            rows = settlement.behind(view, catching_up.SETTLING)
            return sorted({*rows, *(self._moved_by_time(view) if ticking else ())})

        rows = await self.node.journal.read(behind)
        if rows:
            await self.node.journal.write(lambda change: self._catch_up(change, rows))
        self._work.set()

    def _moved_by_time(self, view: View) -> Iterator[int]:
        for row, books in settlement.open_accounts(view):
            now_ns = self.exchange_ns(books.exchange_id)
            stored = ledger.by_row(view, row)
            if stored is None:
                continue
            policy = settlement.policy_for(view, self.desk.policy, stored.exchange)
            if step(books, Tick(), policy, now_ns)[0] != books:
                yield row

    def _catch_up(self, change: Transaction, rows: list[int]) -> None:
        for row in rows:
            stored = ledger.by_row(change, row)
            if stored is not None:
                catching_up.look(change, self.desk, stored)

    def _enter(self, change: Transaction, row: int, event: Event) -> Account:
        stored, books = ledger.by_row(change, row), settlement.account(change, row)
        if stored is None or books is None:
            raise LookupError(row)
        return settlement.enter(change, self.desk, stored, books, event)

    async def enter(self, row: int, event: Event) -> Account:
        """Take an event into the books of a lease; they are durable when this returns."""
        return await self.node.journal.write(lambda change: self._enter(change, row, event))

    async def adjust(self, lease: str, msat: int, reason: str, dispute: str) -> tuple[str, int]:
        """Sign a correction; returns the lease and the sum of its corrections.

        :raises SettlementError: when no one lease begins like that, or more than all is taken back.
        """

        def write(change: Transaction) -> tuple[str, int]:
            return till.adjust(change, self.desk, lease, msat, reason, dispute)

        return await self.node.journal.write(write)

    # --- errands ---------------------------------------------------------------------------------

    async def run_errands(self) -> NoReturn:
        """Do at the rail what the books ask for, one after another."""
        pause = FIRST_PAUSE_S
        while True:
            self._work.clear()
            try:
                await self._round()
                pause = FIRST_PAUSE_S
            except RailDown as error:
                await self._note_down(str(error))
                pause = min(2 * pause, LONGEST_PAUSE_S)
                await asyncio.sleep(pause)
            except Overloaded as error:
                logger.warning("journal_overloaded", error=str(error))
                await self.node.clock.sleep(SECOND)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TICK_S):
                    await self._work.wait()

    async def _round(self) -> None:
        accounts = await self.node.journal.read(settlement.open_accounts)
        sweeping = not self._swept
        for row, books in accounts:
            errands = Errands(
                self.rail,
                lambda event, row=row: self.enter(row, event),  # type: ignore[misc]  # bound now
                self.unix_ns,
                self.desk.policy.invoice_life_ns // SECOND,
            )
            for work in self._due(books, sweeping=sweeping):
                try:
                    await errands.run(work)
                except RailDown:
                    raise
                except RailError as error:
                    logger.warning("errand_failed", errand=_name(work), error=str(error))
        self._swept = True
        self._rests = {name: at for name, at in self._rests.items() if at > self.unix_ns()}

    def _due(self, books: Account, *, sweeping: bool) -> Iterator[Work]:
        """The errands whose time has come; after a start all that is unsure is looked at."""
        now = self.unix_ns()
        work = list(outstanding(books, now))
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
        pause = FIRST_PAUSE_S
        while True:
            began = asyncio.get_running_loop().time()
            try:
                heard = await self._hear()
                pause = FIRST_PAUSE_S
                if not heard and asyncio.get_running_loop().time() - began < 1:
                    await asyncio.sleep(1)  # a rail that does not wait
            except RailError as error:
                await self._note_down(str(error))
                pause = min(2 * pause, LONGEST_PAUSE_S)
                await asyncio.sleep(pause)
            except Overloaded as error:
                logger.warning("journal_overloaded", error=str(error))
                await self.node.clock.sleep(SECOND)

    async def _hear(self) -> bool:
        """Enter what was paid since the last look; whether there was any."""
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
                self._enter(change, row, seen(payment.label, _paid(payment)))
            rail_rows.heard(change, payment.pay_index)

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
                if health.network not in (None, self.desk.policy.network):
                    warnings.append(
                        f"the node is on {health.network}, settlement.network is"
                        f" {self.desk.policy.network}: nobody can pay its invoices"
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
        now = self.unix_ns()
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
    invoice = RailInvoice(payment.label, "", payment.payment_hash, payment.amount_received_msat, 0)
    return InvoiceState(invoice, InvoiceStatus.PAID, payment)
