"""Billing records in the columns of FOCUS 1.4 (FinOps Open Cost and Usage Specification).

The dataset is "Cost and Usage": every mandatory column, and those conditional ones whose condition
holds. Prices are in msat and bills in a national currency, so the pricing-currency columns are
there. Unit prices are not: an amount is floored once on the cumulative quantity of a lease, so that
no row's cost is a product of its quantity, as the unit price columns demand. The exact price is in
`x_` columns. A billing period is a calendar month in UTC.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from agent.core.amount import Price, PriceUnit
from agent.core.availability import Span
from agent.errors import ConfigError
from agent.journal import ledger
from agent.journal.ledger import Stored
from agent.journal.settlement import Rate
from agent.journal.store import View
from agent.settle import report
from agent.settle.report import Names, ReceiptRow, Row, decimal_text, national, time_text
from agent.wire import money
from attest.formats import decode_envelope

VERSION = "1.4"
PRICING_CURRENCY = "msat"  # a thousandth of a satoshi: 10^-11 bitcoin
COLUMNS = (
    "BilledCost",
    "BillingAccountId",
    "BillingAccountName",
    "BillingCurrency",
    "BillingPeriodEnd",
    "BillingPeriodStart",
    "ChargeCategory",
    "ChargeClass",
    "ChargeDescription",
    "ChargeFrequency",
    "ChargePeriodEnd",
    "ChargePeriodStart",
    "ConsumedQuantity",
    "ConsumedUnit",
    "ContractedCost",
    "EffectiveCost",
    "HostProviderName",
    "InvoiceDetailId",
    "InvoiceId",
    "InvoiceIssuerName",
    "ListCost",
    "PricingCategory",
    "PricingCurrency",
    "PricingCurrencyEffectiveCost",
    "PricingQuantity",
    "PricingUnit",
    "ResourceId",
    "ResourceType",
    "ServiceCategory",
    "ServiceName",
    "ServiceProviderName",
    "ServiceSubcategory",
    "SkuId",
    "SkuMeter",
    "SkuPriceId",
    "SubAccountId",
    "SubAccountName",
    "x_ExchangeRateMinorPerBitcoin",
    "x_ExchangeRateSource",
    "x_PriceMsatNumerator",
    "x_PriceUnitDenominator",
    "x_ReceiptSequence",
)
_UNITS = {
    PriceUnit.DELIVERED_LEASE_SECOND: "Lease-Milliseconds",
    PriceUnit.DELIVERED_UNIT_SECOND: "Unit-Milliseconds",
    PriceUnit.JOULE: "Millijoules",
    PriceUnit.EGRESS_BYTE: "Bytes",
}


@dataclass(frozen=True, slots=True)
class Issuer:
    """Who sells: the operator, by the name in the configuration."""

    name: str
    rate: Rate  # of today, for what is not paid yet

    def __post_init__(self) -> None:
        if not self.rate.currency:
            raise ConfigError(
                "settlement.currency: FOCUS bills in a national currency; set code,"
                " minor_per_bitcoin and source, or settlement.currency_file"
            )


def rows(view: View, names: Names, issuer: Issuer, *, exchange: str = "") -> Iterator[Row]:
    """Usage of every receipt, credits of rebates, corrections; lease by lease."""
    for item in report.receipts(view, names, exchange=exchange):
        for place, price in enumerate(item.stored.lease.prices):
            yield _usage(item, place, price, issuer)
    for stored in ledger.leases(view):
        if not stored.lease.key.exchange_id.startswith(exchange):
            continue
        name = names.get(stored.exchange, "")
        yield from _credits(view, stored, name, issuer)
        yield from _corrections(view, stored, name, issuer)


def _usage(item: ReceiptRow, place: int, price: Price, issuer: Issuer) -> Row:
    metered, before, paid = item.metered, item.before, item.paid
    quantity, msat = metered.lines[place]
    was, was_msat = before.lines[place] if before else (0, 0)
    row = _charge(item.stored, item.exchange_name, issuer, paid.rate if paid else None)
    sku = f"{price.unit.name.lower()}{':' if price.resource_class else ''}{price.resource_class}"
    meter = f"{price.unit.name.lower().replace('_', ' ')} {price.resource_class}".rstrip()
    return _ordered(
        {
            **row,
            **_costs(msat - was_msat, _rate(issuer, paid.rate if paid else None)),
            **_periods(metered.span, metered.span.start_ns),
            "ChargeCategory": "Usage",
            "ChargeClass": None,
            "ChargeDescription": f"{meter}, receipt {metered.sequence}",
            "ChargeFrequency": "Usage-Based",
            "ConsumedQuantity": quantity - was,
            "ConsumedUnit": _UNITS[price.unit],
            "InvoiceDetailId": f"{item.invoice}#{metered.sequence}.{place}"
            if item.invoice
            else None,
            "InvoiceId": item.invoice,
            "PricingCategory": "Standard",
            "PricingQuantity": quantity - was,
            "PricingUnit": _UNITS[price.unit],
            "SkuId": sku,
            "SkuMeter": meter,
            "SkuPriceId": f"{item.stored.lease.agreement_sha256.hex()}:{place}",
            "x_PriceMsatNumerator": price.numerator,
            "x_PriceUnitDenominator": price.denominator
            * (1 if price.unit is PriceUnit.EGRESS_BYTE else 1000),
            "x_ReceiptSequence": metered.sequence,
        }
    )


def _credits(view: View, stored: Stored, name: str, issuer: Issuer) -> Iterator[Row]:
    for key, msat, invoice, index, change_ns in view.all(
        "SELECT key, msat, invoice, idx, change_ns FROM payouts WHERE lease = ? ORDER BY key",
        stored.row,
    ):
        if not str(key).startswith("rebate/"):
            continue  # a refund gives back money, and changes no cost
        window, ppm = money.rebate_window(decode_envelope(view.envelope(int(index))).payload)
        rate = report.rate_of(view, stored.row, invoice or key)
        yield _ordered(
            {
                **_charge(stored, name, issuer, rate),
                **_costs(-int(msat), _rate(issuer, rate)),
                **_periods(window, int(change_ns)),
                "ChargeCategory": "Credit",
                "ChargeClass": _class(window.start_ns, int(change_ns)),
                "ChargeDescription": f"rebate: {ppm} ppm available in its window",
                "ChargeFrequency": "One-Time",
                "InvoiceDetailId": f"{invoice}#{key}" if invoice else None,
                "InvoiceId": invoice or None,
            }
        )


def _corrections(view: View, stored: Stored, name: str, issuer: Issuer) -> Iterator[Row]:
    for index, msat, reason, change_ns in view.all(
        "SELECT idx, msat, reason, change_ns FROM adjustments WHERE lease = ? ORDER BY idx",
        stored.row,
    ):
        span = Span(stored.lease.start_ns, int(change_ns))
        invoice = report.invoice_after(view, stored.row, int(index))
        rate = report.rate_of(view, stored.row, invoice) if invoice else None
        yield _ordered(
            {
                **_charge(stored, name, issuer, rate),
                **_costs(int(msat), _rate(issuer, rate)),
                **_periods(span, int(change_ns)),
                "ChargeCategory": "Adjustment",
                "ChargeClass": _class(span.start_ns, int(change_ns)),
                "ChargeDescription": f"correction: {reason}",
                "ChargeFrequency": "One-Time",
                "InvoiceDetailId": f"{invoice}#adjustment/{index}" if invoice else None,
                "InvoiceId": invoice,
            }
        )


def _charge(stored: Stored, name: str, issuer: Issuer, quoted: Rate | None) -> Row:
    """What all charges of a lease have in common."""
    rate = _rate(issuer, quoted)
    return {
        "BillingAccountId": stored.lease.key.exchange_id,
        "BillingAccountName": name or None,
        "BillingCurrency": rate.currency,
        "HostProviderName": issuer.name,
        "InvoiceIssuerName": issuer.name,
        "PricingCurrency": PRICING_CURRENCY,
        "ResourceId": stored.lease.key.lease_id,
        "ResourceType": "Lease",
        "ServiceCategory": "Compute",
        "ServiceName": "Hearth lease",
        "ServiceProviderName": issuer.name,
        "ServiceSubcategory": "Virtual Machines",
        "SubAccountId": stored.lease.job_id or None,
        "SubAccountName": stored.lease.job_id or None,  # the exchange gives it no other name
        "x_ExchangeRateMinorPerBitcoin": rate.minor_per_bitcoin,
        "x_ExchangeRateSource": rate.source,
    }


def _rate(issuer: Issuer, quoted: Rate | None) -> Rate:
    """The rate at the payment; before it, and where none was set then, today's."""
    return quoted if quoted is not None and quoted.currency else issuer.rate


def _costs(msat: int, rate: Rate) -> Row:
    """There are no discounts: all four costs are one."""
    cost = decimal_text(national(msat, rate))
    return {
        "BilledCost": cost,
        "ContractedCost": cost,
        "EffectiveCost": cost,
        "ListCost": cost,
        "PricingCurrencyEffectiveCost": msat,
    }


def _month(unix_ns: int) -> tuple[datetime, datetime]:
    at = datetime.fromtimestamp(unix_ns // report.SECOND_NS, UTC)
    start = datetime(at.year, at.month, 1, tzinfo=UTC)
    end = datetime(at.year + at.month // 12, at.month % 12 + 1, 1, tzinfo=UTC)
    return start, end


def _periods(span: Span, billed_ns: int) -> Row:
    start, end = _month(billed_ns)
    return {
        "BillingPeriodStart": start.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "BillingPeriodEnd": end.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "ChargePeriodStart": time_text(span.start_ns),
        "ChargePeriodEnd": time_text(span.end_ns),
    }


def _class(concerns_ns: int, made_ns: int) -> str | None:
    """ "Correction" where a charge concerns a month that was over when it was made."""
    return "Correction" if _month(concerns_ns) != _month(made_ns) else None


def _ordered(row: Row) -> Row:
    return {name: row.get(name) for name in COLUMNS}
