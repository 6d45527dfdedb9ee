"""Paying: xpay, its relatives, and what they leave behind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from agent.sandbox.lightningd.command import Answer, Command
from agent.sandbox.lightningd.node import Node
from agent.sandbox.lightningd.offers import fetch
from agent.sandbox.lightningd.orders import OFFER, Order, keysend_order, read_order
from agent.sandbox.lightningd.params import Args
from agent.sandbox.lightningd.records import Payment
from agent.sandbox.lightningd.refusal import Code, Refusal

ROUTE = "123x1x0->117x1x0"
BELIEVED_S = 3600  # as long a failure counts
MIN_DELAY = 16  # blocks, of the recorded route
NO_PATHS = "We could not find a usable set of paths. "


@dataclass(frozen=True, slots=True)
class Limits:
    """What a payer puts up with."""

    max_fee_msat: int | None = None
    max_delay: int | None = None
    part_msat: int | None = None
    label: str | None = None
    total_msat: int | None = None  # sendamount: with fees, exactly this


class Paying(Command):
    """A payment under way. It goes on when its caller has gone; only the node's death ends it."""

    pays = True

    def __init__(
        self, node: Node, order: Order, limits: Limits, style: str, preimage: str | None = None
    ) -> None:
        super().__init__()
        self._node, self._order, self._limits = node, order, limits
        self._style, self._preimage = style, preimage
        self._payment: Payment | None = None

    def step(self) -> None:
        """Send once, then look whether it arrived."""
        if self._payment is None:
            self.result = self._start()
            return
        payment = self._payment
        if payment.status == "complete":
            self.messages.append(("info", f"Success: preimage={payment.preimage}"))
            self.result = self._paid(payment)
        elif payment.status == "failed":
            code, words = payment.failure or (Code.NO_ROUTE, "Failed: lost")
            raise Refusal(code, words)

    def _start(self) -> Answer | None:
        node, order = self._node, self._order
        if order.expires_at <= node.now:
            ago = node.now - order.expires_at
            raise Refusal(Code.INVOICE_EXPIRED, f"Invoice expired {ago} seconds ago")
        rows = [p for p in node.payments if p.payment_hash == order.payment_hash]
        done = [row for row in rows if row.status == "complete"]
        if done and self._style == "pay":
            return self._paid(done[0])
        if done:
            raise Refusal(Code.ALREADY_PAID, "Already paid this invoice successfully")
        amount = order.amount_msat or 0
        if order.payee == node.node_id:
            return self._pay_self(amount)
        part = self._limits.part_msat or amount
        fee = self._fee(part)
        self._find_route(part, fee)
        pending = [row for row in rows if row.status == "pending"]
        if pending:
            raise Refusal(
                Code.UNEXPECTED,
                'Unexpected injectpaymentonion error 200: {"code":200,"message":"Payment with '
                f"groupid={pending[0].groupid} still in progress, cannot retry before that "
                'completes."}',
            )
        if self._limits.total_msat is not None:  # the fee comes out of what is sent
            part -= fee
        self._send(part, fee)
        return None

    def _fee(self, amount_msat: int) -> int:
        ends = (self._node.node_id, self._order.payee)
        direct = self._node.network.router.node_id in ends
        return 0 if direct else self._node.network.habits.fee_msat(amount_msat)

    def _find_route(self, amount_msat: int, fee_msat: int) -> None:
        node, network = self._node, self._node.network
        if not node.connected:
            words = f"Failed: {NO_PATHS}All 1 channels to the source are disabled."
            raise Refusal(Code.NO_ROUTE, words)
        if amount_msat + fee_msat > node.spendable_msat:
            raise Refusal(
                Code.NO_ROUTE, _too_much("0/0 layer auto.localchans", node.spendable_msat)
            )
        believed, until = network.believed_msat.get(self._order.payee, (amount_msat, 0.0))
        if amount_msat > believed and network.clock() < until:
            raise Refusal(Code.NO_ROUTE, _too_much("0/1 layer xpay", believed))
        limits = self._limits
        if limits.max_fee_msat is not None and fee_msat > limits.max_fee_msat:
            words = "Failed: Could not find route without excessive cost"
            raise Refusal(Code.TOO_DEAR, words)
        if limits.max_delay is not None and limits.max_delay < MIN_DELAY:
            words = "Failed: Could not find route without excessive delays"
            raise Refusal(Code.TOO_DEAR, words)

    def _record(self, amount_msat: int, fee_msat: int) -> Payment:
        node, order = self._node, self._order
        payment = Payment(
            id=len(node.payments) + 1,
            payment_hash=order.payment_hash,
            groupid=node.network.random.randrange(1, 1 << 63),
            partid=1,
            destination=order.payee,
            amount_msat=amount_msat,
            sent_msat=amount_msat + fee_msat,
            created_at=node.now,
            invoice=order.text or None,
            bolt12=order.bolt12,
            label=self._limits.label,
        )
        node.payments.append(payment)
        return payment

    def _send(self, amount_msat: int, fee_msat: int) -> None:
        node, network = self._node, self._node.network
        payee = network.by_id(self._order.payee)
        self.messages += [("debug", f"routes for {amount_msat}msat"), ("debug", "waiting...")]
        self._payment = self._record(amount_msat, fee_msat)
        if payee is None or not payee.connected or amount_msat > payee.receivable_msat:
            self._fail_on_the_way(self._payment)
            return
        network.send(node, self._payment, self._preimage)

    def _fail_on_the_way(self, payment: Payment) -> None:
        node, most = self._node, payment.amount_msat - 1
        node.network.believed_msat[payment.destination] = (most, node.now + BELIEVED_S)
        payment.status, payment.completed_at = "failed", node.now
        payment.updated_index = node.count("payment updated")
        payment.failure = (
            Code.GAVE_UP,
            "Failed after 1 attempts. We got temporary_channel_failure for the invoice's route "
            f"hint (123x1x0/1), assuming it can't carry {payment.amount_msat}msat. Then routing "
            f"failed: {NO_PATHS}The shortest path is {ROUTE}, but 123x1x0/1 layer xpay says max "
            f"is {most}msat",
        )

    def _pay_self(self, amount_msat: int) -> Answer:
        node, invoice = self._node, self._node.invoice_of(self._order.payment_hash)
        if invoice is None or invoice.status != "unpaid":
            raise Refusal(Code.PAYEE_REFUSES, "Destination said it doesn't know invoice: self")
        node.record_paid(invoice, amount_msat)
        node.spendable_msat -= amount_msat
        node.receivable_msat += amount_msat
        payment = self._record(amount_msat, 0)
        payment.status, payment.completed_at = "complete", node.now
        payment.preimage = invoice.preimage
        payment.updated_index = node.count("payment updated")
        return self._paid(payment)

    def _paid(self, payment: Payment) -> Answer:
        amounts: dict[str, Any] = {
            "payment_preimage": payment.preimage,
            "amount_msat": self._limits.total_msat or payment.amount_msat,
            "amount_sent_msat": payment.sent_msat,
        }
        if self._style == "xpay":
            return {**amounts, "failed_parts": 0, "successful_parts": 1}
        return {
            **amounts,
            "status": payment.status,
            "destination": payment.destination,
            "payment_hash": payment.payment_hash,
            "created_at": self._node.network.clock() if self._payment else payment.created_at,
            "parts": 1,
        }


def _too_much(channel: str, most_msat: int) -> str:
    return (
        f"Failed: {NO_PATHS}The shortest path is {ROUTE}, but 123x1x{channel} says max is "
        f"{most_msat}msat"
    )


def _with_amount(order: Order, amount_msat: int | None) -> Order:
    if order.amount_msat is not None and amount_msat is not None:
        raise Refusal(Code.BAD_PARAMETER, "amount_msat unnecessary")
    if order.amount_msat is None and not amount_msat:
        raise Refusal(Code.BAD_PARAMETER, "amount_msat required")
    return Order(
        text=order.text,
        payment_hash=order.payment_hash,
        payee=order.payee,
        amount_msat=order.amount_msat or amount_msat,
        expires_at=order.expires_at,
        bolt12=order.bolt12,
    )


def xpay(node: Node, args: Args) -> Command:
    """Pay an invoice; an offer is fetched first, and so is paid again at every call."""
    text, amount = args["invstring"], args["amount_msat"]
    if args["layers"]:
        token = f'\\"{args["layers"][0]}\\"'
        words = f"Failed: layers: unknown layer: invalid token '{token}'"
        raise Refusal(Code.BAD_PARAMETER, words)
    if text.startswith(OFFER):
        text, amount = fetch(node, text, amount), None
    order = _with_amount(read_order(node, text), amount)
    limits = Limits(args["maxfee"], args["maxdelay"], args["partial_msat"], args["label"])
    return Paying(node, order, limits, "xpay")


def pay(node: Node, args: Args) -> Command:
    """The older command: an invoice that was paid is a success again."""
    order = _with_amount(read_order(node, args["bolt11"]), args["amount_msat"])
    limits = Limits(args["maxfee"], args["maxdelay"], None, args["label"])
    return Paying(node, order, limits, "pay")


def sendamount(node: Node, args: Args) -> Command:
    """Send exactly this, fees included, to an invoice without an amount."""
    order = read_order(node, args["invstring"])
    if order.amount_msat is not None:
        raise Refusal(Code.BAD_PARAMETER, "Expecting a Bolt11 invoice with no amount.")
    total = args["amount_msat"]
    return Paying(node, _with_amount(order, total), Limits(total_msat=total), "xpay")


def _keysend(node: Node, args: Args, style: str) -> Command:
    order, preimage = keysend_order(node, args["destination"], args["amount_msat"])
    limits = Limits(args["maxfee"], None, None, args["label"])
    return Paying(node, order, limits, style, preimage)


def keysend(node: Node, args: Args) -> Command:
    """Pay without an invoice, the older command."""
    return _keysend(node, args, "pay")


def xkeysend(node: Node, args: Args) -> Command:
    """Pay without an invoice."""
    return _keysend(node, args, "xpay")
