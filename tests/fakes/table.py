"""An agent at a table with one exchange, which plays what it is told."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import grpc
import pytest

from agent.errors import ExchangeError
from agent.exchange.link import Link
from agent.exchange.stream import Session
from agent.supervise import Backoff
from tests.fakes import spine
from tests.fakes.scripted_exchange import Script, ScriptedExchange
from tests.fakes.world import UNITS, World


@dataclass
class Table:
    """An agent and the exchange it is enrolled with."""

    world: World
    exchange: ScriptedExchange
    link: Link

    def session(self) -> Session:
        node = self.world.node

        async def renewal(channel: grpc.aio.Channel, nonce: bytes) -> None:
            await asyncio.Event().wait()

        return Session(
            self.link,
            node.journal,
            self.world.market,
            self.world.clock,
            node.node_id,
            node.log_id,
            renewal,
        )

    async def run(self, *scripts: Script, match: str | None = None) -> None:
        """Run one session for each script, until the exchange ends it."""
        self.exchange.scripts = list(scripts)
        self.exchange.sessions = 0
        for _ in scripts:
            with pytest.raises(ExchangeError, match=match):
                async with asyncio.timeout(20):
                    await self.session().run(Backoff())
            assert not self.link.standing.connected
            assert self.link.standing.last_error
        assert self.exchange.failures == []

    async def cursors(self) -> dict[str, int]:
        row = await self.world.node.journal.read(
            lambda view: view.one(
                "SELECT epoch, outbox_last, delivered_through, applied_through FROM exchanges"
                " WHERE id = ?",
                self.link.row,
            )
        )
        assert row is not None
        return dict(zip(("epoch", "last", "delivered", "applied"), row, strict=True))

    async def nacks(self) -> list[tuple[Any, ...]]:
        return await self.world.node.journal.read(
            lambda view: view.all("SELECT sequence, reason, detail FROM nacks")
        )


def reserve(table: Table, number: int, offer: Any) -> Any:
    return table.world.pens[0].reserve(offer, spine.lease_id(number), UNITS)


async def offer_of(table: Table) -> Any:
    return (await spine.newest_offer(table.world.node.journal, table.link.row))[1]
