"""A rail without a process, for the test's own time."""

from __future__ import annotations

from agent.settle.lightning import LightningNode
from agent.settle.rail import (
    Attempt,
    DecodedInvoice,
    Invoice,
    InvoiceState,
    Payment,
    PaymentOrder,
    PayOutcome,
    RailHealth,
)


class DirectRail:
    """`Rail` over a node in this process; nothing ever waits."""

    name = "direct"

    def __init__(self, node: LightningNode) -> None:
        self._node = node

    async def health(self) -> RailHealth:
        return self._node.health()

    async def invoice(
        self, label: str, amount_msat: int, description: str, expiry_s: int
    ) -> Invoice:
        return self._node.invoice(label, amount_msat, description, expiry_s)

    async def invoice_state(self, label: str) -> InvoiceState | None:
        return self._node.invoice_state(label)

    async def paid_after(self, pay_index: int, wait_s: int) -> tuple[Payment, ...]:
        return self._node.paid_after(pay_index, 0)

    async def decode(self, text: str) -> DecodedInvoice:
        return self._node.decode(text)

    async def pay(self, order: PaymentOrder) -> PayOutcome:
        return self._node.pay(order)

    async def attempts(self, payment_hash: bytes) -> tuple[Attempt, ...]:
        return self._node.attempts(payment_hash)

    async def invoice_from_offer(self, offer: str, amount_msat: int | None, wait_s: int) -> str:
        return self._node.invoice_from_offer(offer, amount_msat, wait_s)

    async def close(self) -> None:
        pass
