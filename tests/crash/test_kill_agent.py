"""kill -9 of the agent, and of exchanges, at any moment: nothing lost, nothing billed twice.

One lease at each exchange lives through all of it, others come and go, and there is too little to
sell for all that is asked. What came of it is judged by agent/sandbox/audit.py, over the files.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hearth.v1 import lease_pb2

from agent.core.ledger import sellable
from agent.errors import CgroupError
from agent.journal import fsck
from agent.journal.store import View, connect
from agent.sandbox import bed
from agent.sandbox.audit import Page, audit
from agent.sandbox.bed import Bed, ExchangeProcess
from agent.sandbox.books import ENDED
from agent.sandbox.child import BedError
from agent.sandbox.tenants import cpu_ms
from agent.sandbox.workload import Workload, WorkloadError
from probes.host import Host
from probes.inventory import resources, take
from tests.crash import stored

SETTLE_S = 60.0
FOR_SALE_MB = 512  # so little that both exchanges ask for the same
STAYS = ({"VCPU": 1, "MEMORY_MB": 64}, {"MEMORY_MB": 64})  # of the lease that lives through it all
LIVED_THROUGH = 3  # kills, at least


@dataclass(slots=True)
class Torment:
    """Leases that come, stay and go while the agent is killed."""

    world: Bed
    dice: random.Random
    staying: list[str] = field(default_factory=list)
    brief: list[tuple[ExchangeProcess, str]] = field(default_factory=list)
    work: list[Workload] = field(default_factory=list)
    killed_ns: list[int] = field(default_factory=list)

    def stay(self, exchange: ExchangeProcess, units: Mapping[str, int]) -> None:
        """Enrol with an exchange and see a lease through that is not released before the end."""
        self.world.agent.wait()
        self.world.agent.enroll(exchange)
        for other, lease_id in self.brief:  # there is to be room for it
            other.command(cmd="release", lease_id=lease_id)
        deadline = time.monotonic() + SETTLE_S
        lease_id, stage = "", "REFUSED"
        while stage != "ACTIVE":
            assert time.monotonic() < deadline, f"{exchange.name} gets no {units}: {stage}"
            if stage in ENDED:
                with contextlib.suppress(BedError):  # no offer with room for it yet
                    lease_id = exchange.command(cmd="place", units=units)["lease_id"]
            time.sleep(0.1)
            if lease_id:
                stage = exchange.figures()["lease"][lease_id]["stage"]
        self.staying.append(lease_id)

    def act(self) -> None:
        """Ask for a lease or for the end of one, or start work in one; refusals are answers too."""
        exchange, die = self.dice.choice(self.world.exchanges), self.dice.random()
        with contextlib.suppress(BedError, CgroupError, WorkloadError):
            if die < 0.5:
                units = {"VCPU": 1, "MEMORY_MB": self.dice.choice([64, 128, 256])}
                asked = exchange.command(
                    cmd="place", units=units, duration=self.dice.choice([1.5, 4, 3600])
                )
                self.brief.append((exchange, asked["lease_id"]))
            elif die < 0.8 and self.brief:
                exchange, lease_id = self.brief.pop(self.dice.randrange(len(self.brief)))
                exchange.command(cmd="release", lease_id=lease_id)
            else:
                self.compute()

    def compute(self) -> None:
        """Have a process compute in a lease of a processor; what it uses is billed there."""
        if len(self.work) >= 2:
            self.work.pop(0).stop()
        leases = [
            lease.cgroup
            for lease in self.world.agent.status().leases
            if lease.state == "ACTIVE" and any(u.resource_class == "VCPU" for u in lease.units)
        ]
        if leases:
            self.work.append(Workload.start(100, Path(self.dice.choice(leases))))

    def kill(self) -> None:
        """Let things happen for a while, then kill the agent, and now and then an exchange."""
        deadline = time.monotonic() + self.dice.uniform(0.2, 3.0)
        while time.monotonic() < deadline:
            self.act()
            time.sleep(self.dice.uniform(0.02, 0.3))
        self.world.agent.kill()
        self.killed_ns.append(time.time_ns())
        if self.dice.random() < 0.3:
            exchange = self.dice.choice(self.world.exchanges)
            exchange.kill()
            exchange.start()
        self.world.agent.start()
        if self.dice.random() < 0.5:
            self.world.agent.wait()

    def settle(self) -> None:
        """End every lease, and wait until every receipt of every lease is acknowledged."""
        for work in self.work:
            work.stop()
        self.world.agent.wait()
        deadline = time.monotonic() + SETTLE_S
        while not settled(self.world):
            for exchange in self.world.exchanges:
                exchange.command(cmd="release")  # a lease that was on its way is active by now
            assert time.monotonic() < deadline, unsettled(self.world)
            time.sleep(0.5)


def settled(world: Bed) -> bool:
    """Whether every receipt of every lease is acknowledged, and every lease is over."""
    status = world.agent.status()
    return all(
        item.receipts_acked == item.receipts_issued and item.undelivered == 0
        for item in status.exchanges
    ) and all(lease.state in ENDED for lease in status.leases)


def unsettled(world: Bed) -> str:
    """What keeps a world from being settled, for whoever reads a failed test."""
    status = world.agent.status()
    leases = [f"{item.lease_id} {item.state} {item.cgroup}" for item in status.leases]
    sides = [
        f"{item.display_name}: issued {item.receipts_issued}, acknowledged {item.receipts_acked},"
        f" undelivered {item.undelivered}, {item.last_error or 'connected'}"
        for item in status.exchanges
    ]
    return "; ".join([*sides, *leases])


def lived_through(page: Page, killed_ns: list[int]) -> int:
    """How many kills fell between the agreed start and the end of the last receipt."""
    agreed = lease_pb2.LeaseAgreement.FromString(page.agreement)
    start_ns = agreed.start_time.ToNanoseconds()
    end_ns = lease_pb2.Receipt.FromString(page.receipts[-1]).interval.end_time.ToNanoseconds()
    return sum(start_ns < at_ns < end_ns for at_ns in killed_ns)


def run(directory: Path, cgroup_root: Path, kills: int, *, seed: int, late_after: int = 0) -> None:
    """Torment a world and judge it; the second exchange joins after `late_after` kills."""
    found = dict(resources(take(Host())))
    reserve = {"MEMORY_MB": found["MEMORY_MB"] - FOR_SALE_MB}
    world = bed.make(
        directory,
        f"[offer]\nreceipt_seconds = 1\n[log]\ncheckpoint_seconds = 2\n"
        f"[reserve]\nmemory_mb = {reserve['MEMORY_MB']}\n"
        f'[lease]\ncgroup_root = "{cgroup_root}"\n',
        exchange_options=("--heartbeat", "2", "--challenge-interval", "3"),
        with_site=(1, 1),
    )
    torment = Torment(world, random.Random(seed))
    try:
        world.agent.start()
        for number in range(kills):
            for after, exchange, units in zip((0, late_after), world.exchanges, STAYS, strict=True):
                if after == number:
                    torment.stay(exchange, units)
            torment.kill()
        torment.settle()
        judge(torment, cgroup_root, sellable(found, reserve))
    finally:
        for work in torment.work:
            work.stop()
        world.close()


def judge(torment: Torment, cgroup_root: Path, capacity: Mapping[str, int]) -> None:
    """Hold everybody's books against each other and against the kernel."""
    world = torment.world
    issued = sum(item.receipts_issued for item in world.agent.status().exchanges)
    world.agent.stop()
    for exchange in world.exchanges:
        node = exchange.figures()
        for name in ("gaps", "regressions", "receipts_rejected", "others_rejected", "log_breaks"):
            assert node[name] == 0, f"{exchange.name}: {node[name]} {name}"
    journal = world.directory / "state" / "journal.sqlite"
    books = {
        exchange.ready["exchange_id"]: stored.of_exchange(exchange.directory)
        for exchange in world.exchanges
    }
    # What the kernel counted in a cgroup that is gone stays in the one that it was in.
    counted = cpu_ms(cgroup_root)
    assert audit(books, stored.of_agent(journal), capacity, counted, time.time_ns()) == []
    with contextlib.closing(connect(journal, readonly=True)) as connection:
        assert fsck.check(View(connection), None) == []
    # That there was something to judge.
    pages = {lease_id: page for book in books.values() for lease_id, page in book.items()}
    assert sum(len(page.receipts) for page in pages.values()) == issued > 0
    for lease_id in torment.staying:
        assert lived_through(pages[lease_id], torment.killed_ns) >= LIVED_THROUGH
    assert counted > 0
    assert len(pages) > len(torment.staying)


def test_ten_kills(directory: Path, cgroup_root: Path) -> None:
    """Ten kills in a row; the seed is fixed so that a failure can be looked at."""
    run(directory, cgroup_root, 10, seed=1, late_after=4)


@pytest.mark.long
@pytest.mark.parametrize("late_after", [0, 8])
@pytest.mark.parametrize("seed", [100, 101])
def test_a_hundred_kills(directory: Path, cgroup_root: Path, seed: int, late_after: int) -> None:
    """Four times twenty-five kills, each with dice of its own."""
    run(directory, cgroup_root, 25, seed=seed + late_after, late_after=late_after)
