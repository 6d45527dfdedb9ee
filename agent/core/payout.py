"""Money that goes back to an exchange: rebates, and what is left of prepayments. Pure.

PLANNED -> PAYING -> PAID | FAILED_SAFE, or NETTED with the next invoice. Exactly once: what is paid
is fixed before it is paid; only that same invoice is tried again; another one is taken only after
every attempt at the first has failed for certain.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import msgspec

from agent.core.bolt11 import Bolt11
from agent.core.invoice import payout_text, text_sha256

SECOND_NS = 1_000_000_000
# As long after the node was last told to pay, or after the invoice expired, a payment may still
# begin or end: the node's own retries, two clocks that differ.
QUIET_NS = 900 * SECOND_NS
RETRY_NS = 60 * SECOND_NS  # between two tries of one invoice
SHORTEST_S = 60  # an invoice that ends sooner is not begun with,
LONGEST_S = 28 * 86_400  # nor one that ends later: nodes forget attempts, caps count what is open


class PayoutKind(IntEnum):
    """What is given back."""

    REBATE = 1
    REFUND = 2


class PayoutState(IntEnum):
    """Where it stands. FAILED_SAFE: certainly not paid, another invoice may be sent."""

    PLANNED = 1
    PAYING = 2
    PAID = 3
    FAILED_SAFE = 4
    NETTED = 5


OWED = (PayoutState.PLANNED, PayoutState.FAILED_SAFE)


class Refusal(IntEnum):
    """hearth.v1.PayoutRefusalReason: why an exchange's invoice is not paid."""

    UNREADABLE = 1
    UNKNOWN_STATEMENT = 2
    AMOUNT = 3
    EXPIRY = 4
    NETWORK = 5
    DESCRIPTION = 6
    PAID = 7
    PAYING_ANOTHER = 8
    NETTED = 9
    ABOVE_CAP = 10
    ABOVE_DAY_CAP = 11
    ABOVE_EXCHANGE_CAP = 12
    NO_RAIL = 13
    FAILED = 14
    AMOUNT_NAMED = 15


class Payout(msgspec.Struct, frozen=True):
    """One rebate or refund. While it is PAYING, what is paid never changes."""

    key: str  # "rebate/<window>" or "refund/<number>"
    kind: PayoutKind
    msat: int
    state: PayoutState
    since_ns: int
    statements: tuple[bytes, ...] = ()  # SHA-256 of each side's statement of it
    bolt11: str = ""
    payment_hash: bytes = b""
    expire_ns: int = 0
    most_fee_msat: int = 0
    ordered_ns: int = 0  # Unix time at which the node was last told to pay; 0: never
    stopped: bool = False  # the node said that this invoice will not be paid
    preimage: bytes = b""
    fee_msat: int = 0


@dataclass(frozen=True, slots=True)
class Caps:
    """Hard limits in msat, fees included; 0 allows nothing."""

    payment_msat: int
    day_msat: int  # all exchanges together, in any 24 hours
    exchange_day_msat: int  # one exchange, in any 24 hours
    fee_permille: int = 5
    fee_least_msat: int = 5_000  # allowed for small payments, where a share is nothing

    def most_fee(self, msat: int) -> int:
        """Most that may be paid for routing."""
        return max(self.fee_least_msat, msat * self.fee_permille // 1000)


@dataclass(frozen=True, slots=True)
class Spent:
    """What was paid in the last 24 hours, and all that may be paid at any time, with its fees."""

    day_msat: int = 0
    exchange_day_msat: int = 0


@dataclass(frozen=True, slots=True)
class Setting:
    """Who asks, in which network, when."""

    exchange_id: str
    lease_id: str
    network: str
    now_ns: int  # Unix time: what an invoice counts in


def judge(
    payout: Payout | None,
    statement_sha256: bytes,
    invoice: Bolt11 | None,
    setting: Setting,
    caps: Caps,
    spent: Spent,
) -> Refusal | None:
    """Return why an exchange's invoice for a payout is not paid; None: pay it.

    :param invoice: as read from its text; None: unreadable.
    """
    if payout is None:
        return Refusal.UNKNOWN_STATEMENT
    if invoice is None:
        return Refusal.UNREADABLE
    settled = {
        PayoutState.PAID: Refusal.PAID,
        PayoutState.NETTED: Refusal.NETTED,
        PayoutState.PAYING: Refusal.PAYING_ANOTHER,
    }
    if payout.state in settled:
        return settled[payout.state]
    text = payout_text(setting.exchange_id, setting.lease_id, statement_sha256)
    most = payout.msat + caps.most_fee(payout.msat)
    life_ns = invoice.expires_s * SECOND_NS - setting.now_ns
    wrong = (
        (invoice.amount_msat not in (None, payout.msat), Refusal.AMOUNT),
        (invoice.network != setting.network, Refusal.NETWORK),
        (not SHORTEST_S * SECOND_NS <= life_ns <= LONGEST_S * SECOND_NS, Refusal.EXPIRY),
        (invoice.description_sha256 != text_sha256(text), Refusal.DESCRIPTION),
        (most > caps.payment_msat, Refusal.ABOVE_CAP),
        (spent.day_msat + most > caps.day_msat, Refusal.ABOVE_DAY_CAP),
        (spent.exchange_day_msat + most > caps.exchange_day_msat, Refusal.ABOVE_EXCHANGE_CAP),
    )
    return next((refusal for holds, refusal in wrong if holds), None)


def begin(payout: Payout, text: str, invoice: Bolt11, caps: Caps, now_ns: int) -> Payout:
    """Fix what is going to be paid; `now_ns` is the time that states are dated in."""
    return msgspec.structs.replace(
        payout,
        state=PayoutState.PAYING,
        since_ns=now_ns,
        bolt11=text,
        payment_hash=invoice.payment_hash,
        expire_ns=invoice.expires_s * SECOND_NS,
        most_fee_msat=caps.most_fee(payout.msat),
        ordered_ns=0,
        stopped=False,
    )


class Trace(IntEnum):
    """What the node's own records say of all attempts at one payment hash."""

    NOTHING = 1
    PENDING = 2
    FAILED = 3  # every one of them
    COMPLETE = 4


def traced(payout: Payout, trace: Trace, preimage: bytes, fee_msat: int, now_ns: int) -> Payout:
    """Return where a PAYING payout stands by what the node shows; `now_ns` is Unix time.

    No answer to a payment proves that it was not made; only records in which nothing is pending,
    after all tries have ended, do. Wall time may be set: who asks says PENDING until QUIET_NS have
    passed on a clock that is not (`settle.errands`).
    """
    if payout.state is not PayoutState.PAYING:
        return payout
    if trace is Trace.COMPLETE:
        return msgspec.structs.replace(
            payout, state=PayoutState.PAID, since_ns=now_ns, preimage=preimage, fee_msat=fee_msat
        )
    last = payout.ordered_ns if payout.stopped else max(payout.ordered_ns, payout.expire_ns)
    if trace is not Trace.PENDING and now_ns >= last + QUIET_NS:
        return msgspec.structs.replace(payout, state=PayoutState.FAILED_SAFE, since_ns=now_ns)
    return payout


def may_try(payout: Payout, trace: Trace, now_ns: int) -> bool:
    """Whether to have the node pay, by what it shows; it pays the same invoice only once."""
    if payout.state is not PayoutState.PAYING or payout.stopped or now_ns >= payout.expire_ns:
        return False
    rested = not payout.ordered_ns or now_ns >= payout.ordered_ns + RETRY_NS
    return rested and trace in (Trace.NOTHING, Trace.FAILED)
