"""A fresh table for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.fakes.scripted_exchange import ScriptedExchange
from tests.fakes.table import Table
from tests.fakes.world import World


@pytest.fixture
async def table(tmp_path: Path) -> AsyncIterator[Table]:
    world = await World.open(tmp_path / "state")
    exchange = ScriptedExchange(world.pens[0])
    await exchange.start()
    link = await exchange.link(world.node.journal)
    world.links = [link]
    await world.offering.refresh(world.links)
    yield Table(world, exchange, link)
    await exchange.stop()
    assert world.findings() == []
    world.node.close()
