"""BOLT 11 text as the rail's own value. Pure."""

from __future__ import annotations

import hashlib

from agent.core.bolt11 import NotBolt11, decode
from agent.settle.rail import DecodedInvoice, RailRefused

SECOND_NS = 1_000_000_000


def decode_bolt11(text: str) -> DecodedInvoice:
    """Read an invoice, without asking any node.

    :raises RailRefused: when it is none.
    """
    try:
        invoice = decode(text)
    except NotBolt11 as error:
        raise RailRefused(f"not a BOLT 11 invoice: {error}") from None
    hashed = invoice.description_sha256
    if hashed is None:
        hashed = hashlib.sha256((invoice.description or "").encode()).digest()
    return DecodedInvoice(
        network=invoice.network,
        payee=invoice.payee,
        payment_hash=invoice.payment_hash,
        amount_msat=invoice.amount_msat,
        created_ns=invoice.created_s * SECOND_NS,
        expire_ns=invoice.expires_s * SECOND_NS,
        description=invoice.description,
        description_sha256=hashed,
    )
