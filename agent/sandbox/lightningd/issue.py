"""Makes an invoice of a node: preimage, signed text, row."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from agent.core.bolt11 import Bolt11, Hop
from agent.sandbox.lightningd.records import Invoice
from agent.sandbox.lightningd.refusal import Code, Refusal
from agent.sandbox.lightningd.signer import encode

if TYPE_CHECKING:
    from agent.sandbox.lightningd.node import Node

NETWORK = "regtest"
WEEK_S = 604_800
FEATURES = bytes.fromhex("02024100")
CHANNEL = (117 << 40) | (1 << 16)  # 117x1x0


def issue(
    node: Node,
    label: str,
    amount_msat: int | None,
    description: str,
    *,
    expiry_s: int = WEEK_S,
    preimage: str | None = None,
    hash_only: bool = False,
) -> Invoice:
    """Make an invoice and enter it.

    :raises Refusal: when its label or its preimage was used before.
    """
    if label in node.invoices:
        raise Refusal(Code.LABEL_TAKEN, f"Duplicate label '{label}'")
    preimage = preimage or node.network.random_hex()
    digest = hashlib.sha256(bytes.fromhex(preimage)).digest()
    if node.invoice_of(digest.hex()) is not None:
        raise Refusal(Code.PREIMAGE_TAKEN, "preimage already used")
    secret = hashlib.sha256(node.key.secret + digest).digest()
    hashed = hashlib.sha256(description.encode()).digest()
    hop = Hop(node.network.router.public, CHANNEL, 1, 10, 6)
    invoice = Bolt11(
        network=NETWORK,
        amount_msat=amount_msat,
        created_s=node.now,
        payment_hash=digest,
        payee=node.key.public,
        signature=b"",
        description=None if hash_only else description,
        description_sha256=hashed if hash_only else None,
        expiry_s=expiry_s,
        min_final_cltv=10,
        payment_secret=secret,
        features=FEATURES,
        routes=((hop,),),
    )
    text = encode(invoice, node.key)
    node.network.issued[text] = invoice
    row = Invoice(
        label=label,
        text=text,
        payment_hash=digest.hex(),
        preimage=preimage,
        amount_msat=amount_msat,
        description=description,
        expires_at=node.now + expiry_s,
        created_index=node.count("invoice created"),
    )
    node.invoices[label] = row
    return row
