"""One node: its books, its state, and the calls it answers."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agent.core.bolt11 import Bolt11, Hop
from agent.sandbox.lightningd.command import Answer, Command, Done, Interrupted
from agent.sandbox.lightningd.network import NAME, Network
from agent.sandbox.lightningd.params import Args, Param, read_params
from agent.sandbox.lightningd.records import Htlc, Invoice, Offer, Payment
from agent.sandbox.lightningd.refusal import Code, Refusal
from agent.sandbox.lightningd.runebook import RuneBook
from agent.sandbox.lightningd.signer import NodeKey, encode

VERSION = "v26.06.6"
WEEK_S = 604_800
FEATURES = bytes.fromhex("02024100")
CHANNEL = (117 << 40) | (1 << 16)  # 117x1x0


class Node:
    """A Core Lightning node with one channel to the network's router."""

    def __init__(
        self,
        network: Network[Node],
        name: str,
        methods: Mapping[str, Method],
        *,
        spendable_msat: int = 500_000_000,
        receivable_msat: int = 500_000_000,
        slow_mode: bool = True,
    ) -> None:
        self.network = network
        self.name = name
        self.methods = methods
        self.key = NodeKey.named(name)
        self.spendable_msat = spendable_msat
        self.receivable_msat = receivable_msat
        self.slow_mode = slow_mode
        self.invoices: dict[str, Invoice] = {}
        self.payments: list[Payment] = []
        self.offers: dict[str, Offer] = {}
        self.datastore: dict[tuple[str, ...], tuple[int, bytes]] = {}
        self.runes = RuneBook(self.key.secret, network.clock)
        self.peers: set[str] = set()  # ids of nodes that may speak commando through `commando`
        self.counters: dict[str, int] = {}
        self.up = True
        self.channel_back_at = 0.0
        self.commands: list[Command] = []
        self.allow_deprecated = True
        self.stopping = False
        self.commando_port = 0
        self.killed: Callable[[], None] = lambda: None
        network.nodes[name] = self

    @property
    def node_id(self) -> str:
        """Hex of its public key."""
        return self.key.node_id

    @property
    def now(self) -> int:
        """Seconds since 1970."""
        return int(self.network.clock())

    @property
    def connected(self) -> bool:
        """Whether its channel carries anything."""
        return self.up and self.network.clock() >= self.channel_back_at

    def count(self, what: str) -> int:
        """The next number of a series that starts at 1 and has no end of life."""
        self.counters[what] = self.counters.get(what, 0) + 1
        return self.counters[what]

    # -- its life -------------------------------------------------------------------------

    def kill(self) -> None:
        """Die as of kill -9: what runs is lost, what is recorded stays."""
        self.up = False
        for command in self.commands:
            command.lost = True
        self.commands.clear()
        self.killed()

    def cut_off_payments(self, action: str) -> None:
        """Let the callers of running payments wait in vain; the payments go on."""
        for command in self.commands:
            if command.pays:
                command.lost |= action == "drop"
                command.silent |= action == "hang"

    def restart(self, channel_after_s: float = 0.0) -> None:
        """Come back; the channel is there again so many seconds later."""
        self.up = True
        self.channel_back_at = self.network.clock() + channel_after_s
        self.network.advance()

    def disconnect(self, seconds: float) -> None:
        """Lose the channel for a while."""
        self.channel_back_at = self.network.clock() + seconds
        self.network.advance()

    def wake_times(self) -> Iterable[float]:
        """When time alone changes something here."""
        yield self.channel_back_at
        for invoice in self.invoices.values():
            if invoice.status == "unpaid":
                yield invoice.expires_at
        for command in self.commands:
            if command.wake_at is not None:
                yield command.wake_at

    # -- its money ------------------------------------------------------------------------

    def expire_invoices(self) -> bool:
        """Mark what is over."""
        over = [i for i in self.invoices.values() if i.status == "unpaid"]
        over = [invoice for invoice in over if invoice.expires_at <= self.network.clock()]
        for invoice in over:
            invoice.status, invoice.updated_index = "expired", self.count("invoice updated")
        return bool(over)

    def invoice_of(self, payment_hash: str) -> Invoice | None:
        """The invoice with this hash."""
        return next((i for i in self.invoices.values() if i.payment_hash == payment_hash), None)

    def issue(
        self,
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
        if label in self.invoices:
            raise Refusal(Code.LABEL_TAKEN, f"Duplicate label '{label}'")
        preimage = preimage or self.network.random_hex()
        digest = hashlib.sha256(bytes.fromhex(preimage)).digest()
        if self.invoice_of(digest.hex()) is not None:
            raise Refusal(Code.PREIMAGE_TAKEN, "preimage already used")
        invoice = Bolt11(
            network=NAME,
            amount_msat=amount_msat,
            created_s=self.now,
            payment_hash=digest,
            payee=self.key.public,
            signature=b"",
            description=None if hash_only else description,
            description_sha256=hashlib.sha256(description.encode()).digest() if hash_only else None,
            expiry_s=expiry_s,
            min_final_cltv=10,
            payment_secret=hashlib.sha256(self.key.secret + digest).digest(),
            features=FEATURES,
            routes=((Hop(self.network.router.public, CHANNEL, 1, 10, 6),),),
        )
        text = encode(invoice, self.key)
        self.network.issued[text] = invoice
        row = Invoice(
            label=label,
            text=text,
            payment_hash=digest.hex(),
            preimage=preimage,
            amount_msat=amount_msat,
            description=description,
            expires_at=self.now + expiry_s,
            created_index=self.count("invoice created"),
        )
        self.invoices[label] = row
        return row

    def accept(self, htlc: Htlc, arrived_msat: int) -> str:
        """Say "no", "more", or the preimage; a preimage means that it is paid and recorded."""
        if htlc.preimage is not None:
            return self._accept_keysend(htlc)
        invoice = self.invoice_of(htlc.payment_hash)
        if invoice is None or invoice.status != "unpaid" or invoice.expires_at <= self.now:
            return "no"
        wanted = invoice.amount_msat or 0
        if arrived_msat < wanted:
            return "more"
        if wanted and arrived_msat > 2 * wanted:  # BOLT 4: at most twice the amount
            return "no"
        self.record_paid(invoice, arrived_msat)
        return invoice.preimage

    def _accept_keysend(self, htlc: Htlc) -> str:
        preimage = htlc.preimage or ""
        if hashlib.sha256(bytes.fromhex(preimage)).hexdigest() != htlc.payment_hash:
            return "no"
        label = f"keysend-{self.now}.{self.count('keysend'):09}"  # there: the nanosecond
        invoice = self.issue(label, None, "keysend", preimage=preimage)
        self.record_paid(invoice, htlc.amount_msat)
        return preimage

    def record_paid(self, invoice: Invoice, amount_msat: int) -> None:
        """Enter what came in."""
        invoice.status = "paid"
        invoice.pay_index = self.count("paid")
        invoice.updated_index = self.count("invoice updated")
        invoice.received_msat, invoice.paid_at = amount_msat, self.now
        self.spendable_msat += amount_msat
        self.receivable_msat -= amount_msat

    def settle(self, htlc: Htlc) -> None:
        """Learn what became of a payment."""
        payment = self.payments[htlc.payment_id - 1]
        payment.completed_at = self.now
        payment.updated_index = self.count("payment updated")
        if htlc.state == "kept":
            payment.status, payment.preimage = "complete", htlc.preimage
            self.receivable_msat += payment.sent_msat
        else:
            payment.status, payment.failure = "failed", htlc.failure
            self.spendable_msat += payment.sent_msat

    def forget_unsent(self) -> bool:
        """After a restart, fail what was recorded and never left."""
        if not self.up:
            return False
        on_the_way = {h.payment_id for h in self.network.htlcs if h.payer == self.node_id}
        unsent = [p for p in self.payments if p.status == "pending" and p.id not in on_the_way]
        for payment in unsent:
            payment.status, payment.completed_at = "failed", self.now
            payment.updated_index = self.count("payment updated")
        return bool(unsent)

    # -- its calls ------------------------------------------------------------------------

    def start(self, method: str, params: Mapping[str, Any] | Sequence[Any]) -> Command:
        """Begin a call. Whoever started it looks at it again when the network changed."""
        command: Command = Command()
        try:
            early = self.network.reach(self, "request", method)
            if early is not None and early.action == "drop":
                command.lost = True
                return command
            if early is not None:
                command.silent = True
                return command
            command = self._begin(method, params)
            self.commands.append(command)
            self.network.advance()
            late = self.network.reach(self, "reply", method)
            if late is not None:
                command.lost, command.silent = late.action == "drop", late.action == "hang"
        except Interrupted:
            command.lost = True
        self.network.advance()
        return command

    def _begin(self, method: str, params: Mapping[str, Any] | Sequence[Any]) -> Command:
        known = self.methods.get(method)
        if known is None:
            return Done(refusal=Refusal(Code.UNKNOWN_METHOD, f"Unknown command '{method}'"))
        if known.deprecated and not self.allow_deprecated:
            words = f'Command "{method}" is deprecated'
            return Done(refusal=Refusal(Code.UNKNOWN_METHOD, words))
        try:
            answer = known.run(self, read_params(known.params, params))
        except Refusal as refusal:
            return Done(refusal=refusal)
        return answer if isinstance(answer, Command) else Done(answer)

    def call(self, method: str, **params: Any) -> Answer:
        """Begin a call that is answered at once.

        :raises Refusal: when that is the answer.
        :raises Interrupted: when the connection is lost or nothing comes yet.
        """
        command = self.start(method, params)
        if command.lost or command.silent or not command.done:
            raise Interrupted(f"{method}: no answer")
        return command.answer()


@dataclass(frozen=True, slots=True)
class Method:
    """One call: its parameters and what it does."""

    params: tuple[Param, ...]
    run: Callable[[Node, Args], Answer | Command]
    deprecated: bool = False
