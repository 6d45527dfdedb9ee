"""Invoices: held against our own acknowledgements, paid once, shown to be paid.

Every function is an act of the store. An invoice's amount has to follow from what we have stated
and paid ourselves; nothing of it is believed.
"""

from __future__ import annotations

import hashlib
import sqlite3
from dataclasses import dataclass
from enum import StrEnum

from hearth.v1 import lease_pb2, offer_pb2, session_pb2, settlement_pb2

from agent.core.bolt11 import NotBolt11, decode
from agent.core.invoice import invoice_text, read_label, text_sha256
from agent.sandbox.exchange.identity import Exchange, timestamp
from agent.sandbox.exchange.offers import parse
from agent.sandbox.exchange.refusal import Refused

FEE_LEAST_MSAT = 5_000
FEE_PERMILLE = 5

_MALFORMED = session_pb2.NACK_REASON_MALFORMED


class BillState(StrEnum):
    """Where an invoice stands here."""

    ACCEPTED = "ACCEPTED"
    PAYING = "PAYING"  # the node was told, or is going to be
    PAID = "PAID"
    EXPIRED = "EXPIRED"  # not paid for certain; it will come again


@dataclass(frozen=True, slots=True)
class Bill:
    """An invoice that is to be paid."""

    node_id: str
    label: str
    lease_id: str
    bolt11: str
    payment_hash: bytes
    msat: int
    expire_s: int

    @property
    def most_fee_msat(self) -> int:
        """Most that its payment may cost."""
        return max(FEE_LEAST_MSAT, self.msat * FEE_PERMILLE // 1000)


def accept_invoice(
    db: sqlite3.Connection, exchange: Exchange, node_id: str, payload: bytes
) -> None:
    """Take an invoice to be paid.

    :raises Refused: naming the first thing that is not as we have it.
    """
    invoice = parse(settlement_pb2.Invoice, payload)
    known = db.execute(
        "SELECT 1 FROM bill WHERE node_id = ? AND label = ?", (node_id, invoice.label)
    ).fetchone()
    if known is not None:
        raise Refused(session_pb2.NACK_REASON_STALE, f"label {invoice.label} was here before")
    _check_names(db, exchange, node_id, invoice)
    _check_amount(db, node_id, invoice)
    expire_s = _check_text(exchange, invoice) if invoice.bolt11 else 0
    db.execute(
        "INSERT INTO bill VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, x'')",
        (
            node_id,
            invoice.label,
            invoice.lease_id,
            invoice.through_sequence,
            invoice.amount_msat,
            invoice.bolt11,
            invoice.payment_hash,
            expire_s,
            BillState.ACCEPTED,
        ),
    )
    for statement in invoice.netted_statement_sha256:
        db.execute(
            "UPDATE payout SET state = 'NETTED' WHERE node_id = ? AND statement_sha256 = ?",
            (node_id, statement),
        )


def _check_names(
    db: sqlite3.Connection, exchange: Exchange, node_id: str, invoice: settlement_pb2.Invoice
) -> None:
    label = read_label(invoice.label)
    named = (exchange.exchange_id, invoice.lease_id, invoice.through_sequence)
    if label is None or label[:3] != named:
        raise Refused(_MALFORMED, f"label {invoice.label!r} is not of this lease and watermark")
    receipt = db.execute(
        "SELECT sha256 FROM lease_receipt WHERE node_id = ? AND lease_id = ? AND sequence = ?",
        (node_id, invoice.lease_id, invoice.through_sequence),
    ).fetchone()
    stated = receipt["sha256"] if receipt is not None else b""
    if invoice.receipt_sha256 != stated:
        raise Refused(_MALFORMED, "receipt_sha256 is not of the receipt at the watermark")


def _check_amount(db: sqlite3.Connection, node_id: str, invoice: settlement_pb2.Invoice) -> None:
    lease = (node_id, invoice.lease_id)
    made_of = (
        invoice.uncontested_msat_total
        + invoice.adjustment_msat_total
        - invoice.netted_msat_total
        - invoice.settled_msat_total
        - invoice.pending_msat
        + invoice.advance_msat
    )
    named = (
        ("amount_msat", invoice.amount_msat, made_of),
        (
            "uncontested_msat_total",
            invoice.uncontested_msat_total,
            acknowledged(db, *lease, invoice.through_sequence),
        ),
        ("adjustment_msat_total", invoice.adjustment_msat_total, adjusted(db, *lease)),
        (
            "netted_msat_total",
            invoice.netted_msat_total,
            stated_rebates(db, node_id, list(invoice.netted_statement_sha256)),
        ),
        ("advance_msat", invoice.advance_msat, advance(db, *lease)),
    )
    for name, said, known in named:
        if said != known:
            raise Refused(_MALFORMED, f"{name} {said}, here it is {known}")
    # What we have paid must be in it, whether the node knows of it already or not.
    if invoice.settled_msat_total + invoice.pending_msat < paid(db, *lease):
        raise Refused(
            _MALFORMED, f"settled {invoice.settled_msat_total}, we paid {paid(db, *lease)} msat"
        )


def _check_text(exchange: Exchange, invoice: settlement_pb2.Invoice) -> int:
    """Hold what would be paid against what the invoice says; return when it ends (Unix s)."""
    try:
        text = decode(invoice.bolt11)
    except NotBolt11 as error:
        raise Refused(_MALFORMED, f"bolt11: {error}") from error
    wanted = text_sha256(invoice_text(invoice.label, invoice.receipt_sha256))
    named = (
        ("network", text.network, exchange.options.network),
        ("amount", text.amount_msat, invoice.amount_msat),
        ("payment hash", text.payment_hash, invoice.payment_hash),
        ("description hash", text.description_sha256, wanted),
    )
    for name, said, expected in named:
        if said != expected:
            raise Refused(_MALFORMED, f"bolt11: {name} {said!r} where {expected!r} is due")
    return text.expires_s


# --- what we know ourselves ----------------------------------------------------------------------


def acknowledged(db: sqlite3.Connection, node_id: str, lease_id: str, sequence: int) -> int:
    """What we have said may be invoiced at a watermark; 0 before the first receipt."""
    row = db.execute(
        "SELECT uncontested FROM ack WHERE node_id = ? AND lease_id = ? AND sequence = ?"
        " ORDER BY rowid DESC LIMIT 1",
        (node_id, lease_id, sequence),
    ).fetchone()
    return int(row["uncontested"]) if row is not None else 0


def adjusted(db: sqlite3.Connection, node_id: str, lease_id: str) -> int:
    """The sum of the node's corrections."""
    return _sum(
        db, "SELECT sum(msat) FROM adjustment WHERE node_id = ? AND lease_id = ?", node_id, lease_id
    )


def stated_rebates(db: sqlite3.Connection, node_id: str, statements: list[bytes]) -> int:
    """The sum of rebates that were stated and judged right, and never paid out."""
    return sum(
        _sum(
            db,
            "SELECT sum(msat) FROM payout WHERE node_id = ? AND statement_sha256 = ?"
            " AND kind = 'REBATE' AND state != 'PAID'",
            node_id,
            statement,
        )
        for statement in set(statements)
    )


def advance(db: sqlite3.Connection, node_id: str, lease_id: str) -> int:
    """What a prepaid lease is invoiced ahead, until its final receipt is acknowledged."""
    row = db.execute(
        "SELECT agreement, receipt, acked FROM lease WHERE node_id = ? AND lease_id = ?",
        (node_id, lease_id),
    ).fetchone()
    if row is None or not row["agreement"]:
        return 0
    terms = lease_pb2.LeaseAgreement.FromString(row["agreement"]).settlement
    last = lease_pb2.Receipt.FromString(row["receipt"])
    over = last.final and last.sequence == row["acked"]
    prepaid = terms.mode == offer_pb2.SETTLEMENT_MODE_PREPAID
    return terms.advance_msat if prepaid and not over else 0


def paid(db: sqlite3.Connection, node_id: str, lease_id: str) -> int:
    """What we have paid, or may have, less refunds that came back."""
    sent = _sum(
        db,
        "SELECT sum(msat) FROM bill WHERE node_id = ? AND lease_id = ?"
        " AND state IN ('PAYING', 'PAID')",
        node_id,
        lease_id,
    )
    back = _sum(
        db,
        "SELECT sum(msat) FROM payout WHERE node_id = ? AND lease_id = ?"
        " AND kind = 'REFUND' AND state = 'PAID'",
        node_id,
        lease_id,
    )
    return sent - back


def _sum(db: sqlite3.Connection, query: str, *values: object) -> int:
    return int(db.execute(query, values).fetchone()[0] or 0)


# --- paying --------------------------------------------------------------------------------------


def payable(db: sqlite3.Connection) -> list[Bill]:
    """What is to be paid, or may be on its way."""
    rows = db.execute(
        "SELECT * FROM bill WHERE state IN ('ACCEPTED', 'PAYING') AND bolt11 != '' ORDER BY rowid"
    ).fetchall()
    return [
        Bill(
            row["node_id"],
            row["label"],
            row["lease_id"],
            row["bolt11"],
            row["payment_hash"],
            row["msat"],
            row["expire_s"],
        )
        for row in rows
    ]


def move(db: sqlite3.Connection, bill: Bill, state: BillState) -> None:
    """Put an invoice into another state."""
    db.execute(
        "UPDATE bill SET state = ? WHERE node_id = ? AND label = ?",
        (state, bill.node_id, bill.label),
    )


def show_paid(db: sqlite3.Connection, exchange: Exchange, bill: Bill, preimage: bytes) -> None:
    """Keep the proof of a payment and send it."""
    db.execute(
        "UPDATE bill SET state = ?, preimage = ? WHERE node_id = ? AND label = ?",
        (BillState.PAID, preimage, bill.node_id, bill.label),
    )
    exchange.post(
        db,
        bill.node_id,
        settlement_pb2.PaymentNotice(
            lease_id=bill.lease_id,
            payment_hash=bill.payment_hash,
            preimage=preimage,
            amount_msat=bill.msat,
            label=bill.label,
            payment_time=timestamp(exchange.now_ns()),
        ),
    )


def accept_adjustment(db: sqlite3.Connection, node_id: str, payload: bytes) -> None:
    """Take a correction that the node has signed."""
    correction = parse(lease_pb2.Adjustment, payload)
    db.execute(
        "INSERT INTO adjustment VALUES (?, ?, ?, ?)",
        (node_id, correction.lease_id, correction.msat, correction.dispute_id),
    )


def accept_credit(db: sqlite3.Connection, node_id: str, payload: bytes) -> None:
    """Keep what the node does about unpaid exposure."""
    notice = parse(settlement_pb2.CreditNotice, payload)
    name = settlement_pb2.CreditLevel.Name(notice.level).removeprefix("CREDIT_LEVEL_")
    db.execute(
        "INSERT INTO credit VALUES (?, ?, ?, ?)",
        (node_id, notice.lease_id, name, notice.exposure_msat),
    )


def accept_notice(db: sqlite3.Connection, node_id: str, payload: bytes) -> None:
    """Take the node's notice of a payment: of ours, which we know, or of its own to us.

    :raises Refused: a preimage that is not of this hash, or of nothing we know.
    """
    notice = parse(settlement_pb2.PaymentNotice, payload)
    if notice.preimage and hashlib.sha256(notice.preimage).digest() != notice.payment_hash:
        raise Refused(_MALFORMED, "the preimage is not of this payment hash")
    if notice.label:
        db.execute(
            "UPDATE bill SET state = 'PAID' WHERE node_id = ? AND label = ?",
            (node_id, notice.label),
        )
        return
    # Without a hash it was given back by other means; an exchange with a bank account looks there.
    taken = db.execute(
        "UPDATE payout SET state = 'PAID' WHERE node_id = ? AND"
        " iif(? = x'', statement_sha256 = ?, payment_hash = ?)",
        (node_id, notice.payment_hash, notice.statement_sha256, notice.payment_hash),
    )
    if not taken.rowcount:
        raise Refused(_MALFORMED, "a payment of no payout that we asked for")
