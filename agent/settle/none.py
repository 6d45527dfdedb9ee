"""No rail: the operator is paid by other means. A valid set-up, which moves no money."""

from __future__ import annotations

from typing import NoReturn

from agent.settle.rail import (
    Attempt,
    DecodedInvoice,
    Invoice,
    InvoiceState,
    NotOffered,
    Payment,
    PaymentOrder,
    PayOutcome,
    RailHealth,
)


def _refuse(what: str) -> NoReturn:
    raise NotOffered(f"no rail is configured, so it cannot {what}; set [settlement] rail")


class NoRail:
    """Refuses whatever would move money, and has seen none."""

    name = "none"

    async def health(self) -> RailHealth:
        """Well: there is nothing that could fail."""
        return RailHealth(None, None, None, None, ())

    async def invoice(
        self, label: str, amount_msat: int, description: str, expiry_s: int
    ) -> Invoice:
        """Refuse.

        :raises NotOffered: always.
        """
        _refuse(f"make the invoice {label}")

    async def invoice_state(self, label: str) -> InvoiceState | None:
        """None: there is no invoice."""
        return None

    async def paid_after(self, pay_index: int, wait_s: int) -> tuple[Payment, ...]:
        """Nothing, and at once: nobody should wait here."""
        return ()

    async def decode(self, text: str) -> DecodedInvoice:
        """Refuse.

        :raises NotOffered: always.
        """
        _refuse("read an invoice")

    async def pay(self, order: PaymentOrder) -> PayOutcome:
        """Refuse.

        :raises NotOffered: always.
        """
        _refuse("pay")

    async def attempts(self, payment_hash: bytes) -> tuple[Attempt, ...]:
        """None was ever made."""
        return ()

    async def invoice_from_offer(self, offer: str, amount_msat: int | None, wait_s: int) -> str:
        """Refuse.

        :raises NotOffered: always.
        """
        _refuse("fetch an invoice")

    async def close(self) -> None:
        """Nothing to let go."""
