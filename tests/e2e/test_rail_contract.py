"""What every rail keeps, asked of each of them: over the socket, over commando, and real nodes.

Real ones are asked when HEARTH_CLN_SOCKETS names two lightning-rpc sockets, the operator's first,
separated by a comma, with a channel that can carry a few satoshis from the second to the first.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from agent.sandbox.lightningd.hosting import Hosting
from agent.sandbox.lightningd.methods import make_node
from agent.sandbox.lightningd.network import Fault, Network
from agent.settle.access import RuneAccess, SocketAccess
from agent.settle.audit import Purpose, restrictions
from agent.settle.none import NoRail
from agent.settle.rail import (
    AttemptStatus,
    InvoiceStatus,
    LabelTaken,
    NotOffered,
    NotPaid,
    Paid,
    PaymentOrder,
    Rail,
    RailDown,
    RailForbids,
    RailRefused,
    Reason,
    Unknown,
)
from agent.settle.remote import Deadlines, RemoteRail

REAL = "HEARTH_CLN_SOCKETS"


@dataclass(slots=True)
class Rig:
    """Two rails that can pay each other; `hosting` where the nodes are doubles."""

    operator: RemoteRail
    exchange: RemoteRail
    hosting: Hosting | None = None

    def label(self) -> str:
        return f"hearth/test/{uuid.uuid4().hex}/1"

    async def owed(self, amount_msat: int = 21_000, expiry_s: int = 600) -> PaymentOrder:
        """An invoice of the operator, as an order for the exchange."""
        made = await self.operator.invoice(self.label(), amount_msat, "owed", expiry_s)
        return PaymentOrder(made.bolt11, made.payment_hash, amount_msat, 5000)

    async def newest(self) -> int:
        """The pay index of the last payment so far."""
        index = 0
        while payments := await self.operator.paid_after(index, 0):
            index = payments[-1].pay_index
        return index


def rune(node: object, wanted: list[list[str]]) -> str:
    return str(node.call("createrune", restrictions=wanted)["rune"])  # type: ignore[attr-defined]


def commando(hosting: Hosting, name: str, pay: list[list[str]] | None = None) -> RuneAccess:
    """Access by the runes that `hearth settlement setup` writes out."""
    node = hosting.network.nodes[name]
    wanted = pay or restrictions(Purpose.PAY, most_msat=1_000_000, every="1min")
    return RuneAccess(
        node_id=node.node_id,
        host="127.0.0.1",
        port=node.commando_port,
        invoice_rune=rune(node, restrictions(Purpose.INVOICE)),
        pay_rune=rune(node, wanted),
        payments_rune=rune(node, restrictions(Purpose.PAYMENTS)),
    )


async def doubles(stack: AsyncExitStack, tmp_path: Path, way: str) -> Rig:
    network = Network()
    for name in ("operator", "exchange"):
        make_node(network, name)
    hosting = await stack.enter_async_context(Hosting(network, tmp_path, peers=way == "commando"))
    deadlines = Deadlines(command_s=10, margin_s=5)
    rails = []
    for name in ("operator", "exchange"):
        socket = SocketAccess(str(hosting.socket(name)))
        access = commando(hosting, name, [["method=xpay"]]) if way == "commando" else socket
        rails.append(RemoteRail(way, access, deadlines))
    return Rig(rails[0], rails[1], hosting)


@pytest.fixture(params=["socket", "commando", "real"])
async def rig(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Rig]:
    async with AsyncExitStack() as stack:
        if request.param == "real":
            sockets = os.environ.get(REAL, "")
            if not sockets:
                pytest.skip(f"no Core Lightning nodes here: set {REAL}=<operator>,<exchange>")
            operator, exchange = (
                RemoteRail("cln", SocketAccess(path)) for path in sockets.split(",")
            )
            made = Rig(operator, exchange)
        else:
            made = await doubles(stack, tmp_path, request.param)
        stack.push_async_callback(made.operator.close)
        stack.push_async_callback(made.exchange.close)
        yield made


async def test_an_invoice_is_made_once(rig: Rig) -> None:
    label = rig.label()
    made = await rig.operator.invoice(label, 21_000, "receipts to 7", 600)
    assert await rig.operator.invoice(label, 21_000, "receipts to 7", 600) == made
    assert await rig.operator.invoice(label, 21_000, "receipts to 7", 60) == made
    with pytest.raises(LabelTaken):
        await rig.operator.invoice(label, 21_001, "receipts to 7", 600)
    with pytest.raises(LabelTaken):
        await rig.operator.invoice(label, 21_000, "receipts to 8", 600)


async def test_an_invoice_says_what_was_asked_for(rig: Rig) -> None:
    text = "canonical text " * 100  # too long to stand in an invoice, so only its hash does
    made = await rig.operator.invoice(rig.label(), 21_000, text, 600)
    said = await rig.exchange.decode(made.bolt11)
    assert said.payment_hash == made.payment_hash
    assert said.amount_msat == 21_000
    assert said.description is None
    assert said.description_sha256 == hashlib.sha256(text.encode()).digest()
    assert said.expire_ns == made.expire_ns
    assert said.expire_ns - said.created_ns == 600 * 1_000_000_000


async def test_what_the_node_would_choke_on_does_not_reach_it(rig: Rig) -> None:
    for amount, expiry, label in (
        (0, 600, "a"), (-1, 600, "b"), (1, -1, "c"), (1, 0, "d"), (1, 10**6, "e"),
        (1, 60, "L" * 129),
    ):  # fmt: skip
        with pytest.raises(RailRefused):
            await rig.operator.invoice(f"hearth/{label}", amount, "x", expiry)
    assert await rig.operator.invoice_state("hearth/a") is None


async def test_a_payment_is_seen_by_both(rig: Rig) -> None:
    order = await rig.owed()
    before = await rig.newest()
    waiting = asyncio.create_task(rig.operator.paid_after(before, 20))
    await asyncio.sleep(0.2)
    assert not waiting.done()
    outcome = await rig.exchange.pay(order)
    assert isinstance(outcome, Paid)
    assert outcome.preimage is not None
    assert hashlib.sha256(outcome.preimage).digest() == order.payment_hash
    assert outcome.sent_msat >= 21_000
    (payment,) = await waiting
    assert payment.preimage == outcome.preimage
    assert (payment.amount_received_msat, payment.pay_index) == (21_000, before + 1)
    state = await rig.operator.invoice_state(payment.label)
    assert state is not None
    assert (state.status, state.payment) == (InvoiceStatus.PAID, payment)
    (attempt,) = await rig.exchange.attempts(order.payment_hash)
    assert (attempt.status, attempt.preimage) == (AttemptStatus.COMPLETE, outcome.preimage)


async def test_the_same_order_pays_once(rig: Rig) -> None:
    order = await rig.owed()
    before = await rig.newest()
    first = await rig.exchange.pay(order)
    assert isinstance(first, Paid)
    assert await rig.exchange.pay(order) == first
    assert len(await rig.operator.paid_after(before, 0)) == 1


async def test_payments_are_seen_again_from_any_index(rig: Rig) -> None:
    before = await rig.newest()
    for _ in range(3):
        assert isinstance(await rig.exchange.pay(await rig.owed()), Paid)
    seen = await rig.operator.paid_after(before, 5)
    assert [one.pay_index for one in seen] == [before + 1, before + 2, before + 3]
    await rig.operator.close()  # the daemon restarts
    again = RemoteRail("again", rig.operator._access)
    try:
        assert await again.paid_after(before + 1, 5) == seen[1:]
    finally:
        await again.close()


async def test_waiting_for_nothing_ends(rig: Rig) -> None:
    assert await rig.operator.paid_after(await rig.newest(), 1) == ()


async def test_an_expired_invoice_is_not_paid(rig: Rig) -> None:
    label = rig.label()
    made = await rig.operator.invoice(label, 21_000, "soon over", 4)
    state = await rig.operator.invoice_state(label)
    assert state is not None
    assert state.status is InvoiceStatus.UNPAID
    await asyncio.sleep(5.5)
    outcome = await rig.exchange.pay(PaymentOrder(made.bolt11, made.payment_hash, 21_000, 5000))
    assert isinstance(outcome, NotPaid)
    assert outcome.reason is Reason.EXPIRED
    state = await rig.operator.invoice_state(label)
    assert state is not None
    assert (state.status, state.payment) == (InvoiceStatus.EXPIRED, None)
    assert await rig.exchange.attempts(made.payment_hash) == ()


async def test_what_was_never_asked_is_not_there(rig: Rig) -> None:
    assert await rig.operator.invoice_state(rig.label()) is None
    assert await rig.exchange.attempts(bytes(32)) == ()


async def test_text_that_is_no_invoice_is_refused(rig: Rig) -> None:
    for text in ("", "lnbc1", "hearth"):
        with pytest.raises(RailRefused):
            await rig.exchange.decode(text)


async def test_a_node_that_goes_and_comes(rig: Rig) -> None:
    if rig.hosting is None:
        pytest.skip("a real node is not ours to kill")
    order = await rig.owed()
    rig.hosting.kill("exchange")
    assert isinstance(await rig.exchange.pay(order), Unknown)
    with pytest.raises(RailDown):
        await rig.exchange.health()
    await rig.hosting.restart("exchange")
    assert isinstance(await rig.exchange.pay(order), Paid)


async def test_a_payment_in_flight_is_unknown_until_it_is_known(rig: Rig) -> None:
    if rig.hosting is None:
        pytest.skip("a real node has no faults to inject")
    order = await rig.owed()
    network = rig.hosting.network
    network.faults.append(Fault("exchange", "paid", "kill"))
    assert isinstance(await rig.exchange.pay(order), Unknown)
    await rig.hosting.restart("exchange", channel_after_s=1)
    assert isinstance(await rig.exchange.pay(order), Unknown)
    await asyncio.sleep(1.5)
    assert isinstance(await rig.exchange.pay(order), Paid)


async def test_health_says_what_the_access_lets_it(rig: Rig) -> None:
    health = await rig.operator.health()
    assert health.node_id is not None
    if isinstance(rig.operator._access, SocketAccess):
        assert health.network is not None
        assert health.receivable_msat is not None
        assert "full control" in health.warnings[0]
    else:
        assert (health.network, health.receivable_msat) == (None, None)
        assert any("xpay, which can move money away" in line for line in health.warnings)


# -- commando alone ------------------------------------------------------------------------


async def test_the_least_runes_are_enough_and_no_more(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        rig = await doubles(stack, tmp_path, "commando")
        assert rig.hosting is not None
        access = commando(rig.hosting, "exchange")
        rail = RemoteRail("least", access)
        for one in (rig.operator, rig.exchange, rail):
            stack.push_async_callback(one.close)
        assert (await rail.health()).warnings == ()
        fixed = await rail.pay(await rig.owed())
        assert isinstance(fixed, NotPaid)
        assert fixed.reason is Reason.FORBIDDEN  # nothing caps the amount in an invoice
        node = rig.hosting.network.nodes["operator"]
        made = [node.call("invoice", amount_msat="any", label=one, description="") for one in "ab"]
        orders = [
            PaymentOrder(one["bolt11"], bytes.fromhex(one["payment_hash"]), 5000, 100)
            for one in made
        ]
        assert isinstance(await rail.pay(orders[0]), Paid)
        soon = await rail.pay(orders[1])
        assert isinstance(soon, NotPaid)
        assert (soon.reason, soon.retryable) == (Reason.TOO_SOON, True)
        with pytest.raises(RailForbids):
            await rail.invoice("not-ours/1", 1000, "another program's label", 600)


async def test_a_rune_that_is_bound_to_another_s_key_is_of_no_use(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        rig = await doubles(stack, tmp_path, "commando")
        assert rig.hosting is not None
        access = commando(rig.hosting, "operator")
        node = rig.hosting.network.nodes["operator"]
        key = bytes(31) + b"\x05"
        from agent.core.secp256k1 import compressed, times_generator

        mine = compressed(times_generator(5)).hex()
        bound = rune(node, restrictions(Purpose.INVOICE, node_id=mine))
        for held, allowed in ((key.hex(), True), ("", False)):
            parts = (access.node_id, access.host, access.port, bound)
            rail = RemoteRail("bound", RuneAccess(*parts, key=held))
            stack.push_async_callback(rail.close)
            if allowed:
                assert await rail.invoice_state("hearth/x") is None
            else:
                with pytest.raises(RailForbids):
                    await rail.invoice_state("hearth/x")
        stack.push_async_callback(rig.operator.close)
        stack.push_async_callback(rig.exchange.close)


async def test_a_node_that_is_not_the_one_it_should_be_gets_no_rune(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        rig = await doubles(stack, tmp_path, "commando")
        assert rig.hosting is not None
        nodes = rig.hosting.network.nodes
        access = commando(rig.hosting, "operator")
        other = RuneAccess(nodes["exchange"].node_id, access.host, access.port, access.invoice_rune)
        rail = RemoteRail("impostor", other, Deadlines(command_s=15))
        stack.push_async_callback(rail.close)
        with pytest.raises(RailDown):
            await rail.invoice_state("hearth/x")
        assert nodes["operator"].runes.last_used == {}


# -- no rail -------------------------------------------------------------------------------


async def test_no_rail_refuses_whatever_moves_money_and_waits_for_nothing() -> None:
    rail: Rail = NoRail()
    order = PaymentOrder("lnbc1", bytes(32), 1, 1)
    for act in (
        rail.invoice("hearth/x", 1, "x", 60),
        rail.decode("lnbc1"),
        rail.pay(order),
        rail.invoice_from_offer("lno1", None, 1),
    ):
        with pytest.raises(NotOffered, match="rail"):
            await act
    assert await rail.invoice_state("hearth/x") is None
    assert await rail.attempts(bytes(32)) == ()
    async with asyncio.timeout(1):
        assert await rail.paid_after(0, 3600) == ()
    assert (await rail.health()).warnings == ()
    await rail.close()
