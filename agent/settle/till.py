"""What exchanges say about money, taken inside the transaction that moves their cursor."""

from __future__ import annotations

import hashlib

import structlog

from agent.core.availability import Span
from agent.core.bill import Account
from agent.core.bolt11 import NotBolt11, decode
from agent.core.bounds import MOST_MSAT
from agent.core.credit import CreditLevel
from agent.core.giving import with_statement
from agent.core.payout import PayoutState
from agent.core.settling import Adjusted, Asked, Noticed
from agent.errors import JournalError, MalformedMessage, SettlementError
from agent.journal import ledger, settlement
from agent.journal.ledger import Stored
from agent.journal.scribe import Scribe
from agent.journal.settlement import Desk
from agent.journal.store import Transaction, View
from agent.settle import books as catching_up
from agent.wire import money
from agent.wire.money import DisputeEnd, MoneyRequest, Notice, PayoutInvoice, StatedRebate
from agent.wire.requests import Acknowledgement, Dispute
from attest.formats import decode_envelope

logger = structlog.get_logger()

MOST_STATEMENTS = 8  # of one rebate: the books carry their digests, and are written at every step


def accept(change: Transaction, desk: Desk, exchange: int, request: MoneyRequest) -> None:
    """Act on one statement.

    :raises MalformedMessage: when it is about nothing that we have; the exchange is told.
    """
    match request:
        case Notice(lease_id, payment_hash, preimage):
            stored, books = _books(change, desk, exchange, lease_id)
            settlement.enter(change, desk, stored, books, Noticed(payment_hash, preimage))
        case PayoutInvoice():
            _asked(change, desk, exchange, request)
        case StatedRebate():
            _stated(change, desk, exchange, request)
        case DisputeEnd():
            _dispute_ended(change, exchange, request)


def _books(change: Transaction, desk: Desk, exchange: int, lease_id: str) -> tuple[Stored, Account]:
    """A lease with its books, up to date."""
    stored = ledger.find(change, exchange, lease_id)
    books = None if stored is None else catching_up.look(change, desk, stored)
    if stored is None or books is None:
        raise MalformedMessage(f"lease_id: {lease_id[:40]!r} is no lease with books")
    return stored, books


def _asked(change: Transaction, desk: Desk, exchange: int, asked: PayoutInvoice) -> None:
    stored, books = _books(change, desk, exchange, asked.lease_id)
    try:
        invoice = decode(asked.bolt11)
    except NotBolt11 as error:
        logger.warning("payout_invoice_unreadable", lease=asked.lease_id, error=str(error))
        invoice = None
    unix_ns = desk.unix_ns()
    spent = settlement.spent(change, exchange, unix_ns)
    used = invoice is not None and _used(change, invoice.payment_hash)
    event = Asked(asked.statement_sha256, asked.bolt11, invoice, spent, unix_ns, used)
    settlement.enter(change, desk, stored, books, event)


def _used(view: View, payment_hash: bytes) -> bool:
    """Whether a payout was paid by this hash, or is being paid."""
    paid = view.one("SELECT 1 FROM payments WHERE payment_hash = ? AND msat < 0", payment_hash)
    return paid is not None or any(
        item.state is PayoutState.PAYING and item.payment_hash == payment_hash
        for _, books in settlement.open_accounts(view)
        for item in books.payouts
    )


def _stated(change: Transaction, desk: Desk, exchange: int, stated: StatedRebate) -> None:
    """Take the exchange's statement of a window beside our own, if both come to the same."""
    stored, books = _books(change, desk, exchange, stated.lease_id)
    index = _window(change, stored, stated.window)
    if index is None or index >= books.windows:
        raise MalformedMessage("window: none of this lease that has closed by our receipts")
    own = books.payout(f"rebate/{index}")
    due = 0 if own is None else own.msat
    if stated.msat != due:
        raise MalformedMessage(f"msat: {stated.msat} stated, {due} computed")
    if own is not None:
        known = stated.sha256 in own.statements
        if not known and len(own.statements) >= MOST_STATEMENTS:
            raise MalformedMessage(f"window: was stated {MOST_STATEMENTS} times; name one of these")
        after = with_statement(books, own.key, stated.sha256)
        settlement.keep(change, stored.row, after)


def _window(view: View, stored: Stored, stated: Span) -> int | None:
    contract = catching_up.agreed(view, stored)
    if contract is None:
        return None
    length, start = contract.level.window_ns, contract.lease.start_ns
    if length == 0:
        return 0 if stated.start_ns == start else None
    index, rest = divmod(stated.start_ns - start, length)
    return index if rest == 0 and index >= 0 else None


# --- disputes ------------------------------------------------------------------------------------


def contested(
    change: Transaction, scribe: Scribe, exchange: int, acknowledgement: Acknowledgement
) -> int:
    """Keep the disputes of an acknowledgement, and answer each once with what we signed.

    Returns how many were new.
    """
    stored = ledger.find(change, exchange, acknowledgement.lease_id)
    fresh = 0
    if stored is None:
        return fresh
    for dispute in acknowledgement.disputes:
        known = change.one(
            "SELECT 1 FROM disputes WHERE exchange = ? AND dispute_id = ?",
            exchange,
            dispute.dispute_id,
        )
        if known is None:
            _answer(change, scribe, stored, dispute)
            fresh += 1
    return fresh


def _answer(change: Transaction, scribe: Scribe, stored: Stored, dispute: Dispute) -> None:
    row = change.one(
        "SELECT idx FROM receipts WHERE lease = ? AND sequence = ?", stored.row, dispute.sequence
    )
    if row is None:
        raise MalformedMessage(f"sequence: {dispute.sequence} is no receipt of this lease")
    change.execute(
        "INSERT INTO disputes VALUES (?, ?, ?, ?, ?, ?, ?, ?, '')",
        stored.exchange,
        dispute.dispute_id,
        stored.row,
        dispute.sequence,
        dispute.reason,
        dispute.contested_msat,
        dispute.detail,
        dispute.answer_by_ns,
    )
    receipt = decode_envelope(change.envelope(int(row[0]))).payload
    evidence = (hashlib.sha256(receipt).digest(), stored.lease.agreement_sha256)
    detail = "the receipt as signed, and the agreement it is measured by"
    payload = money.encode_dispute_answer(dispute.dispute_id, evidence, detail)
    scribe.append(change, "DisputeStep", payload, [stored.exchange])
    logger.warning(
        "receipt_disputed",
        lease=stored.lease.key.lease_id,
        sequence=dispute.sequence,
        contested_msat=dispute.contested_msat,
        detail=dispute.detail,
    )


def _dispute_ended(change: Transaction, exchange: int, end: DisputeEnd) -> None:
    how = "withdrawn" if end.withdrawn else f"verdict: {end.agreed_msat} msat"
    done = change.execute(
        "UPDATE disputes SET ended = ? WHERE exchange = ? AND dispute_id = ? AND ended = ''",
        how,
        exchange,
        end.dispute_id,
    )
    if done.rowcount == 0:
        raise MalformedMessage("dispute_id: no open dispute of this exchange")
    logger.info("dispute_ended", dispute=end.dispute_id, how=how)


def adjust(
    change: Transaction, desk: Desk, lease: str, msat: int, reason: str, dispute: str
) -> tuple[str, int]:
    """Sign a correction by the operator; it ends the dispute that it names.

    :raises SettlementError: when no one lease begins like that, or the sum cannot be owed.
    """
    try:
        row, lease_id = ledger.one_lease(change, lease)
    except JournalError as error:
        raise SettlementError(str(error)) from None
    stored = ledger.by_row(change, row)
    books = None if stored is None else catching_up.look(change, desk, stored)
    if stored is None or books is None:
        raise SettlementError(f"lease {lease_id}: was never agreed and has no books")
    billed = books.gross + books.adjusted
    if books.issued == 0 or billed + msat < 0:
        raise SettlementError(
            f"lease {books.lease_id}: {billed} msat are billed; {msat} is more than all of it"
        )
    if billed + msat > MOST_MSAT:
        raise SettlementError(f"lease {books.lease_id}: {msat} msat are more than there are")
    if dispute:
        end = change.execute(
            "UPDATE disputes SET ended = 'accepted' WHERE lease = ? AND dispute_id = ?"
            " AND ended = ''",
            stored.row,
            dispute,
        )
        if end.rowcount == 0:
            raise SettlementError(f"lease {books.lease_id}: no open dispute {dispute!r}")
    payload = money.encode_adjustment(books.lease_id, (1, books.issued), msat, reason, dispute)
    index = desk.scribe.append(change, "Adjustment", payload, [stored.exchange])
    change.execute(
        "INSERT INTO adjustments VALUES (?, ?, ?, ?, ?)",
        index,
        stored.row,
        msat,
        reason,
        desk.unix_ns(),
    )
    after = settlement.enter(change, desk, stored, books, Adjusted(msat))
    return after.lease_id, after.adjusted


# --- credit --------------------------------------------------------------------------------------


def renews(view: View, exchange: int) -> bool:
    """Whether new leases of this exchange are taken: none of its lease is past its credit."""
    rows = settlement.open_accounts(view, exchange)
    return all(books.credit.level < CreditLevel.NOT_RENEWED for _, books in rows)
