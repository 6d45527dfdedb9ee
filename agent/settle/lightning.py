"""A Core Lightning node's calls as a rail's acts. Blocking: it runs in the worker process.

What the calls answer in which situation, and why: docs/settlement.md.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from agent.settle.calls import Caller, Lost, Refused
from agent.settle.invoice_text import decode_bolt11
from agent.settle.rail import (
    MOST_LABEL_BYTES,
    Attempt,
    AttemptStatus,
    DecodedInvoice,
    Invoice,
    InvoiceState,
    LabelTaken,
    NotPaid,
    Paid,
    Payment,
    PaymentOrder,
    PayOutcome,
    RailDown,
    RailError,
    RailForbids,
    RailHealth,
    RailRefused,
    Reason,
    Unknown,
)
from agent.settle.rows import (
    Unfit,
    attempt,
    bolt12_invoice,
    check_preimage,
    digest,
    invoice_state,
    new_invoice,
    node_health,
    payment,
    whole,
)

MOST_EXPIRY_S = 86_400  # the runes of `hearth settlement setup` say the same
MOST_PAYMENTS = 100
LABEL_TAKEN, TIMED_OUT, ALREADY_PAID = 900, 904, 219
HEALTH_LABEL = "hearth/health"  # of no invoice
_FORBIDDEN = {1501, 1502, 1503, 19536, 19537}
_REASONS = {
    203: Reason.PAYEE_REFUSES,
    205: Reason.NO_ROUTE,
    206: Reason.TOO_DEAR,
    207: Reason.EXPIRED,
    209: Reason.PAYEE_OFFLINE,
    -32602: Reason.NOT_AS_ORDERED,
    **dict.fromkeys(_FORBIDDEN, Reason.FORBIDDEN),
}
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class LightningNode:
    """What a Core Lightning node does for settlement.

    :param capped: pay through `sendamount`, which a rune can cap, where an invoice has no amount.
    """

    caller: Caller
    capped: bool = False

    def _ask(self, method: str, **params: Any) -> dict[str, Any]:
        """Call; the node's refusal and silence become the rail's errors."""
        try:
            return self._call(method, params)
        except Refused as refused:
            raise _refusal(method, refused) from None

    def _call(self, method: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """Call; a refusal is for the caller to read."""
        try:
            return self.caller.call(method, params)
        except Lost as lost:
            raise RailDown(f"{method}: {lost}") from None

    # -- being paid -----------------------------------------------------------------------

    def invoice(self, label: str, amount_msat: int, description: str, expiry_s: int) -> Invoice:
        """See `Rail.invoice`."""
        if amount_msat <= 0 or not 0 < expiry_s <= MOST_EXPIRY_S:
            raise RailRefused(f"invoice {label}: amount {amount_msat} msat, expiry {expiry_s} s")
        if len(label.encode()) > MOST_LABEL_BYTES:
            raise RailRefused(f"invoice {label}: a label has at most {MOST_LABEL_BYTES} bytes")
        params = {
            "amount_msat": amount_msat,
            "label": label,
            "description": description,
            "expiry": expiry_s,
            "deschashonly": True,
        }
        try:
            made = self._call("invoice", params)
        except Refused as refused:
            if refused.code != LABEL_TAKEN:
                raise _refusal("invoice", refused) from None
            return self._made_before(label, amount_msat, description)
        invoice = _typed(lambda: new_invoice(label, amount_msat, made))
        _check_text(invoice, description)
        return invoice

    def _made_before(self, label: str, amount_msat: int, description: str) -> Invoice:
        state, described = self._look(label)
        if state is None:
            raise RailDown(f"invoice {label}: taken and then gone; ask again")
        if state.invoice.amount_msat != amount_msat or described != description:
            raise LabelTaken(f"invoice {label}: made before with another amount or description")
        _check_text(state.invoice, description)
        return state.invoice

    def invoice_state(self, label: str) -> InvoiceState | None:
        """See `Rail.invoice_state`."""
        return self._look(label)[0]

    def _look(self, label: str) -> tuple[InvoiceState | None, str]:
        rows = self._ask("listinvoices", label=label).get("invoices")
        if not isinstance(rows, list) or not rows:
            return None, ""
        row = rows[0]
        return _typed(lambda: invoice_state(row)), str(row.get("description", ""))

    def paid_after(self, pay_index: int, wait_s: int) -> tuple[Payment, ...]:
        """See `Rail.paid_after`: wait for one, then take those that are already there."""
        payments: list[Payment] = []
        timeout = wait_s
        while len(payments) < MOST_PAYMENTS:
            after = payments[-1].pay_index if payments else pay_index
            params = {"lastpay_index": after, "timeout": timeout}
            try:
                payments.append(self._one_payment(params))
            except Refused as refused:
                if refused.code == TIMED_OUT:
                    break
                raise _refusal("waitanyinvoice", refused) from None
            except RailDown:
                if payments:
                    break  # what was seen is not lost with the connection
                raise
            timeout = 0
        return tuple(payments)

    def _one_payment(self, params: Mapping[str, Any]) -> Payment:
        row = self._call("waitanyinvoice", params)
        return _typed(lambda: payment(row))

    # -- paying ---------------------------------------------------------------------------

    def decode(self, text: str) -> DecodedInvoice:
        """See `Rail.decode`. BOLT 11 is read here, a BOLT 12 invoice by the node."""
        if not text.startswith("lni1"):
            return decode_bolt11(text)
        row = self._ask("decode", string=text)
        if row.get("type") != "bolt12 invoice" or row.get("valid") is not True:
            raise RailRefused("not a valid BOLT 12 invoice")
        return _typed(lambda: bolt12_invoice(row))

    def pay(self, order: PaymentOrder) -> PayOutcome:
        """See `Rail.pay`."""
        wrong = self._mismatch(order)
        if wrong is not None:
            return wrong
        try:
            before = self.attempts(order.payment_hash)
        except RailError as error:
            return Unknown(f"not tried, since earlier attempts cannot be seen: {error}")
        settled = _settled(before)
        if settled is not None:
            return settled
        try:
            method, params = self._request(order)
            return _paid(order, self.caller.call(method, params))
        except Refused as refused:
            return self._judge(order, refused)
        except Lost as lost:
            return self._look_again(order, str(lost))

    def _mismatch(self, order: PaymentOrder) -> PayOutcome | None:
        """What keeps this order from being sent at all."""
        try:
            invoice = self.decode(order.bolt11)
        except RailDown as error:
            return Unknown(f"not tried: {error}")
        except RailError as error:
            return NotPaid(Reason.NOT_AS_ORDERED, str(error))
        if invoice.payment_hash != order.payment_hash:
            return NotPaid(Reason.NOT_AS_ORDERED, "the invoice has another payment hash")
        if invoice.amount_msat not in (None, order.amount_msat):
            text = f"the invoice asks for {invoice.amount_msat} msat, not {order.amount_msat}"
            return NotPaid(Reason.NOT_AS_ORDERED, text)
        return None

    def _request(self, order: PaymentOrder) -> tuple[str, dict[str, Any]]:
        open_amount = self.decode(order.bolt11).amount_msat is None
        if open_amount and self.capped:
            # sendamount takes its fee out of the amount: with the greatest fee added, the payee
            # gets what was ordered and what remained of the fee.
            total = order.amount_msat + order.max_fee_msat
            return "sendamount", {"invstring": order.bolt11, "amount_msat": total}
        params: dict[str, Any] = {
            "invstring": order.bolt11,
            "maxfee": order.max_fee_msat,
            "retry_for": order.patience_s,
        }
        return "xpay", {**params, "amount_msat": order.amount_msat} if open_amount else params

    def _judge(self, order: PaymentOrder, refused: Refused) -> PayOutcome:
        """No code alone proves "not paid": the attempts do, and the end of the call."""
        try:
            attempts = self.attempts(order.payment_hash)
        except RailError as error:
            return Unknown(f"{refused}; and then {error}")
        settled = _settled(attempts)
        if settled is not None:
            return settled
        if refused.code == ALREADY_PAID:
            return Paid(None, order.amount_msat)  # paid, and its attempts were deleted since
        reason = _REASONS.get(refused.code)
        if reason is Reason.FORBIDDEN and _too_soon(refused):
            reason = Reason.TOO_SOON
        return Unknown(str(refused)) if reason is None else NotPaid(reason, str(refused))

    def _look_again(self, order: PaymentOrder, text: str) -> PayOutcome:
        """The call was cut off: only what is complete is certain."""
        try:
            settled = _settled(self.attempts(order.payment_hash))
        except RailError as error:
            return Unknown(f"{text}; and then {error}")
        return settled if isinstance(settled, Paid) else Unknown(text)

    def attempts(self, payment_hash: bytes) -> tuple[Attempt, ...]:
        """See `Rail.attempts`. listsendpays, never listpays: that one lags and leaves rows out."""
        rows = self._ask("listsendpays", payment_hash=payment_hash.hex()).get("payments")
        if not isinstance(rows, list):
            raise RailDown("listsendpays: not a list")
        return _typed(lambda: tuple(map(attempt, rows)))

    def invoice_from_offer(self, offer: str, amount_msat: int | None, wait_s: int) -> str:
        """See `Rail.invoice_from_offer`."""
        params: dict[str, Any] = {"offer": offer, "timeout": wait_s}
        if amount_msat is not None:
            params["amount_msat"] = amount_msat
        text = self._ask("fetchinvoice", **params).get("invoice")
        if not isinstance(text, str):
            raise RailRefused("fetchinvoice: no invoice came")
        return text

    # -- how it stands --------------------------------------------------------------------

    def health(self) -> RailHealth:
        """See `Rail.health`. What the access forbids is left out, not failed on."""
        self._ask("listinvoices", label=HEALTH_LABEL)  # the least access answers this
        info = self._if_allowed("getinfo")
        channels = self._if_allowed("listpeerchannels")
        configs = self._if_allowed("listconfigs", config="xpay-slow-mode")
        return _typed(lambda: node_health(info, channels, configs))

    def check_rune(self, rune: str, method: str, params: object, node_id: str) -> str:
        """Ask the node whether it would carry out a call with this rune: its refusal, or "".

        :param node_id: of the peer who would ask; empty for nobody.
        :raises RailDown: when it does not answer.
        """
        asked = {"rune": rune, "method": method, "params": params}
        try:
            self._call("checkrune", {**asked, "nodeid": node_id} if node_id else asked)
        except Refused as refused:
            return str(refused)
        return ""

    def _if_allowed(self, method: str, **params: Any) -> dict[str, Any]:
        try:
            return self._ask(method, **params)
        except (RailForbids, RailRefused):
            return {}


def _typed(read: Callable[[], _T]) -> _T:
    """Read the node's answer; one that does not fit is none."""
    try:
        return read()
    except (ValueError, AttributeError, TypeError) as error:
        raise RailDown(f"the node's answer does not fit: {error}") from None


def _too_soon(refused: Refused) -> bool:
    """Whether a rune only delays this call: its `rate` or `per`."""
    return refused.code in _FORBIDDEN and "too soon" in str(refused)


def _refusal(method: str, refused: Refused) -> RailError:
    if _too_soon(refused):
        return RailDown(f"{method}: {refused}")
    if refused.code in _FORBIDDEN:
        return RailForbids(f"{method}: {refused}")
    return RailRefused(f"{method}: {refused}")


def _check_text(invoice: Invoice, description: str) -> None:
    """Hold the text that payers will read against what was asked for."""
    said = decode_bolt11(invoice.bolt11)
    asked = (invoice.payment_hash, invoice.amount_msat, _sha256(description))
    if (said.payment_hash, said.amount_msat, said.description_sha256) != asked:
        raise RailRefused(f"invoice {invoice.label}: its text is not what was asked for")


def _sha256(description: str) -> bytes:
    return hashlib.sha256(description.encode()).digest()


def _settled(attempts: tuple[Attempt, ...]) -> PayOutcome | None:
    """What the attempts say for certain; None when they leave the question to the call."""
    for one in attempts:
        if one.status is AttemptStatus.COMPLETE:
            return Paid(one.preimage, sum(a.sent_msat for a in attempts if a.status is one.status))
    if any(one.status is AttemptStatus.PENDING for one in attempts):
        return Unknown("an attempt is still under way")
    return None


def _paid(order: PaymentOrder, row: Mapping[str, Any]) -> PayOutcome:
    try:
        preimage, sent = digest(row, "payment_preimage"), whole(row, "amount_sent_msat")
        check_preimage(preimage, order.payment_hash)
    except Unfit as error:
        return Unknown(f"the node says it paid, and its answer does not fit: {error}")
    return Paid(preimage, sent)
