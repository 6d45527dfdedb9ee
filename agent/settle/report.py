"""Settlement as rows: of receipts, payments and leases, for people and for programs.

Amounts are integers in msat; national money is exact, as a decimal of whole units.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, localcontext

from agent.core.bill import BillState, Mode
from agent.core.payout import PayoutKind, PayoutState
from agent.errors import JournalError
from agent.journal import ledger, settlement
from agent.journal.ledger import Stored
from agent.journal.settlement import Rate
from agent.journal.store import View
from agent.wire import money
from agent.wire.money import Metered
from attest.formats import decode_envelope

SECOND_NS = 1_000_000_000
MSAT_PER_BITCOIN = 100_000_000_000
# ISO 4217 currencies whose smaller unit is not a hundredth.
_MINOR_DIGITS = {
    **dict.fromkeys(("BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF"), 0),
    **dict.fromkeys(("UGX", "UYI", "VND", "VUV", "XAF", "XOF", "XPF"), 0),
    **dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3),
}

Row = dict[str, str | int | None]
Names = Mapping[int, str]  # row of an enrolment -> what its exchange calls itself


def time_text(unix_ns: int) -> str:
    """A time in UTC, to the second (RFC 3339)."""
    return datetime.fromtimestamp(unix_ns // SECOND_NS, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def national(msat: int, rate: Rate) -> Decimal | None:
    """An amount in whole units of the national currency, exact; None without a rate."""
    if not rate.currency:
        return None
    digits = _MINOR_DIGITS.get(rate.currency, 2)
    with localcontext() as exact:
        exact.prec = 60
        value = Decimal(msat) * rate.minor_per_bitcoin / (MSAT_PER_BITCOIN * 10**digits)
        return value.normalize() if value else Decimal(0)


def decimal_text(value: Decimal | None) -> str:
    """Plain decimals, never an exponent; empty for None."""
    return "" if value is None else f"{value:f}"


@dataclass(frozen=True, slots=True)
class Paid:
    """What a payment says of the receipts it covers."""

    label: str
    paid_ns: int
    preimage: bytes
    rate: Rate


@dataclass(frozen=True, slots=True)
class ReceiptRow:
    """One receipt with what it adds to the one before, and what became of it."""

    stored: Stored
    exchange_name: str
    metered: Metered
    before: Metered | None
    invoice: str | None  # label of the invoice that it is part of
    paid: Paid | None


def receipts(
    view: View, names: Names, *, exchange: str = "", lease: str = ""
) -> Iterator[ReceiptRow]:
    """Every receipt, lease by lease; narrowed to ids that begin like this."""
    for stored in ledger.leases(view):
        key = stored.lease.key
        if not key.exchange_id.startswith(exchange) or not key.lease_id.startswith(lease):
            continue
        payments = _payments_of(view, stored.row)
        invoices = _invoices_of(view, stored.row)
        before: Metered | None = None
        for (index,) in view.all(
            "SELECT idx FROM receipts WHERE lease = ? ORDER BY sequence", stored.row
        ):
            metered = money.metered(decode_envelope(view.envelope(int(index))).payload)
            paid = next((item for through, item in payments if through >= metered.sequence), None)
            label = next((item for through, item in invoices if through >= metered.sequence), None)
            name = names.get(stored.exchange, "")
            yield ReceiptRow(stored, name, metered, before, label, paid)
            before = metered


def _payments_of(view: View, lease: int) -> list[tuple[int, Paid]]:
    """Received payments of a lease with their watermarks, lowest first."""
    rows = view.all(
        "SELECT through_sequence, label, paid_ns, preimage, currency, minor_per_bitcoin,"
        " rate_source FROM payments p JOIN invoices i ON i.label = p.reference"
        " WHERE p.lease = ? ORDER BY through_sequence, number",
        lease,
    )
    return [
        (int(through), Paid(label, int(paid_ns), bytes(preimage), Rate(*rate)))
        for through, label, paid_ns, preimage, *rate in rows
    ]


def _invoices_of(view: View, lease: int) -> list[tuple[int, str]]:
    """Watermarks and labels of the invoices for receipts that stand, lowest first."""
    return [(through, label) for through, label, _ in _standing(view, lease)]


def invoice_after(view: View, lease: int, index: int) -> str | None:
    """Label of the first invoice for receipts that was told after that leaf, and stands."""
    later = [(told, label) for _, label, told in _standing(view, lease) if told > index]
    return min(later)[1] if later else None


def _standing(view: View, lease: int) -> list[tuple[int, str, int]]:
    """Watermarks, labels and leaves of the invoices for receipts that stand, lowest first."""
    books = settlement.account(view, lease)
    if books is None or books.terms.mode is Mode.PREPAID:
        return []  # those are for no receipts, but ahead of them
    return [
        (int(through), str(label), int(told))
        for through, label, told in view.all(
            "SELECT through_sequence, label, coalesce(idx, -1) FROM invoices"
            " WHERE lease = ? AND state IN (?, ?, ?) ORDER BY through_sequence, label",
            lease,
            *map(int, (BillState.INVOICED, BillState.PAID, BillState.LOST)),
        )
    ]


def rate_of(view: View, lease: int, reference: str) -> Rate | None:
    """The exchange rate at a payment; None while there is none."""
    row = view.one(
        "SELECT currency, minor_per_bitcoin, rate_source FROM payments"
        " WHERE lease = ? AND reference = ?",
        lease,
        reference,
    )
    return None if row is None else Rate(*row)


def plain(view: View, names: Names, *, exchange: str = "", lease: str = "") -> Iterator[Row]:
    """Receipts as flat rows: what CSV and JSON Lines hold."""
    for item in receipts(view, names, exchange=exchange, lease=lease):
        metered, paid = item.metered, item.paid
        yield {
            "exchange_id": item.stored.lease.key.exchange_id,
            "exchange_name": item.exchange_name,
            "lease_id": item.stored.lease.key.lease_id,
            "job_id": item.stored.lease.job_id,
            "sequence": metered.sequence,
            "start": time_text(metered.span.start_ns),
            "end": time_text(metered.span.end_ns),
            "final": int(metered.final),
            "gross_msat": metered.gross_msat - (item.before.gross_msat if item.before else 0),
            "gross_msat_total": metered.gross_msat,
            "energy_millijoules_total": metered.energy_mj,
            "acknowledged": int(item.stored.acked_through >= metered.sequence),
            "invoice": item.invoice,
            "paid": time_text(paid.paid_ns) if paid else None,
            "preimage": paid.preimage.hex() if paid else None,
        }


# --- payments ------------------------------------------------------------------------------------


def payments(
    view: View, names: Names, *, exchange: str = "", year: int | None = None
) -> Iterator[Row]:
    """Money that moved, in the order of its numbers; those have no gap for each exchange."""
    for (
        row,
        exchange_id,
        number,
        lease_id,
        reference,
        msat,
        fee,
        payment_hash,
        preimage,
        paid_ns,
        *quoted,
    ) in view.all(
        "SELECT p.exchange, exchange_id, number, lease_id, reference, msat, fee_msat,"
        " payment_hash, preimage, paid_ns, currency, minor_per_bitcoin, rate_source"
        " FROM payments p JOIN leases l ON l.id = p.lease JOIN exchanges e ON e.id = p.exchange"
        " ORDER BY p.exchange, number"
    ):
        at = datetime.fromtimestamp(int(paid_ns) // SECOND_NS, UTC)
        if not exchange_id.startswith(exchange) or (year is not None and at.year != year):
            continue
        rate = Rate(*quoted)
        yield {
            "exchange_id": exchange_id,
            "exchange_name": names.get(row, ""),
            "number": number,
            "paid": time_text(paid_ns),
            "lease_id": lease_id,
            "reference": reference,
            "msat": msat,
            "fee_msat": fee,
            "currency": rate.currency or None,
            "amount": decimal_text(national(int(msat), rate)) or None,
            "fee": decimal_text(national(int(fee), rate)) or None,
            "minor_per_bitcoin": rate.minor_per_bitcoin or None,
            "rate_source": rate.source or None,
            "payment_hash": bytes(payment_hash).hex(),
            "preimage": bytes(preimage).hex(),
        }


# --- leases --------------------------------------------------------------------------------------


def standings(view: View, names: Names, rate: Rate) -> list[Row]:
    """Where the money of every lease with books stands, newest lease last.

    :param rate: of today, for what is not paid yet.
    """
    rows: list[Row] = []
    for stored in ledger.leases(view):
        books = settlement.account(view, stored.row)
        if books is None:
            continue
        bill = books.open_bill
        owed = [item for item in books.payouts if item.state is not PayoutState.NETTED]
        rows.append(
            {
                "exchange_id": books.exchange_id,
                "exchange_name": names.get(stored.exchange, ""),
                "lease_id": books.lease_id,
                "state": stored.lease.state.name,
                "mode": books.terms.mode.name,
                "gross_msat": books.gross,
                "acknowledged_msat": books.uncontested,
                "contested_msat": books.contested,
                "adjusted_msat": books.adjusted,
                "received_msat": books.received,
                "returned_msat": books.returned,
                "netted_msat": books.netted,
                "exposure_msat": books.exposure,
                "currency": rate.currency or None,
                "exposure_amount": decimal_text(national(books.exposure, rate)) or None,
                "credit_limit_msat": books.terms.credit_limit_msat,
                "credit": books.credit.level.name,
                "invoice": bill.label if bill else None,
                "invoice_state": bill.state.name if bill else None,
                "invoice_msat": bill.msat if bill else None,
                "unsure_msat": sum(
                    item.msat for item in books.bills if item.state is BillState.LOST
                ),
                "rebates_msat": sum(
                    item.msat for item in books.payouts if item.kind is PayoutKind.REBATE
                ),
                "payouts_open_msat": sum(
                    item.msat for item in owed if item.state is not PayoutState.PAID
                ),
                "payouts_paid_msat": sum(
                    item.msat for item in owed if item.state is PayoutState.PAID
                ),
            }
        )
    return rows


def open_payouts(view: View) -> list[tuple[str, int]]:
    """What is to be given back yet: the label it has where that is done by hand, and msat."""
    done = (PayoutState.PAID, PayoutState.NETTED)
    return [
        (f"payout/{books.lease_id}/{item.key}", item.msat)
        for _, books in settlement.open_accounts(view)
        for item in books.payouts
        if item.state not in done
    ]


RECEIPT_COLUMNS = (
    "exchange_id",
    "exchange_name",
    "lease_id",
    "job_id",
    "sequence",
    "start",
    "end",
    "final",
    "gross_msat",
    "gross_msat_total",
    "energy_millijoules_total",
    "acknowledged",
    "invoice",
    "paid",
    "preimage",
)
PAYMENT_COLUMNS = (
    "exchange_id",
    "exchange_name",
    "number",
    "paid",
    "lease_id",
    "reference",
    "msat",
    "fee_msat",
    "currency",
    "amount",
    "fee",
    "minor_per_bitcoin",
    "rate_source",
    "payment_hash",
    "preimage",
)


def sums(rows: list[Row]) -> Row:
    """The last row of a statement: what all payments come to, per currency where there is one."""
    found: Row = dict.fromkeys(PAYMENT_COLUMNS)
    found["reference"] = "sum"
    for name in ("msat", "fee_msat"):
        found[name] = sum(int(row[name] or 0) for row in rows)
    currencies = {row["currency"] for row in rows}
    if len(currencies) == 1:
        (found["currency"],) = currencies
        for name in ("amount", "fee"):
            total = sum((Decimal(str(row[name])) for row in rows if row[name]), Decimal(0))
            found[name] = decimal_text(total) if found["currency"] else None
    return found


def payment_leaf(view: View, lease: str, sequence: int) -> int:
    """Log index of the notice of the payment that covers a receipt.

    :raises JournalError: when no one lease begins like that, or nothing was paid for that receipt.
    """
    row, lease_id = ledger.one_lease(view, lease)
    rows = view.all(
        "SELECT p.idx FROM payments p JOIN invoices i ON i.label = p.reference"
        " WHERE p.lease = ? AND through_sequence >= ? ORDER BY through_sequence, number LIMIT 1",
        row,
        sequence,
    )
    if not rows:
        raise JournalError(f"lease {lease_id}: no payment covers receipt {sequence} yet")
    return int(rows[0][0])
