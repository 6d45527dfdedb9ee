"""BOLT 12 as far as settlement meets it: offers, and invoices fetched from them."""

from __future__ import annotations

import hashlib
from typing import Any

from agent.sandbox.lightningd.command import Answer, Command, Waiting
from agent.sandbox.lightningd.node import Node
from agent.sandbox.lightningd.orders import INVOICE, OFFER, pack, unpack
from agent.sandbox.lightningd.params import Args
from agent.sandbox.lightningd.records import Invoice, Offer
from agent.sandbox.lightningd.refusal import Code, Refusal

REGTEST = "06226e46111a0b59caaf126043eb5bbf28c34f3a5e332a1fc7b2b73cf188910f"
EXPIRY_S = 7200
SILENCE_S = 60


def offer(node: Node, args: Args) -> Answer:
    """Make an offer."""
    amount = None if args["amount"] == "any" else args["amount"]
    fields: dict[str, Any] = {
        "offer_id": node.network.random_hex(),
        "offer_chains": [REGTEST],
        "offer_amount_msat": amount,
        "offer_description": args["description"],
        "offer_absolute_expiry": args["absolute_expiry"],
        "offer_paths": [],
        "offer_issuer_id": node.node_id,
    }
    fields = {name: value for name, value in fields.items() if value is not None}
    made = Offer(
        offer_id=fields["offer_id"],
        text=pack(OFFER, fields),
        amount_msat=amount,
        description=args["description"],
        single_use=bool(args["single_use"]),
        label=args["label"],
        absolute_expiry=args["absolute_expiry"],
    )
    node.offers[made.offer_id] = made
    return made.shown(created=True)


def disableoffer(node: Node, args: Args) -> Answer:
    """Withdraw an offer."""
    made = node.offers.get(args["offer_id"])
    if made is None:
        raise Refusal(Code.GENERIC, "Unknown offer")
    made.active = False
    return made.shown(description=made.description)


def listoffers(node: Node, _args: Args) -> Answer:
    """All offers."""
    return {"offers": [made.shown(description=made.description) for made in node.offers.values()]}


def fetch(node: Node, text: str, amount_msat: int | None, payer_note: str | None = None) -> str:
    """Ask the offering node for an invoice.

    :raises Refusal: 1004 when it refuses, 1005 when it does not answer.
    """
    fields = unpack(text)
    fixed = fields.get("offer_amount_msat")
    if fixed is None and amount_msat is None:
        raise Refusal(Code.BAD_PARAMETER, "amount_msat parameter required")
    payee = node.network.by_id(fields["offer_issuer_id"])
    if payee is None or not payee.connected:
        raise Refusal(Code.OFFER_SILENT, "Timeout waiting for response")
    made = payee.offers.get(fields["offer_id"])
    if made is None or not made.active or (made.single_use and made.used):
        raise _refused("Offer no longer available")
    if fixed is not None and amount_msat is not None and amount_msat < fixed:
        raise _refused(f"Amount must be at least {fixed}msat")
    return _issue(payee, made, fields, amount_msat or fixed or 0, payer_note)


def _refused(reason: str) -> Refusal:
    return Refusal(
        Code.OFFER_REFUSED,
        "Remote node sent failure message",
        {"error": f"Failed invreq lnr1: {reason}"},
    )


def _issue(
    node: Node, made: Offer, fields: dict[str, Any], amount_msat: int, payer_note: str | None
) -> str:
    preimage = node.network.random_hex()
    digest = hashlib.sha256(bytes.fromhex(preimage)).hexdigest()
    payer = "02" + node.network.random_hex()
    text = pack(
        INVOICE,
        {
            **fields,
            "invreq_metadata": node.network.random_hex(16),
            "invreq_payer_id": payer,
            "invreq_chain": REGTEST,
            "invreq_features": "",
            **({"invreq_payer_note": payer_note} if payer_note else {}),
            "invoice_paths": [],
            "invoice_created_at": node.now,
            "invoice_relative_expiry": EXPIRY_S,
            "invoice_payment_hash": digest,
            "invoice_amount_msat": amount_msat,
            "invoice_features": "020000",
            "invoice_node_id": node.node_id,
            "signature": "00" * 64,
        },
    )
    label = f"{made.offer_id}-{payer}-{made.fetched}"
    made.fetched += 1
    made.used = True
    node.invoices[label] = Invoice(
        label=label,
        text=text,
        payment_hash=digest,
        preimage=preimage,
        amount_msat=amount_msat,
        description=made.description,
        expires_at=node.now + EXPIRY_S,
        created_index=node.count("invoice created"),
        bolt12=True,
        offer_id=made.offer_id,
        payer_note=payer_note,
    )
    return text


def fetchinvoice(node: Node, args: Args) -> Command:
    """Fetch an invoice from an offer; a node that is away is waited for."""
    timeout = SILENCE_S if args["timeout"] is None else args["timeout"]

    def look() -> Answer | None:
        try:
            text = fetch(node, args["offer"], args["amount_msat"], args["payer_note"])
        except Refusal as refusal:
            if refusal.code == Code.OFFER_SILENT:
                return None
            raise
        return {"invoice": text, "changes": {}}

    silent = Refusal(Code.OFFER_SILENT, "Timeout waiting for response")
    return Waiting(look, node.network.clock, node.network.clock() + timeout, silent)
