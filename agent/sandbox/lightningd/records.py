"""What a node keeps, and how its RPC shows it. Amounts in msat, times in seconds since 1970."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


def present(**fields: Any) -> dict[str, Any]:
    """The fields that are there, in this order: an absent one is not in the JSON at all."""
    return {name: value for name, value in fields.items() if value is not None}


@dataclass(slots=True)
class Invoice:
    """One invoice of this node. `status`: unpaid, paid, expired."""

    label: str
    text: str
    payment_hash: str
    preimage: str
    amount_msat: int | None
    description: str
    expires_at: int
    created_index: int
    bolt12: bool = False
    status: str = "unpaid"
    pay_index: int | None = None
    received_msat: int | None = None
    paid_at: int | None = None
    updated_index: int | None = None
    offer_id: str | None = None
    payer_note: str | None = None

    def shown(self) -> dict[str, Any]:
        """The row of listinvoices."""
        paid = self.status == "paid"
        return present(
            label=self.label,
            **{"bolt12" if self.bolt12 else "bolt11": self.text},
            payment_hash=self.payment_hash,
            amount_msat=self.amount_msat,
            status=self.status,
            pay_index=self.pay_index,
            amount_received_msat=self.received_msat,
            paid_at=self.paid_at,
            payment_preimage=self.preimage if paid else None,
            description=self.description,
            expires_at=self.expires_at,
            local_offer_id=self.offer_id,
            invreq_payer_note=self.payer_note,
            created_index=self.created_index,
            updated_index=self.updated_index,
        )


@dataclass(slots=True)
class Payment:
    """One part of one try to pay. `status`: pending, complete, failed."""

    id: int
    payment_hash: str
    groupid: int
    partid: int | None
    destination: str
    amount_msat: int
    sent_msat: int
    created_at: int
    invoice: str | None
    bolt12: bool = False
    label: str | None = None
    status: str = "pending"
    completed_at: int | None = None
    preimage: str | None = None
    updated_index: int | None = None
    # Why it failed, for the command that waits for it: a code and the node's words.
    failure: tuple[int, str] | None = None

    def shown(self) -> dict[str, Any]:
        """The row of listsendpays."""
        refused = self.failure is not None and self.status == "failed"
        return present(
            created_index=self.id,
            id=self.id,
            payment_hash=self.payment_hash,
            groupid=self.groupid,
            updated_index=self.updated_index,
            partid=self.partid,
            destination=self.destination,
            amount_msat=self.amount_msat,
            amount_sent_msat=self.sent_msat,
            created_at=self.created_at,
            completed_at=self.completed_at,
            status=self.status,
            payment_preimage=self.preimage,
            label=self.label,
            **self.named_invoice(),
            erroronion="00" * 292 if refused else None,
        )

    def named_invoice(self) -> dict[str, Any]:
        """The invoice under its own name."""
        return {"bolt12" if self.bolt12 else "bolt11": self.invoice}


@dataclass(slots=True)
class Offer:
    """A BOLT 12 offer of this node. Its text is not BOLT 12: only this double reads it."""

    offer_id: str
    text: str
    amount_msat: int | None
    description: str
    single_use: bool
    active: bool = True
    used: bool = False
    label: str | None = None
    absolute_expiry: int | None = None
    fetched: int = 0

    def shown(self, **extra: Any) -> dict[str, Any]:
        """The row of listoffers; `extra` goes to its end."""
        return present(
            offer_id=self.offer_id,
            active=self.active,
            single_use=self.single_use,
            bolt12=self.text,
            force_paths=False,
            used=self.used,
            label=self.label,
            **extra,
        )


@dataclass(slots=True)
class Htlc:
    """Money on its way from one node to another. `state`: travelling, arrived, kept, returned."""

    payer: str
    payment_id: int
    payee: str
    payment_hash: str
    amount_msat: int
    arrives_at: float
    state: str = "travelling"
    preimage: str | None = None  # a keysend carries its own
    failure: tuple[int, str] | None = None
