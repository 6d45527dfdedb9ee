"""Unpaid exposure and a rail that is down are said three times: status, log, metrics."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from pathlib import Path

import msgspec
import structlog
from hearth.v1 import settlement_pb2

from agent.config import Caps, Settlement
from agent.journal import rail as rail_rows
from agent.settle.metrics import exposition
from agent.settle.rail import RailDown
from tests.fakes import spine
from tests.fakes.shop import MONEY, OFFER, Shop
from tests.settlement.test_engine import finish, said

# What Prometheus reads: name, labels, an integer (exposition formats, text 0.0.4).
_SAMPLE = re.compile(r'[a-z_]+(\{[a-z]+="(\\.|[^"\\\n])*"(,[a-z]+="(\\.|[^"\\\n])*")*\})? -?[0-9]+')


async def measured(shop: Shop) -> dict[str, int]:
    """All samples, by name and labels."""
    now = shop.engine.unix_ns()
    text = await shop.world.node.journal.read(lambda view: exposition(view, "cln", now))
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert all(_SAMPLE.fullmatch(line) for line in lines), text
    return {name: int(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


async def logged(shop: Shop) -> list[tuple[str, str]]:
    """Events and alarms of the next look at them."""
    with structlog.testing.capture_logs() as lines:
        await shop.engine.say_alarms()
    return [(line["event"], line["alarm"]) for line in lines]


async def test_exposure_past_the_limit(tmp_path: Path) -> None:
    offer = msgspec.structs.replace(OFFER, credit_limit_msat=20_000)
    shop = await Shop.open(tmp_path, offer=offer)
    await shop.world.lease(hours=24)
    await shop.minutes(3)
    names = f'{{exchange="{shop.world.pens[0].exchange_id}",lease="{spine.lease_id(1)}"}}'
    assert (await said(shop), await logged(shop)) == ([], [])
    assert (await measured(shop))[f"hearth_settlement_credit_level{names}"] == 1
    await shop.minutes(9)
    assert await said(shop) == ["credit-warned"]
    assert await logged(shop) == [("money_alarm", "credit-warned")]
    assert await logged(shop) == [], "once is enough"
    found = await measured(shop)
    alarm = f'{{alarm="credit-warned",subject="{spine.lease_id(1)}"}}'
    assert found[f"hearth_settlement_alarm{alarm}"] == 1
    assert found[f"hearth_settlement_exposure_msat{names}"] == (await shop.books()).exposure
    assert found[f"hearth_settlement_credit_limit_msat{names}"] == 20_000
    await shop.acknowledge()
    await shop.settle()
    assert (await measured(shop))[f"hearth_settlement_invoiced_msat{names}"] > 20_000
    paid = await shop.pay()
    await shop.settle()
    assert await said(shop) == []
    assert await logged(shop) == [("money_alarm_over", "credit-warned")]
    came = f'hearth_settlement_received_msat_total{{exchange="{shop.world.pens[0].exchange_id}"}}'
    assert (await measured(shop))[came] == paid
    shop.world.node.close()


async def test_what_cannot_be_given_back(tmp_path: Path) -> None:
    """A refund above the limit is taken with no later invoice: somebody has to raise the limit."""
    caps = Caps(payment_msat=50_000)
    shop = await Shop.open(tmp_path, settlement=msgspec.structs.replace(MONEY, caps=caps))
    await shop.world.lease()
    await shop.minutes(3)
    await shop.acknowledge()
    await shop.settle()
    await shop.pay(extra_msat=100_000)
    await finish(shop)
    (refund,) = await shop.told("RefundStatement")
    statement = await shop.payload_sha256("RefundStatement")
    await shop.ask_payout(statement, shop.payout_invoice(statement, refund.msat))
    (refusal,) = await shop.told("PayoutRefusal")
    assert refusal.reason == settlement_pb2.PAYOUT_REFUSAL_REASON_ABOVE_CAP
    assert await said(shop) == []
    shop.passes(86_401)
    await shop.settle()
    assert await said(shop) == ["payout-open"]
    shop.world.node.close()


async def test_a_rail_that_is_down(tmp_path: Path) -> None:
    shop = await Shop.open(tmp_path)
    up = 'hearth_settlement_rail_up{rail="cln"}'
    assert (await measured(shop))[up] == 1
    shop.operator.kill()
    with structlog.testing.capture_logs() as lines:
        for _ in range(2):
            try:
                await shop.cashier._hear()
            except RailDown as error:
                await shop.cashier._note_down(str(error))
    assert [line["event"] for line in lines] == ["rail_down"]
    assert await said(shop) == ["rail-down"]
    found = await measured(shop)
    assert (found[up], found['hearth_settlement_alarm{alarm="rail-down",subject=""}']) == (0, 1)
    shop.operator.restart()
    with structlog.testing.capture_logs() as lines:
        await shop.cashier._hear()
    assert [line["event"] for line in lines] == ["rail_up"]
    assert await said(shop) == []
    assert (await measured(shop))[up] == 1
    shop.world.node.close()


async def test_what_a_former_rail_left_is_no_alarm(tmp_path: Path) -> None:
    shop = await Shop.open(tmp_path, settlement=Settlement())
    await shop.world.node.journal.write(lambda change: rail_rows.down(change, 1, "gone"))
    assert await said(shop) == ["rail-down"]
    keeping = asyncio.create_task(shop.engine.keep_books())
    async with asyncio.timeout(30):
        while await said(shop):  # noqa: ASYNC110 - it has nothing else to wait for
            await asyncio.sleep(0.01)
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)
    shop.world.node.close()


async def test_the_metrics_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    shop = await Shop.open(tmp_path)
    shop.world.node.close()
    await asyncio.to_thread(_check_metrics_file, tmp_path)


def _check_metrics_file(folder: Path) -> None:
    config, out = folder / "hearth.toml", folder / "hearth.prom"
    config.write_text(f'state_dir = "{folder}"\n[settlement]\nrail = "none"\n')
    out.write_text("old")
    before = out.stat().st_ino
    command = [sys.executable, "-m", "agent.cli.app", "settlement", "metrics"]
    texts = [
        subprocess.run(
            [*command, "--config", str(config), *words],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout
        for words in (["--out", str(out)], [])
    ]
    assert texts == ["", out.read_text()]
    assert "hearth_settlement_rail_up{" not in out.read_text(), "there is none"
    assert out.stat().st_ino != before
    assert [path.name for path in folder.glob("*.prom*")] == ["hearth.prom"]
