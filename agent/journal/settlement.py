"""The books of settlement: accounts, invoices, payouts, payments. Rules are in `core.settlement`.

`enter` is the one way in: an event is taken, and what follows from it is written with it in the
caller's transaction, the signed statements to the exchange among it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import msgspec

from agent.core.bill import Account, BillState, Policy
from agent.core.credit import CreditLevel
from agent.core.giving import with_statement
from agent.core.lease import CloseReason, LeaseState
from agent.core.payout import Payout, PayoutState, Refusal, Spent
from agent.core.settlement import outstanding, step
from agent.core.settling import (
    Billed,
    Collected,
    CreditMoved,
    Effect,
    Event,
    PayoutMoved,
    PayoutRefused,
    Settled,
)
from agent.journal import ledger
from agent.journal.ledger import Stored
from agent.journal.scribe import Scribe
from agent.journal.store import Transaction, View, any_of
from agent.wire import money
from attest.formats import encode_envelope

DAY_NS = 86_400 * 1_000_000_000
_REFUSED = "see PayoutRefusalReason"


class Rate(NamedTuple):
    """What a bitcoin is worth, in the currency's smallest unit, and who says so."""

    currency: str
    minor_per_bitcoin: int
    source: str


NO_RATE = Rate("", 0, "")


@dataclass(frozen=True, slots=True)
class Desk:
    """What entries are made with: pen, the operator's policy, both clocks, the exchange rate."""

    scribe: Scribe
    policy: Policy
    exchange_ns: Callable[[str], int]  # an exchange's time by now
    unix_ns: Callable[[], int]
    rate: Callable[[], Rate]


def account(view: View, lease: int) -> Account | None:
    """The books of a lease, by its row."""
    row = view.one("SELECT body FROM accounts WHERE lease = ?", lease)
    return None if row is None else msgspec.msgpack.decode(row[0], type=Account)


def open_accounts(view: View, exchange: int | None = None) -> list[tuple[int, Account]]:
    """All books of which something may still come, with their lease's row; None: all exchanges'."""
    rows = view.all(
        "SELECT lease, accounts.body FROM accounts JOIN leases ON leases.id = lease"
        " WHERE open = 1 AND ?1 IN (exchange, 0) ORDER BY lease",
        exchange or 0,
    )
    return [(int(lease), msgspec.msgpack.decode(body, type=Account)) for lease, body in rows]


def behind(view: View, states: Sequence[LeaseState]) -> list[int]:
    """Rows of the leases whose books are not up to the ledger, or which have none yet.

    :param states: of leases that have books while they last.
    """
    rows = view.all(
        "SELECT l.id FROM leases l LEFT JOIN accounts a ON a.lease = l.id"
        " WHERE l.id IN (SELECT lease FROM accounts WHERE open = 1 UNION SELECT id FROM leases"
        "  WHERE state IN (SELECT value FROM json_each(?)))"
        " AND (a.lease IS NULL OR (a.state, a.receipts, a.acked_through, a.acked_msat)"
        " != (l.state, (SELECT coalesce(max(sequence), 0) FROM receipts WHERE lease = l.id),"
        " l.acked_through, l.acked_msat)) ORDER BY l.id",
        any_of(states),
    )
    return [int(row[0]) for row in rows]


def caught_up(change: Transaction, stored: Stored) -> None:
    """Note how far the ledger was when the books were brought up to it."""
    change.execute(
        "UPDATE accounts SET state = ?, receipts = ?, acked_through = ?, acked_msat = ?"
        " WHERE lease = ?",
        int(stored.lease.state),
        stored.lease.receipt_sequence,
        stored.acked_through,
        stored.acked_msat,
        stored.row,
    )


def keep(change: Transaction, lease: int, books: Account) -> None:
    """Write the books of a lease as they are now."""
    going_on = not books.closed or bool(outstanding(books, 1 << 62))
    change.execute(
        "INSERT INTO accounts (lease, open, body) VALUES (?1, ?2, ?3)"
        " ON CONFLICT (lease) DO UPDATE SET open = ?2, body = ?3",
        lease,
        going_on,
        msgspec.msgpack.encode(books),
    )


def spent(view: View, exchange: int, unix_ns: int) -> Spent:
    """What the rail paid in the last 24 hours and what it may pay at any time, however old.

    A payment that was begun days ago is taken from the node only now, if its payee was away.
    """
    rows = view.all(
        "SELECT leases.exchange, sum(most_msat) FROM payouts JOIN leases ON leases.id = lease"
        " WHERE begin_ns > 0 AND (payouts.state = ? OR payouts.state = ? AND change_ns > ?)"
        " GROUP BY leases.exchange",
        int(PayoutState.PAYING),
        int(PayoutState.PAID),
        unix_ns - DAY_NS,
    )
    sums = {int(row): int(total) for row, total in rows}
    return Spent(sum(sums.values()), sums.get(exchange, 0))


def lease_of_label(view: View, label: str) -> int | None:
    """Row of the lease that an invoice is of; None when it is none of ours."""
    row = view.one("SELECT lease FROM invoices WHERE label = ?", label)
    return None if row is None else int(row[0])


def payout_of_label(view: View, label: str) -> tuple[int, str] | None:
    """Lease row and key of the payout that `payout/<lease id>/<key>` names; None: of none."""
    lead, lease, key = (*label.split("/", 2), "", "")[:3]
    row = view.one(
        "SELECT leases.id FROM leases JOIN payouts ON payouts.lease = leases.id"
        " WHERE ? = 'payout' AND lease_id = ? AND key = ?",
        lead,
        lease,
        key,
    )
    return None if row is None else (int(row[0]), key)


# --- entries -------------------------------------------------------------------------------------


def policy_for(view: View, policy: Policy, exchange: int) -> Policy:
    """The operator's policy towards one exchange: one that cannot be invoiced is not."""
    row = view.one("SELECT settles FROM exchanges WHERE id = ?", exchange)
    return policy if row is not None and row[0] else replace(policy, collects=False)


def enter(change: Transaction, desk: Desk, stored: Stored, books: Account, event: Event) -> Account:
    """Take one event into the books of a lease, with all that follows; returns them after it."""
    now_ns = desk.exchange_ns(books.exchange_id)
    policy = policy_for(change, desk.policy, stored.exchange)
    after, effects = step(books, event, policy, now_ns)
    entry = _Entry(change, desk, stored, now_ns, desk.unix_ns())
    for effect in effects:
        after = entry.note(after, effect)
    if after != books:
        keep(change, stored.row, after)
    return after


@dataclass(frozen=True, slots=True)
class _Entry:
    """One event on its way into the tables and the log."""

    change: Transaction
    desk: Desk
    stored: Stored
    exchange_ns: int
    unix_ns: int

    def note(self, books: Account, effect: Effect) -> Account:
        match effect:
            case Billed():
                self._billed(books, effect)
            case Collected():
                self._collected(books, effect)
            case PayoutMoved():
                return self._payout(books, effect)
            case PayoutRefused(statement, reason):
                self._refuse(books, statement, reason)
            case CreditMoved():
                self._credit(books, effect)
            case Settled():
                self._settled()
        return books

    def _say(self, name: str, payload: bytes) -> int:
        """Sign a statement to the exchange as a leaf of the log."""
        return self.desk.scribe.append(self.change, name, payload, [self.stored.exchange])

    # --- invoices --------------------------------------------------------------------------------

    def _billed(self, books: Account, effect: Billed) -> None:
        bill = effect.bill
        self.change.execute(
            "INSERT INTO invoices VALUES (?1, ?2, ?3, ?4, ?5, ?6, NULL, ?7) ON CONFLICT (label)"
            " DO UPDATE SET state = ?5, payment_hash = ?6, change_ns = ?7",
            bill.label,
            self.stored.row,
            bill.through,
            bill.msat,
            int(bill.state),
            bill.payment_hash,
            self.unix_ns,
        )
        if bill.state is BillState.DUE:  # what was netted in this step is taken off this invoice
            self.change.execute(
                "UPDATE payouts SET invoice = ? WHERE lease = ? AND state = ? AND invoice = ''",
                bill.label,
                self.stored.row,
                int(PayoutState.NETTED),
            )
        said = self.change.one("SELECT idx FROM invoices WHERE label = ?", bill.label)
        if bill.state is not BillState.INVOICED or (said is not None and said[0] is not None):
            return
        netted = [
            digest
            for item in books.payouts
            if item.state is PayoutState.NETTED
            for digest in item.statements[:1]
        ]
        index = self._say("Invoice", money.encode_invoice(bill, books.lease_id, netted))
        self.change.execute("UPDATE invoices SET idx = ? WHERE label = ?", index, bill.label)

    def _collected(self, books: Account, effect: Collected) -> None:
        bill = effect.bill
        index = self._say("PaymentNotice", money.encode_received(effect, books.lease_id))
        self._moved(
            bill.label,
            effect.received_msat,
            0,
            (bill.payment_hash, effect.preimage),
            effect.paid_ns,
            index,
        )

    def _moved(
        self,
        reference: str,
        msat: int,
        fee_msat: int,
        proof: tuple[bytes, bytes],
        paid_ns: int,
        index: int,
    ) -> None:
        """Enter money that moved under the next number."""
        exchange = self.stored.exchange
        row = self.change.one("SELECT max(number) FROM payments WHERE exchange = ?", exchange)
        number = int(row[0] or 0) + 1 if row else 1
        self.change.execute(
            "INSERT INTO payments VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            exchange,
            number,
            self.stored.row,
            reference,
            msat,
            fee_msat,
            *proof,
            paid_ns,
            index,
            *self.desk.rate(),
        )

    # --- rebates and refunds ---------------------------------------------------------------------

    def _payout(self, books: Account, effect: PayoutMoved) -> Account:
        item = effect.payout
        if item.state is PayoutState.PLANNED:
            return self._state(books, effect)
        if item.state is PayoutState.PAYING:
            self.change.execute(
                "UPDATE payouts SET most_msat = ?, begin_ns = ? WHERE lease = ? AND key = ?",
                item.msat + item.most_fee_msat,
                self.unix_ns,
                self.stored.row,
                item.key,
            )
        elif item.state is PayoutState.PAID:
            self._paid(books, item)
        elif item.state is PayoutState.FAILED_SAFE:
            self._refuse(books, item.statements[0], Refusal.FAILED)
        self.change.execute(
            "UPDATE payouts SET state = ?, change_ns = ? WHERE lease = ? AND key = ?",
            int(item.state),
            self.unix_ns,
            self.stored.row,
            item.key,
        )
        return books

    def _state(self, books: Account, effect: PayoutMoved) -> Account:
        item = effect.payout
        if effect.rebate is not None:
            name, payload = "RebateStatement", money.encode_rebate(books.lease_id, effect.rebate)
        else:
            name = "RefundStatement"
            payload = money.encode_refund(books.lease_id, books.through, item.msat)
        index = self._say(name, payload)
        self.change.execute(
            "INSERT INTO payouts (lease, key, msat, state, idx, change_ns)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            self.stored.row,
            item.key,
            item.msat,
            int(item.state),
            index,
            self.unix_ns,
        )
        return with_statement(books, item.key, hashlib.sha256(payload).digest())

    def _paid(self, books: Account, item: Payout) -> None:
        payload = money.encode_paid(
            books.lease_id,
            item.payment_hash,
            item.preimage,
            item.msat,
            item.statements[0],
            item.since_ns,
        )
        index = self._say("PaymentNotice", payload)
        proof = item.payment_hash, item.preimage
        self._moved(item.key, -item.msat, item.fee_msat, proof, item.since_ns, index)
        self.change.execute(
            "UPDATE payouts SET most_msat = ? WHERE lease = ? AND key = ?",
            item.msat + item.fee_msat,
            self.stored.row,
            item.key,
        )

    def _refuse(self, books: Account, statement: bytes, reason: Refusal) -> None:
        """A refusal is no leaf: a stranger's bad invoices must not fill the log."""
        payload = money.encode_refusal(books.lease_id, statement, reason, _REFUSED)
        envelope = self.desk.scribe.seal("PayoutRefusal", payload)
        self.change.enqueue_unlogged(self.stored.exchange, encode_envelope(envelope))

    # --- credit ----------------------------------------------------------------------------------

    def _credit(self, books: Account, effect: CreditMoved) -> None:
        payload = money.encode_credit(
            books.lease_id,
            effect.level,
            effect.exposure_msat,
            books.terms.credit_limit_msat,
            self.exchange_ns,
        )
        index = self._say("CreditNotice", payload)
        self.change.execute(
            "INSERT INTO credit_steps VALUES (?, ?, ?, ?, ?)",
            index,
            self.stored.row,
            int(effect.level),
            effect.exposure_msat,
            self.unix_ns,
        )
        if effect.level is CreditLevel.STOPPED:
            again = ledger.find(self.change, self.stored.exchange, books.lease_id)
            if again is not None:
                ledger.end(
                    self.change,
                    self.desk.scribe,
                    again,
                    CloseReason.CREDIT_LIMIT,
                    self.exchange_ns,
                )

    def _settled(self) -> None:
        lease = self.stored.lease
        again = ledger.find(self.change, self.stored.exchange, lease.key.lease_id)
        if again is not None and again.lease.state is LeaseState.CLOSED:
            reason = again.lease.reason
            ledger.move(
                self.change,
                self.desk.scribe,
                again,
                LeaseState.SETTLED,
                reason,
                self.exchange_ns,
            )
