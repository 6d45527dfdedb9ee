"""Paid by hand: statements as files, and what somebody enters of their payment."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
import structlog

from agent.core.lease import LeaseState
from agent.settle import report
from agent.settle.alarms import alarms
from agent.settle.rail import Payment, RailDown
from agent.settle.statement import StatementRail
from tests.fakes import spine
from tests.fakes.shop import MONEY, Shop
from tests.settlement.test_engine import finish


async def test_statements_are_paid_by_hand(tmp_path: Path) -> None:
    folder = tmp_path / "statements"
    settings = msgspec.structs.replace(MONEY, rail="statement", directory=str(folder))
    rail = StatementRail(folder)
    shop = await Shop.open(tmp_path, settlement=settings, rail=rail)
    await shop.world.lease()
    await shop.minutes(2)
    await shop.acknowledge()
    await shop.engine.look(ticking=True)
    await shop.cashier._round()
    (invoice,) = await shop.told("Invoice")
    assert invoice.bolt11 == ""
    (file,) = folder.glob("hearth_*.json")
    content = json.loads(file.read_text())
    assert (content["label"], content["amount_msat"]) == (invoice.label, invoice.amount_msat)
    paid = folder / "paid.csv"
    part = invoice.amount_msat // 2  # somebody pays in two steps
    paid.write_text(f"label,amount_msat,paid_date\n{invoice.label},{part},2027-01-15\nhalf a li")
    received = await rail.paid_after(0, 0)
    assert [(item.pay_index, item.amount_received_msat) for item in received] == [(1, part)]
    await shop.world.node.journal.write(lambda change: shop.cashier._received(change, received))
    assert (await shop.books()).received == part
    shop.cashier._rests.clear()
    await shop.engine.look(ticking=True)
    await shop.cashier._round()
    second = (await shop.told("Invoice"))[-1]
    assert second.amount_msat == invoice.amount_msat - part, "the rest is asked for again"
    assert second.label == f"{invoice.label}-r2"
    paid.write_text("label,amount\n")
    with pytest.raises(RailDown, match="the first line is"):
        await rail.paid_after(0, 0)
    paid.write_text(f"label,amount_msat,paid_date\n{invoice.label},12.5,2027-01-15\n")
    with pytest.raises(RailDown, match="line 2"):
        await rail.paid_after(0, 0)
    now = shop.engine.unix_ns()
    assert await shop.world.node.journal.read(lambda view: alarms(view, now)) == []
    shop.world.node.close()


@pytest.mark.parametrize(
    "line",
    [
        "{label},0,2027-01-15",
        "{label},-5,2027-01-15",
        "{label},9999999999999999999,2027-01-15",
        "{label},\u0665,2027-01-15",
        "{label},5,0001-01-01",
        "{label},5,9999-12-31",
        "{label},5,15.01.2027",
        "{label},5",
        "hearth/{long}/1,5,2027-01-15",
        "../paid.csv,5,2027-01-15",
    ],
)
async def test_a_line_that_cannot_be_meant_is_named(tmp_path: Path, line: str) -> None:
    rail = StatementRail(tmp_path)
    label = f"hearth/{'ab' * 32}/{spine.lease_id(1)}/1"
    await rail.invoice(label, 5, "text", 60)
    lines = ["label,amount_msat,paid_date", line.format(label=label, long="ab" * 400), ""]
    (tmp_path / "paid.csv").write_text("\n".join(lines))
    with pytest.raises(RailDown, match=r"paid\.csv, line 2: "):
        await rail.paid_after(0, 0)
    (tmp_path / "paid.csv").write_text("x" * 200_000 + "\n")
    with pytest.raises(RailDown, match=r"paid\.csv: field larger"):
        await rail.paid_after(0, 0)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"amount_msat": "5", "description": "text"}'])
async def test_a_statement_that_somebody_changed_is_named(tmp_path: Path, content: str) -> None:
    rail = StatementRail(tmp_path)
    label = f"hearth/{'ab' * 32}/{spine.lease_id(1)}/1"
    await rail.invoice(label, 5, "text", 60)
    (tmp_path / f"{label.replace('/', '_')}.json").write_text(content)
    for again in (rail.invoice(label, 5, "text", 60), rail.invoice_state(label)):
        with pytest.raises(RailDown, match="put back what was written there"):
            await again


async def test_a_statement_is_paid_by_one_line(tmp_path: Path) -> None:
    """A second one would be money that no books have: it belongs to the statement for the rest."""
    rail = StatementRail(tmp_path)
    label = f"hearth/{'ab' * 32}/{spine.lease_id(1)}/1"
    await rail.invoice(label, 5, "text", 60)
    paid = tmp_path / "paid.csv"
    paid.write_text(f"label,amount_msat,paid_date\n{label},2,2027-01-15\n{label},3,2027-01-16\n")
    for read in (0, 1):
        with pytest.raises(RailDown, match=r"line 3: .* is paid in line 2"):
            await rail.paid_after(read, 0)
    assert await rail.paid_after(2, 0) == (), "what was read by an earlier version stays read"
    await rail.invoice(f"{label}1", 5, "text", 60)
    found = [await rail.invoice_state(one) for one in (label, f"{label}1", f"{label}2")]
    assert [one and one.status for one in found] == ["paid", "unpaid", None]


class Impatient(StatementRail):
    """Looks once: nobody types while a test runs."""

    async def paid_after(self, pay_index: int, wait_s: int) -> tuple[Payment, ...]:
        return await super().paid_after(pay_index, 0)


async def test_another_rail_counts_its_payments_from_the_first_on(tmp_path: Path) -> None:
    """A node had counted many payments, tips among them; the account's keeper begins with one."""
    shop = await Shop.open(tmp_path)
    await shop.world.lease()
    await shop.minutes(3)
    await shop.acknowledge()
    await shop.settle()
    await shop.pay()
    for tip in ("one", "two"):
        made = shop.operator.call("invoice", amount_msat=5, label=tip, description=tip)
        shop.exchange.call("xpay", invstring=made["bolt11"])
    await shop.settle()
    assert await shop.ask("SELECT pay_index FROM rail") == [(3,)]
    folder = tmp_path / "statements"
    settings = msgspec.structs.replace(MONEY, rail="statement", directory=str(folder), socket="")
    node = shop.world.node
    node.config = msgspec.structs.replace(node.config, settlement=settings)
    shop.rail = Impatient(folder)
    shop.begin()
    await shop.minutes(2)
    await shop.acknowledge()
    await shop.settle()
    invoice = (await shop.told("Invoice"))[-1]
    (folder / "paid.csv").write_text(
        f"label,amount_msat,paid_date\n{invoice.label},{invoice.amount_msat},2027-01-15\n"
    )
    assert await shop.cashier._hear()
    assert (await shop.books()).owed == 0
    assert await shop.ask("SELECT count(*), max(number) FROM payments") == [(2, 2)]
    shop.world.node.close()


async def test_what_is_given_back_by_hand_is_entered_by_hand(tmp_path: Path) -> None:
    folder = tmp_path / "statements"
    settings = msgspec.structs.replace(MONEY, rail="statement", directory=str(folder))
    shop = await Shop.open(tmp_path, settlement=settings, rail=Impatient(folder))
    await shop.world.lease()
    await shop.minutes(3)
    await shop.acknowledge()
    await shop.settle()
    (invoice,) = await shop.told("Invoice")
    paid = folder / "paid.csv"
    lines = ["label,amount_msat,paid_date", f"{invoice.label},500000,2027-01-15"]
    paid.write_text("\n".join([*lines, "hearth/typing/error/1,5,2027-01-15", ""]))
    with pytest.raises(RailDown, match="line 3: no statement has the label"):
        await shop.settle()
    paid.write_text("\n".join([*lines, ""]))
    await finish(shop)
    await shop.settle()
    (refund,) = await shop.told("RefundStatement")
    ((label, msat),) = await shop.world.node.journal.read(report.open_payouts)
    assert (label, msat) == (f"payout/{spine.lease_id(1)}/refund/0", refund.msat)
    lines += [f"{label},{msat - 1},2027-01-16", f"{label},{msat},2027-01-16"]
    paid.write_text("\n".join([*lines, ""]))
    with structlog.testing.capture_logs() as logged:
        await shop.settle()
    assert [line["event"] for line in logged] == ["payout_by_hand_not_due"], "another amount"
    assert (await shop.books()).returned == refund.msat
    assert (await shop.stored()).lease.state is LeaseState.SETTLED
    notice = (await shop.told("PaymentNotice"))[-1]
    assert (notice.payment_hash, notice.preimage, notice.amount_msat) == (b"", b"", msat)
    assert notice.statement_sha256 == await shop.payload_sha256("RefundStatement")
    assert shop.world.findings() == []
    shop.world.node.close()
