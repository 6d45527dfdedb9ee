"""What a payer is asked to pay: the text of an invoice, read and checked before money moves."""

from __future__ import annotations

import contextlib
import hashlib
import json
from dataclasses import dataclass
from typing import Any

from agent.core import bolt11
from agent.core.bolt11 import CHARSET, Bolt11, NotBolt11
from agent.sandbox.lightningd.network import NAME, Network
from agent.sandbox.lightningd.node import Node
from agent.sandbox.lightningd.refusal import Code, Refusal

OFFER, INVOICE = "lno1", "lni1"


@dataclass(frozen=True, slots=True)
class Order:
    """One payment that is wanted."""

    text: str
    payment_hash: str
    payee: str
    amount_msat: int | None
    expires_at: int
    bolt12: bool = False


def pack(prefix: str, fields: dict[str, Any]) -> str:
    """Write fields in the letters of BOLT 12. It is not BOLT 12: only this double reads it."""
    raw = json.dumps(fields, separators=(",", ":")).encode()
    number = int.from_bytes(raw, "big") << -len(raw) * 8 % 5
    length = (len(raw) * 8 + 4) // 5
    return prefix + "".join(CHARSET[number >> 5 * at & 31] for at in range(length - 1, -1, -1))


def unpack(text: str) -> dict[str, Any]:
    """Read what `pack` wrote.

    :raises Refusal: -32602.
    """
    with contextlib.suppress(ValueError):
        raw = bolt11.to_bytes([CHARSET.index(c) for c in text[len(OFFER) :]])
        fields = json.loads(raw)
        if isinstance(fields, dict):
            return fields
    raise Refusal(Code.BAD_PARAMETER, "Invalid bolt12 string")


def read_bolt11(network: Network[Node], text: str) -> Bolt11:
    """Read an invoice of this network or of any other.

    :raises Refusal: -32602.
    """
    known = network.issued.get(text)
    if known is not None:
        return known
    currency = text[2:].partition("1")[0].rstrip("0123456789munp") if text[:2] == "ln" else ""
    if currency in bolt11.NETWORKS and bolt11.NETWORKS[currency] != NAME:
        words = f"Invalid bolt11 invoice: Prefix {currency} is not for {NAME}"
        raise Refusal(Code.BAD_PARAMETER, words)
    try:
        return bolt11.decode(text)
    except NotBolt11:
        raise Refusal(Code.BAD_PARAMETER, "Invalid bolt11 invoice: Bad bech32 string") from None


def read_order(node: Node, text: str) -> Order:
    """Read an invoice that is to be paid.

    :raises Refusal: -32602.
    """
    if text.startswith(INVOICE):
        fields = unpack(text)
        expires_at = fields["invoice_created_at"] + fields["invoice_relative_expiry"]
        return Order(
            text=text,
            payment_hash=fields["invoice_payment_hash"],
            payee=fields["invoice_node_id"],
            amount_msat=fields["invoice_amount_msat"],
            expires_at=expires_at,
            bolt12=True,
        )
    invoice = read_bolt11(node.network, text)
    return Order(
        text=text,
        payment_hash=invoice.payment_hash.hex(),
        payee=invoice.payee.hex(),
        amount_msat=invoice.amount_msat,
        expires_at=invoice.expires_s,
    )


def keysend_order(node: Node, payee: str, amount_msat: int) -> tuple[Order, str]:
    """A payment without an invoice, and the preimage that goes with it."""
    preimage = node.network.random_hex()
    digest = hashlib.sha256(bytes.fromhex(preimage)).hexdigest()
    return Order("", digest, payee, amount_msat, 1 << 62), preimage
