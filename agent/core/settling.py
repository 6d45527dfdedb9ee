"""What happens to the books of a lease, what follows in the journal, what is to be done outside.

Plain values; `core.settlement` says how one leads to the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from agent.core.bill import Bill
from agent.core.bolt11 import Bolt11
from agent.core.credit import CreditLevel
from agent.core.payout import Payout, Refusal, Spent, Trace
from agent.core.rebate import Rebate

# --- what happens --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Issued:
    """A receipt was cut."""

    sequence: int
    gross_msat: int


@dataclass(frozen=True, slots=True)
class Acked:
    """The exchange accepted receipts through a watermark."""

    through: int
    receipt_sha256: bytes
    gross_msat: int  # of the receipt at the watermark
    uncontested_msat: int
    final: bool


@dataclass(frozen=True, slots=True)
class Ended:
    """The lease ended without ever having a receipt."""


@dataclass(frozen=True, slots=True)
class Adjusted:
    """A signed correction."""

    msat: int


@dataclass(frozen=True, slots=True)
class Made:
    """The node has made an invoice, now or in an earlier life."""

    label: str
    bolt11: str
    payment_hash: bytes
    expire_ns: int


@dataclass(frozen=True, slots=True)
class Clashed:
    """The label stands for another invoice at the node: of a journal that was lost."""

    label: str


class Status(IntEnum):
    """What the node says of one invoice."""

    UNPAID = 1
    PAID = 2
    EXPIRED = 3
    MISSING = 4


@dataclass(frozen=True, slots=True)
class Seen:
    """The node's word on one invoice."""

    label: str
    status: Status
    received_msat: int = 0
    preimage: bytes = b""
    paid_ns: int = 0  # Unix time; of MISSING: by when it was paid, if it was


@dataclass(frozen=True, slots=True)
class Noticed:
    """The exchange showed a preimage of one of our invoices (checked against its hash)."""

    payment_hash: bytes
    preimage: bytes


@dataclass(frozen=True, slots=True)
class Judged:
    """A window has closed, and this is what it gives back."""

    index: int
    rebate: Rebate


@dataclass(frozen=True, slots=True)
class Asked:
    """The exchange's invoice for a rebate or a refund."""

    statement_sha256: bytes
    text: str
    invoice: Bolt11 | None  # None: unreadable
    spent: Spent
    unix_ns: int
    used: bool = False  # another payout has its payment hash: one payment is no proof of two


@dataclass(frozen=True, slots=True)
class Handed:
    """A rebate or refund was given back by hand, outside of any rail."""

    key: str
    msat: int
    unix_ns: int


@dataclass(frozen=True, slots=True)
class Ordered:
    """The node is going to be told to pay; entered before it is."""

    key: str
    payment_hash: bytes
    unix_ns: int


@dataclass(frozen=True, slots=True)
class Stopped:
    """The node said that trying this invoice again is of no use."""

    key: str
    payment_hash: bytes


@dataclass(frozen=True, slots=True)
class Traced:
    """The node's records of a payment."""

    key: str
    payment_hash: bytes
    trace: Trace
    unix_ns: int
    preimage: bytes = b""
    fee_msat: int = 0


@dataclass(frozen=True, slots=True)
class Tick:
    """Time passed."""


Event = (
    Issued
    | Acked
    | Ended
    | Adjusted
    | Made
    | Clashed
    | Seen
    | Noticed
    | Judged
    | Asked
    | Handed
    | Ordered
    | Stopped
    | Traced
    | Tick
)


# --- what follows, written in the same transaction -----------------------------------------------


@dataclass(frozen=True, slots=True)
class Billed:
    """An invoice came into another state; in INVOICED it is told the exchange."""

    bill: Bill


@dataclass(frozen=True, slots=True)
class Collected:
    """Money came in."""

    bill: Bill
    received_msat: int
    preimage: bytes
    paid_ns: int


@dataclass(frozen=True, slots=True)
class PayoutMoved:
    """A rebate or refund came into another state; in PLANNED it is stated, in PAID noticed."""

    payout: Payout
    rebate: Rebate | None = None


@dataclass(frozen=True, slots=True)
class PayoutRefused:
    """The exchange's invoice is not paid."""

    statement_sha256: bytes
    reason: Refusal


@dataclass(frozen=True, slots=True)
class CreditMoved:
    """One step of the escalation."""

    level: CreditLevel
    exposure_msat: int


@dataclass(frozen=True, slots=True)
class Settled:
    """Everything is paid, in both directions."""


Effect = Billed | Collected | PayoutMoved | PayoutRefused | CreditMoved | Settled


# --- what is to be done outside ------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Request:
    """Have the node make an invoice; the label makes that safe to repeat."""

    bill: Bill


@dataclass(frozen=True, slots=True)
class Inspect:
    """Ask the node what became of an invoice."""

    label: str


@dataclass(frozen=True, slots=True)
class Pay:
    """Look for a payment in the node's records and, where it is not on its way, make it."""

    payout: Payout


Work = Request | Inspect | Pay
