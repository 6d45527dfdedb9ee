"""The life of a lease on this host: placed, begun, ended."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import structlog

from agent import recovery
from agent.clock import SECOND
from agent.core import receipt as receipts
from agent.core.lease import CloseReason, LeaseKey, LeaseState
from agent.core.ledger import hold_expired
from agent.errors import CgroupError
from agent.journal import ledger
from agent.journal.store import Transaction
from agent.leases import Places, enforceable
from agent.market import Market
from agent.metering import Metering, Running
from agent.node import Node
from agent.recovery import key_of
from probes.reading import Instant

logger = structlog.get_logger()

REPLACE_AFTER = 10  # samples without a cgroup before it is made again
AGAIN_NS = 10 * SECOND  # until what does not end is tried to be ended again
# Leases that begin or end share a transaction, for it writes the state of all meters: so many, and
# only while the first of them has not waited for longer for the cgroups of the others.
TOGETHER = 50
TOGETHER_NS = SECOND
STEPPING = (LeaseState.RESERVED, LeaseState.COMMITTED, LeaseState.CLOSING)


@dataclass(slots=True)
class Delivery:
    """Brings every lease from its hold to its end."""

    node: Node
    market: Market
    metering: Metering
    places: Places
    want_checkpoint: Callable[[], None]

    async def restore(self) -> None:
        """Take up what went on before this start."""
        at = self.node.clock.now()
        state, going_on = await self.node.journal.read(recovery.meters)
        self.metering.resume(state, at)
        for stored in going_on:
            await self._replace(stored)
            self._attach(stored)
        for key in await self.node.journal.read(
            lambda view: recovery.left_behind(view, self.places)
        ):
            await self._clear(key)

    async def _replace(self, stored: ledger.Stored) -> None:
        """Make a lease's cgroup again where a reboot has taken it: another one, a new count."""
        lease = stored.lease
        if lease.state is LeaseState.CLOSING or self.places.directory(lease.key).exists():
            return
        try:
            await asyncio.to_thread(self.places.create, lease.key, lease.units)
        except CgroupError as error:
            logger.warning("cgroup_missing", lease=lease.key.lease_id, error=str(error))

    async def _clear(self, key: LeaseKey) -> None:
        """Remove the cgroup of a lease that ended."""
        try:
            await asyncio.to_thread(self.places.empty, key)
            await asyncio.to_thread(self.places.remove, key)
        except CgroupError as error:
            logger.warning("cgroup_left", lease=key.lease_id, error=str(error))

    def _attach(self, stored: ledger.Stored) -> Running:
        lease = stored.lease
        limits = enforceable(self.places, lease.units)
        return self.metering.attach(stored, self.places.directory(lease.key), limits)

    async def reconcile(self) -> None:
        """Bring every lease one step on: expire holds, activate, end what ended.

        This runs after every commit: leases that just go on are not read.
        """
        now = self.node.clock.now()
        steps = await self.node.journal.read(lambda view: ledger.leases(view, STEPPING))
        for stored in steps:  # first of all, for what follows may take its time
            if key_of(stored) in self.metering.running:
                self.metering.running[key_of(stored)].stored = stored
        over = []
        for item in list(self.metering.running.values()):
            lease = item.stored.lease
            late = self.market.now_at(lease.key.exchange_id, now) >= lease.end_ns
            if lease.state is LeaseState.ACTIVE and late:
                over.append(item.stored)
            elif item.unread >= REPLACE_AFTER:  # not made at the start, or somebody removed it
                item.unread = 0
                await self._replace(item.stored)
        expired, begins, closing = [], [], []
        for stored in steps:
            exchange_ns = self.market.now_at(stored.lease.key.exchange_id, now)
            match stored.lease.state:
                case LeaseState.RESERVED if hold_expired(stored.lease, now):
                    expired.append(stored)
                case LeaseState.COMMITTED if exchange_ns >= stored.lease.start_ns:
                    begins.append(stored)
                case LeaseState.CLOSING:
                    closing.append(stored)
                case _:
                    pass
        # Handed in together, these share a commit.
        await asyncio.gather(
            *(self._end(stored, CloseReason.END_TIME) for stored in over),
            *(self._move(stored, LeaseState.EXPIRED, CloseReason.NONE) for stored in expired),
        )
        await self._activate(begins)
        await self._close(closing)

    async def _move(self, stored: ledger.Stored, state: LeaseState, reason: CloseReason) -> None:
        at = self.market.now_at(stored.lease.key.exchange_id)

        def write(change: Transaction) -> None:
            again = ledger.find(change, stored.exchange, stored.lease.key.lease_id)
            if again is not None and again.lease.state is stored.lease.state:
                ledger.move(change, self.node.scribe, again, state, reason, at)

        await self.node.journal.write(write)
        logger.info("lease_moved", lease=stored.lease.key.lease_id, state=state.name)

    async def _end(self, stored: ledger.Stored, reason: CloseReason) -> None:
        at = self.market.now_at(stored.lease.key.exchange_id)

        def write(change: Transaction) -> None:
            again = ledger.find(change, stored.exchange, stored.lease.key.lease_id)
            if again is not None:  # as it is by now: the exchange may have ended it meanwhile
                ledger.end(change, self.node.scribe, again, reason, at)

        await self.node.journal.write(write)

    async def _activate(self, leases: Sequence[ledger.Stored]) -> None:
        """Make room for what begins, then begin it."""
        placed: list[ledger.Stored] = []
        since = self.node.clock.now()
        for stored in leases:
            lease = stored.lease
            try:
                await asyncio.to_thread(self.places.create, lease.key, lease.units)
            except CgroupError as error:
                logger.warning("lease_failed", lease=lease.key.lease_id, error=str(error))
                await self._move(stored, LeaseState.FAILED, CloseReason.OPERATOR_FAULT)
            else:
                placed.append(stored)
            if self._enough(len(placed), since):
                await self._begin(placed)
                placed, since = [], self.node.clock.now()
        await self._begin(placed)

    def _enough(self, leases: int, since: Instant) -> bool:
        """Whether so many are written now, and not with those that come after them."""
        waited_ns = self.node.clock.now().boottime_ns - since.boottime_ns
        return leases >= TOGETHER or waited_ns >= TOGETHER_NS

    async def _begin(self, placed: Sequence[ledger.Stored]) -> None:
        """Meter leases from here on, in one transaction with their being active."""
        if not placed:
            return
        async with self.metering.committing:
            at = self.node.clock.now()
            items = {key_of(stored): self._attach(stored) for stored in placed}
            for item in items.values():
                self.metering.open(item, at)
            durable = self.metering.durable()

            def write(change: Transaction) -> dict[str, ledger.Stored]:
                active = {}
                for key, item in items.items():
                    exchange, lease_id = item.stored.exchange, item.stored.lease.key.lease_id
                    again = ledger.find(change, exchange, lease_id)
                    if again is None or again.lease.state is not LeaseState.COMMITTED:
                        continue
                    at_ns = self.market.now_at(again.lease.key.exchange_id)
                    ledger.move(
                        change, self.node.scribe, again, LeaseState.ACTIVE, CloseReason.NONE, at_ns
                    )
                    active[key] = ledger.find(change, exchange, lease_id) or again
                change.execute("INSERT OR REPLACE INTO meter VALUES (1, ?)", durable)
                return active

            active: dict[str, ledger.Stored] = {}
            try:
                active = await self.node.journal.write(write)
            finally:  # not written, or released meanwhile: it never began
                self.metering.detach(items.keys() - active.keys())
        for key, stored in active.items():
            items[key].stored = stored
            logger.info("lease_moved", lease=stored.lease.key.lease_id, state="ACTIVE")
        for key in items.keys() - active.keys():
            await self._clear(items[key].stored.lease.key)

    async def _close(self, leases: Sequence[ledger.Stored]) -> None:
        """End what runs, then end its leases."""
        ended: dict[str, Running] = {}
        since = self.node.clock.now()
        for stored in leases:
            key = key_of(stored)
            item = self.metering.running.get(key) or self._attach(stored)
            item.stored = stored
            if self.node.clock.now().boottime_ns < item.again_ns:
                continue
            try:
                await asyncio.to_thread(self.places.empty, stored.lease.key)
            except CgroupError as error:
                logger.warning(
                    "lease_still_runs", lease=stored.lease.key.lease_id, error=str(error)
                )
                item.again_ns = self.node.clock.now().boottime_ns + AGAIN_NS
            else:
                ended[key] = item
            if self._enough(len(ended), since):
                await self._finish(ended)
                ended, since = {}, self.node.clock.now()
        await self._finish(ended)

    async def _finish(self, ended: Mapping[str, Running]) -> None:
        """Read what has ended for the last time and cut final receipts, in one transaction."""
        if not ended:
            return
        async with self.metering.committing:
            meters = self.metering.last(ended.values())
            durable = self.metering.durable(without=meters)
            sources = self.metering.sources()

            def write(change: Transaction) -> None:
                for key, item in ended.items():
                    exchange, lease_id = item.stored.exchange, item.stored.lease.key.lease_id
                    again = ledger.find(change, exchange, lease_id)
                    if again is None or again.lease.state is not LeaseState.CLOSING:
                        continue
                    final = receipts.close(
                        again.lease,
                        meters[key],
                        again.closed_ns,
                        self.node.node_id,
                        self.node.log_id,
                        sources,
                        final=True,
                    )
                    reserved_ns = meters[key].reserved_ns
                    ledger.record_receipt(change, self.node.scribe, again, final, reserved_ns)
                    done = ledger.find(change, exchange, lease_id)
                    if done is not None:
                        at = self.market.now_at(done.lease.key.exchange_id)
                        ledger.move(
                            change, self.node.scribe, done, LeaseState.CLOSED, done.lease.reason, at
                        )
                change.execute("INSERT OR REPLACE INTO meter VALUES (1, ?)", durable)

            await self.node.journal.write(write)
            self.metering.detach(ended)
        self.want_checkpoint()
        for item in ended.values():
            await self._clear(item.stored.lease.key)
            logger.info("lease_moved", lease=item.stored.lease.key.lease_id, state="CLOSED")
