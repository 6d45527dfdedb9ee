"""What was paid and what is still pending: listpays, listsendpays and their relatives."""

from __future__ import annotations

from agent.sandbox.lightningd.command import Answer, Command, Waiting
from agent.sandbox.lightningd.node import Node
from agent.sandbox.lightningd.params import Args
from agent.sandbox.lightningd.records import Payment, present
from agent.sandbox.lightningd.refusal import Code, Refusal


def _chosen(node: Node, args: Args) -> list[Payment]:
    text = args["bolt11"]
    return [
        row
        for row in node.payments
        if args["payment_hash"] in (None, row.payment_hash)
        and text in (None, row.invoice)
        and args["status"] in (None, row.status)
    ]


def listsendpays(node: Node, args: Args) -> Answer:
    """Every part of every try: the truth."""
    return {"payments": [row.shown() for row in _chosen(node, args)]}


def listpays(node: Node, args: Args) -> Answer:
    """One row a group, and late: what has just failed is still shown as pending."""
    lag = node.network.habits.listpays_lag_s
    rows = []
    for row in _chosen(node, args):
        failed = row.status == "failed"
        late = failed and node.network.clock() < (row.completed_at or 0) + lag
        rows.append(
            present(
                **row.named_invoice(),
                destination=row.destination,
                payment_hash=row.payment_hash,
                status="pending" if late else row.status,
                created_at=row.created_at,
                completed_at=None if failed else row.completed_at,
                preimage=row.preimage,
                label=row.label,
                amount_msat=None if failed else row.amount_msat,
                amount_sent_msat=0 if failed else row.sent_msat,
                created_index=row.id,
                updated_index=row.updated_index,
            )
        )
    return {"pays": rows}


def waitsendpay(node: Node, args: Args) -> Command:
    """Wait for one part."""
    wanted, partid, groupid = args["payment_hash"], args["partid"] or 0, args["groupid"]
    rows = [
        row
        for row in node.payments
        if row.payment_hash == wanted
        and (row.partid or 0) == partid
        and groupid in (None, row.groupid)
    ]
    if not rows:
        words = f"Never attempted payment part {partid} for '{wanted}'"
        raise Refusal(Code.NEVER_ATTEMPTED, words)

    def look() -> Answer | None:
        row = rows[-1]
        if row.status == "failed":
            code, words = row.failure or (Code.NO_ROUTE, "failed")
            raise Refusal(code, words)
        return row.shown() if row.status == "complete" else None

    timeout = args["timeout"]
    deadline = None if timeout is None else node.network.clock() + timeout
    timed_out = Refusal(Code.STILL_WAITING, "Timed out while waiting")
    return Waiting(look, node.network.clock, deadline, timed_out)


def sendpay(node: Node, args: Args) -> Answer:
    """Send along a given route; only its last hop counts here."""
    route = args["route"]
    last = route[-1]
    payment = Payment(
        id=len(node.payments) + 1,
        payment_hash=args["payment_hash"],
        groupid=1,
        partid=None,
        destination=last["id"],
        amount_msat=last["amount_msat"],
        sent_msat=route[0]["amount_msat"],
        created_at=node.now,
        invoice=args["bolt11"],
    )
    node.payments.append(payment)
    node.network.send(node, payment)
    return {"message": "Monitor status with listpays or waitsendpay", **payment.shown()}


def delpay(node: Node, args: Args) -> Answer:
    """Forget a payment, if it is over."""
    wanted, status = args["payment_hash"], args["status"]
    rows = [row for row in node.payments if row.payment_hash == wanted]
    if not rows:
        raise Refusal(Code.NEVER_ATTEMPTED, "Unknown payment with that hash")
    if rows[0].status != status:
        words = (
            f"Payment with hash {wanted} has {rows[0].status} status but it different from the "
            f"one provided {status}"
        )
        raise Refusal(Code.NEVER_ATTEMPTED, words)
    raise Refusal(Code.GENERIC, "this double forgets no payment")
