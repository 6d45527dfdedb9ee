"""A rail: a way to move money, and what it may answer.

Amounts are millisatoshi, times nanoseconds since 1970, hashes and preimages bytes. An answer that
did not come is never a "no": a payment whose fate is not known is `Unknown`, and stays so until
its attempts say otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from agent.errors import HearthError

MOST_LABEL_BYTES = 128  # lightningd's INVOICE_MAX_LABEL_LEN
# As long after it was told to pay, a node may still start another attempt; core.payout waits longer
# until failed attempts prove anything.
MOST_PATIENCE_S = 60


class RailError(HearthError):
    """The rail did not do what it was asked."""

    exit_code = 8


class RailDown(RailError):
    """The node cannot be reached or does not answer: what was asked may have been done or not."""

    retryable = True


class RailForbids(RailError):
    """The access we were given does not reach that far."""


class RailRefused(RailError):
    """The node understood and said no; the same again will be refused again."""


class LabelTaken(RailError):
    """Another invoice has this label: its amount or description differ."""


class NotOffered(RailError):
    """This rail cannot do that at all."""


@dataclass(frozen=True, slots=True)
class Invoice:
    """An invoice of ours."""

    label: str
    bolt11: str
    payment_hash: bytes
    amount_msat: int
    expire_ns: int
    warning: str = ""  # the node expects trouble: mostly too little incoming capacity


class InvoiceStatus(StrEnum):
    """What became of an invoice."""

    UNPAID = "unpaid"
    PAID = "paid"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class Payment:
    """Money that came in. `label` may be a stranger's: a keysend, an offer, a payment to oneself.

    `amount_received_msat` is what counts; it may be more than the invoice asked for.
    """

    label: str
    payment_hash: bytes
    preimage: bytes
    pay_index: int  # rises by one with every payment to this node
    amount_received_msat: int
    paid_ns: int


@dataclass(frozen=True, slots=True)
class InvoiceState:
    """An invoice of ours as the node has it now."""

    invoice: Invoice
    status: InvoiceStatus
    payment: Payment | None = None  # exactly when paid


@dataclass(frozen=True, slots=True)
class DecodedInvoice:
    """What somebody else's invoice says. Its signature was checked."""

    network: str
    payee: bytes
    payment_hash: bytes
    amount_msat: int | None  # None: the payer chooses
    created_ns: int
    expire_ns: int
    description: str | None
    description_sha256: bytes  # also when the description is there in full


@dataclass(frozen=True, slots=True)
class PaymentOrder:
    """One invoice to pay, within limits. Persist it before `Rail.pay`; repeat only itself.

    An invoice without an amount is paid `amount_msat`. `patience_s`: how long the node may try.
    """

    bolt11: str
    payment_hash: bytes
    amount_msat: int
    max_fee_msat: int
    patience_s: int = 45

    def __post_init__(self) -> None:
        if not 0 < self.patience_s <= MOST_PATIENCE_S:
            raise ValueError(f"patience_s {self.patience_s}: 1 to {MOST_PATIENCE_S}")
        if self.amount_msat <= 0 or self.max_fee_msat < 0:
            raise ValueError("an amount above zero and a fee of at least zero")


class AttemptStatus(StrEnum):
    """What became of one attempt to pay."""

    PENDING = "pending"
    COMPLETE = "complete"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One part of one attempt to pay a hash, as the node recorded it."""

    status: AttemptStatus
    amount_msat: int
    sent_msat: int  # with fees
    created_ns: int
    completed_ns: int | None = None
    preimage: bytes | None = None  # exactly when complete


class Reason(StrEnum):
    """Why a payment was not made."""

    EXPIRED = "expired"
    NO_ROUTE = "no-route"
    TOO_DEAR = "too-dear"
    PAYEE_REFUSES = "payee-refuses"  # it does not know the invoice, or no more
    PAYEE_OFFLINE = "payee-offline"
    FORBIDDEN = "forbidden"  # by the access we were given
    TOO_SOON = "too-soon"  # for the access we were given
    NOT_AS_ORDERED = "not-as-ordered"  # the invoice does not say what the order says


_PASSING = frozenset({Reason.NO_ROUTE, Reason.TOO_DEAR, Reason.PAYEE_OFFLINE, Reason.TOO_SOON})


@dataclass(frozen=True, slots=True)
class Paid:
    """Paid, now or before. No preimage: the node knows that it paid, and keeps no proof."""

    preimage: bytes | None
    sent_msat: int


@dataclass(frozen=True, slots=True)
class NotPaid:
    """The node ended this call, and nothing of this hash is under way or complete."""

    reason: Reason
    text: str

    @property
    def retryable(self) -> bool:
        """Whether the same order may succeed later."""
        return self.reason in _PASSING


@dataclass(frozen=True, slots=True)
class Unknown:
    """It may have been paid or not. Ask again with the same order, never with another."""

    text: str


PayOutcome = Paid | NotPaid | Unknown


@dataclass(frozen=True, slots=True)
class RailHealth:
    """How the rail stands. None where the access does not let us look."""

    network: str | None
    node_id: bytes | None
    spendable_msat: int | None
    receivable_msat: int | None
    warnings: tuple[str, ...]


class Rail(Protocol):
    """Everything that settlement asks of a rail. Every call ends by a deadline of its own."""

    @property
    def name(self) -> str:
        """The rail's name in the configuration."""
        ...

    async def health(self) -> RailHealth:
        """Look how the rail stands.

        :raises RailDown: when it cannot be reached.
        """
        ...

    async def invoice(
        self, label: str, amount_msat: int, description: str, expiry_s: int
    ) -> Invoice:
        """Make an invoice, or return the one that was made with the same parameters before.

        Only the SHA-256 of the description goes into it.

        :raises RailDown: it may be there or not; ask again with the same label.
        :raises LabelTaken: the label belongs to another amount or description.
        :raises RailError: for good.
        """
        ...

    async def invoice_state(self, label: str) -> InvoiceState | None:
        """Look up one of our invoices; None when there is none."""
        ...

    async def paid_after(self, pay_index: int, wait_s: int) -> tuple[Payment, ...]:
        """Wait for payments after this index; empty when none came in time.

        In the order of `pay_index`. Payments of deleted invoices are left out.
        """
        ...

    async def decode(self, text: str) -> DecodedInvoice:
        """Read an invoice before paying it.

        :raises RailRefused: when it is none.
        """
        ...

    async def pay(self, order: PaymentOrder) -> PayOutcome:
        """Pay, at most once however often it is called with the same order.

        :raises NotOffered: when this rail cannot pay.
        """
        ...

    async def attempts(self, payment_hash: bytes) -> tuple[Attempt, ...]:
        """Every attempt to pay this hash."""
        ...

    async def invoice_from_offer(self, offer: str, amount_msat: int | None, wait_s: int) -> str:
        """Fetch an invoice from an offer, to be persisted and paid: an offer is never paid itself.

        :raises RailRefused: when the offering node refuses or does not answer.
        """
        ...

    async def close(self) -> None:
        """Let go. What is under way becomes `Unknown` or `RailDown`."""
        ...
