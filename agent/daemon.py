"""The daemon: everything is put together here, and nowhere else. One TaskGroup of named tasks."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

if "rich" not in sys.modules:
    # structlog imports rich (3.5 MiB) where it finds it; None: a module that is not there.
    sys.modules["rich"] = None  # type: ignore[assignment]

import grpc.aio
import structlog

from agent import admin, log
from agent.clock import SECOND
from agent.config import Config
from agent.config_file import load
from agent.delivery import Delivery
from agent.errors import ExchangeError, HearthError, Overloaded
from agent.exchange import enroll as enrolling
from agent.exchange import tls_keys
from agent.exchange.enrolment import Enrolment, known
from agent.exchange.link import Link, Standing
from agent.exchange.renew import keep_certificate
from agent.exchange.stream import Session
from agent.journal import checkpoints
from agent.leases import missing_controllers, places
from agent.market import Market
from agent.metering import Metering
from agent.node import Node
from agent.offering import LIMITS_NOT_ENFORCED, Offering
from agent.sampler import Latest, watch
from agent.sensors import configured
from agent.settle.engine import Settlement
from agent.supervise import Backoff, every, forever, retrying
from agent.wire.stream import Capability
from attest.errors import AttestError, TpmError
from probes.errors import Absent, ProbeError
from probes.host import Host
from probes.hotplug import Hotplug

if TYPE_CHECKING:
    from agent.settle.cashier import Cashier

logger = structlog.get_logger()

STOP_DEADLINE_S = 10.0
SETTLE_NS = SECOND


@dataclass(slots=True)
class Daemon:
    """What runs, and how its parts wake each other."""

    node: Node
    market: Market
    offering: Offering
    metering: Metering
    delivery: Delivery
    latest: Latest
    settlement: Settlement
    cashier: Cashier | None
    links: list[Link] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)  # the journal has news
    cut_now: asyncio.Event = field(default_factory=asyncio.Event)
    tasks: asyncio.TaskGroup | None = None

    def wake(self) -> None:
        """Let everybody look at the journal again."""
        self.changed.set()
        self.settlement.bell.set()
        for link in self.links:
            link.bell.set()

    # --- tasks ---------------------------------------------------------------------------------

    async def deliver(self) -> NoReturn:
        """Sample every lease and cut the receipts that are due, once a second."""

        async def step() -> None:
            self.metering.sample()
            await self._tolerate(self.metering.close_due)

        await every(self.node.clock, SECOND, step)

    async def reconcile(self) -> NoReturn:
        """Bring leases on and offers up to date, at every change and at least once a second."""
        while True:
            self.changed.clear()
            await self._tolerate(self.delivery.reconcile)
            await self._tolerate(lambda: self.offering.refresh(self.links))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    await self.changed.wait()

    async def follow_hardware(self, host: Host) -> NoReturn:
        """Take the inventory again when the kernel says that hardware came or went."""
        try:
            hotplug = Hotplug(host)
        except Absent as error:
            logger.warning("hotplug_unheard", error=str(error))
            await forever_idle()
        news = asyncio.Event()
        asyncio.get_running_loop().add_reader(hotplug.fileno(), news.set)
        due = False
        while True:
            await news.wait()
            await self.node.clock.sleep(SETTLE_NS)  # a device comes as a burst of events
            news.clear()
            due = bool(hotplug.drain()) or due
            if due:
                due = not await self._tolerate(self._look_again)
            if due:
                news.set()

    async def _look_again(self) -> None:
        if await self.node.look_again():
            self.wake()

    async def keep_space(self) -> NoReturn:
        """Say when the disk is full, offer nothing then, and set space aside again."""
        journal = self.node.journal
        known = False

        async def step() -> None:
            nonlocal known
            if journal.full:
                await asyncio.to_thread(journal.recover)
            if journal.full is not known:
                known = journal.full
                if known:
                    logger.warning("disk_full", path=str(journal.path))
                else:
                    logger.info("disk_has_room", path=str(journal.path))
                self.wake()

        await every(self.node.clock, SECOND, step)

    async def checkpoint(self) -> NoReturn:
        """Cut a checkpoint at its interval, and at once when asked."""
        interval = self.node.config.log.checkpoint_seconds
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(interval):
                    await self.cut_now.wait()
            self.cut_now.clear()
            await self._tolerate(self.cut)

    async def cut(self) -> None:
        """Sign the log's head if there is anything new."""
        node, now = self.node, self.node.clock.now()
        try:
            head = await checkpoints.cut(
                node.journal, node.scribe, node.root, node.origin, now.boot_id, now.wall_ns
            )
        except (TpmError, TimeoutError) as error:
            before, node.trouble = node.trouble, str(error) or "the TPM did not answer in time"
            if not before:
                logger.warning("checkpoint_failed", error=node.trouble)
            return
        if node.trouble:
            logger.info("checkpoint_recovered")
        node.trouble = ""
        if head is not None:
            logger.debug("checkpoint", sequence=head.sequence, size=head.size)

    async def _tolerate(self, step: Callable[[], Awaitable[None]]) -> bool:
        """A full disk holds things up; it ends nothing and loses nothing. Whether `step` went."""
        try:
            await step()
        except Overloaded as error:
            logger.warning("journal_overloaded", error=str(error))
            await self.node.clock.sleep(SECOND)
            return False
        return True

    def connect(self, link: Link) -> None:
        """Keep a session with one exchange."""
        self.links.append(link)
        if self.settlement.desk.policy.collects:
            link.capabilities = tuple(Capability)
        node = self.node

        async def renewal(channel: grpc.aio.Channel, nonce: bytes) -> None:
            await keep_certificate(node, link, channel, nonce)

        async def attempt(backoff: Backoff) -> None:
            session = Session(
                link, node.journal, self.market, node.clock, node.node_id, node.log_id, renewal
            )
            await session.run(backoff)

        if self.tasks is not None:
            name = f"exchange-{link.enrolment.exchange_id[:8]}"
            work = retrying(name, node.clock, attempt, (ExchangeError, HearthError, AttestError))
            self.tasks.create_task(forever(name, work), name=name)

    async def enroll(self, endpoint: str, token: str, ca_pem: bytes | None) -> Enrolment:
        """Enrol with one more exchange and start its session."""
        done = await enrolling.enroll(self.node, endpoint, token, ca_pem)
        for row, enrolment in await self.node.journal.read(known):
            if enrolment.exchange_id != done.exchange_id:
                continue
            fresh = link_of(self.node, row, enrolment)
            link = next((link for link in self.links if link.row == row), None)
            if link is None:
                self.connect(fresh)
            else:
                link.enrolment, link.tls_key = fresh.enrolment, fresh.tls_key
                link.tls_spki = fresh.tls_spki
        self.wake()
        return done


def link_of(node: Node, row: int, enrolment: Enrolment) -> Link:
    """One enrolment with its TLS key. Where that is lost, the others go on without this one."""
    try:
        return Link(row, enrolment, *tls_keys.read(node.state, enrolment))
    except ExchangeError as error:
        return Link(row, enrolment, b"", b"", standing=Standing(last_error=str(error)))


def notify(state: str) -> None:
    """Tell systemd, where it asked to be told (sd_notify(3))."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out:
        out.connect("\0" + address[1:] if address.startswith("@") else address)
        out.sendall(state.encode())


async def watchdog(daemon: Daemon) -> NoReturn:
    """Feed systemd's watchdog with progress: no sample since the last time, no feed."""
    interval = int(os.environ.get("WATCHDOG_USEC", "60000000")) * 1000 // 3
    last = -1

    async def step() -> None:
        nonlocal last
        progress = daemon.metering.progress
        if progress != last:
            notify("WATCHDOG=1")
        last = progress

    await every(daemon.node.clock, max(interval, SECOND), step)


async def forever_idle() -> NoReturn:
    """Wait without end: a task whose work there is no means for."""
    while True:
        await asyncio.Event().wait()


async def build(config: Config, host: Host) -> Daemon:
    """Open the node and put the parts together.

    :raises HearthError, AttestError, ProbeError: naming the remedy.
    """
    node = await Node.open(config, host)
    try:
        where = places(config.lease.cgroup_root, host)
        cut_now = asyncio.Event()
        market = Market(node)
        metering = Metering(node, market)
        delivery = Delivery(node, market, metering, where, cut_now.set)
        traits = (LIMITS_NOT_ENFORCED,) if missing_controllers(where) else ()
        offering = Offering(node, market, traits, metering.environment)
        settlement = Settlement(node, market.now_at)
        cashier = cashier_of(config, settlement)
        market.desk = settlement.desk
        await delivery.restore()
    except BaseException:
        node.close()
        raise
    return Daemon(
        node, market, offering, metering, delivery, Latest(), settlement, cashier, cut_now=cut_now
    )


def cashier_of(config: Config, settlement: Settlement) -> Cashier | None:
    """Whoever goes to the rail. Where there is none, nothing of that is loaded.

    :raises ConfigError: naming the key that is wrong.
    """
    if config.settlement.rail == "none":
        return None
    from agent.settle.cashier import Cashier  # noqa: PLC0415 - half a MiB
    from agent.settle.registry import open_rail  # noqa: PLC0415 - the rails as well

    return Cashier(settlement, open_rail(config.settlement))


async def run(config: Config, host: Host | None = None) -> None:
    """Run until SIGTERM or SIGINT."""
    host = host or Host()
    daemon = await build(config, host)
    node = daemon.node
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    node.journal.on_commit = lambda: loop.call_soon_threadsafe(daemon.wake)
    answers = admin.Admin(
        node, daemon.metering, daemon.latest, daemon.links, daemon.enroll, daemon.settlement.adjust
    )

    server: grpc.aio.Server | None = None
    try:
        probes = configured(config)
        enrolments = await node.journal.read(known)
        # Before anybody can ask us to enrol: a key that is not recorded yet would be swept away.
        await asyncio.to_thread(tls_keys.sweep, node.state, [each for _, each in enrolments])
        server = await admin.serve(answers, Path(config.admin_socket))
        async with asyncio.TaskGroup() as tasks:
            daemon.tasks = tasks
            for row, enrolment in enrolments:
                daemon.connect(link_of(node, row, enrolment))
            work = {
                "deliver": daemon.deliver(),
                "reconcile": daemon.reconcile(),
                "checkpoint": daemon.checkpoint(),
                "hardware": daemon.follow_hardware(host),
                "space": daemon.keep_space(),
                "watchdog": watchdog(daemon),
                "settlement-books": daemon.settlement.keep_books(),
                **(daemon.cashier.tasks() if daemon.cashier is not None else {}),
                **{
                    f"probe-{place}-{probe.name}": watch(
                        probe, host, node.clock, daemon.latest, daemon.metering.take
                    )
                    for place, probe in enumerate(probes)
                },
            }
            for name, task in work.items():
                tasks.create_task(forever(name, task), name=name)
            # What start-up left behind is never looked at again.
            gc.collect()
            gc.freeze()
            notify("READY=1")
            logger.info("ready", exchanges=len(daemon.links), admin=config.admin_socket)
            await stop.wait()
            notify("STOPPING=1")
            tasks.create_task(_stop())
    except* _Stopping:
        pass
    finally:
        with contextlib.suppress(TimeoutError, HearthError):  # the next start finishes it
            async with asyncio.timeout(STOP_DEADLINE_S):
                await daemon.cut()
        if daemon.cashier is not None:
            await daemon.cashier.close()
        if server is not None:
            await server.stop(grace=0.5)
        node.close()
        logger.info("stopped")


class _Stopping(Exception):
    """Ends the TaskGroup on purpose."""


async def _stop() -> NoReturn:
    raise _Stopping


def main(path: str) -> int:
    """Load the configuration and run; the exit code says what was wrong."""
    try:
        config = load(Path(path))
        log.configure(config.logging.level, json=config.logging.json)
        asyncio.run(run(config))
    except* (HearthError, AttestError, ProbeError) as group:
        first: BaseException = group
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        sys.stderr.write(f"hearth: {first}\n")
        code = first.exit_code if isinstance(first, HearthError | AttestError | ProbeError) else 1
    else:
        code = 0
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
