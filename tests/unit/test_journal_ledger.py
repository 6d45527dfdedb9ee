"""One ledger for all exchanges: what is asked over the wire, and what stands in the books."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from hearth.v1 import lease_pb2, offer_pb2

from agent.core.lease import HOLDING, LeaseState
from agent.errors import MalformedMessage, Overloaded
from agent.journal import ledger
from agent.journal.store import Transaction, View
from attest.envelope import verify
from tests.fakes import spine
from tests.fakes.spine import SECOND, Pen
from tests.fakes.world import UNITS, World

Agreement = lease_pb2.LeaseAgreement


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = await World.open(tmp_path / "state", exchanges=8)
    await made.offering.refresh(made.links)
    yield made
    assert made.findings() == []
    made.node.close()


async def held(world: World) -> int:
    """VCPUs that are held in the books, by all exchanges."""
    now = world.clock.now()
    free = await world.node.journal.read(lambda view: ledger.free(view, world.node.total, now))
    return world.node.total["VCPU"] - free["VCPU"]


async def answers(world: World, pen: Pen) -> list[lease_pb2.LeaseDecision]:
    sent = await world.node.journal.read(lambda view: spine.sent(view, pen.row, "LeaseDecision"))
    return [lease_pb2.LeaseDecision.FromString(item.payload) for item in sent]


async def test_eight_racing_exchanges_never_get_more_than_there_is(world: World) -> None:
    """Check-then-write sold 92 of 64 in a trial; here everybody asks for one of 64, 20 times."""

    async def shop(pen: Pen, first: int) -> None:
        _, offer = await spine.newest_offer(world.node.journal, pen.row)
        for number in range(first, first + 20):
            wanted = pen.reserve(offer, spine.lease_id(number), {"VCPU": 1})
            await spine.tell(world.market, pen, wanted)
            assert await held(world) <= 64

    await asyncio.gather(*(shop(pen, 100 * place) for place, pen in enumerate(world.pens)))
    outcomes = [answer.outcome for pen in world.pens for answer in await answers(world, pen)]
    assert len(outcomes) == 160
    assert outcomes.count(lease_pb2.LEASE_OUTCOME_ACCEPTED) == 64
    assert outcomes.count(lease_pb2.LEASE_OUTCOME_NO_CAPACITY) == 96
    assert await held(world) == 64


async def test_a_request_that_comes_again_gets_the_same_answer(world: World) -> None:
    pen = world.pens[0]
    _, offer = await spine.newest_offer(world.node.journal, pen.row)
    granted = pen.reserve(offer, spine.lease_id(1), UNITS)
    refused = pen.reserve(offer, spine.lease_id(2), {"VCPU": 100})
    for envelope in (granted, refused, granted, refused):
        await spine.tell(world.market, pen, envelope)
        world.clock.tick(SECOND)
    sent = await world.node.journal.read(lambda view: spine.sent(view, pen.row, "LeaseDecision"))
    assert len(sent) == 4
    assert sent[0] == sent[2]
    assert sent[1] == sent[3]
    assert await held(world) == UNITS["VCPU"]


async def test_an_agreement_that_comes_again_gets_the_same_countersignature(
    world: World,
) -> None:
    pen = world.pens[0]
    await world.lease(1)
    sent = await world.node.journal.read(lambda view: spine.sent(view, pen.row, "LeaseAgreement"))
    assert len(sent) == 1
    assert len(sent[0].signatures) == 2
    verify(sent[0], pen.key.spki)
    verify(sent[0], world.node.scribe.signer.spki)
    asked = type(sent[0])(sent[0].payload_type, sent[0].payload, sent[0].signatures[:1])
    await spine.tell(world.market, pen, asked)
    again = await world.node.journal.read(lambda view: spine.sent(view, pen.row, "LeaseAgreement"))
    assert again == [sent[0], sent[0]]


async def test_another_exchange_with_the_same_id_has_another_lease(world: World) -> None:
    first, second = world.pens[:2]
    await world.lease(1, {"VCPU": 3}, first)
    await world.lease(1, {"VCPU": 4}, second)
    assert await held(world) == 7
    one, two = await world.stored(1, first), await world.stored(1, second)
    assert one.lease.fencing_token != two.lease.fencing_token
    assert one.lease.units != two.lease.units
    await world.release(1, first)
    assert (await world.stored(1, second)).lease.state is LeaseState.ACTIVE


async def test_an_id_is_used_once(world: World) -> None:
    await world.lease(1)
    decision = await world.reserve(1, {"VCPU": 1})
    assert decision.outcome == lease_pb2.LEASE_OUTCOME_INVALID
    assert "used before" in decision.detail


async def test_a_hold_that_ran_out_frees_its_units(world: World) -> None:
    decision = await world.reserve(1, {"VCPU": 64})
    assert decision.outcome == lease_pb2.LEASE_OUTCOME_ACCEPTED
    assert decision.hold.seconds == 30
    refused = await world.reserve(2, {"VCPU": 1})
    assert refused.outcome == lease_pb2.LEASE_OUTCOME_NO_CAPACITY
    world.clock.tick(30 * SECOND)  # nobody has even looked at it
    taken = await world.reserve(3, {"VCPU": 64})
    assert taken.outcome == lease_pb2.LEASE_OUTCOME_ACCEPTED
    await world.delivery.reconcile()
    assert (await world.stored(1)).lease.state is LeaseState.EXPIRED


async def test_a_hold_does_not_survive_a_reboot(world: World) -> None:
    decision = await world.reserve(1)
    world.clock.reboot(1, "boot-2")
    assert await held(world) == 0
    pen = world.pens[0]
    offer, _ = await spine.newest_offer(world.node.journal, pen.row)
    now = world.clock.wall_ns
    token = decision.fencing_token
    agreement = pen.agreement(offer, spine.lease_id(1), UNITS, token, now, now + 60 * SECOND)
    await spine.tell(world.market, pen, pen.sign(agreement))
    late = await spine.newest_decision(world.node.journal, pen.row)
    assert late.outcome == lease_pb2.LEASE_OUTCOME_HOLD_EXPIRED


async def test_an_old_revision_of_an_offer_grants_nothing(world: World) -> None:
    pen = world.pens[0]
    _, old = await spine.newest_offer(world.node.journal, pen.row)
    await world.lease(1)
    world.clock.tick(2 * SECOND)
    await world.offering.refresh(world.links)
    await spine.tell(world.market, pen, pen.reserve(old, spine.lease_id(2), UNITS))
    decision = await spine.newest_decision(world.node.journal, pen.row)
    assert decision.outcome == lease_pb2.LEASE_OUTCOME_OFFER_SUPERSEDED


async def test_an_offer_to_another_exchange_grants_nothing(world: World) -> None:
    first, second = world.pens[:2]
    _, offer = await spine.newest_offer(world.node.journal, first.row)
    await spine.tell(world.market, second, second.reserve(offer, spine.lease_id(2), UNITS))
    decision = await spine.newest_decision(world.node.journal, second.row)
    assert decision.outcome == lease_pb2.LEASE_OUTCOME_INVALID


# --- agreements ---


def set_units(agreement: Agreement) -> None:
    agreement.units[0].units += 1


def drop_units(agreement: Agreement) -> None:
    del agreement.units[0]


def change_price(agreement: Agreement) -> None:
    agreement.prices[0].msat_numerator -= 1


def add_price(agreement: Agreement) -> None:
    agreement.prices.add().CopyFrom(agreement.prices[0])


def swap_prices(agreement: Agreement) -> None:
    first, second = agreement.prices
    kept = offer_pb2.Price()
    kept.CopyFrom(first)
    first.CopyFrom(second)
    second.CopyFrom(kept)


CHANGES: dict[str, Callable[[Agreement], object]] = {
    "exchange_id": lambda a: setattr(a, "exchange_id", "ff" * 32),
    "node_id": lambda a: setattr(a, "node_id", "ff" * 32),
    "offer_sha256": lambda a: setattr(a, "offer_sha256", bytes(32)),
    "units: more": set_units,
    "units: fewer classes": drop_units,
    "prices: lower": change_price,
    "prices: one more": add_price,
    "prices: another order": swap_prices,
    "service_level: availability": lambda a: setattr(
        a.service_level, "availability_ppm", 1_000_000
    ),
    "service_level: window": lambda a: setattr(a.service_level.window, "seconds", 1),
    "service_level: rebates": lambda a: a.service_level.rebate_tiers.add(below_ppm=1),
    "service_level: exclusions": lambda a: a.service_level.exclusions.append(1),
    "settlement: interval": lambda a: setattr(a.settlement.receipt_interval, "seconds", 1),
    "settlement: credit": lambda a: setattr(a.settlement, "credit_limit_msat", 1 << 60),
    "settlement: mode": lambda a: setattr(a.settlement, "mode", 2),
    "start_time: after the end": lambda a: a.start_time.FromNanoseconds(1 << 62),
    "start_time: long ago": lambda a: a.start_time.FromNanoseconds(0),
    "end_time: beyond the offer": lambda a: a.end_time.FromNanoseconds(1 << 62),
    "workload": lambda a: a.workload.SetInParent(),
}


@pytest.mark.parametrize("field", CHANGES)
async def test_an_agreement_that_differs_from_the_offer_is_refused(
    world: World, field: str
) -> None:
    pen = world.pens[0]
    decision = await world.reserve(1)
    offer, _ = await spine.newest_offer(world.node.journal, pen.row)
    now = world.clock.wall_ns
    token = decision.fencing_token
    agreement = pen.agreement(offer, spine.lease_id(1), UNITS, token, now, now + 60 * SECOND)
    good = agreement.SerializeToString(deterministic=True)
    CHANGES[field](agreement)
    assert agreement.SerializeToString(deterministic=True) != good, "the test changes nothing"
    await spine.tell(world.market, pen, pen.sign(agreement))
    refused = await spine.newest_decision(world.node.journal, pen.row)
    assert refused.outcome == lease_pb2.LEASE_OUTCOME_INVALID, refused
    assert (await world.stored(1)).lease.state is LeaseState.RESERVED
    # The hold stands, and the right agreement still makes a lease of it.
    await spine.tell(world.market, pen, pen.sign(Agreement.FromString(good)))
    assert (await world.stored(1)).lease.state is LeaseState.COMMITTED


async def test_only_the_token_of_the_hold_commits_it(world: World) -> None:
    pen = world.pens[0]
    await world.reserve(1)
    offer, _ = await spine.newest_offer(world.node.journal, pen.row)
    now = world.clock.wall_ns
    agreement = pen.agreement(offer, spine.lease_id(1), UNITS, b"x" * 16, now, now + SECOND)
    await spine.tell(world.market, pen, pen.sign(agreement))
    decision = await spine.newest_decision(world.node.journal, pen.row)
    assert decision.outcome == lease_pb2.LEASE_OUTCOME_FENCED


async def test_a_late_agreement_finds_the_units_gone(world: World) -> None:
    pen, other = world.pens[:2]
    decision = await world.reserve(1, {"VCPU": 64})
    world.clock.tick(31 * SECOND)
    await world.lease(2, {"VCPU": 64}, other)
    offer, _ = await spine.newest_offer(world.node.journal, pen.row)
    now = world.clock.wall_ns
    agreement = pen.agreement(
        offer, spine.lease_id(1), {"VCPU": 64}, decision.fencing_token, now, now + SECOND
    )
    await spine.tell(world.market, pen, pen.sign(agreement))
    late = await spine.newest_decision(world.node.journal, pen.row)
    assert late.outcome != lease_pb2.LEASE_OUTCOME_ACCEPTED
    assert await held(world) == 64


# --- the end ---


async def test_a_hold_is_given_back_at_once(world: World) -> None:
    await world.reserve(1, {"VCPU": 64})
    await world.release(1)
    assert await held(world) == 0
    assert (await world.stored(1)).lease.state is LeaseState.EXPIRED


async def test_a_release_with_another_token_ends_nothing(world: World) -> None:
    pen = world.pens[0]
    await world.lease(1)
    release = lease_pb2.LeaseRelease(lease_id=spine.lease_id(1), fencing_token=b"x" * 16)
    await spine.tell(world.market, pen, pen.sign(release))
    decision = await spine.newest_decision(world.node.journal, pen.row)
    assert decision.outcome == lease_pb2.LEASE_OUTCOME_FENCED
    assert (await world.stored(1)).lease.state is LeaseState.ACTIVE


# --- answers ---


async def test_a_refusal_is_no_leaf_and_expires(world: World) -> None:
    pen = world.pens[0]
    _, offer = await spine.newest_offer(world.node.journal, pen.row)
    size = await world.node.journal.read(View.size)
    refused = pen.reserve(offer, spine.lease_id(1), {"VCPU": 100})
    await spine.tell(world.market, pen, refused)
    assert await world.node.journal.read(View.size) == size

    def kept(view: View) -> int:
        row = view.one("SELECT count(*) FROM answers WHERE idx IS NULL")
        return int(row[0]) if row else 0

    assert await world.node.journal.read(kept) == 1
    world.clock.tick(3599 * SECOND)
    await spine.tell(world.market, pen, pen.reserve(offer, spine.lease_id(3), {"VCPU": 100}))
    assert await world.node.journal.read(kept) == 2
    world.clock.tick(3601 * SECOND)
    await spine.tell(world.market, pen, pen.reserve(offer, spine.lease_id(2), {"VCPU": 100}))
    assert await world.node.journal.read(kept) == 1


async def test_a_refusal_names_the_request_it_answers(world: World) -> None:
    pen = world.pens[0]
    _, offer = await spine.newest_offer(world.node.journal, pen.row)
    refused = pen.reserve(offer, spine.lease_id(1), {"VCPU": 100})
    await spine.tell(world.market, pen, refused)
    envelope = await spine.last(world.node.journal, pen.row, "LeaseDecision")
    verify(envelope, world.node.scribe.signer.spki)


# --- acknowledgements ---


async def test_an_acknowledgement_names_a_receipt_that_was_issued(world: World) -> None:
    pen = world.pens[0]
    await world.lease(1)
    world.clock.tick(901 * SECOND)
    world.metering.sample()
    await world.metering.close_due()
    stored = await world.stored(1)
    ack = lease_pb2.ReceiptAck(
        lease_id=spine.lease_id(1),
        accepted_through=1,
        accepted_sha256=stored.lease.receipt_sha256,
        uncontested_msat_total=7,
    )
    wrong = {"accepted_through": 2, "accepted_sha256": bytes(32), "lease_id": spine.lease_id(2)}
    for field, value in wrong.items():
        false = lease_pb2.ReceiptAck.FromString(ack.SerializeToString())
        setattr(false, field, value)
        with pytest.raises(MalformedMessage, match="not ours"):
            await spine.tell(world.market, pen, pen.sign(false))
    assert (await world.stored(1)).acked_through == 0
    await spine.tell(world.market, pen, pen.sign(ack))
    acked = await world.stored(1)
    assert (acked.acked_through, acked.acked_msat) == (1, 7)
    world.clock.tick(901 * SECOND)
    world.metering.sample()
    await world.metering.close_due()
    newer = lease_pb2.ReceiptAck.FromString(ack.SerializeToString())
    newer.accepted_through, newer.uncontested_msat_total = 2, 9
    newer.accepted_sha256 = (await world.stored(1)).lease.receipt_sha256
    for each in (newer, ack):  # the old one once more: the watermark never falls
        await spine.tell(world.market, pen, pen.sign(each))
        acked = await world.stored(1)
        assert (acked.acked_through, acked.acked_msat) == (2, 9)


# --- offers ---


async def test_when_units_go_every_exchange_is_told_once_a_second(world: World) -> None:
    async def revisions() -> list[int]:
        offers = [(await spine.newest_offer(world.node.journal, pen.row))[1] for pen in world.pens]
        return [offer.sequence for offer in offers]

    async def units() -> set[int]:
        offers = [(await spine.newest_offer(world.node.journal, pen.row))[1] for pen in world.pens]
        return {item.max_unit for offer in offers for item in offer.inventories[1:]}

    assert await revisions() == [1] * 8
    world.clock.tick(2 * SECOND)
    await world.lease(1, {"VCPU": 10})
    for _ in range(5):
        await world.offering.refresh(world.links)
    assert await revisions() == [2] * 8
    assert await units() == {54}
    await world.lease(2, {"VCPU": 10}, world.pens[1])
    await world.offering.refresh(world.links)
    assert await revisions() == [2] * 8
    world.clock.tick(SECOND)
    await world.offering.refresh(world.links)
    assert await revisions() == [3] * 8
    assert await units() == {44}


async def test_a_revision_that_was_not_written_is_cut_again(world: World) -> None:
    """Nothing that a failed commit left in memory may keep an exchange on an old offer."""
    world.clock.tick(2 * SECOND)
    await world.lease(1, {"VCPU": 10})
    pages = world.node.journal._writer.execute("PRAGMA page_count").fetchone()[0]
    world.node.journal._writer.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(Overloaded):
        for _ in range(100):
            await world.node.journal.write(_fill)
    with pytest.raises(Overloaded):
        await world.offering.refresh(world.links)
    world.node.journal._writer.execute("PRAGMA max_page_count = 1000000")
    await world.offering.refresh(world.links)
    _, offer = await spine.newest_offer(world.node.journal, world.pens[0].row)
    assert offer.sequence == 2


def _fill(change: Transaction) -> None:
    change.set_meta(f"fill {change.size()}", b"x" * 3000)
    change.append(*(b"x" * 3000, b"\0" * 32))


async def test_draining_offers_nothing_and_grants_nothing(world: World) -> None:
    world.clock.tick(2 * SECOND)
    world.market.draining = True
    for _ in range(3):
        await world.offering.refresh(world.links)
    commits = world.node.journal.commits
    await world.offering.refresh(world.links)
    assert world.node.journal.commits == commits, "nothing is due"
    _, offer = await spine.newest_offer(world.node.journal, world.pens[0].row)
    assert {item.max_unit for item in offer.inventories} == {0}
    decision = await world.reserve(1)
    assert decision.outcome == lease_pb2.LEASE_OUTCOME_DRAINING


async def test_what_holds_units_is_what_stands_in_the_table(world: World) -> None:
    for number, pen in enumerate(world.pens, 1):
        await world.lease(number, {"VCPU": number}, pen)
    await world.release(3, world.pens[2])
    stored = await world.node.journal.read(lambda view: ledger.leases(view, HOLDING))
    assert sum(item.lease.units["VCPU"] for item in stored) == await held(world)
