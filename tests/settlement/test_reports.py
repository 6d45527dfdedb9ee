"""What is written out: FOCUS 1.4 as its specification has it, and sums that are the receipts'."""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest
import structlog

from agent.config import Currency
from agent.errors import ConfigError, JournalError
from agent.journal.settlement import NO_RATE, Rate
from agent.journal.store import View, connect
from agent.settle import focus, report
from agent.settle.engine import read_rate
from agent.settle.focus import Issuer
from agent.settle.report import Row
from tests.fakes import spine
from tests.fakes.shop import MONEY, Shop
from tests.settlement.test_engine import finish

EURO = Currency(code="EUR", minor_per_bitcoin=8_123_456, source="a bank, 2027-01-15")
NAMES = {1: "northern"}

# FOCUS 1.4, dataset "Cost and Usage": feature level, whether nulls are allowed, data type, and the
# allowed values where there are any; from specification/datasets/cost_and_usage/columns/*.md.
M, C, R = "Mandatory", "Conditional", "Recommended"
CATEGORIES = {"Usage", "Purchase", "Tax", "Credit", "Adjustment"}
SPECIFICATION: dict[str, tuple[str, bool, str, set[str] | None]] = {
    "BilledCost": (M, False, "Decimal", None),
    "BillingAccountId": (M, False, "String", None),
    "BillingAccountName": (M, True, "String", None),
    "BillingCurrency": (M, False, "Currency", None),
    "BillingPeriodEnd": (M, False, "DateTime", None),
    "BillingPeriodStart": (M, False, "DateTime", None),
    "ChargeCategory": (M, False, "String", CATEGORIES),
    "ChargeClass": (M, True, "String", {"Correction"}),
    "ChargeDescription": (M, True, "String", None),
    "ChargeFrequency": (R, False, "String", {"One-Time", "Recurring", "Usage-Based"}),
    "ChargePeriodEnd": (M, False, "DateTime", None),
    "ChargePeriodStart": (M, False, "DateTime", None),
    "ConsumedQuantity": (C, True, "Decimal", None),
    "ConsumedUnit": (C, True, "String", None),
    "ContractedCost": (M, False, "Decimal", None),
    "EffectiveCost": (M, False, "Decimal", None),
    "HostProviderName": (M, True, "String", None),
    "InvoiceDetailId": (M, True, "String", None),
    "InvoiceId": (M, True, "String", None),
    "InvoiceIssuerName": (M, False, "String", None),
    "ListCost": (M, False, "Decimal", None),
    "PricingCategory": (C, True, "String", {"Standard", "Dynamic", "Committed", "Other"}),
    "PricingCurrency": (C, False, "String", None),
    "PricingCurrencyEffectiveCost": (C, False, "Decimal", None),
    "PricingQuantity": (M, True, "Decimal", None),
    "PricingUnit": (M, True, "String", None),
    "ResourceId": (C, True, "String", None),
    "ResourceType": (C, True, "String", None),
    "ServiceCategory": (M, False, "String", {"Compute"}),
    "ServiceName": (M, False, "String", None),
    "ServiceProviderName": (M, False, "String", None),
    "ServiceSubcategory": (R, False, "String", {"Virtual Machines"}),
    "SkuId": (C, True, "String", None),
    "SkuMeter": (C, True, "String", None),
    "SkuPriceId": (C, True, "String", None),
    "SubAccountId": (C, True, "String", None),
    "SubAccountName": (C, True, "String", None),
}
FORMATS = {
    "Decimal": re.compile(r"-?(0|[1-9]\d*)(\.\d+)?"),
    "DateTime": re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"),
    "Currency": re.compile(r"[A-Z]{3}"),
    "String": re.compile(r"\S(.*\S)?"),
}
COSTS = ("BilledCost", "ContractedCost", "EffectiveCost", "ListCost")


def wrong(row: Row) -> list[str]:
    """What of one row the specification does not allow."""
    found = []
    for name, (_, nulls, kind, allowed) in SPECIFICATION.items():
        value = row[name]
        if value is None or value == "":
            found += [] if nulls else [f"{name} is null"]
        elif not FORMATS[kind].fullmatch(str(value)):
            found.append(f"{name}: {value!r} is no {kind}")
        elif allowed is not None and value not in allowed:
            found.append(f"{name}: {value!r}")
    usage = row["ChargeCategory"] == "Usage"
    if usage and row["PricingQuantity"] is None:
        found.append("PricingQuantity of usage is null")
    if (row["PricingQuantity"] is None) != (row["PricingUnit"] is None):
        found.append("PricingUnit")
    if usage != (row["ConsumedQuantity"] is not None):
        found.append("ConsumedQuantity of usage is null, or of something else is not")
    for one, other in (
        ("ConsumedQuantity", "ConsumedUnit"),
        ("SkuId", "SkuMeter"),
        ("SubAccountId", "SubAccountName"),
    ):
        if (row[one] is None) != (row[other] is None):
            found.append(other)
    if row["SkuPriceId"] is None and row["PricingQuantity"] is not None:
        found.append("PricingQuantity without SkuPriceId")
    if (row["InvoiceId"] is None) != (row["InvoiceDetailId"] is None):
        found.append("InvoiceDetailId")
    if str(row["ChargePeriodStart"]) > str(row["ChargePeriodEnd"]):
        found.append("ChargePeriod")
    if len({row[name] for name in COSTS}) != 1:
        found.append("costs differ, and there are no discounts")
    return found


@contextmanager
def journal(shop: Shop) -> Iterator[View]:
    connection = connect(shop.world.state / "journal.sqlite", readonly=True)
    try:
        yield View(connection)
    finally:
        connection.close()


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    """A lease with a rebate that was paid, one that is netted, and everything paid."""
    settings = msgspec.structs.replace(MONEY, currency=EURO)
    opened = await Shop.open(tmp_path, settlement=settings)
    opened.engine._rate, _ = read_rate(opened.world.node.config)
    statement = await opened.missed()
    digest = await opened.payload_sha256("RebateStatement")
    await opened.ask_payout(digest, opened.payout_invoice(digest, statement.msat))
    await opened.acknowledge()
    await opened.settle()
    await opened.pay()
    await opened.settle()
    await opened.freeze(frozen=True)
    await opened.minutes(2)
    await opened.freeze(frozen=False)
    await opened.minutes(8)
    await finish(opened)
    await opened.settle()
    await opened.pay()
    await opened.settle()
    yield opened
    opened.world.node.close()


async def test_focus_is_as_its_specification_has_it(shop: Shop) -> None:
    mandatory = {name for name, (level, *_) in SPECIFICATION.items() if level == M}
    assert mandatory <= set(focus.COLUMNS)
    custom = [name for name in focus.COLUMNS if name not in SPECIFICATION]
    assert all(name.startswith("x_") for name in custom)
    assert list(focus.COLUMNS)[-len(custom) :] == custom, "custom columns come last"
    with journal(shop) as view:
        rows = list(focus.rows(view, NAMES, Issuer("site", Rate("EUR", 1, "later"))))
    assert [line for row in rows for line in wrong(row)] == []
    assert all(set(row) == set(focus.COLUMNS) for row in rows)
    assert {row["ChargeCategory"] for row in rows} == {"Usage", "Credit"}


async def test_focus_sums_are_the_receipts_and_the_invoices(shop: Shop) -> None:
    with journal(shop) as view:
        rows = list(focus.rows(view, NAMES, Issuer("site", NO_MATTER)))
    receipts = await shop.world.receipts()
    statements = await shop.told("RebateStatement")
    usage = [row for row in rows if row["ChargeCategory"] == "Usage"]
    credit = [row for row in rows if row["ChargeCategory"] == "Credit"]
    assert _sum(usage) == receipts[-1].gross_msat_total
    assert _sum(credit) == -sum(item.msat for item in statements)
    assert len(usage) == len(receipts) * len(receipts[-1].lines)
    for invoice in await shop.told("Invoice"):
        own = [row for row in rows if row["InvoiceId"] == invoice.label]
        assert _sum(own) == invoice.amount_msat, "an invoice's rows are its amount"
        billed = sum(Decimal(str(row["BilledCost"])) for row in own)
        assert billed == Decimal(invoice.amount_msat) * EURO.minor_per_bitcoin / 10**13
    assert {row["x_ExchangeRateSource"] for row in usage} == {EURO.source}


async def test_one_exchange_s_rows_are_no_other_s(shop: Shop) -> None:
    own, issuer = shop.world.pens[0].exchange_id, Issuer("site", NO_MATTER)
    with journal(shop) as view:
        for exchange, some in ((own[:8], True), ("zz", False)):
            rows = [
                *focus.rows(view, NAMES, issuer, exchange=exchange),
                *report.plain(view, NAMES, exchange=exchange),
                *report.payments(view, NAMES, exchange=exchange),
            ]
            assert bool(rows) is some


async def test_focus_has_a_correction_with_the_invoice_that_it_changed(tmp_path: Path) -> None:
    shop = await Shop.open(tmp_path)
    await shop.world.lease()
    await shop.minutes(3)
    await shop.engine.adjust(spine.lease_id(1), -400, "an agreement", "")
    with journal(shop) as view:
        rows = list(focus.rows(view, NAMES, Issuer("site", NO_MATTER)))
    assert {row["InvoiceId"] for row in rows} == {None}
    await shop.acknowledge()
    await shop.settle()
    await shop.pay()
    await shop.settle()
    await shop.engine.adjust(spine.lease_id(1), 300, "another", "")
    (invoice,) = await shop.told("Invoice")
    with journal(shop) as view:
        rows = list(focus.rows(view, NAMES, Issuer("site", NO_MATTER)))
    assert [line for row in rows for line in wrong(row)] == []
    assert _sum([row for row in rows if row["InvoiceId"] == invoice.label]) == invoice.amount_msat
    assert [row["InvoiceId"] for row in rows if row["ChargeCategory"] == "Adjustment"] == [
        invoice.label,
        None,
    ]
    shop.world.node.close()


NO_MATTER = Rate("EUR", 1, "today")


def _sum(rows: list[Row]) -> int:
    return sum(int(row["PricingCurrencyEffectiveCost"] or 0) for row in rows)


async def test_without_a_currency_focus_says_what_to_set() -> None:
    with pytest.raises(ConfigError, match=r"settlement\.currency"):
        Issuer("site", NO_RATE)


@pytest.mark.parametrize(
    ("code", "minor", "text"), [("EUR", 8_123_456, "0.081"), ("JPY", 8_123_456, "8.1")]
)
def test_national_money_is_exact(code: str, minor: int, text: str) -> None:
    amount = report.national(100_000, Rate(code, minor, "x"))
    assert amount is not None
    assert report.decimal_text(amount).startswith(text)
    whole = sum((report.national(1, Rate(code, minor, "x")) or 0 for _ in range(7)), Decimal(0))
    assert whole == report.national(7, Rate(code, minor, "x"))


async def test_a_year_has_numbers_without_a_gap_and_every_rate(shop: Shop) -> None:
    with journal(shop) as view:
        rows = list(report.payments(view, NAMES, year=2027))
        assert list(report.payments(view, NAMES, year=2026)) == []
    assert [row["number"] for row in rows] == list(range(1, len(rows) + 1))
    assert {row["rate_source"] for row in rows} == {EURO.source}
    total = report.sums(rows)
    books = await shop.books()
    paid_back = sum(item.msat for item in books.payouts if item.preimage)
    assert total["msat"] == books.received - paid_back
    assert Decimal(str(total["amount"])) == sum(Decimal(str(row["amount"])) for row in rows)


async def test_plain_receipts_show_their_payment(shop: Shop) -> None:
    with journal(shop) as view:
        rows = list(report.plain(view, NAMES))
        assert set(rows[0]) == set(report.RECEIPT_COLUMNS)
        assert sum(int(row["gross_msat"] or 0) for row in rows) == rows[-1]["gross_msat_total"]
        assert all(row["preimage"] for row in rows)
        lease = str(rows[0]["lease_id"])
        index = report.payment_leaf(view, lease, 1)
        assert view.envelope(index)
        with pytest.raises(JournalError, match="no payment covers"):
            report.payment_leaf(view, lease, 10_000)


async def test_the_commands_write_it(shop: Shop, tmp_path: Path) -> None:
    config = tmp_path / "hearth.toml"
    config.write_text(
        f'state_dir = "{tmp_path}"\n[settlement]\nrail = "statement"\ndirectory = "{tmp_path}"\n'
        f'[settlement.currency]\ncode = "EUR"\nminor_per_bitcoin = 1\nsource = "x"\n'
    )

    def hearth(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "agent.cli.app", *words, "--config", str(config)],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        return done.stdout

    shown = json.loads(hearth("settlement", "status", "--json"))
    assert shown["leases"][0]["state"] == "SETTLED"
    assert (shown["leases"][0]["currency"], shown["leases"][0]["exposure_amount"]) == ("EUR", "0")
    assert "SETTLED" in hearth("settlement", "status")
    assert "EUR" in hearth("settlement", "history")
    rows = list(csv.DictReader(io.StringIO(hearth("receipts", "export", "--format", "focus"))))
    assert tuple(rows[0]) == focus.COLUMNS
    lines = hearth("settlement", "export", "--format", "jsonl", "--what", "payments").splitlines()
    assert json.loads(lines[0])["number"] == 1
    statement = list(csv.DictReader(io.StringIO(hearth("settlement", "statement", "2027", ""))))
    assert statement[-1]["reference"] == "sum"
    own = config.read_text().partition("[settlement.currency]")[0]
    config.write_text(f'{own}currency_file = "{tmp_path}/none"\n')
    assert json.loads(hearth("settlement", "status", "--json"))["rail"] == "statement", "rows only"


async def test_a_rate_that_cannot_be_read_is_said_once(tmp_path: Path) -> None:
    file = tmp_path / "rate.toml"
    shop = await Shop.open(
        tmp_path, settlement=msgspec.structs.replace(MONEY, currency_file=str(file))
    )
    good = 'code = "EUR"\nminor_per_bitcoin = 5\nsource = "a bank"\n'
    said: list[list[str]] = []
    for content in (good, good + "mor", 'code = "EUR"\n', "", good, good):
        file.write_text(content)
        with structlog.testing.capture_logs() as logged:
            await shop.engine._read_rate()
        said.append([line["event"] for line in logged])
    unreadable, read = ["currency_file_unreadable"], ["currency_file_read"]
    assert said == [[], unreadable, [], [], read, []]
    assert shop.engine._rate == Rate("EUR", 5, "a bank")
    shop.world.node.close()
