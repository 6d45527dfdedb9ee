"""One session against an exchange that does what it must."""

from __future__ import annotations

import asyncio

from hearth.v1 import lease_pb2, log_pb2, session_pb2

from agent.clock import SECOND
from attest.envelope import message_name
from attest.formats import decode_evidence, decode_evidence_payload, envelope_from_proto
from tests.fakes.clock import VirtualClock
from tests.fakes.scripted_exchange import Response, Talk
from tests.fakes.table import Table, offer_of, reserve


async def test_a_session_shows_who_we_are_and_brings_what_waits(table: Table) -> None:
    node = table.world.node
    hellos: list[session_pb2.Hello] = []

    async def script(talk: Talk) -> None:
        hellos.append(await talk.welcome())
        evidence = decode_evidence(talk.seen[-1].evidence)
        payload = decode_evidence_payload(evidence.payload)
        assert payload.log_id == node.log_id
        batch = await talk.until("envelopes")
        assert batch.delivery_sequence == 1
        await talk.say(Response(delivered_through=len(batch.envelopes.items), credit=100))
        await asyncio.sleep(0.2)

    await table.run(script, script)
    assert [hello.session_epoch for hello in hellos] == [1, 2]
    assert table.link.standing.first_offer_ns == table.world.clock.wall_ns
    assert hellos[0].node_id == node.node_id
    cursors = await table.cursors()
    assert cursors["delivered"] == cursors["last"] > 0
    assert hellos[1].delivered_through == 0


async def test_what_is_delivered_is_not_sent_again(table: Table) -> None:
    async def first(talk: Talk) -> None:
        await talk.welcome()
        batch = await talk.until("envelopes")
        await talk.say(Response(delivered_through=len(batch.envelopes.items)))
        await asyncio.sleep(0.2)

    async def second(talk: Talk) -> None:
        last = (await table.cursors())["last"]
        await talk.welcome(delivered_through=last)
        assert "envelopes" not in await talk.quiet(0.3)

    await table.run(first, second)


async def test_what_was_lost_on_the_way_is_sent_again_from_the_exchanges_cursor(
    table: Table,
) -> None:
    async def first(talk: Talk) -> None:
        await talk.welcome()
        await talk.until("envelopes")  # and dies before it is durable

    async def second(talk: Talk) -> None:
        await talk.welcome(delivered_through=0)
        assert (await talk.until("envelopes")).delivery_sequence == 1

    await table.run(first, second)


async def test_credit_bounds_what_is_on_the_way(table: Table) -> None:
    for number in range(10):
        await table.world.reserve(number, {"VCPU": 1})

    async def script(talk: Talk) -> None:
        await talk.welcome(credit=3)
        got = 0
        while got < 3:
            got += len((await talk.until("envelopes")).envelopes.items)
        assert got == 3
        assert "envelopes" not in await talk.quiet(0.3)
        await talk.say(Response(delivered_through=3, credit=1))
        assert len((await talk.until("envelopes")).envelopes.items) == 1

    await table.run(script)


async def test_a_snapshot_ends_with_the_number_of_offers(table: Table) -> None:
    async def script(talk: Talk) -> None:
        await talk.welcome(snapshot_required=True)
        end = await talk.until("snapshot_end")
        assert end.snapshot_end.offer_count == 1
        assert any(message.WhichOneof("body") == "envelopes" for message in talk.seen)

    await table.run(script)


async def test_a_new_head_comes_with_its_proofs_after_its_leaves(table: Table) -> None:
    head = await table.world.checkpoint()
    assert head is not None

    async def script(talk: Talk) -> None:
        await talk.welcome()
        bundle = (await talk.until("checkpoint")).checkpoint
        assert bundle.note == head.note
        assert any(message.WhichOneof("body") == "envelopes" for message in talk.seen)
        note_root = bytes(32)
        witnessed = log_pb2.WitnessedHead(
            log_id=table.world.node.log_id, size=head.size, root=note_root
        )
        await talk.say(Response(witnessed=witnessed))
        await asyncio.sleep(0.2)

    await table.run(script)


async def test_the_next_head_waits_until_the_last_one_is_witnessed(table: Table) -> None:
    head = await table.world.checkpoint()
    assert head is not None

    async def script(talk: Talk) -> None:
        await talk.welcome()
        await talk.until("checkpoint")
        await table.world.lease()
        newer = await table.world.checkpoint()
        assert newer is not None
        table.link.bell.set()
        assert "checkpoint" not in await talk.quiet(0.3)
        witnessed = log_pb2.WitnessedHead(
            log_id=table.world.node.log_id, size=head.size, root=bytes(32)
        )
        await talk.say(Response(witnessed=witnessed))
        bundle = (await talk.until("checkpoint")).checkpoint
        assert (bundle.note, bundle.consistency.old_size) == (newer.note, head.size)

    await table.run(script)


async def test_a_request_is_answered_in_the_same_session(table: Table) -> None:
    offer = await offer_of(table)

    async def script(talk: Talk) -> None:
        await talk.welcome()
        await talk.until("envelopes")
        await talk.deliver(1, reserve(table, 1, offer))
        table.link.bell.set()
        seen = [await talk.read(), await talk.read()]
        assert max(message.delivered_through for message in seen) == 1
        [answer] = [message for message in seen if message.WhichOneof("body") == "envelopes"]
        envelope = envelope_from_proto(answer.envelopes.items[0].envelope)
        assert message_name(envelope.payload_type) == "LeaseDecision"
        decision = lease_pb2.LeaseDecision.FromString(envelope.payload)
        assert decision.outcome == lease_pb2.LEASE_OUTCOME_ACCEPTED

    table.world.node.journal.on_commit = lambda: None
    await table.run(script)


async def tick(clock: VirtualClock) -> None:
    """A hundred times as fast as time."""
    while True:
        await clock.run(SECOND)
        await asyncio.sleep(0.01)


async def test_heartbeats_carry_the_cursor_and_bring_the_exchanges_time(table: Table) -> None:
    clock = table.world.clock

    async def script(talk: Talk) -> None:
        await talk.welcome()
        ticking = asyncio.create_task(tick(clock))
        began = clock.now()
        for _ in range(3):
            beat = await talk.until("heartbeat")
            assert beat.heartbeat.send_time.ToNanoseconds() > 0
        assert 60 * SECOND <= clock.now().boottime_ns - began.boottime_ns < 100 * SECOND
        ticking.cancel()
        message = Response()
        message.heartbeat.send_time.FromNanoseconds(2_000_000_000 * SECOND)
        await talk.say(message)
        await asyncio.sleep(0.2)

    await table.run(script)
    heard = table.world.market.now_at(table.world.pens[0].exchange_id)
    assert abs(heard - 2_000_000_000 * SECOND) < SECOND
