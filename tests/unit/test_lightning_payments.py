"""Every row of the table "situation, answer" of docs/settlement.md: the node's answer, and what the
rail makes of it. Time is virtual; the node is the double, which agrees with recordings.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from agent.core.payout import QUIET_NS, Payout, PayoutKind, PayoutState, traced
from agent.sandbox.lightningd.caller import DirectCaller
from agent.sandbox.lightningd.command import Command
from agent.sandbox.lightningd.methods import make_node
from agent.sandbox.lightningd.network import ACTIONS, Fault, Network
from agent.sandbox.lightningd.node import Node
from agent.sandbox.lightningd.refusal import Refusal
from agent.settle.calls import Refused
from agent.settle.errands import read_attempts
from agent.settle.lightning import LightningNode
from agent.settle.rail import (
    MOST_PATIENCE_S,
    Attempt,
    AttemptStatus,
    NotPaid,
    Paid,
    PaymentOrder,
    RailDown,
    RailError,
    RailForbids,
    Reason,
    Unknown,
)
from tests.fakes.cln_replay import VirtualTime


@dataclass(slots=True)
class World:
    """A payer, a payee, and time."""

    time: VirtualTime
    network: Network
    payer: Node
    payee: Node

    @property
    def rail(self) -> LightningNode:
        return LightningNode(DirectCaller(self.payer))

    def passes(self, seconds: float) -> None:
        self.time.now += seconds
        self.network.advance()

    def order(self, label: str = "rebate", amount_msat: int = 60_000, **more: int) -> PaymentOrder:
        """An invoice of the payee, and the order to pay it."""
        expiry = more.pop("expiry", 3600)
        made = self.payee.call(
            "invoice", amount_msat=amount_msat, label=label, description="rebate", expiry=expiry
        )
        hashed = bytes.fromhex(made["payment_hash"])
        return PaymentOrder(made["bolt11"], hashed, amount_msat, more.pop("max_fee_msat", 1000))

    def xpay(self, order: PaymentOrder) -> Command:
        return self.payer.start("xpay", {"invstring": order.bolt11, "retry_for": 45})

    def code(self, order: PaymentOrder) -> int | None:
        """The bare node's answer; None for a success."""
        try:
            self.xpay(order).answer()
        except Refusal as refusal:
            return refusal.code
        return None

    def received(self) -> int:
        """How often the payee was paid."""
        rows = self.payee.call("listinvoices")["invoices"]
        return sum(row["status"] == "paid" for row in rows)


@pytest.fixture
def world() -> World:
    time = VirtualTime(1_795_338_310)
    network = Network(time, seed=7)
    return World(time, network, make_node(network, "payer"), make_node(network, "payee"))


def test_a_payment(world: World) -> None:
    order = world.order()
    outcome = world.rail.pay(order)
    assert isinstance(outcome, Paid)
    assert outcome.sent_msat == 60_001
    assert outcome.preimage is not None
    assert hashlib.sha256(outcome.preimage).digest() == order.payment_hash


def test_already_paid_is_219_and_means_paid(world: World) -> None:
    order = world.order()
    first = world.rail.pay(order)
    assert world.code(order) == 219
    assert world.rail.pay(order) == first
    again = world.payer.call("pay", bolt11=order.bolt11)  # the older command: the earlier success
    assert again["payment_preimage"] == first.preimage.hex()  # type: ignore[union-attr]
    assert world.received() == 1


def test_already_paid_without_a_trace_is_paid_without_a_proof(world: World) -> None:
    """The node's records of old payments may have been cleaned away; 219 still says it."""
    order = world.order()

    class Forgetful(DirectCaller):
        def call(self, method: str, params: object) -> dict[str, object]:  # type: ignore[override]
            if method == "listsendpays":
                return {"payments": []}
            return super().call(method, params)  # type: ignore[arg-type]

    assert isinstance(world.rail.pay(order), Paid)
    assert LightningNode(Forgetful(world.payer)).pay(order) == Paid(None, 60_000)


def test_paid_and_then_expired_is_207_and_means_paid(world: World) -> None:
    order = world.order(expiry=10)
    paid = world.rail.pay(order)
    world.passes(12)
    assert world.code(order) == 207
    assert world.rail.pay(order) == paid


def test_expired_and_never_paid_is_207_and_means_not_paid(world: World) -> None:
    order = world.order(expiry=10)
    world.passes(12)
    assert world.code(order) == 207
    outcome = world.rail.pay(order)
    assert isinstance(outcome, NotPaid)
    assert (outcome.reason, outcome.retryable) == (Reason.EXPIRED, False)


def test_in_flight_is_minus_3_and_unknown_and_no_second_htlc(world: World) -> None:
    order = world.order()
    world.network.holds.everything = True
    running = world.xpay(order)
    assert not running.done
    assert world.code(order) == -3
    assert isinstance(world.rail.pay(order), Unknown)
    assert len(world.network.htlcs) == 1
    world.network.holds.everything = False
    world.network.advance()
    assert isinstance(world.rail.pay(order), Paid)
    assert world.received() == 1


def test_two_at_once_are_one_payment(world: World) -> None:
    """The pending attempt appears between our look and our call: the node itself refuses then."""
    order = world.order()
    world.network.holds.everything = True

    class Races(DirectCaller):
        def call(self, method: str, params: object) -> dict[str, object]:  # type: ignore[override]
            if method == "xpay":
                world.xpay(order)
            return super().call(method, params)  # type: ignore[arg-type]

    outcome = LightningNode(Races(world.payer)).pay(order)
    assert isinstance(outcome, Unknown)
    assert len(world.network.htlcs) == 1


def test_a_retry_after_a_crash_is_205_while_the_htlc_is_pending(world: World) -> None:
    order = world.order()
    world.network.faults.append(Fault("payer", "paid", "kill"))
    assert isinstance(world.rail.pay(order), Unknown)
    world.payer.restart(channel_after_s=30)
    assert world.code(order) == 205
    outcome = world.rail.pay(order)
    assert isinstance(outcome, Unknown), "205 is not a proof: the payee has the money"
    assert world.received() == 1
    world.passes(30)
    assert isinstance(world.rail.pay(order), Paid)
    assert world.received() == 1


def test_no_route_is_205_and_may_be_tried_again(world: World) -> None:
    order = world.order()
    world.payer.disconnect(60)
    assert world.code(order) == 205
    outcome = world.rail.pay(order)
    assert isinstance(outcome, NotPaid)
    assert (outcome.reason, outcome.retryable) == (Reason.NO_ROUTE, True)
    assert world.rail.attempts(order.payment_hash) == ()
    world.passes(60)
    assert isinstance(world.rail.pay(order), Paid)


def test_more_than_there_is_to_spend_is_205(world: World) -> None:
    world.payer.spendable_msat = 59_000
    order = world.order()
    assert world.code(order) == 205
    outcome = world.rail.pay(order)
    assert isinstance(outcome, NotPaid)
    assert outcome.reason is Reason.NO_ROUTE


def test_a_fee_above_the_cap_is_206(world: World) -> None:
    order = world.order(amount_msat=100_000_000, max_fee_msat=1000)
    outcome = world.rail.pay(order)
    assert isinstance(outcome, NotPaid)
    assert (outcome.reason, outcome.retryable) == (Reason.TOO_DEAR, True)
    with pytest.raises(Refusal) as refused:
        world.payer.call("xpay", invstring=order.bolt11, maxfee=1000)
    assert refused.value.code == 206
    with pytest.raises(Refusal) as refused:
        world.payer.call("xpay", invstring=order.bolt11, maxdelay=1)
    assert refused.value.code == 206
    dearer = PaymentOrder(order.bolt11, order.payment_hash, order.amount_msat, 1001)
    assert isinstance(world.rail.pay(dearer), Paid)


def test_a_deleted_invoice_is_203(world: World) -> None:
    order = world.order()
    world.payee.call("delinvoice", label="rebate", status="unpaid")
    assert world.code(order) == 203
    outcome = world.rail.pay(order)
    assert isinstance(outcome, NotPaid)
    assert (outcome.reason, outcome.retryable) == (Reason.PAYEE_REFUSES, False)
    statuses = {one.status for one in world.rail.attempts(order.payment_hash)}
    assert statuses == {AttemptStatus.FAILED}


def test_expired_while_held_is_203(world: World) -> None:
    order = world.order(expiry=10)
    world.network.holds.everything = True
    running = world.xpay(order)
    world.passes(12)
    assert isinstance(world.rail.pay(order), Unknown)
    world.network.holds.everything = False
    world.network.advance()
    with pytest.raises(Refusal) as refused:
        running.answer()
    assert refused.value.code == 203
    outcome = world.rail.pay(order)
    assert isinstance(outcome, NotPaid)
    assert outcome.reason is Reason.EXPIRED


def test_an_unreachable_payee_is_209_and_then_205_for_a_while(world: World) -> None:
    order = world.order()
    world.payee.disconnect(60)
    outcome = world.rail.pay(order)
    assert isinstance(outcome, NotPaid)
    assert (outcome.reason, outcome.retryable) == (Reason.PAYEE_OFFLINE, True)
    assert "(209)" in outcome.text
    world.passes(61)
    outcome = world.rail.pay(order)  # it remembers the failure
    assert isinstance(outcome, NotPaid)
    assert (outcome.reason, outcome.retryable) == (Reason.NO_ROUTE, True)
    world.passes(3600)
    fresh = world.order("fresh")
    assert isinstance(world.rail.pay(fresh), Paid)


def test_an_offer_is_paid_twice_by_the_node_and_never_by_the_rail(world: World) -> None:
    offer = world.payee.call("offer", amount=1000, description="rebates")["bolt12"]
    for _ in range(2):
        world.payer.call("xpay", invstring=offer)
    assert world.received() == 2
    outcome = world.rail.pay(PaymentOrder(offer, bytes(32), 1000, 1000))
    assert isinstance(outcome, NotPaid)
    assert outcome.reason is Reason.NOT_AS_ORDERED
    assert world.received() == 2


def test_an_offer_s_invoice_is_fetched_kept_and_paid_once(world: World) -> None:
    offer = world.payee.call("offer", amount=1000, description="rebates")["bolt12"]
    text = world.rail.invoice_from_offer(offer, None, 10)
    said = world.rail.decode(text)
    assert (said.amount_msat, said.network) == (1000, "regtest")
    assert said.payee == world.payee.key.public
    order = PaymentOrder(text, said.payment_hash, 1000, 1000)
    first = world.rail.pay(order)
    assert isinstance(first, Paid)
    assert world.rail.pay(order) == first
    assert world.received() == 1


def test_a_deadline_that_passes_leaves_it_unknown(world: World) -> None:
    order = world.order()
    world.network.faults.append(Fault("payer", "reply", "hang", "xpay"))
    outcome = world.rail.pay(order)  # paid, and the answer does not come
    assert world.received() == 1
    assert isinstance(outcome, Paid), "the attempts were still there to be read"
    order = world.order("second")
    world.network.faults += [
        Fault("payer", "reply", "hang", "xpay"),
        Fault("payer", "request", "hang", "listsendpays"),
    ]
    rail = world.rail
    outcome = rail.pay(order)
    assert isinstance(outcome, Unknown)  # not even looked at: earlier attempts cannot be seen
    world.network.faults.clear()
    assert isinstance(rail.pay(order), Paid)
    assert world.received() == 2


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("point", ["request", "attempt", "sent", "paid", "reply"])
def test_whatever_strikes_wherever_it_is_paid_exactly_once(
    world: World, point: str, action: str
) -> None:
    order = world.order()
    world.network.faults.append(Fault("payer", point, action, "xpay" if point == "reply" else ""))
    outcomes = [world.rail.pay(order)]
    if not world.payer.up:
        world.payer.restart(channel_after_s=5)
    for _ in range(6):
        outcomes.append(world.rail.pay(order))
        world.passes(5)
    assert isinstance(outcomes[-1], Paid)
    assert world.received() == 1
    assert world.payee.invoices["rebate"].received_msat == 60_000
    assert not any(isinstance(outcome, NotPaid) and not outcome.retryable for outcome in outcomes)


def test_a_payee_that_dies_while_it_holds_the_money_gets_it_once(world: World) -> None:
    order = world.order()
    world.network.holds.everything = True
    running = world.xpay(order)
    world.payee.kill()
    world.network.holds.everything = False
    world.network.advance()
    assert not running.done
    assert isinstance(world.rail.pay(order), Unknown)
    world.payee.restart()
    assert running.done
    assert isinstance(world.rail.pay(order), Paid)
    assert world.received() == 1


def test_an_order_that_is_not_the_invoice_is_never_sent(world: World) -> None:
    order = world.order()
    other = world.order("other", amount_msat=70_000)
    wrong = [
        PaymentOrder(order.bolt11, other.payment_hash, 60_000, 1000),
        PaymentOrder(order.bolt11, order.payment_hash, 60_001, 1000),
        PaymentOrder(order.bolt11[:-1], order.payment_hash, 60_000, 1000),
        PaymentOrder("lnbc1", order.payment_hash, 60_000, 1000),
    ]
    for one in wrong:
        outcome = world.rail.pay(one)
        assert isinstance(outcome, NotPaid)
        assert (outcome.reason, outcome.retryable) == (Reason.NOT_AS_ORDERED, False)
    assert world.payer.payments == []


def test_the_payer_chooses_the_amount_where_the_invoice_does_not(world: World) -> None:
    made = world.payee.call("invoice", amount_msat="any", label="any", description="rebate")
    order = PaymentOrder(made["bolt11"], bytes.fromhex(made["payment_hash"]), 5000, 1000)
    assert isinstance(world.rail.pay(order), Paid)
    assert world.payee.invoices["any"].received_msat == 5000


def test_through_a_capped_rune_the_payee_still_gets_what_was_ordered(world: World) -> None:
    """sendamount takes its fee from what it sends; it sends the greatest fee as well."""
    made = world.payee.call("invoice", amount_msat="any", label="any", description="rebate")
    order = PaymentOrder(made["bolt11"], bytes.fromhex(made["payment_hash"]), 5000, 100)
    outcome = LightningNode(DirectCaller(world.payer), capped=True).pay(order)
    assert isinstance(outcome, Paid)
    assert outcome.sent_msat == 5100
    assert world.payee.invoices["any"].received_msat == 5099


def test_an_answer_with_another_preimage_is_no_proof(world: World) -> None:
    class Lies(DirectCaller):
        def call(self, method: str, params: object) -> dict[str, object]:  # type: ignore[override]
            answer = super().call(method, params)  # type: ignore[arg-type]
            return {**answer, "payment_preimage": "00" * 32} if method == "xpay" else answer

    assert isinstance(LightningNode(Lies(world.payer)).pay(world.order()), Unknown)


LIFE_NS = 3600 * 10**9
ATTEMPTS = {
    status: Attempt(status, 1, 1, 0, None, bytes(32) if status == "complete" else None)
    for status in AttemptStatus
}


@pytest.mark.parametrize(
    ("attempts", "since_ns", "stopped", "state"),
    [
        ((), 0, True, PayoutState.PAYING),
        ((), QUIET_NS, True, PayoutState.FAILED_SAFE),
        ((AttemptStatus.FAILED,), QUIET_NS - 1, True, PayoutState.PAYING),
        ((AttemptStatus.FAILED, AttemptStatus.FAILED), QUIET_NS, True, PayoutState.FAILED_SAFE),
        ((AttemptStatus.FAILED,), QUIET_NS, False, PayoutState.PAYING),  # it may be tried again
        ((AttemptStatus.FAILED,), LIFE_NS + QUIET_NS, False, PayoutState.FAILED_SAFE),
        ((AttemptStatus.FAILED, AttemptStatus.PENDING), 10**18, True, PayoutState.PAYING),
        ((AttemptStatus.FAILED, AttemptStatus.COMPLETE), 0, True, PayoutState.PAID),
    ],
)
def test_what_counts_as_failed(
    attempts: tuple[AttemptStatus, ...], since_ns: int, stopped: bool, state: PayoutState
) -> None:
    """Only then is another invoice taken in place of this one."""
    told = Payout(
        *("rebate/0", PayoutKind.REBATE, 1, PayoutState.PAYING, 0),
        ordered_ns=1,
        expire_ns=1 + LIFE_NS,
        stopped=stopped,
    )
    trace, preimage, _ = read_attempts([ATTEMPTS[status] for status in attempts])
    assert traced(told, trace, preimage, 0, 1 + since_ns).state is state


def test_listpays_lags_behind_what_counts(world: World) -> None:
    """Why attempts are read from listsendpays: the other still says "pending", of 0 msat."""
    order = world.order()
    world.payee.call("delinvoice", label="rebate", status="unpaid")
    world.rail.pay(order)
    late = world.payer.call("listpays", bolt11=order.bolt11)["pays"]
    assert [(row["status"], row["amount_sent_msat"]) for row in late] == [("pending", 0)]
    assert [one.status for one in world.rail.attempts(order.payment_hash)] == ["failed"]


def test_a_node_that_is_down_leaves_everything_open(world: World) -> None:
    order = world.order()
    world.payer.kill()
    assert isinstance(world.rail.pay(order), Unknown)
    with pytest.raises(RailDown):
        world.rail.attempts(order.payment_hash)


@pytest.mark.parametrize(
    ("words", "error", "reason", "again"),
    [
        ("Not permitted: too soon", RailDown, Reason.TOO_SOON, True),
        ("Not permitted: method is not equal to invoice", RailForbids, Reason.FORBIDDEN, False),
    ],
)
def test_a_rune_that_only_delays_forbids_nothing(
    world: World, words: str, error: type[RailError], reason: Reason, *, again: bool
) -> None:
    class Refusing(DirectCaller):
        """The payer's node, for whom a rune permits everything but this."""

        def __init__(self, method: str) -> None:
            super().__init__(world.payer)
            self.method = method

        def call(self, method: str, params: Mapping[str, Any]) -> dict[str, Any]:
            if method == self.method:
                raise Refused(1502, words)
            return super().call(method, params)

    with pytest.raises(error, match="ermitted"):
        LightningNode(Refusing("listsendpays")).attempts(bytes(32))
    outcome = LightningNode(Refusing("xpay")).pay(world.order())
    assert isinstance(outcome, NotPaid)
    assert (outcome.reason, outcome.retryable) == (reason, again)


@pytest.mark.parametrize("patience_s", [0, MOST_PATIENCE_S + 1])
def test_an_order_s_patience_is_bounded(patience_s: int) -> None:
    with pytest.raises(ValueError, match="patience"):
        PaymentOrder("x", bytes(32), 1, 1, patience_s)
