"""All calls that the double answers."""

from __future__ import annotations

from agent.sandbox.lightningd import about, access, history, invoices, offers, params, payments
from agent.sandbox.lightningd.command import Answer
from agent.sandbox.lightningd.network import Network
from agent.sandbox.lightningd.node import Method, Node
from agent.sandbox.lightningd.params import Args, Param
from agent.sandbox.lightningd.refusal import Code, Refusal

_LAST = (Param("retry_for", params.integer), Param("maxdelay", params.integer))
_LISTED = (
    Param("bolt11", params.text),
    Param("payment_hash", params.hash_hex),
    Param("status", params.text),
)
_TO_NODE = (
    Param("destination", params.node_id, required=True),
    Param("amount_msat", params.msat, required=True),
    Param("label", params.label),
    Param("maxfee", params.msat),
    Param("extratlvs", params.anything),
    *_LAST,
)


def _paystatus(_node: Node, _args: Args) -> Answer:
    return {"pay": []}


def _getroute(_node: Node, _args: Args) -> Answer:
    raise Refusal(Code.NO_ROUTE, "Could not find a route")


PAYING = {
    "xpay": Method(
        (
            Param("invstring", params.text, required=True),
            Param("amount_msat", params.msat),
            Param("maxfee", params.msat),
            Param("layers", params.array),
            Param("retry_for", params.integer),
            Param("partial_msat", params.msat),
            Param("maxdelay", params.integer),
            Param("payer_note", params.text),
            Param("label", params.label),
        ),
        payments.xpay,
    ),
    "sendamount": Method(
        (
            Param("invstring", params.text, required=True),
            Param("amount_msat", params.msat, required=True),
        ),
        payments.sendamount,
    ),
    "xkeysend": Method(_TO_NODE, payments.xkeysend),
    "pay": Method(
        (
            Param("bolt11", params.text, required=True),
            Param("amount_msat", params.msat),
            Param("label", params.label),
            Param("maxfee", params.msat),
            *_LAST,
        ),
        payments.pay,  # deprecated as well, and answered all the same as recorded
    ),
    "keysend": Method(_TO_NODE, payments.keysend, deprecated=True),
    "listpays": Method(_LISTED, history.listpays),
    "listsendpays": Method(_LISTED, history.listsendpays),
    "waitsendpay": Method(
        (
            Param("payment_hash", params.hash_hex, required=True),
            Param("timeout", params.integer),
            Param("partid", params.integer),
            Param("groupid", params.integer),
        ),
        history.waitsendpay,
    ),
    "sendpay": Method(
        (
            Param("route", params.array, required=True),
            Param("payment_hash", params.hash_hex, required=True),
            Param("label", params.label),
            Param("amount_msat", params.msat),
            Param("bolt11", params.text),
            Param("payment_secret", params.text),
        ),
        history.sendpay,
    ),
    "delpay": Method(
        (
            Param("payment_hash", params.hash_hex, required=True),
            Param("status", params.text, required=True),
        ),
        history.delpay,
    ),
    "paystatus": Method((Param("bolt11", params.text),), _paystatus, deprecated=True),
    "getroute": Method(
        (
            Param("id", params.node_id, required=True),
            Param("amount_msat", params.msat, required=True),
            Param("riskfactor", params.anything, required=True),
        ),
        _getroute,
        deprecated=True,
    ),
}
OFFERS = {
    "offer": Method(
        (
            Param("amount", params.positive_msat_or_any, required=True),
            Param("description", params.text),
            Param("label", params.label),
            Param("absolute_expiry", params.integer),
            Param("single_use", params.boolean),
        ),
        offers.offer,
    ),
    "disableoffer": Method(
        (Param("offer_id", params.hash_hex, required=True),), offers.disableoffer
    ),
    "listoffers": Method((), offers.listoffers),
    "fetchinvoice": Method(
        (
            Param("offer", params.text, required=True),
            Param("amount_msat", params.msat),
            Param("timeout", params.integer),
            Param("payer_note", params.text),
        ),
        offers.fetchinvoice,
    ),
}
METHODS: dict[str, Method] = {
    **about.METHODS,
    **access.METHODS,
    **invoices.METHODS,
    **OFFERS,
    **PAYING,
}


def make_node(
    network: Network[Node],
    name: str,
    *,
    spendable_msat: int = 500_000_000,
    receivable_msat: int = 500_000_000,
) -> Node:
    """Make a node that answers all calls, and put it into the network."""
    return Node(
        network, name, METHODS, spendable_msat=spendable_msat, receivable_msat=receivable_msat
    )
