"""Settlement as it runs: the books, kept up to the ledger whether or not there is a rail.

What goes on at a rail is `settle.cashier`'s, which is not even loaded where there is none.
"""

from __future__ import annotations

import asyncio
import contextlib
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import msgspec
import structlog

from agent.clock import SECOND
from agent.config import Config, Currency
from agent.core.bill import Account, Policy
from agent.core.payout import Caps
from agent.core.settlement import step
from agent.core.settling import Event, Tick
from agent.errors import Overloaded
from agent.journal import ledger, settlement
from agent.journal import rail as rail_rows
from agent.journal.settlement import NO_RATE, Desk, Rate
from agent.journal.store import Transaction, View
from agent.node import Node
from agent.settle import books as catching_up
from agent.settle import till
from agent.settle.alarms import alarms

logger = structlog.get_logger()

TICK_S = 10.0


def policy_of(config: Config) -> Policy:
    """What the operator configured."""
    own = config.settlement
    # Who cannot see earlier attempts begins none: such a payout is netted, and never stuck.
    runes = bool(own.pay_rune_file and own.payments_rune_file)
    return Policy(
        collects=own.rail != "none",
        pays=own.rail == "cln" or (own.rail == "cln-commando" and runes),
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


def read_rate(config: Config) -> tuple[Rate, str]:
    """The exchange rate by the file, else by the configuration, else none.

    With it what is wrong with the file, or "".
    """
    own = config.settlement
    found, trouble = own.currency, ""
    if own.currency_file:
        try:
            raw = tomllib.loads(Path(own.currency_file).read_text("utf-8"))
            found = msgspec.convert(raw, Currency, strict=True)
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else error
            trouble = f"settlement.currency_file: {own.currency_file}: {why}"
    rate = NO_RATE if found is None else Rate(found.code, found.minor_per_bitcoin, found.source)
    return rate, trouble


@dataclass(slots=True)
class Settlement:
    """The engine. `bell` is rung whenever the journal has news, `work` after every look at it."""

    node: Node
    exchange_ns: Callable[[str], int]
    bell: asyncio.Event = field(default_factory=asyncio.Event)
    work: asyncio.Event = field(default_factory=asyncio.Event)
    desk: Desk = field(init=False)
    _rate: Rate = NO_RATE
    _rate_trouble: str = ""
    _alarms: frozenset[tuple[str, str]] = frozenset()  # said already

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

    async def keep_books(self) -> NoReturn:
        """Bring the books up to the ledger at every change, and let time pass in them."""
        await self._read_rate()
        if not self.desk.policy.collects and await self.node.journal.read(rail_rows.said):
            await self.node.journal.write(rail_rows.none)  # of an earlier rail: nobody's trouble
        loop = asyncio.get_running_loop()
        ticked = loop.time() - TICK_S
        while True:
            self.bell.clear()
            passed = loop.time() - ticked >= TICK_S
            try:
                await self.look(ticking=passed)
                if passed:
                    await self.say_alarms()
            except Overloaded as error:
                logger.warning("journal_overloaded", error=str(error))
                await self.node.clock.sleep(SECOND)
            if passed:
                ticked = loop.time()
                await self._read_rate()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TICK_S):
                    await self.bell.wait()

    async def _read_rate(self) -> None:
        """Keep the rate for payments that come from now on; say once that it cannot be read."""
        self._rate, trouble = await asyncio.to_thread(read_rate, self.node.config)
        if trouble and not self._rate_trouble:
            logger.warning("currency_file_unreadable", error=trouble, rate=self._rate.currency)
        elif self._rate_trouble and not trouble:
            logger.info("currency_file_read")
        self._rate_trouble = trouble

    async def look(self, *, ticking: bool) -> None:
        """Bring up to date whatever is not."""

        def behind(view: View) -> list[int]:
            rows = settlement.behind(view, catching_up.SETTLING)
            return sorted({*rows, *(self._moved_by_time(view) if ticking else ())})

        rows = await self.node.journal.read(behind)
        if rows:
            await self.node.journal.write(lambda change: self._catch_up(change, rows))
        self.work.set()

    async def say_alarms(self) -> None:
        """Log once what needs somebody, and once that it is over.

        What the rail is said to suffer from is logged where it comes up.
        """
        now = self.unix_ns()
        found = await self.node.journal.read(lambda view: alarms(view, now))
        said = {(a.name, a.subject): a.text for a in found if not a.name.startswith("rail-")}
        for key in sorted(said.keys() - self._alarms):
            logger.warning("money_alarm", alarm=key[0], subject=key[1], text=said[key])
        for name, subject in sorted(self._alarms - said.keys()):
            logger.info("money_alarm_over", alarm=name, subject=subject)
        self._alarms = frozenset(said)

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

    def enter_in(self, change: Transaction, row: int, event: Event) -> Account:
        """As `enter`, within a transaction of the caller's."""
        stored, books = ledger.by_row(change, row), settlement.account(change, row)
        if stored is None or books is None:
            raise LookupError(row)
        return settlement.enter(change, self.desk, stored, books, event)

    async def enter(self, row: int, event: Event) -> Account:
        """Take an event into the books of a lease; they are durable when this returns."""
        return await self.node.journal.write(lambda change: self.enter_in(change, row, event))

    async def adjust(self, lease: str, msat: int, reason: str, dispute: str) -> tuple[str, int]:
        """Sign a correction; returns the lease and the sum of its corrections.

        :raises SettlementError: when no one lease begins like that, or more than all is taken back.
        """

        def write(change: Transaction) -> tuple[str, int]:
            return till.adjust(change, self.desk, lease, msat, reason, dispute)

        return await self.node.journal.write(write)
