"""A world whose leases are paid: a Lightning double for each side, and the test's own time."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from google.protobuf.message import Message
from hearth.v1 import lease_pb2, settlement_pb2

from agent.config import Offer, RebateTier, Settlement
from agent.core.bill import Account
from agent.core.invoice import payout_text
from agent.exchange import outbox
from agent.journal import settlement
from agent.journal.ledger import Stored
from agent.journal.store import View
from agent.sandbox.lightningd.caller import DirectCaller
from agent.sandbox.lightningd.methods import make_node
from agent.sandbox.lightningd.network import Network
from agent.settle.cashier import Cashier
from agent.settle.engine import Settlement as Engine
from agent.settle.lightning import LightningNode
from agent.settle.rail import Rail
from tests.fakes import spine
from tests.fakes.direct_rail import DirectRail
from tests.fakes.spine import SECOND
from tests.fakes.world import World

OFFER = Offer(
    receipt_seconds=60,
    window_seconds=600,
    rebates=(
        RebateTier(below_ppm=990_000, permille=100),
        RebateTier(below_ppm=500_000, permille=1000),
    ),
    credit_limit_msat=1_000_000,
    payment_seconds=3600,
    least_invoice_msat=1,
)
MONEY = Settlement(
    rail="cln",
    socket="/nowhere",
    network="regtest",
    least_msat=1,
    invoice_life_seconds=7200,
    net_rebates_after_seconds=7200,
)


@dataclass
class Shop:
    """One exchange, its leases, and what it knows of them."""

    world: World
    network: Network
    rail: Rail | None
    engine: Engine = field(init=False)
    cashier: Cashier = field(init=False)
    acks: dict[str, int] = field(default_factory=dict)

    @classmethod
    async def open(cls, state: Path, *, rail: Rail | None = None, **parts: Any) -> Shop:
        world = await World.open(state, **{"offer": OFFER, "settlement": MONEY, **parts})
        await world.node.journal.write(
            lambda change: outbox.settles(change, world.pens[0].row, settles=True)
        )
        network = Network(lambda: world.clock.wall_ns / SECOND, seed=1)
        for name in ("operator", "exchange"):
            make_node(network, name)
        shop = cls(world, network, rail)
        shop.begin()
        return shop

    def begin(self) -> None:
        """Engine and cashier of a new start."""
        rail = self.rail or DirectRail(LightningNode(DirectCaller(self.operator)))
        self.engine = Engine(self.world.node, self.world.market.now_at)
        self.cashier = Cashier(self.engine, rail)
        self.world.market.desk = self.engine.desk

    def tasks(self) -> list[asyncio.Task[Any]]:
        """All of settlement as the daemon runs it."""
        work = [self.engine.keep_books(), *self.cashier.tasks().values()]
        return [asyncio.create_task(each) for each in work]

    async def restart(self) -> None:
        """kill -9 of the agent, and a new start."""
        self.world.crash()
        await self.world.start()
        self.world.hear()
        self.begin()

    @property
    def operator(self) -> Any:
        return self.network.nodes["operator"]

    @property
    def exchange(self) -> Any:
        return self.network.nodes["exchange"]

    # --- time and the agent ----------------------------------------------------------------------

    async def settle(self) -> None:
        """One look, one round of errands, one look for payments."""
        self.network.advance()
        self.cashier._rests.clear()
        await self.engine.look(ticking=True)
        if self.engine.desk.policy.collects:
            await self.cashier._round()
            await self.cashier._hear()
            await self.engine.look(ticking=True)

    async def minutes(self, count: int) -> None:
        """Let time pass with all that is due; receipts every minute."""
        for _ in range(count):
            await self.world.seconds(60)
            await self.engine.look(ticking=True)

    def passes(self, seconds: int) -> None:
        """Let time pass and nothing be done."""
        self.world.clock.tick(seconds * SECOND)
        self.network.advance()

    async def stored(self) -> Stored:
        return await self.world.stored()

    async def books(self) -> Account:
        stored = await self.stored()
        found = await self.world.node.journal.read(
            lambda view: settlement.account(view, stored.row)
        )
        assert found is not None
        return found

    async def ask(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        def run(view: View) -> list[tuple[Any, ...]]:
            return view.all(query, *values)

        return await self.world.node.journal.read(run)

    # --- the exchange ----------------------------------------------------------------------------

    async def say(self, message: Message) -> None:
        """The exchange states something."""
        pen = self.world.pens[0]
        await spine.tell(self.world.market, pen, pen.sign(message))

    async def told(self, name: str) -> list[Any]:
        """What the exchange was told of a kind, decoded."""
        row = self.world.pens[0].row
        sent = await self.world.node.journal.read(lambda view: spine.sent(view, row, name))
        kind = getattr(settlement_pb2, name, None) or getattr(lease_pb2, name)
        return [kind.FromString(item.payload) for item in sent]

    async def acknowledge(
        self, *, contested: int = 0, disputes: list[lease_pb2.Dispute] | None = None
    ) -> None:
        """Accept the newest receipt."""
        row = self.world.pens[0].row
        sent = await self.world.node.journal.read(lambda view: spine.sent(view, row, "Receipt"))
        newest = sent[-1].payload
        receipt = lease_pb2.Receipt.FromString(newest)
        await self.say(
            lease_pb2.ReceiptAck(
                lease_id=receipt.lease_id,
                accepted_through=receipt.sequence,
                accepted_sha256=hashlib.sha256(newest).digest(),
                uncontested_msat_total=receipt.gross_msat_total - contested,
                disputes=disputes or [],
            )
        )

    async def pay(self, *, extra_msat: int = 0) -> int:
        """Pay the newest invoice; returns how much."""
        invoice = (await self.told("Invoice"))[-1]
        if extra_msat:
            total = invoice.amount_msat + extra_msat
            self._send(invoice.payment_hash, total, invoice.bolt11)
            return int(total)
        self.exchange.call("xpay", invstring=invoice.bolt11)
        return int(invoice.amount_msat)

    def _send(self, payment_hash: bytes, msat: int, _bolt11: str) -> None:
        """Pay more than was asked, as a payer may (BOLT 4)."""
        paid = self.operator.invoice_of(payment_hash.hex())
        assert paid is not None
        self.operator.record_paid(paid, msat)

    def preimage(self, payment_hash: bytes) -> bytes:
        invoice = self.operator.invoice_of(payment_hash.hex())
        assert invoice is not None
        return bytes.fromhex(invoice.preimage)

    def payout_invoice(
        self,
        statement: bytes,
        msat: int,
        label: str = "payout",
        *,
        text: str = "",
        life: int = 3600,
        named: bool = True,
    ) -> str:
        """The exchange's own invoice for a payout."""
        due = payout_text(self.world.pens[0].exchange_id, spine.lease_id(1), statement)
        made = self.exchange.call(
            "invoice",
            amount_msat=msat if named else "any",
            label=label,
            description=text or due,
            expiry=life,
            deschashonly=True,
        )
        return str(made["bolt11"])

    async def ask_payout(self, statement: bytes, bolt11: str) -> None:
        await self.say(
            settlement_pb2.RebateInvoice(
                lease_id=spine.lease_id(1), rebate_statement_sha256=statement, bolt11=bolt11
            )
        )

    async def payload_sha256(self, name: str, place: int = -1) -> bytes:
        """Digest of one of the agent's statements."""
        row = self.world.pens[0].row
        sent = await self.world.node.journal.read(lambda view: spine.sent(view, row, name))
        return hashlib.sha256(sent[place].payload).digest()

    async def freeze(self, *, frozen: bool) -> None:
        """The lease is delivered nothing, or something again."""
        self.world.places.freeze((await self.stored()).lease.key, frozen=frozen)

    async def missed(self) -> lease_pb2.RebateStatement:
        """A lease of which a window was half delivered; returns the statement."""
        await self.world.lease()
        await self.minutes(4)
        await self.freeze(frozen=True)
        await self.minutes(3)
        await self.freeze(frozen=False)
        await self.minutes(4)
        (statement,) = await self.told("RebateStatement")
        assert isinstance(statement, lease_pb2.RebateStatement)
        return statement
