"""The life of a lease on the host: what is billed when things end, break, or come back."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from hearth.v1 import lease_pb2

from agent.core.lease import CloseReason, LeaseState
from agent.core.meter import MOST_EVENTS, EventKind
from agent.errors import Overloaded
from agent.leases import name_of
from tests.fakes import spine
from tests.fakes.disk import full
from tests.fakes.spine import SECOND
from tests.fakes.world import UNITS, World

HOUR = 3600 * SECOND
MINUTE = 60 * SECOND


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """Receipts once a minute."""
    from agent.config import Offer

    made = await World.open(tmp_path / "state", exchanges=2, offer=Offer(receipt_seconds=60))
    yield made
    assert made.findings() == []
    made.node.close()


def delivered_ms(receipt: lease_pb2.Receipt) -> int:
    """Of the VCPUs, for each."""
    return receipt.totals[1].delivered_unit_milliseconds // UNITS["VCPU"]


def reserved_ms(receipt: lease_pb2.Receipt) -> int:
    return receipt.totals[1].reserved_unit_milliseconds // UNITS["VCPU"]


def used_ms(receipt: lease_pb2.Receipt) -> int:
    return receipt.totals[1].used_unit_milliseconds


async def state(world: World, number: int = 1) -> LeaseState:
    return (await world.stored(number)).lease.state


async def leap(world: World, nanoseconds: int) -> None:
    """Time passes in one piece, then all that is due."""
    world.clock.tick(nanoseconds)
    world.metering.sample()
    await world.metering.close_due()
    await world.delivery.reconcile()
    await world.delivery.reconcile()


async def test_a_lease_from_its_start_to_its_final_receipt(world: World) -> None:
    key = await world.lease(1)
    directory = world.places.directory(key)
    assert await state(world) is LeaseState.ACTIVE
    assert directory.exists()
    for second in range(1, 150):
        world.places.use(key, second * 500_000)
        await world.seconds(1)
    receipts = await world.receipts()
    assert [receipt.sequence for receipt in receipts] == [1, 2]
    assert [used_ms(receipt) for receipt in receipts] == [30_000, 60_000]
    await world.release()
    await world.delivery.reconcile()
    assert await state(world) is LeaseState.CLOSED
    final = (await world.receipts())[-1]
    assert final.final
    assert reserved_ms(final) == 149_000
    assert world.checkpoints_wanted == 1
    assert not directory.exists()
    assert world.metering.running == {}
    assert world.metering.state.leases == {}


async def test_a_lease_begins_at_its_start_and_not_before(world: World) -> None:
    await world.lease(1, start_s=100)
    assert await state(world) is LeaseState.COMMITTED
    await leap(world, 99 * SECOND)
    assert await state(world) is LeaseState.COMMITTED
    await leap(world, SECOND)
    assert await state(world) is LeaseState.ACTIVE


async def test_a_lease_ends_with_its_time(world: World) -> None:
    await world.lease(1)
    await leap(world, HOUR - SECOND)
    assert await state(world) is LeaseState.ACTIVE
    await leap(world, SECOND)
    assert await state(world) is LeaseState.CLOSED
    final = (await world.receipts())[-1]
    assert (final.final, reserved_ms(final)) == (True, 3_600_000)
    updates = await world.node.journal.read(
        lambda view: spine.sent(view, world.pens[0].row, "LeaseUpdate")
    )
    told = [lease_pb2.LeaseUpdate.FromString(item.payload) for item in updates]
    assert [item.state for item in told] == [
        lease_pb2.LEASE_STATE_ACTIVE,
        lease_pb2.LEASE_STATE_CLOSING,
        lease_pb2.LEASE_STATE_CLOSED,
    ]
    assert told[-1].reason == CloseReason.END_TIME


async def test_a_lease_whose_exchange_is_silent_goes_on_and_ends(world: World) -> None:
    """Nothing of a lease waits for the network: its receipts pile up and are sent later."""
    await world.lease(1)
    for _ in range(59):
        await leap(world, MINUTE)
    assert len(await world.receipts()) == 59
    await leap(world, 2 * MINUTE)
    assert await state(world) is LeaseState.CLOSED
    assert reserved_ms((await world.receipts())[-1]) == 3_600_000


# --- nothing is billed beyond the end ---


async def test_a_host_that_was_busy_at_the_end_bills_nothing_after_it(world: World) -> None:
    await world.lease(1)
    await leap(world, HOUR + 10 * MINUTE)
    final = (await world.receipts())[-1]
    assert final.final
    assert reserved_ms(final) == 3_600_000
    assert delivered_ms(final) <= 3_600_000


async def test_what_does_not_end_is_not_billed_after_its_release(world: World) -> None:
    await world.lease(1)
    await leap(world, 10 * SECOND)
    world.places.stuck = True
    await world.release()
    await world.delivery.reconcile()
    for _ in range(60):
        await leap(world, MINUTE)
    assert await state(world) is LeaseState.CLOSING
    world.places.stuck = False
    await leap(world, MINUTE)
    assert await state(world) is LeaseState.CLOSED
    [final] = await world.receipts()
    assert reserved_ms(final) == 10_000


async def test_what_does_not_end_is_tried_again_and_not_all_the_time(world: World) -> None:
    await world.lease(1)
    world.places.stuck = True
    await world.release()
    await world.delivery.reconcile()
    world.places.stuck = False
    await world.delivery.reconcile()
    assert await state(world) is LeaseState.CLOSING
    await leap(world, 10 * SECOND)
    assert await state(world) is LeaseState.CLOSED


# --- many at once ---


async def test_leases_that_begin_and_end_together_share_a_transaction(world: World) -> None:
    """Each writes the state of all meters: a thousand took ten seconds, one after another."""
    numbers = range(1, 6)
    for number in numbers:
        await world.lease(number, start_s=10)
    world.clock.tick(10 * SECOND)
    before = world.node.journal.commits
    await world.delivery.reconcile()
    assert world.node.journal.commits == before + 1
    assert [await state(world, number) for number in numbers] == [LeaseState.ACTIVE] * 5
    world.clock.tick(HOUR)
    await world.delivery.reconcile()
    before = world.node.journal.commits
    await world.delivery.reconcile()
    assert world.node.journal.commits == before + 1
    assert [await state(world, number) for number in numbers] == [LeaseState.CLOSED] * 5
    finals = await world.receipts()
    assert [(final.final, reserved_ms(final)) for final in finals] == [(True, 3_600_000)] * 5
    assert world.metering.running == {}
    assert world.metering.state.leases == {}


async def test_one_that_cannot_begin_or_end_holds_no_other_up(world: World) -> None:
    first, second, third = [await world.lease(number, start_s=10) for number in (1, 2, 3)]
    world.places.barred = {first}
    world.clock.tick(10 * SECOND)
    await world.delivery.reconcile()
    assert [await state(world, number) for number in (1, 2, 3)] == [
        LeaseState.FAILED,
        LeaseState.ACTIVE,
        LeaseState.ACTIVE,
    ]
    world.places.barred = {second}
    await leap(world, HOUR)
    assert [await state(world, number) for number in (2, 3)] == [
        LeaseState.CLOSING,
        LeaseState.CLOSED,
    ]
    assert not world.places.directory(third).exists()
    assert len(world.metering.running) == len(world.metering.state.leases) == 1
    world.places.barred = set()
    await leap(world, 10 * SECOND)
    assert await state(world, 2) is LeaseState.CLOSED


async def test_what_is_ready_waits_for_one_slow_one_at_most(world: World) -> None:
    for number in (1, 2, 3):
        await world.lease(number, start_s=10)
    world.clock.tick(10 * SECOND)
    world.places.pause = lambda: world.clock.tick(40 * SECOND)
    await world.delivery.reconcile()
    missing = [meter.missing_ns for meter in world.metering.state.leases.values()]
    assert missing == [40 * SECOND, 80 * SECOND, 120 * SECOND]
    for number in (1, 2, 3):
        await world.release(number)
    before = world.node.journal.commits
    await world.delivery.reconcile()
    assert world.node.journal.commits == before + 3


async def test_what_takes_its_time_not_to_end_is_not_tried_all_the_time(world: World) -> None:
    tries = []

    def pause() -> None:
        tries.append(world.clock.now())
        world.clock.tick(40 * SECOND)

    await world.lease()
    world.places.pause, world.places.stuck = pause, True
    await world.release()
    for _ in range(3):
        await world.delivery.reconcile()
    assert len(tries) == 1
    world.clock.tick(10 * SECOND)
    await world.delivery.reconcile()
    assert len(tries) == 2


async def test_one_that_is_released_while_others_begin_leaves_them_alone(world: World) -> None:
    released, other = [await world.lease(number, start_s=10) for number in (1, 2)]
    world.clock.tick(10 * SECOND)
    both = [await world.stored(1), await world.stored(2)]
    await world.release(1)
    await world.delivery._activate(both)  # as they were read before the release
    assert [await state(world, number) for number in (1, 2)] == [
        LeaseState.EXPIRED,
        LeaseState.ACTIVE,
    ]
    assert not world.places.directory(released).exists()
    world.places.use(other, 5_000_000)
    world.crash()
    await world.start()
    assert len(world.metering.running) == len(world.metering.state.leases) == 1
    await leap(world, MINUTE)
    [receipt] = await world.receipts()
    assert used_ms(receipt) == 5000


async def test_a_full_disk_or_a_crash_at_a_common_end_bills_nothing_twice(world: World) -> None:
    keys = [await world.lease(number) for number in (1, 2)]
    await leap(world, MINUTE)
    await leap(world, 10 * SECOND)
    for number, key in enumerate(keys, 1):
        world.places.use(key, 7_000_000)
        await world.release(number)
    with full(world.node.journal), pytest.raises(Overloaded):
        await world.delivery.reconcile()
    assert [await state(world, number) for number in (1, 2)] == [LeaseState.CLOSING] * 2
    world.crash()
    world.clock.tick(HOUR)
    await world.start()
    await world.delivery.reconcile()
    finals = [receipt for receipt in await world.receipts() if receipt.final]
    assert [(used_ms(final), reserved_ms(final)) for final in finals] == [(7000, 70_000)] * 2


# --- crashes ---


async def test_a_crash_bills_nothing_twice_and_loses_nothing(world: World) -> None:
    key = await world.lease(1)
    for second in range(1, 91):
        world.places.use(key, second * 500_000)
        await world.seconds(1)
    world.crash()
    world.clock.tick(30 * SECOND)
    world.places.use(key, 120 * 500_000)
    await world.start()
    assert world.metering.running
    await leap(world, SECOND)
    await world.release()
    await world.delivery.reconcile()
    final = (await world.receipts())[-1]
    assert used_ms(final) == 120 * 500
    assert reserved_ms(final) == 121_000
    assert delivered_ms(final) >= 119_000
    kinds = [event.kind for receipt in await world.receipts() for event in receipt.clock_events]
    assert kinds == [EventKind.AGENT_DOWN]


async def test_a_crash_again_and_again_bills_nothing_twice(world: World) -> None:
    key = await world.lease(1)
    for second in range(1, 200):
        world.places.use(key, second * 500_000)
        await world.seconds(1)
        if second % 17 == 0:
            world.crash()
            await world.start()
    await world.release()
    await world.delivery.reconcile()
    receipts = await world.receipts()
    assert used_ms(receipts[-1]) == 199 * 500
    assert reserved_ms(receipts[-1]) == 199_000


async def test_a_lease_that_was_closing_is_closed_after_a_crash(world: World) -> None:
    key = await world.lease(1)
    await leap(world, 10 * SECOND)
    await world.release()
    world.crash()
    world.clock.tick(HOUR)
    await world.start()
    await world.delivery.reconcile()
    assert await state(world) is LeaseState.CLOSED
    [final] = await world.receipts()
    assert reserved_ms(final) == 10_000
    assert not world.places.directory(key).exists()


async def test_a_lease_that_was_closing_when_the_power_went(world: World) -> None:
    """Its cgroup is gone with the boot: what was not receipted is a gap, and the lease ends."""
    key = await world.lease(1)
    await leap(world, MINUTE)
    await leap(world, 10 * SECOND)
    await world.release()
    world.crash()
    world.places.remove(key)
    world.clock.reboot(600 * SECOND, "boot-2")
    await world.start()
    await world.delivery.reconcile()
    assert await state(world) is LeaseState.CLOSED
    first, final = await world.receipts()
    assert final.final
    assert reserved_ms(final) == 70_000
    assert delivered_ms(final) == delivered_ms(first)


async def test_a_cgroup_that_a_crash_left_behind_is_removed(world: World) -> None:
    key = await world.lease(1)
    strangers = world.state / "cgroup" / "hearth-0123456789ab_another_agent.slice"
    strangers.mkdir()
    await leap(world, 10 * SECOND)
    await world.release()
    await world.delivery.reconcile()
    world.places.create(key, UNITS)  # the crash came between the commit and the removal
    world.crash()
    await world.start()
    assert not (world.state / "cgroup" / name_of(key)).exists()
    assert strangers.exists()


async def test_a_lease_that_never_began_is_begun_late(world: World) -> None:
    """The agent was down at its start: that time is reserved, and missing."""
    await world.lease(1, start_s=10)
    world.crash()
    world.clock.tick(100 * SECOND)
    await world.start()
    world.hear()
    await world.delivery.reconcile()
    await leap(world, MINUTE)
    [receipt] = await world.receipts()
    assert reserved_ms(receipt) == 150_000
    assert receipt.totals[1].missing_milliseconds == 90_000


async def test_a_lease_that_was_slept_through_is_all_missing(world: World) -> None:
    await world.lease(1, start_s=10)
    world.crash()
    world.clock.tick(5 * HOUR)
    await world.start()
    world.hear()
    for _ in range(3):
        await world.delivery.reconcile()
    assert await state(world) is LeaseState.CLOSED
    [final] = await world.receipts()
    assert (reserved_ms(final), delivered_ms(final), final.gross_msat_total) == (3_600_000, 0, 0)


# --- reboots ---


async def power_cut(world: World, off_ns: int, wall_error_ns: int = 0) -> None:
    world.crash()
    for item in list((world.state / "cgroup").iterdir()):
        for file in item.iterdir():
            file.unlink()
        item.rmdir()
    world.clock.reboot(off_ns, "boot-2", wall_error_ns)
    await world.start()


async def hear_truly(world: World, wall_error_ns: int) -> None:
    """The exchange's clock is right where this host's is not."""
    for pen in world.pens:
        world.market.exchange_time(pen.exchange_id, world.clock.wall_ns - wall_error_ns)


@pytest.mark.parametrize("wall_error_s", [0, -86_400 * 365, 7200])
async def test_an_outage_lasts_as_long_as_the_exchange_says(
    world: World, wall_error_s: int
) -> None:
    """A dead battery sets the clock back by a year, a wrong zone sets it ahead."""
    error = wall_error_s * SECOND
    key = await world.lease(1, hours=3)
    await leap(world, MINUTE)
    await power_cut(world, 30 * MINUTE, error)
    await leap(world, SECOND)  # nothing is heard yet
    await leap(world, SECOND)
    await hear_truly(world, error)
    await leap(world, SECOND)
    await leap(world, MINUTE)
    assert await state(world) is LeaseState.ACTIVE
    assert world.places.directory(key).exists()
    before, *_, last = await world.receipts()
    assert before.interval.end_time.ToNanoseconds() < last.interval.end_time.ToNanoseconds()
    assert abs(reserved_ms(last) - (31 * 60_000 + 63_000)) <= 1
    assert delivered_ms(last) <= 120_000
    kinds = [event.kind for receipt in await world.receipts() for event in receipt.clock_events]
    assert kinds.count(EventKind.REBOOT) == kinds.count(EventKind.OUTAGE) == 1
    starts = [receipt.interval.start_time.ToNanoseconds() for receipt in await world.receipts()]
    ends = [receipt.interval.end_time.ToNanoseconds() for receipt in await world.receipts()]
    assert starts[1:] == ends[:-1]
    assert last.boot_id == "boot-2"


async def test_an_exchange_that_stays_silent_is_not_waited_for(world: World) -> None:
    await world.lease(1, hours=3)
    await leap(world, MINUTE)
    await power_cut(world, 30 * MINUTE)
    await leap(world, 59 * SECOND)
    assert len(await world.receipts()) == 1
    await leap(world, SECOND)
    last = (await world.receipts())[-1]
    assert reserved_ms(last) == 60_000 + 30 * 60_000 + 60_000


async def test_an_outage_beyond_the_end_is_reserved_to_the_end(world: World) -> None:
    await world.lease(1)
    await leap(world, MINUTE)
    await power_cut(world, 72 * HOUR)
    world.hear()
    for _ in range(3):
        await world.delivery.reconcile()
    assert await state(world) is LeaseState.CLOSED
    final = (await world.receipts())[-1]
    assert reserved_ms(final) == 3_600_000
    assert delivered_ms(final) <= 60_000


async def test_72_hours_in_720_are_90_percent_in_the_receipts(world: World) -> None:
    await world.lease(1, hours=700)
    await leap(world, 20 * HOUR)
    await power_cut(world, 70 * HOUR)
    world.hear()
    await leap(world, SECOND)
    await leap(world, 610 * HOUR)
    final = (await world.receipts())[-1]
    assert final.final
    assert reserved_ms(final) == 700 * 3_600_000
    assert 1000 * delivered_ms(final) // reserved_ms(final) in (899, 900)


# --- what should never be ---


@pytest.mark.parametrize("damage", ["DELETE FROM meter", "UPDATE meter SET state = x'c1'"])
async def test_a_lost_meter_goes_on_from_the_last_receipt(world: World, damage: str) -> None:
    key = await world.lease(1)
    for second in range(1, 91):
        world.places.use(key, second * 500_000)
        await world.seconds(1)
    await world.node.journal.write(lambda change: change.execute(damage) and None)
    world.crash()
    await world.start()
    world.hear()
    await leap(world, 30 * SECOND)
    await leap(world, MINUTE)
    receipts = await world.receipts()
    assert reserved_ms(receipts[-1]) == 180_000
    assert used_ms(receipts[-1]) >= used_ms(receipts[0])
    assert delivered_ms(receipts[-1]) >= delivered_ms(receipts[0])


async def test_a_lost_meter_before_the_first_receipt_is_an_outage(world: World) -> None:
    await world.lease(1)
    await leap(world, 30 * SECOND)
    await world.node.journal.write(lambda change: change.execute("DELETE FROM meter") and None)
    world.crash()
    await world.start()
    world.hear()
    await leap(world, 10 * SECOND)
    await leap(world, MINUTE)
    [*_, receipt] = await world.receipts()
    assert reserved_ms(receipt) == 100_000
    assert delivered_ms(receipt) <= 60_000


async def test_a_meter_of_no_lease_is_forgotten(world: World) -> None:
    await world.lease(1)
    stale = msgspec.structs.replace(
        world.metering.state,
        leases={"x/y": next(iter(world.metering.state.leases.values()))},
    )
    world.metering.state = msgspec.structs.replace(
        world.metering.state, leases={**stale.leases, **world.metering.state.leases}
    )
    await leap(world, MINUTE)
    world.crash()
    await world.start()
    assert list(world.metering.state.leases) == list(world.metering.running)


# --- what fails ---


async def test_a_lease_without_a_place_fails_and_gives_its_units_back(world: World) -> None:
    world.places.broken = True
    await world.lease(1, {"VCPU": 64})
    assert await state(world) is LeaseState.FAILED
    assert (await world.stored()).lease.reason is CloseReason.OPERATOR_FAULT
    world.places.broken = False
    await world.lease(2, {"VCPU": 64}, world.pens[1])


async def test_a_full_disk_holds_a_receipt_up_and_loses_nothing_of_it(world: World) -> None:
    key = await world.lease(1)
    world.clock.suspend(5 * SECOND)
    world.metering.sample()
    world.places.use(key, 7_000_000)
    world.clock.tick(MINUTE)
    world.metering.sample()
    with full(world.node.journal), pytest.raises(Overloaded):
        await world.metering.close_due()
    await world.metering.close_due()
    [receipt] = await world.receipts()
    assert used_ms(receipt) == 7000
    assert EventKind.SUSPEND in [event.kind for event in receipt.clock_events]


async def test_a_receipt_that_comes_too_late_leaves_its_interval_to_the_final_one(
    world: World,
) -> None:
    await world.lease()
    world.clock.suspend(2 * MINUTE)
    world.metering.sample()
    await world.release()
    journal, go = world.node.journal, threading.Event()
    held = journal.submit(lambda _: go.wait(60))
    try:
        late = asyncio.create_task(world.metering.close_due())
        await asyncio.sleep(0)
        final = asyncio.create_task(world.delivery.reconcile())
        await asyncio.sleep(0.2)  # the final one goes as far as it may
    finally:
        go.set()
    await asyncio.gather(asyncio.wrap_future(held), late, final)
    [receipt] = await world.receipts()
    assert receipt.final
    assert [event.magnitude.seconds for event in receipt.clock_events] == [120]


async def test_a_receipt_that_is_held_up_again_and_again_stays_small(world: World) -> None:
    await world.lease(1, hours=10)
    times = MOST_EVENTS + 50
    for _ in range(times):
        world.clock.suspend(MINUTE)
        world.metering.sample()
        with full(world.node.journal), pytest.raises(Overloaded):
            await world.metering.close_due()
    await world.metering.close_due()
    [receipt] = await world.receipts()
    slept = [event.magnitude.seconds for event in receipt.clock_events]
    assert len(slept) == MOST_EVENTS
    assert sum(slept) == times * 60


async def test_a_full_disk_at_the_start_begins_nothing(world: World) -> None:
    await world.lease(1, start_s=10)
    world.clock.tick(10 * SECOND)
    for _ in range(3):
        with full(world.node.journal), pytest.raises(Overloaded):
            await world.delivery.reconcile()
    assert world.metering.running == {}
    assert world.metering.state.leases == {}
    await world.delivery.reconcile()
    assert await state(world) is LeaseState.ACTIVE


async def test_a_full_disk_at_the_end_is_waited_out(world: World) -> None:
    await world.lease(1)
    await leap(world, 30 * SECOND)
    await world.release()
    with full(world.node.journal), pytest.raises(Overloaded):
        await world.delivery.reconcile()
    assert await state(world) is LeaseState.CLOSING
    world.clock.tick(HOUR)
    await world.delivery.reconcile()
    assert await state(world) is LeaseState.CLOSED
    [final] = await world.receipts()
    assert reserved_ms(final) == 30_000


async def test_what_happened_before_a_release_is_in_the_final_receipt(world: World) -> None:
    """Its interval was over when the exchange ended it: that receipt is the final one."""
    await world.lease(1)
    world.clock.suspend(5 * SECOND)
    await leap(world, SECOND)
    world.clock.tick(MINUTE)
    world.metering.sample()
    await world.release()
    await world.metering.close_due()
    assert await world.receipts() == []
    await world.delivery.reconcile()
    [final] = await world.receipts()
    assert EventKind.SUSPEND in [event.kind for event in final.clock_events]


async def test_a_lease_that_is_released_while_its_place_is_made(world: World) -> None:
    """systemctl takes its time; the exchange does not wait for it."""
    await world.lease(1, start_s=10)
    world.clock.tick(10 * SECOND)
    stored = await world.stored()
    await world.release()
    await world.delivery._activate([stored])  # as it was read before the release
    assert await state(world) is LeaseState.EXPIRED
    assert world.metering.running == {}
    assert world.metering.state.leases == {}
    assert not world.places.directory(stored.lease.key).exists()
    assert await world.receipts() == []


async def test_an_end_that_was_decided_late_does_not_raise_the_dead(world: World) -> None:
    await world.lease(1)
    await leap(world, 10 * SECOND)
    stored = await world.stored()
    await world.release()
    await world.delivery.reconcile()
    assert await state(world) is LeaseState.CLOSED
    await world.delivery._end(stored, CloseReason.END_TIME)  # as it was read before the release
    assert await state(world) is LeaseState.CLOSED
    assert (await world.stored()).lease.reason is CloseReason.TENANT_DONE


async def test_no_receipt_follows_the_final_one(world: World) -> None:
    key = await world.lease(1)
    await leap(world, 10 * SECOND)
    running = dict(world.metering.running)
    state_before = world.metering.state
    await world.release()
    await world.delivery.reconcile()
    world.metering.running.update(running)
    world.metering.state = state_before
    await world.metering._cut(list(running))  # its interval was over in that very moment
    assert [receipt.final for receipt in await world.receipts()] == [True]
    world.metering.running.clear()
    assert not world.places.directory(key).exists()
