"""Rows of the node's answers as the rail's values. Pure: foreign data, read once, here."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from agent.settle.invoice_text import SECOND_NS
from agent.settle.rail import (
    Attempt,
    AttemptStatus,
    DecodedInvoice,
    Invoice,
    InvoiceState,
    InvoiceStatus,
    Payment,
    RailHealth,
)

Row = Mapping[str, Any]

# BOLT 12 names a chain by the hash of its first block; no chain at all is Bitcoin's.
_CHAINS = {
    "6fe28c0ab6f1b372c1a6a246ae63f74f931e8365e15a089c68d6190000000000": "bitcoin",
    "06226e46111a0b59caaf126043eb5bbf28c34f3a5e332a1fc7b2b73cf188910f": "regtest",
    "43497fd7f826957108f4a30fd9cec3aeba79972084e90ead01ea330900000000": "testnet",
    "f61eee3b63a380a477a063af32b2bbc97c9ff9f01f2c4225e973988108000000": "signet",
}


class Unfit(ValueError):
    """A row that does not have what it must have."""


def text(row: Row, name: str) -> str:
    """A string."""
    value = row.get(name)
    if not isinstance(value, str):
        raise Unfit(f"{name} is not a string")
    return value


def whole(row: Row, name: str) -> int:
    """A number that is not negative. Amounts are numbers here, never "123msat"."""
    value = row.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise Unfit(f"{name} is not a whole number")
    return value


def digest(row: Row, name: str) -> bytes:
    """32 bytes in hex."""
    try:
        raw = bytes.fromhex(text(row, name))
    except ValueError as error:
        raise Unfit(f"{name}: {error}") from None
    if len(raw) != 32:
        raise Unfit(f"{name} has {len(raw)} bytes")
    return raw


def new_invoice(label: str, amount_msat: int, row: Row) -> Invoice:
    """The answer of `invoice`."""
    warnings = [str(value) for name, value in row.items() if name.startswith("warning_")]
    return Invoice(
        label=label,
        bolt11=text(row, "bolt11"),
        payment_hash=digest(row, "payment_hash"),
        amount_msat=amount_msat,
        expire_ns=whole(row, "expires_at") * SECOND_NS,
        warning="; ".join(warnings),
    )


def invoice_state(row: Row) -> InvoiceState:
    """A row of `listinvoices`, of an invoice with an amount."""
    invoice = new_invoice(text(row, "label"), whole(row, "amount_msat"), row)
    try:
        status = InvoiceStatus(text(row, "status"))
    except ValueError as error:
        raise Unfit(str(error)) from None
    paid = status is InvoiceStatus.PAID
    return InvoiceState(invoice, status, payment(row) if paid else None)


def payment(row: Row) -> Payment:
    """The answer of `waitanyinvoice`; the preimage must be the payment hash's."""
    preimage, hashed = digest(row, "payment_preimage"), digest(row, "payment_hash")
    check_preimage(preimage, hashed)
    return Payment(
        label=text(row, "label"),
        payment_hash=hashed,
        preimage=preimage,
        pay_index=whole(row, "pay_index"),
        amount_received_msat=whole(row, "amount_received_msat"),
        paid_ns=whole(row, "paid_at") * SECOND_NS,
    )


def check_preimage(preimage: bytes, payment_hash: bytes) -> None:
    """Hold a preimage against its hash: it is the proof of payment.

    :raises Unfit: when it is another's.
    """
    if hashlib.sha256(preimage).digest() != payment_hash:
        raise Unfit("the preimage is not this payment hash's")


def attempt(row: Row) -> Attempt:
    """A row of `listsendpays`. One of an amount that the node does not know counts as 0 msat."""
    try:
        status = AttemptStatus(text(row, "status"))
    except ValueError as error:
        raise Unfit(str(error)) from None
    completed = row.get("completed_at")
    complete = status is AttemptStatus.COMPLETE
    return Attempt(
        status=status,
        amount_msat=whole(row, "amount_msat") if "amount_msat" in row else 0,
        sent_msat=whole(row, "amount_sent_msat"),
        created_ns=whole(row, "created_at") * SECOND_NS,
        completed_ns=None if completed is None else whole(row, "completed_at") * SECOND_NS,
        preimage=digest(row, "payment_preimage") if complete else None,
    )


def bolt12_invoice(row: Row) -> DecodedInvoice:
    """The answer of `decode` for a BOLT 12 invoice."""
    chain = row.get("invreq_chain")
    network = "bitcoin" if chain is None else _CHAINS.get(str(chain))
    if network is None:
        raise Unfit(f"invreq_chain {chain} is not known")
    created = whole(row, "invoice_created_at")
    described = str(row.get("offer_description", ""))
    try:
        payee = bytes.fromhex(text(row, "invoice_node_id"))
    except ValueError as error:
        raise Unfit(f"invoice_node_id: {error}") from None
    return DecodedInvoice(
        network=network,
        payee=payee,
        payment_hash=digest(row, "invoice_payment_hash"),
        amount_msat=whole(row, "invoice_amount_msat"),
        created_ns=created * SECOND_NS,
        expire_ns=(created + int(row.get("invoice_relative_expiry", 7200))) * SECOND_NS,
        description=described,
        description_sha256=hashlib.sha256(described.encode()).digest(),
    )


def node_health(info: Row, channels: Row, configs: Row) -> RailHealth:
    """The answers of getinfo, listpeerchannels and listconfigs; empty ones where not allowed."""
    warnings = []
    ready = [row for row in channels.get("channels", ()) if text(row, "state") == "CHANNELD_NORMAL"]
    if channels and not any(row.get("peer_connected") is True for row in ready):
        warnings.append("no channel is connected: nothing can be paid or received")
    slow = configs.get("configs", {}).get("xpay-slow-mode", {})
    if configs and slow.get("value_bool") is not True:
        warnings.append("xpay-slow-mode is not set: a failed payment may have parts under way")
    node_id = info.get("id")
    return RailHealth(
        network=text(info, "network") if info else None,
        node_id=bytes.fromhex(node_id) if isinstance(node_id, str) else None,
        spendable_msat=sum(whole(row, "spendable_msat") for row in ready) if channels else None,
        receivable_msat=sum(whole(row, "receivable_msat") for row in ready) if channels else None,
        warnings=tuple(warnings),
    )
