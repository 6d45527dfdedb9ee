"""A node and an exchange as one small model, with everything that can go wrong between them.

What is true (who has really paid what) is kept here, apart from what the books say, so that a
schedule can hold one against the other.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

from agent.core.bolt11 import Bolt11
from agent.core.invoice import payout_text, text_sha256
from agent.settle.rail import (
    MOST_PATIENCE_S,
    Attempt,
    AttemptStatus,
    DecodedInvoice,
    Invoice,
    InvoiceState,
    InvoiceStatus,
    LabelTaken,
    NotOffered,
    NotPaid,
    Paid,
    Payment,
    PaymentOrder,
    PayOutcome,
    RailDown,
    RailHealth,
    Reason,
    Unknown,
)

T = TypeVar("T")
SECOND = 10**9
START = 1_800_000_000 * SECOND
EXCHANGE = "ab" * 32
LEASE = "0190c1d2-0000-7000-8000-000000000001"


class Crash(BaseException):
    """kill -9 of the agent. No Exception: nothing of ours may catch it."""


def drive(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never waits for anything."""
    try:
        work.send(None)
    except StopIteration as done:
        value: T = done.value
        return value
    raise AssertionError("it waits")


@dataclass
class Ours:
    """An invoice of ours at the node."""

    invoice: Invoice
    text: str
    preimage: bytes
    received: int = 0
    pay_index: int = 0
    paid_ns: int = 0
    deleted: bool = False


@dataclass
class Theirs:
    """An invoice of the exchange for a payout."""

    text: str
    bolt11: Bolt11
    preimage: bytes
    statement: bytes
    attempts: list[AttemptStatus] = field(default_factory=list)

    @property
    def paid(self) -> int:
        return self.attempts.count(AttemptStatus.COMPLETE)


@dataclass
class Model:
    """Implements `agent.settle.rail.Rail`."""

    dice: random.Random
    now_ns: int = START
    up: bool = True
    channel: bool = True
    faults: float = 0.0  # how often a call goes wrong
    late: bool = False  # this rail takes payments of expired invoices: CLN does not, people do
    ours: dict[str, Ours] = field(default_factory=dict)
    theirs: dict[str, Theirs] = field(default_factory=dict)
    pay_index: int = 0
    # Read by a node that hangs, and not begun with yet; until when it still may.
    late_orders: list[tuple[int, Theirs]] = field(default_factory=list)
    name: str = "model"

    # --- faults ----------------------------------------------------------------------------------

    def _before(self) -> None:
        if not self.up:
            raise RailDown("the node is down")
        self._strike()

    def _strike(self) -> None:
        if self.dice.random() < self.faults:
            if self.dice.random() < 0.4:
                raise Crash
            raise RailDown("the answer was lost")

    def status(self, ours: Ours) -> InvoiceStatus:
        if ours.pay_index:
            return InvoiceStatus.PAID
        if self.now_ns >= ours.invoice.expire_ns:
            return InvoiceStatus.EXPIRED
        return InvoiceStatus.UNPAID

    def payable(self) -> list[Ours]:
        """What could be paid right now."""
        wanted = (InvoiceStatus.UNPAID,)
        return [o for o in self.ours.values() if not o.deleted and self.status(o) in wanted]

    # --- being paid ------------------------------------------------------------------------------

    async def health(self) -> RailHealth:
        return RailHealth(None, None, None, None, ())

    async def invoice(
        self, label: str, amount_msat: int, description: str, expiry_s: int
    ) -> Invoice:
        self._before()
        known = self.ours.get(label)
        if known is not None and not known.deleted:
            if (known.invoice.amount_msat, known.text) != (amount_msat, description):
                raise LabelTaken(label)
            self._strike()
            return known.invoice
        assert amount_msat > 0
        # The truth at the node, whatever the books believe: one invoice of a lease at a time.
        assert self.payable() == []
        preimage = self.dice.randbytes(32)
        payment_hash = hashlib.sha256(preimage).digest()
        expire = self.now_ns + expiry_s * SECOND
        made = Invoice(label, f"ln-{label}", payment_hash, amount_msat, expire)
        self.ours[label] = Ours(made, description, preimage)
        self._strike()
        return made

    async def invoice_state(self, label: str) -> InvoiceState | None:
        self._before()
        found = self.ours.get(label)
        if found is None or found.deleted:
            return None
        status = self.status(found)
        payment = self._payment(found) if status is InvoiceStatus.PAID else None
        return InvoiceState(found.invoice, status, payment)

    def _payment(self, ours: Ours) -> Payment:
        return Payment(
            ours.invoice.label,
            ours.invoice.payment_hash,
            ours.preimage,
            ours.pay_index,
            ours.received,
            ours.paid_ns,
        )

    async def paid_after(self, pay_index: int, wait_s: int) -> tuple[Payment, ...]:
        self._before()
        found = [o for o in self.ours.values() if o.pay_index > pay_index and not o.deleted]
        return tuple(map(self._payment, sorted(found, key=lambda ours: ours.pay_index)))

    def receive(self, ours: Ours, msat: int) -> bool:
        """The exchange pays; whether the node took it."""
        expired = self.status(ours) is InvoiceStatus.EXPIRED
        if not self.up or ours.pay_index or ours.deleted or (expired and not self.late):
            return False
        if not self.channel:
            return False
        self.pay_index += 1
        ours.pay_index, ours.received, ours.paid_ns = self.pay_index, msat, self.now_ns
        return True

    def delete(self, ours: Ours) -> None:
        """Somebody cleans up at the node."""
        ours.deleted = True

    def stranger_pays(self) -> None:
        """A tip, a keysend: an index without an invoice of ours."""
        self.pay_index += 1

    # --- paying ----------------------------------------------------------------------------------

    def ask(self, statement: bytes, msat: int, *, life_s: int = 3600, wrong: str = "") -> Theirs:
        """The exchange makes an invoice for a payout."""
        preimage = self.dice.randbytes(32)
        payment_hash = hashlib.sha256(preimage).digest()
        described = statement if wrong != "description" else b"another"
        bolt11 = Bolt11(
            network="regtest" if wrong != "network" else "bitcoin",
            amount_msat=msat if wrong != "amount" else msat + 1,
            created_s=self.now_ns // SECOND,
            payment_hash=payment_hash,
            payee=b"",
            signature=b"",
            description_sha256=text_sha256(payout_text(EXCHANGE, LEASE, described)),
            expiry_s=life_s if wrong != "expiry" else 30,
        )
        text = f"ln-{payment_hash.hex()}"
        self.theirs[text] = Theirs(text, bolt11, preimage, statement)
        return self.theirs[text]

    def _of(self, payment_hash: bytes) -> Theirs:
        return next(t for t in self.theirs.values() if t.bolt11.payment_hash == payment_hash)

    async def attempts(self, payment_hash: bytes) -> tuple[Attempt, ...]:
        self._before()
        theirs = self._of(payment_hash)
        amount = theirs.bolt11.amount_msat or 0
        return tuple(
            Attempt(
                status,
                amount,
                amount + 7,
                self.now_ns,
                preimage=theirs.preimage if status is AttemptStatus.COMPLETE else None,
            )
            for status in theirs.attempts
        )

    async def pay(self, order: PaymentOrder) -> PayOutcome:
        self._before()
        theirs = self.theirs[order.bolt11]
        if AttemptStatus.COMPLETE in theirs.attempts:
            return Paid(theirs.preimage, order.amount_msat + 7)
        if AttemptStatus.PENDING in theirs.attempts:
            return Unknown("in flight")
        if self.now_ns >= theirs.bolt11.expires_s * SECOND:
            return NotPaid(Reason.EXPIRED, "")
        if not self.channel:
            theirs.attempts.append(AttemptStatus.FAILED)
            return NotPaid(Reason.NO_ROUTE, "")
        chance = self.dice.random()
        if chance < 0.15:
            self.late_orders.append((self.now_ns + MOST_PATIENCE_S * SECOND, theirs))
            return Unknown("the node hangs")
        theirs.attempts.append(AttemptStatus.PENDING)
        if chance < 0.3:
            return Unknown("held on its way")
        self._strike()
        if chance < 0.5:
            theirs.attempts[-1] = AttemptStatus.FAILED
            reason = self.dice.choice([Reason.NO_ROUTE, Reason.PAYEE_REFUSES])
            return NotPaid(reason, "")
        theirs.attempts[-1] = AttemptStatus.COMPLETE
        self._strike()
        return Paid(theirs.preimage, order.amount_msat + 7)

    def wait(self, seconds: int) -> None:
        """Time passes; a node that hung goes on before it has no more patience.

        It looked at the expiry when it was told to pay, and does not look again.
        """
        then = self.now_ns + seconds * SECOND
        waiting, self.late_orders = self.late_orders, []
        for until, theirs in waiting:
            if until > then and self.dice.random() < 0.5:
                self.late_orders.append((until, theirs))
            elif not {AttemptStatus.PENDING, AttemptStatus.COMPLETE} & set(theirs.attempts):
                self.now_ns = min(until, then)
                theirs.attempts.append(AttemptStatus.PENDING)
        self.now_ns = then

    def resolve(self, *, kindly: bool = False) -> None:
        """What was on its way arrives or comes back."""
        for theirs in self.theirs.values():
            for place, status in enumerate(theirs.attempts):
                if status is AttemptStatus.PENDING and self.up:
                    arrives = kindly or self.dice.random() < 0.5
                    ended = AttemptStatus.COMPLETE if arrives else AttemptStatus.FAILED
                    theirs.attempts[place] = ended

    async def decode(self, text: str) -> DecodedInvoice:
        raise NotOffered(text)

    async def invoice_from_offer(self, offer: str, amount_msat: int | None, wait_s: int) -> str:
        raise NotOffered(offer)

    async def close(self) -> None:
        pass
