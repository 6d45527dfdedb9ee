"""Calls about invoices."""

from __future__ import annotations

from typing import Any

from agent.sandbox.lightningd import params
from agent.sandbox.lightningd.command import Answer, Command, Interrupted, Waiting
from agent.sandbox.lightningd.node import WEEK_S, Method, Node
from agent.sandbox.lightningd.params import Args, Param
from agent.sandbox.lightningd.records import Invoice
from agent.sandbox.lightningd.refusal import Code, Refusal

MOST_DESCRIPTION = 639  # BOLT 11: 1023 words of 5 bits
MOST_LABEL = 128  # INVOICE_MAX_LABEL_LEN


def _invoice(node: Node, args: Args) -> Answer:
    label, description, hash_only = args["label"], args["description"], bool(args["deschashonly"])
    if len(label.encode()) > MOST_LABEL:
        raise Refusal(Code.BAD_PARAMETER, f"Label '{label}' over {MOST_LABEL} bytes")
    size = len(description.encode())
    if size > MOST_DESCRIPTION and not hash_only:
        raise Refusal(
            Code.BAD_PARAMETER,
            f"Description greater than {MOST_DESCRIPTION} bytes invalid "
            f"(description length {size})",
        )
    expiry_s = WEEK_S if args["expiry"] is None else args["expiry"]
    if not 0 <= expiry_s < 1 << 63:
        # Core Lightning v26.06.6 aborts here: its BOLT 11 writer asserts.
        node.kill()
        raise Interrupted("aborted on a negative expiry")
    amount = None if args["amount_msat"] == "any" else args["amount_msat"]
    invoice = node.issue(
        label,
        amount,
        description,
        expiry_s=expiry_s,
        preimage=args["preimage"],
        hash_only=hash_only,
    )
    answer: Answer = {
        "payment_hash": invoice.payment_hash,
        "expires_at": invoice.expires_at,
        "bolt11": invoice.text,
        "payment_secret": node.network.issued[invoice.text].payment_secret.hex(),
        "created_index": invoice.created_index,
    }
    if amount is not None and amount > node.receivable_msat:
        answer["warning_capacity"] = "Insufficient incoming channel capacity to pay invoice"
    return answer


def _listinvoices(node: Node, args: Args) -> Answer:
    filters = ("label", "invstring", "payment_hash", "offer_id")
    if sum(args[name] is not None for name in filters) > 1:
        raise Refusal(
            Code.BAD_PARAMETER,
            "Can only specify one of {label}, {invstring}, {payment_hash} or {offer_id}",
        )
    rows = [
        row
        for row in node.invoices.values()
        if args["label"] in (None, row.label)
        and args["invstring"] in (None, row.text)
        and args["payment_hash"] in (None, row.payment_hash)
        and args["offer_id"] in (None, row.offer_id)
    ]
    return {"invoices": [row.shown() for row in _page(rows, args)]}


def _page(rows: list[Invoice], args: Args) -> list[Invoice]:
    if args["index"] is None:
        return rows
    updated = args["index"] == "updated"

    def number(row: Invoice) -> int:
        return (row.updated_index or 0) if updated else row.created_index

    rows = sorted((row for row in rows if number(row) >= (args["start"] or 1)), key=number)
    return rows[: args["limit"]]


def _paid_after(node: Node, index: int) -> Invoice | None:
    later = [i for i in node.invoices.values() if i.pay_index is not None and i.pay_index > index]
    return min(later, key=lambda i: i.pay_index or 0, default=None)


def _waitanyinvoice(node: Node, args: Args) -> Command:
    # A negative index is read as a huge unsigned one: nothing was ever paid after it.
    after = args["lastpay_index"] or 0
    after = after if after >= 0 else 1 << 64

    def look() -> Answer | None:
        invoice = _paid_after(node, after)
        return None if invoice is None else invoice.shown()

    timeout = args["timeout"]
    deadline = None if timeout is None else node.network.clock() + timeout
    timed_out = Refusal(Code.WAIT_TIMED_OUT, "Timed out while waiting for invoice to be paid")
    return Waiting(look, node.network.clock, deadline, timed_out)


def _waitinvoice(node: Node, args: Args) -> Command:
    label = args["label"]
    if label not in node.invoices:
        raise Refusal(Code.GENERIC, "Label not found")

    def look() -> Answer | None:
        invoice = node.invoices.get(label)
        if invoice is None:
            raise Refusal(Code.GENERIC, "Invoice deleted during wait")
        if invoice.status == "expired":
            raise Refusal(
                Code.EXPIRED_WHILE_WAITING, "invoice expired during wait", invoice.shown()
            )
        return invoice.shown() if invoice.status == "paid" else None

    return Waiting(look, node.network.clock, None)


def _delinvoice(node: Node, args: Args) -> Answer:
    invoice = node.invoices.get(args["label"])
    if invoice is None:
        raise Refusal(Code.NO_SUCH_INVOICE, "Unknown invoice")
    if invoice.status != args["status"]:
        raise Refusal(
            Code.OTHER_STATUS,
            f"Invoice status is {invoice.status} not {args['status']}",
            {"current_status": invoice.status, "expected_status": args["status"]},
        )
    del node.invoices[invoice.label]
    return invoice.shown()


def _wait(node: Node, args: Args) -> Command:
    counter = {"invoices": "invoice", "sendpays": "payment"}.get(args["subsystem"])
    if counter is None or args["indexname"] not in ("created", "updated"):
        raise Refusal(Code.BAD_PARAMETER, "subsystem: unknown subsystem")
    name = f"{counter} {args['indexname']}"

    def look() -> Answer | None:
        value = node.counters.get(name, 0)
        reached = value >= args["nextvalue"]
        return {"subsystem": args["subsystem"], args["indexname"]: value} if reached else None

    return Waiting(look, node.network.clock, None)


def _preapprove(_node: Node, _args: Args) -> dict[str, Any]:
    return {}


METHODS = {
    "invoice": Method(
        (
            Param("amount_msat", params.positive_msat_or_any, required=True),
            Param("label", params.label, required=True),
            Param("description", params.text, required=True),
            Param("expiry", params.integer),
            Param("fallbacks", params.array),
            Param("preimage", params.hash_hex),
            Param("exposeprivatechannels", params.anything),
            Param("cltv", params.integer),
            Param("deschashonly", params.boolean),
        ),
        _invoice,
    ),
    "listinvoices": Method(
        (
            Param("label", params.label),
            Param("invstring", params.text),
            Param("payment_hash", params.hash_hex),
            Param("offer_id", params.hash_hex),
            Param("index", params.text),
            Param("start", params.integer),
            Param("limit", params.integer),
        ),
        _listinvoices,
    ),
    "waitanyinvoice": Method(
        (Param("lastpay_index", params.integer), Param("timeout", params.integer)),
        _waitanyinvoice,
    ),
    "waitinvoice": Method((Param("label", params.label, required=True),), _waitinvoice),
    "delinvoice": Method(
        (
            Param("label", params.label, required=True),
            Param("status", params.text, required=True),
            Param("desconly", params.boolean),
        ),
        _delinvoice,
    ),
    "wait": Method(
        (
            Param("subsystem", params.text, required=True),
            Param("indexname", params.text, required=True),
            Param("nextvalue", params.integer, required=True),
        ),
        _wait,
    ),
    "preapproveinvoice": Method((Param("bolt11", params.text, required=True),), _preapprove),
}
