"""Carrying out at the rail what a lease's books ask for, and entering what came of it.

Every errand may end anywhere and is simply run again: what matters is entered before it is done,
and the rail does what it is told at most once.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import structlog

from agent.core.bill import Account, Bill
from agent.core.bolt11 import network_of
from agent.core.invoice import invoice_text
from agent.core.payout import QUIET_NS, Payout, Trace, may_try
from agent.core.settling import (
    Clashed,
    Event,
    Inspect,
    Made,
    Ordered,
    Pay,
    Request,
    Seen,
    Status,
    Stopped,
    Traced,
    Work,
)
from agent.settle.rail import (
    Attempt,
    AttemptStatus,
    Invoice,
    InvoiceState,
    InvoiceStatus,
    LabelTaken,
    NotPaid,
    Paid,
    PaymentOrder,
    Rail,
    RailRefused,
)

logger = structlog.get_logger()

_STATUS = {
    InvoiceStatus.UNPAID: Status.UNPAID,
    InvoiceStatus.EXPIRED: Status.EXPIRED,
    InvoiceStatus.PAID: Status.PAID,
}


@dataclass(frozen=True, slots=True)
class Errands:
    """The errands of one lease. `enter` makes an event durable and returns the books after it.

    `awake_ns` is CLOCK_MONOTONIC: a node on this host sleeps when the host does, and tries no
    further meanwhile. `watched` is what this run of the agent remembers of payments: hash -> when
    it first looked for one, or last ordered it.
    """

    rail: Rail
    enter: Callable[[Event], Awaitable[Account]]
    unix_ns: Callable[[], int]
    invoice_life_s: int
    network: str
    awake_ns: Callable[[], int]
    watched: dict[bytes, int]

    async def run(self, work: Work) -> None:
        """Carry out one.

        :raises RailError: as the rail says; run it again later.
        """
        match work:
            case Request(bill):
                await self._request(bill)
            case Inspect(label):
                state = await self.rail.invoice_state(label)
                await self.enter(seen(label, state, self.unix_ns()))
            case Pay(payout):
                await self._pay(payout)

    async def _request(self, bill: Bill) -> None:
        text = invoice_text(bill.label, bill.receipt_sha256)
        try:
            made = await self.rail.invoice(bill.label, bill.msat, text, self.invoice_life_s)
        except LabelTaken:
            await self.enter(Clashed(bill.label))
        else:
            self._check_network(made)
            if made.warning:  # mostly too little incoming capacity (lightning-invoice(7))
                logger.warning("invoice_warned", label=bill.label, warning=made.warning)
            await self.enter(Made(bill.label, made.bolt11, made.payment_hash, made.expire_ns))

    def _check_network(self, made: Invoice) -> None:
        """Tell nobody of an invoice that nobody can pay; runes do not let us ask the node.

        :raises RailRefused: when it is of another network than the configured one.
        """
        network = network_of(made.bolt11)
        if network not in (None, self.network):
            raise RailRefused(
                f"the node makes invoices for {network}, settlement.network is {self.network}"
            )

    async def _pay(self, payout: Payout) -> None:
        now_ns = self.awake_ns()  # before the look: what it shows is no older
        quiet = now_ns - self.watched.setdefault(payout.payment_hash, now_ns) >= QUIET_NS
        attempts = await self.rail.attempts(payout.payment_hash)
        trace, preimage, sent = read_attempts(attempts)
        # The books count in wall time, which may be set: until it was quiet for as long as this run
        # can tell, what failed or is not there may still be on its way.
        certain = quiet or trace is Trace.COMPLETE
        books = await self._traced(payout, trace if certain else Trace.PENDING, preimage, sent)
        now = books.payout(payout.key)
        if now is None or not may_try(now, trace, self.unix_ns()):
            return
        await self.enter(Ordered(payout.key, payout.payment_hash, self.unix_ns()))
        self.watched[payout.payment_hash] = self.awake_ns()
        order = PaymentOrder(payout.bolt11, payout.payment_hash, payout.msat, payout.most_fee_msat)
        outcome = await self.rail.pay(order)
        match outcome:
            case Paid(proof, spent):
                await self._traced(payout, Trace.COMPLETE, proof or b"", spent)
            case NotPaid() if not outcome.retryable:
                await self.enter(Stopped(payout.key, payout.payment_hash))
            case _:
                pass  # the node's records will tell

    async def _traced(self, payout: Payout, trace: Trace, preimage: bytes, sent: int) -> Account:
        fee = max(0, sent - payout.msat)
        return await self.enter(
            Traced(payout.key, payout.payment_hash, trace, self.unix_ns(), preimage, fee)
        )


def seen(label: str, state: InvoiceState | None, unix_ns: int = 0) -> Seen:
    """The rail's word on an invoice as an event; `unix_ns` is when it said that there is none."""
    if state is None:
        return Seen(label, Status.MISSING, paid_ns=unix_ns)
    payment = state.payment
    if payment is None:
        return Seen(label, _STATUS[state.status])
    return Seen(label, Status.PAID, payment.amount_received_msat, payment.preimage, payment.paid_ns)


def read_attempts(attempts: Sequence[Attempt]) -> tuple[Trace, bytes, int]:
    """What all attempts at one hash say; with preimage and msat sent where one is complete."""
    complete = [one for one in attempts if one.status is AttemptStatus.COMPLETE]
    if complete:
        return Trace.COMPLETE, complete[0].preimage or b"", sum(one.sent_msat for one in complete)
    if any(one.status is AttemptStatus.PENDING for one in attempts):
        return Trace.PENDING, b"", 0
    return (Trace.FAILED if attempts else Trace.NOTHING), b"", 0
