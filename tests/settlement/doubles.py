"""The same small world as `model`, out of two Lightning doubles and the rail's own code.

What is true stays with the nodes: rows are kept here also when the node forgets them.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from agent.core.bolt11 import Bolt11, decode
from agent.core.invoice import payout_text
from agent.sandbox.lightningd import records
from agent.sandbox.lightningd.caller import DirectCaller
from agent.sandbox.lightningd.command import Interrupted
from agent.sandbox.lightningd.methods import make_node
from agent.sandbox.lightningd.network import ACTIONS, POINTS, Fault, Network
from agent.sandbox.lightningd.node import Node
from agent.sandbox.lightningd.refusal import Refusal
from agent.settle.lightning import LightningNode
from agent.settle.rail import (
    MOST_PATIENCE_S,
    Attempt,
    Invoice,
    InvoiceState,
    InvoiceStatus,
    Payment,
    PaymentOrder,
    PayOutcome,
    RailDown,
    Unknown,
)
from tests.fakes.direct_rail import DirectRail
from tests.settlement.model import EXCHANGE, LEASE, SECOND, START, Crash


@dataclass
class Ours:
    """An invoice of ours, as the node has or had it."""

    row: records.Invoice
    deleted: bool = False

    @property
    def invoice(self) -> Invoice:
        row = self.row
        expire_ns = row.expires_at * SECOND
        payment_hash = bytes.fromhex(row.payment_hash)
        return Invoice(row.label, row.text, payment_hash, row.amount_msat or 0, expire_ns)

    @property
    def preimage(self) -> bytes:
        return bytes.fromhex(self.row.preimage)

    @property
    def received(self) -> int:
        return self.row.received_msat or 0

    @property
    def pay_index(self) -> int:
        return self.row.pay_index or 0


@dataclass
class Theirs:
    """An invoice of the exchange for a payout."""

    text: str
    bolt11: Bolt11
    statement: bytes
    row: records.Invoice

    @property
    def paid(self) -> int:
        return int(self.row.status == "paid")


@dataclass
class Doubles(DirectRail):
    """What `Model` is, with `agent.settle.lightning` and the double in its place."""

    dice: random.Random
    faults: float = 0.0
    late: bool = False  # Core Lightning takes no payment of an expired invoice
    theirs: dict[str, Theirs] = field(default_factory=dict)
    _now_ns: int = START
    _ours: dict[str, Ours] = field(default_factory=dict)
    _late_orders: list[tuple[int, PaymentOrder]] = field(default_factory=list)

    def __post_init__(self) -> None:
        seed = self.dice.randrange(1 << 30)
        self.network: Network[Node] = Network(lambda: self._now_ns / SECOND, seed=seed)
        self.operator = make_node(self.network, "operator")
        self.exchange = make_node(self.network, "exchange")
        super().__init__(LightningNode(DirectCaller(self.operator)))

    # --- time, and what goes wrong ---------------------------------------------------------------

    @property
    def now_ns(self) -> int:
        return self._now_ns

    @now_ns.setter
    def now_ns(self, value: int) -> None:
        self._now_ns = value
        self.network.advance()

    @property
    def up(self) -> bool:
        return self.operator.up

    @up.setter
    def up(self, value: bool) -> None:
        if value and not self.operator.up:
            self.operator.restart(self.dice.choice([0, 30, 900]))
        elif not value and self.operator.up:
            self.operator.kill()

    @property
    def channel(self) -> bool:
        return self.operator.connected

    @channel.setter
    def channel(self, value: bool) -> None:
        self.operator.disconnect(0 if value else self.dice.choice([60, 7200]))

    @contextlib.contextmanager
    def _struck(self) -> Iterator[None]:
        """Let something go wrong with one call, at the node or at the agent."""
        if self.dice.random() < self.faults:
            method = self.dice.choice(["", "invoice", "xpay", "listinvoices", "listsendpays"])
            fault = Fault("operator", self.dice.choice(POINTS), self.dice.choice(ACTIONS), method)
            self.network.faults.append(fault)
        try:
            yield
        finally:
            self.network.faults.clear()
            if self.dice.random() < self.faults / 3:
                raise Crash

    # --- being paid ------------------------------------------------------------------------------

    @property
    def ours(self) -> dict[str, Ours]:
        """Every invoice for the lease that was ever made."""
        for label, row in self.operator.invoices.items():
            if label.startswith("hearth/") and label not in self._ours:
                self._ours[label] = Ours(row)
        return self._ours

    def status(self, ours: Ours) -> InvoiceStatus:
        return InvoiceStatus(ours.row.status)

    def payable(self) -> list[Ours]:
        """What could be paid right now."""
        wanted = InvoiceStatus.UNPAID
        return [o for o in self.ours.values() if not o.deleted and self.status(o) is wanted]

    async def invoice(
        self, label: str, amount_msat: int, description: str, expiry_s: int
    ) -> Invoice:
        # The truth at the node, whatever the books believe: one invoice of a lease at a time.
        assert label in self.operator.invoices or self.payable() == []
        with self._struck():
            return await super().invoice(label, amount_msat, description, expiry_s)

    async def invoice_state(self, label: str) -> InvoiceState | None:
        with self._struck():
            return await super().invoice_state(label)

    async def paid_after(self, pay_index: int, wait_s: int) -> tuple[Payment, ...]:
        with self._struck():
            return await super().paid_after(pay_index, wait_s)

    def receive(self, ours: Ours, msat: int) -> None:
        """The exchange pays, more than it has to where it likes."""
        if msat == ours.invoice.amount_msat:
            self.exchange.start("xpay", {"invstring": ours.row.text})
        elif self.up and self.channel and not ours.deleted and ours.row.status == "unpaid":
            self.operator.record_paid(ours.row, msat)

    def stranger_pays(self) -> None:
        """A keysend: an index without an invoice of ours."""
        order = {"destination": self.operator.node_id, "amount_msat": 1000}
        self.exchange.start("keysend", order)

    def delete(self, ours: Ours) -> None:
        """Somebody cleans up at the node."""
        status = self.status(ours).value
        with contextlib.suppress(Refusal, Interrupted):
            self.operator.call("delinvoice", label=ours.row.label, status=status)
            ours.deleted = True

    # --- paying ----------------------------------------------------------------------------------

    def ask(self, statement: bytes, msat: int, *, life_s: int = 3600, wrong: str = "") -> Theirs:
        """The exchange makes an invoice for a payout."""
        label = f"payout/{len(self.theirs)}"
        described = statement if wrong != "description" else b"another"
        made = self.exchange.call(
            "invoice",
            amount_msat=msat + (wrong == "amount"),
            label=label,
            description=payout_text(EXCHANGE, LEASE, described),
            expiry=30 if wrong == "expiry" else life_s,
            deschashonly=True,
        )
        said = decode(made["bolt11"])
        if wrong == "network":
            said = replace(said, network="bitcoin")
        theirs = Theirs(made["bolt11"], said, statement, self.exchange.invoices[label])
        self.theirs[theirs.text] = theirs
        return theirs

    async def attempts(self, payment_hash: bytes) -> tuple[Attempt, ...]:
        with self._struck():
            return await super().attempts(payment_hash)

    async def pay(self, order: PaymentOrder) -> PayOutcome:
        if not self.up:
            raise RailDown("the node is down")
        chance = self.dice.random()
        if chance < 0.15:
            self._late_orders.append((self.now_ns + MOST_PATIENCE_S * SECOND, order))
            return Unknown("the node hangs")
        if chance < 0.4:
            self.network.holds.everything = True
        with self._struck():
            return await super().pay(order)

    def wait(self, seconds: int) -> None:
        """Time passes; a node that hung goes on before it has no more patience."""
        waiting, self._late_orders = self._late_orders, []
        for until, order in waiting:
            if until > self.now_ns + seconds * SECOND and self.dice.random() < 0.5:
                self._late_orders.append((until, order))
            elif self.up:
                self.operator.start("xpay", {"invstring": order.bolt11, "retry_for": 45})
        self.now_ns += seconds * SECOND

    def resolve(self, *, kindly: bool = False) -> None:
        """What was on its way arrives or comes back."""
        for payment_hash in {htlc.payment_hash for htlc in self.network.htlcs}:
            if not kindly and self.dice.random() < 0.5:
                self.network.cancel(payment_hash)
            elif row := self.exchange.invoice_of(payment_hash):
                # Not every payee looks at the expiry again when it lets go of what it held.
                row.status = "unpaid" if row.status == "expired" else row.status
                row.expires_at = max(row.expires_at, self.exchange.now + 60)
        self.network.holds.everything = False
        self.network.advance()
