"""Where the money of one lease stands: its invoices and its books. Pure.

An account is written to the journal in the transaction of whatever follows from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import msgspec

from agent.core.credit import Credit
from agent.core.payout import Caps, Payout
from agent.core.rebate import Level


class Mode(IntEnum):
    """hearth.v1.SettlementMode."""

    POSTPAID = 1
    PREPAID = 2


class Terms(msgspec.Struct, frozen=True):
    """hearth.v1.SettlementTerms of a lease, frozen with its agreement; times in ns."""

    mode: Mode = Mode.POSTPAID
    credit_limit_msat: int = 0
    least_msat: int = 0
    payment_timeout_ns: int = 0
    advance_msat: int = 0  # PREPAID: the balance that is invoiced ahead


class BillState(IntEnum):
    """Where one invoice stands."""

    DUE = 1  # to be made by the node; perhaps it was
    INVOICED = 2
    EXPIRED = 3  # the node says so: certainly not paid by then
    LOST = 4  # the node knows nothing of it: paid and deleted, or deleted; nobody can say
    PAID = 5


UNSURE = (BillState.DUE, BillState.INVOICED, BillState.LOST)  # may be paid at any time


class Sum(msgspec.Struct, frozen=True):
    """Of what an invoice's amount is made up, as the books stood then; hearth.v1.Invoice."""

    uncontested: int
    adjusted: int
    netted: int
    settled: int
    pending: int
    ahead: int

    @property
    def msat(self) -> int:
        """The amount."""
        used = self.uncontested + self.adjusted - self.netted
        return used - self.settled - self.pending + self.ahead


class Bill(msgspec.Struct, frozen=True):
    """One invoice. Label and amount never change."""

    label: str
    through: int
    receipt_sha256: bytes
    sum: Sum
    state: BillState
    since_ns: int
    bolt11: str = ""
    payment_hash: bytes = b""
    expire_ns: int = 0  # Unix time
    preimage: bytes = b""  # shown by the exchange: it has paid, whatever the node says later

    @property
    def msat(self) -> int:
        """Its amount."""
        return self.sum.msat


class Account(msgspec.Struct, frozen=True):
    """What one lease owes and owns; all amounts in msat, cumulative since its start."""

    exchange_id: str
    lease_id: str
    terms: Terms
    level: Level = Level()
    issued: int = 0  # newest receipt that was cut
    through: int = 0  # receipt at the watermark of the newest acknowledgement
    receipt_sha256: bytes = b""
    uncontested: int = 0  # of it
    contested: int = 0  # at the watermark: gross less uncontested
    gross: int = 0  # of the newest receipt that was cut, acknowledged or not
    final: bool = False  # the final receipt is acknowledged, or there will never be one
    adjusted: int = 0
    netted: int = 0  # rebates taken off invoices
    received: int = 0
    returned: int = 0  # refunds paid
    bills: tuple[Bill, ...] = ()  # all but the paid ones
    last_through: int = -1  # of the newest label
    last_round: int = 0
    waiting_since_ns: int = 0  # something is due and not invoiced; 0: nothing is
    windows: int = 0  # closed windows that were judged
    payouts: tuple[Payout, ...] = ()
    credit: Credit = Credit()
    closed: bool = False  # nothing more is to come

    @property
    def exposure(self) -> int:
        """What was delivered and is not paid, acknowledged or not; negative: a balance with us."""
        return self.gross + self.adjusted - self.netted - self.received + self.returned

    @property
    def owed(self) -> int:
        """What the exchange has accepted and not paid; negative: it has paid too much."""
        return self.uncontested + self.adjusted - self.netted - self.received + self.returned

    @property
    def pending(self) -> int:
        """What invoices may still bring."""
        return sum(bill.msat for bill in self.bills if bill.state in UNSURE)

    @property
    def open_bill(self) -> Bill | None:
        """The one invoice that may be paid now."""
        opened = (BillState.DUE, BillState.INVOICED)
        return next((bill for bill in self.bills if bill.state in opened), None)

    def bill(self, label: str) -> Bill | None:
        """An invoice that is not paid yet."""
        return next((bill for bill in self.bills if bill.label == label), None)

    def payout(self, key: str) -> Payout | None:
        """One rebate or refund."""
        return next((item for item in self.payouts if item.key == key), None)

    def stated(self, statement_sha256: bytes) -> Payout | None:
        """The payout that a statement is about."""
        return next((item for item in self.payouts if statement_sha256 in item.statements), None)


@dataclass(frozen=True, slots=True)
class Policy:
    """What the operator configured, in msat and ns."""

    collects: bool  # there is a rail that makes invoices
    pays: bool  # it also pays,
    pays_named: bool  # also invoices that name their amount
    network: str
    least_msat: int  # an invoice is made from here on,
    age_ns: int  # or when something has been due for so long
    invoice_life_ns: int
    net_after_ns: int  # a rebate nobody asked for is netted after that
    caps: Caps
