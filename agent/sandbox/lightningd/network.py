"""Nodes, the money between them, and what goes wrong on the way."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from agent.core.bolt11 import Bolt11
from agent.sandbox.lightningd.command import Command, Interrupted
from agent.sandbox.lightningd.records import Htlc, Payment
from agent.sandbox.lightningd.refusal import Code
from agent.sandbox.lightningd.signer import NodeKey

NAME = "regtest"
UNKNOWN_DETAILS = (
    Code.PAYEE_REFUSES,
    "Destination said it doesn't know invoice: incorrect_or_unknown_payment_details",
)
# Where a fault can strike. request: before anything is done; attempt: the payment is recorded and
# nothing sent; sent: it is on its way; paid: the payee has it and the payer does not know;
# reply: all is done and recorded.
POINTS = ("request", "attempt", "sent", "paid", "reply")
ACTIONS = ("kill", "drop", "hang")


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens once to a node, at a point of its next call of `method` (empty: any)."""

    node: str
    point: str
    action: str
    method: str = ""

    def __post_init__(self) -> None:
        if self.point not in POINTS or self.action not in ACTIONS:
            raise ValueError(f"a fault is one of {ACTIONS} at one of {POINTS}")


@dataclass(frozen=True, slots=True)
class Habits:
    """How this network behaves. Fees as recorded: 1 msat and 10 ppm for one hop."""

    fee_base_msat: int = 1
    fee_ppm: int = 10
    latency_s: float = 0.0
    listpays_lag_s: float = 1.0  # as long a failed payment is still shown as pending

    def fee_msat(self, amount_msat: int) -> int:
        """What the router takes."""
        return self.fee_base_msat + amount_msat * self.fee_ppm // 1_000_000


@dataclass(slots=True)
class Holds:
    """Payments that their payee neither takes nor returns, as a hold plugin does it."""

    everything: bool = False
    hashes: set[str] = field(default_factory=set)

    def holds(self, payment_hash: str) -> bool:
        """Whether this one is held."""
        return self.everything or payment_hash in self.hashes


class Member(Protocol):
    """What the network sees of a node: whom it carries money to and from, who runs and who dies."""

    name: str
    spendable_msat: int
    up: bool
    commands: list[Command]

    @property
    def node_id(self) -> str:
        """Hex of its public key."""
        ...

    @property
    def connected(self) -> bool:
        """Whether its channel carries anything."""
        ...

    def kill(self) -> None:
        """Die as of kill -9: what runs is lost, what is recorded stays."""
        ...

    def cut_off_payments(self, action: str) -> None:
        """Let the callers of running payments wait in vain; the payments go on."""
        ...

    def wake_times(self) -> Iterable[float]:
        """When time alone changes something there."""
        ...

    def expire_invoices(self) -> bool:
        """Mark what is over; whether anything was."""
        ...

    def forget_unsent(self) -> bool:
        """After a restart, fail what was recorded and never left; whether there was any."""
        ...

    def accept(self, htlc: Htlc, arrived_msat: int) -> str:
        """Say "no", "more", or the preimage; a preimage means that it is paid and recorded."""
        ...

    def settle(self, htlc: Htlc) -> None:
        """Learn what became of a payment."""
        ...


N = TypeVar("N", bound=Member)


class Network(Generic[N]):
    """All nodes. Single-threaded: whoever changes something calls `advance`."""

    def __init__(
        self,
        clock: Callable[[], float] = time.time,
        *,
        habits: Habits | None = None,
        seed: int | None = None,
    ) -> None:
        self.clock = clock
        self.habits = habits or Habits()
        self.random = random.SystemRandom() if seed is None else random.Random(seed)  # noqa: S311
        self.router = NodeKey.named("router")
        self.nodes: dict[str, N] = {}  # by name
        self.htlcs: list[Htlc] = []
        self.holds = Holds()
        self.faults: list[Fault] = []
        self.issued: dict[str, Bolt11] = {}  # read without recovering the payee's key
        # What payers have learnt: the most that a payee can receive, and until when they think so.
        self.believed_msat: dict[str, tuple[int, float]] = {}
        self.saved: Callable[[], None] = lambda: None  # before anybody hears of a change
        self.changed: Callable[[], None] = lambda: None
        self._advancing = False

    def by_id(self, node_id: str) -> N | None:
        """The node with this id."""
        return next((node for node in self.nodes.values() if node.node_id == node_id), None)

    def random_hex(self, length: int = 32) -> str:
        """So many bytes nobody knows."""
        return self.random.randbytes(length).hex()

    def reach(self, node: N, point: str, method: str = "") -> Fault | None:
        """Come to a point; a fault that waits here strikes now, once.

        :raises Interrupted: when the node died of it.
        """
        for fault in self.faults:
            if fault.node == node.name and fault.point == point and fault.method in ("", method):
                self.faults.remove(fault)
                if fault.action == "kill":
                    node.kill()
                    raise Interrupted(f"{node.name} killed at {point}")
                if point not in ("request", "reply"):
                    node.cut_off_payments(fault.action)
                return fault
        return None

    def advance(self) -> None:
        """Let everything happen that can happen now."""
        if self._advancing:
            return
        self._advancing = True
        try:
            while self._round():
                pass
        finally:
            self._advancing = False
        self.saved()
        self.changed()

    def wake_at(self) -> float | None:
        """When time alone changes something next, in seconds since 1970."""
        times = [htlc.arrives_at for htlc in self.htlcs if htlc.state == "travelling"]
        for node in self.nodes.values():
            times += node.wake_times()
        now = self.clock()
        return min((at for at in times if at > now), default=None)

    def _round(self) -> bool:
        moved = False
        for node in self.nodes.values():
            if node.up:
                moved |= node.expire_invoices()
        for htlc in list(self.htlcs):
            try:
                moved |= self._move(htlc)
            except Interrupted:
                moved = True
        for node in self.nodes.values():
            moved |= node.forget_unsent()
            for command in list(node.commands):
                was = command.done
                with contextlib.suppress(Interrupted):
                    command.run()
                moved |= command.done and not was
            node.commands = [c for c in node.commands if not c.done and not c.lost]
        return moved

    def _move(self, htlc: Htlc) -> bool:
        payer, payee = self.by_id(htlc.payer), self.by_id(htlc.payee)
        if htlc.state == "travelling" and htlc.arrives_at <= self.clock():
            if payee is None or not payee.connected:
                return self._return(htlc, *UNKNOWN_DETAILS)
            htlc.state = "arrived"
            return True
        if htlc.state == "arrived" and not self.holds.holds(htlc.payment_hash):
            return payee is not None and payee.connected and self._take(htlc, payee)
        if htlc.state in ("kept", "returned") and payer is not None and payer.connected:
            payer.settle(htlc)
            self.htlcs.remove(htlc)
            return True
        return False

    def cancel(self, payment_hash: str) -> None:
        """Let the payee give back what it holds."""
        for htlc in self.htlcs:
            if htlc.payment_hash == payment_hash and htlc.state == "arrived":
                self._return(htlc, *UNKNOWN_DETAILS)
        self.advance()

    def _return(self, htlc: Htlc, code: int, words: str) -> bool:
        htlc.state, htlc.failure = "returned", (int(code), words)
        return True

    def _take(self, htlc: Htlc, payee: N) -> bool:
        """Give the parts of one payment to its payee, once they are enough."""
        parts = [
            other
            for other in self.htlcs
            if other.state == "arrived"
            and (other.payment_hash, other.payee) == (htlc.payment_hash, htlc.payee)
        ]
        verdict = payee.accept(htlc, sum(part.amount_msat for part in parts))
        if verdict == "more":
            return False
        if verdict == "no":
            return self._return(htlc, *UNKNOWN_DETAILS)
        for part in parts:
            part.state, part.preimage = "kept", verdict
        for part in parts:
            payer = self.by_id(part.payer)
            if payer is not None and payer.up:
                self.reach(payer, "paid")
        return True

    def send(self, node: N, payment: Payment, preimage: str | None = None) -> None:
        """Put a recorded payment on its way.

        :raises Interrupted: when a fault strikes before or after.
        """
        self.reach(node, "attempt")
        node.spendable_msat -= payment.sent_msat
        self.htlcs.append(
            Htlc(
                payer=node.node_id,
                payment_id=payment.id,
                payee=payment.destination,
                payment_hash=payment.payment_hash,
                amount_msat=payment.amount_msat,
                arrives_at=self.clock() + self.habits.latency_s,
                preimage=preimage,
            )
        )
        self.reach(node, "sent")
