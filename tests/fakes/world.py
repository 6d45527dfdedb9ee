"""A node with its market and its leases, without daemon, network or kernel; time is the test's."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hearth.v1 import lease_pb2

from agent.core.lease import LeaseKey
from agent.delivery import Delivery
from agent.exchange.stream import Link
from agent.journal import checkpoints, fsck, ledger
from agent.journal.store import View, connect
from agent.market import Market
from agent.metering import Metering
from agent.node import Node
from agent.offering import Offering
from tests.fakes import spine
from tests.fakes.clock import VirtualClock
from tests.fakes.places import FakePlaces
from tests.fakes.spine import SECOND, Pen

UNITS = {"MEMORY_MB": 512, "VCPU": 2}


@dataclass
class World:
    """Closed and opened again it is the same host: what was not committed is gone."""

    state: Path
    clock: VirtualClock
    pens: list[Pen] = field(default_factory=list)
    links: list[Link] = field(default_factory=list)
    parts: dict[str, Any] = field(default_factory=dict)
    checkpoints_wanted: int = 0

    @classmethod
    async def open(cls, state: Path, exchanges: int = 1, **parts: Any) -> World:
        world = cls(state, VirtualClock(), parts=parts)
        world.pens = [Pen(f"exchange-{number}") for number in range(exchanges)]
        await world.start()
        world.links = [await pen.enrol(world.node.journal) for pen in world.pens]
        for pen in world.pens:
            world.market.exchange_time(pen.exchange_id, world.clock.wall_ns)
        return world

    async def start(self) -> None:
        """Start the agent, for the first time or again."""
        self.node: Node
        self.node, _ = await spine.open_node(self.state, self.clock, **self.parts)
        self.market = Market(self.node)
        self.places = FakePlaces(self.state / "cgroup")
        self.metering = Metering(self.node, self.market)
        self.delivery = Delivery(self.node, self.market, self.metering, self.places, self._wanted)
        self.offering = Offering(self.node, self.market, (), self.metering.environment)
        await self.delivery.restore()

    def _wanted(self) -> None:
        self.checkpoints_wanted += 1

    def crash(self) -> None:
        """The agent is gone; what is durable stays."""
        self.node.close()

    def hear(self) -> None:
        """Every exchange says what time it is."""
        for pen in self.pens:
            self.market.exchange_time(pen.exchange_id, self.clock.wall_ns)

    async def seconds(self, count: int) -> None:
        """Let time pass, with a sample and all that is due every second."""
        for _ in range(count):
            self.clock.tick(SECOND)
            self.metering.sample()
            await self.metering.close_due()
            await self.delivery.reconcile()

    async def reserve(
        self, number: int = 1, units: dict[str, int] | None = None, pen: Pen | None = None
    ) -> lease_pb2.LeaseDecision:
        """Ask for a hold from the newest offer."""
        pen = pen or self.pens[0]
        await self.offering.refresh(self.links)
        _, offer = await spine.newest_offer(self.node.journal, pen.row)
        wanted = pen.reserve(offer, spine.lease_id(number), units or UNITS)
        await spine.tell(self.market, pen, wanted)
        return await spine.newest_decision(self.node.journal, pen.row)

    async def lease(
        self,
        number: int = 1,
        units: dict[str, int] | None = None,
        pen: Pen | None = None,
        *,
        start_s: int = 0,
        hours: int = 1,
    ) -> LeaseKey:
        """Place a lease and let it begin if its time has come."""
        pen = pen or self.pens[0]
        units = units or UNITS
        decision = await self.reserve(number, units, pen)
        assert decision.outcome == lease_pb2.LEASE_OUTCOME_ACCEPTED, decision
        offer, _ = await spine.newest_offer(self.node.journal, pen.row)
        start = self.clock.wall_ns + start_s * SECOND
        agreement = pen.agreement(
            offer,
            spine.lease_id(number),
            units,
            decision.fencing_token,
            start,
            start + hours * 3600 * SECOND,
        )
        await spine.tell(self.market, pen, pen.sign(agreement))
        await self.delivery.reconcile()
        return LeaseKey(pen.exchange_id, spine.lease_id(number))

    async def release(self, number: int = 1, pen: Pen | None = None) -> None:
        """The exchange ends a lease."""
        pen = pen or self.pens[0]
        stored = await self.stored(number, pen)
        release = lease_pb2.LeaseRelease(
            lease_id=spine.lease_id(number),
            fencing_token=stored.lease.fencing_token,
            reason=lease_pb2.CLOSE_REASON_TENANT_DONE,
        )
        await spine.tell(self.market, pen, pen.sign(release))

    async def stored(self, number: int = 1, pen: Pen | None = None) -> ledger.Stored:
        pen = pen or self.pens[0]
        found = await self.node.journal.read(
            lambda view: ledger.find(view, pen.row, spine.lease_id(number))
        )
        assert found is not None
        return found

    async def receipts(self, pen: Pen | None = None) -> list[lease_pb2.Receipt]:
        """Every receipt that an exchange gets, in order."""
        row = (pen or self.pens[0]).row
        sent = await self.node.journal.read(lambda view: spine.sent(view, row, "Receipt"))
        return [lease_pb2.Receipt.FromString(item.payload) for item in sent]

    async def checkpoint(self) -> checkpoints.Head | None:
        now = self.clock.now()
        node = self.node
        return await checkpoints.cut(
            node.journal, node.scribe, node.root, node.origin, now.boot_id, now.wall_ns
        )

    def findings(self) -> list[str]:
        """What a journal check says."""
        connection = connect(self.state / "journal.sqlite", readonly=True)
        try:
            return fsck.check(View(connection), self.node.root.identity.spki)
        finally:
            connection.close()
