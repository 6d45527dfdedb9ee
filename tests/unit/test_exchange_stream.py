"""One session against an exchange that does what it must, and everything else."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
import structlog
from google.protobuf.duration_pb2 import Duration
from hearth.v1 import challenge_pb2, lease_pb2, log_pb2, session_pb2

from agent.clock import SECOND
from agent.errors import ExchangeError, HearthError
from agent.exchange import sender, stream
from agent.exchange.link import MOST_CHALLENGES, Link
from agent.exchange.stream import Session
from agent.journal.store import Transaction
from agent.market import MOST_REQUESTS
from agent.supervise import Backoff, retrying
from agent.wire import stream as wire
from attest.envelope import message_name
from attest.errors import AttestError, TpmError
from attest.formats import decode_evidence, decode_evidence_payload, envelope_from_proto
from tests.fakes import spine
from tests.fakes.clock import VirtualClock
from tests.fakes.disk import full
from tests.fakes.scripted_exchange import Gone, Response, Script, ScriptedExchange, Talk
from tests.fakes.world import UNITS, World


@dataclass
class Table:
    """An agent and the exchange it is enrolled with."""

    world: World
    exchange: ScriptedExchange
    link: Link

    def session(self) -> Session:
        node = self.world.node

        async def renewal(channel: grpc.aio.Channel, nonce: bytes) -> None:
            await asyncio.Event().wait()

        return Session(
            self.link,
            node.journal,
            self.world.market,
            self.world.clock,
            node.node_id,
            node.log_id,
            renewal,
        )

    async def run(self, *scripts: Script, match: str | None = None) -> None:
        """Run one session for each script, until the exchange ends it."""
        self.exchange.scripts = list(scripts)
        self.exchange.sessions = 0
        for _ in scripts:
            with pytest.raises(ExchangeError, match=match):
                async with asyncio.timeout(20):
                    await self.session().run(Backoff())
            assert not self.link.standing.connected
            assert self.link.standing.last_error
        assert self.exchange.failures == []

    async def cursors(self) -> dict[str, int]:
        row = await self.world.node.journal.read(
            lambda view: view.one(
                "SELECT epoch, outbox_last, delivered_through, applied_through FROM exchanges"
                " WHERE id = ?",
                self.link.row,
            )
        )
        assert row is not None
        return dict(zip(("epoch", "last", "delivered", "applied"), row, strict=True))

    async def nacks(self) -> list[tuple[Any, ...]]:
        return await self.world.node.journal.read(
            lambda view: view.all("SELECT sequence, reason, detail FROM nacks")
        )


@pytest.fixture
async def table(tmp_path: Path) -> AsyncIterator[Table]:
    world = await World.open(tmp_path / "state")
    exchange = ScriptedExchange(world.pens[0])
    await exchange.start()
    link = await exchange.link(world.node.journal)
    world.links = [link]
    await world.offering.refresh(world.links)
    yield Table(world, exchange, link)
    await exchange.stop()
    assert world.findings() == []
    world.node.close()


def reserve(table: Table, number: int, offer: Any) -> Any:
    return table.world.pens[0].reserve(offer, spine.lease_id(number), UNITS)


async def offer_of(table: Table) -> Any:
    return (await spine.newest_offer(table.world.node.journal, table.link.row))[1]


# --- as it should be ---


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


# --- requests, good and bad ---


async def test_requests_that_come_again_are_applied_once(table: Table) -> None:
    """The agent died, or the stream, between its commit and the cursor's arrival."""
    offer = await offer_of(table)
    requests = [reserve(table, number, offer) for number in (1, 2, 3)]

    async def first(talk: Talk) -> None:
        await talk.welcome()
        await talk.deliver(1, *requests[:2])
        await talk.applied(2)

    async def second(talk: Talk) -> None:
        hello = await talk.welcome()
        assert hello.delivered_through == 2
        await talk.deliver(1, *requests)  # from an older cursor
        await talk.deliver(3, requests[2])
        await talk.applied(3)
        await talk.deliver(2, requests[1])
        await asyncio.sleep(0.2)

    await table.run(first, second)
    sent = await table.world.node.journal.read(
        lambda view: spine.sent(view, table.link.row, "LeaseDecision")
    )
    assert len(sent) == 3
    assert (await table.cursors())["applied"] == 3


async def test_a_gap_ends_the_session_and_applies_nothing(table: Table) -> None:
    offer = await offer_of(table)

    async def script(talk: Talk) -> None:
        await talk.welcome()
        await talk.deliver(2, reserve(table, 1, offer))
        await asyncio.sleep(5)

    await table.run(script, match="a gap")
    assert (await table.cursors())["applied"] == 0


async def test_what_cannot_be_accepted_is_refused_and_passed(table: Table) -> None:
    """One bad statement among good ones: the good ones stand, the cursor moves over all."""
    offer = await offer_of(table)
    stranger = spine.Pen("stranger").reserve(offer, spine.lease_id(2), UNITS)
    unknown = table.world.pens[0].sign(lease_pb2.LeaseExtension(lease_id=spine.lease_id(1)))
    malformed = table.world.pens[0].reserve(offer, "no-uuid", UNITS)
    good = reserve(table, 1, offer)
    last = reserve(table, 3, offer)

    async def script(talk: Talk) -> None:
        await talk.welcome()
        await talk.deliver(1, good, stranger, None, unknown, malformed, last)
        refused = [(await talk.until("nack")).nack for _ in range(4)]
        assert [nack.delivery_sequence for nack in refused] == [2, 3, 4, 5]
        assert all(nack.detail for nack in refused)
        kinds = [nack.reason == session_pb2.NACK_REASON_UNKNOWN_TYPE for nack in refused]
        assert kinds == [False, False, True, False]
        if talk.seen[-1].delivered_through < 6:
            await talk.applied(6)

    await table.run(script)
    sent = await table.world.node.journal.read(
        lambda view: spine.sent(view, table.link.row, "LeaseDecision")
    )
    assert len(sent) == 2


async def test_more_refusals_than_fit_in_any_buffer_all_arrive(table: Table) -> None:
    """A bounded queue that dropped what did not fit lost refusals and cursors in silence."""

    async def script(talk: Talk) -> None:
        await talk.welcome()
        for first in range(1, 1001, 100):
            await talk.deliver(first, *[None] * 100)
        refused: set[int] = set()
        while len(refused) < 1000:
            message = await talk.read()
            if message.WhichOneof("body") == "nack":
                refused.add(message.nack.delivery_sequence)
        assert refused == set(range(1, 1001))
        if talk.seen[-1].delivered_through < 1000:
            await talk.applied(1000)

    await table.run(script)


async def test_a_batch_longer_than_the_protocol_allows_is_not_begun_with(table: Table) -> None:
    """Whatever is in it: one message of 150,000 empty ones held the journal for 19 s."""
    most = wire.BATCH_ENVELOPES

    async def longest(talk: Talk) -> None:
        await talk.welcome()
        await talk.deliver(1, *[None] * most)
        await talk.applied(most)

    async def longer(talk: Talk) -> None:
        await talk.welcome()
        await talk.deliver(most + 1, *[None] * (most + 1))
        with pytest.raises(Gone):
            await talk.until("nack")

    with structlog.testing.capture_logs() as lines:
        await table.run(longest)
    assert [line["count"] for line in lines if line["event"] == "requests_refused"] == [most]
    await table.run(longer, match="a batch of 1001 envelopes")
    assert (await table.cursors())["applied"] == most


async def test_a_body_of_a_later_version_is_refused_and_passed(table: Table) -> None:
    async def script(talk: Talk) -> None:
        await talk.welcome()
        unknown = Response(delivery_sequence=1).SerializeToString() + b"\xfa\x06\x00"
        await talk.say(Response.FromString(unknown))
        assert (await talk.until("nack")).nack.delivery_sequence == 1
        await talk.say(Response.FromString(b"\xfa\x06\x00"))  # not journaled: passed over
        if talk.seen[-1].delivered_through < 1:
            await talk.applied(1)

    await table.run(script)


async def test_bytes_that_are_no_message_end_the_session_alone(table: Table) -> None:
    async def script(talk: Talk) -> None:
        await talk.welcome()
        message = Response()
        message.welcome.evidence_nonce = b"short"
        await talk.say(message)
        await asyncio.sleep(5)

    await table.run(script, match="not 32 bytes")


# --- an exchange that is ahead ---


async def test_an_exchange_with_more_of_our_envelopes_than_we_have(table: Table) -> None:
    async def script(talk: Talk) -> None:
        await talk.until("hello")
        message = Response(credit=10)
        message.welcome.protocol = 1
        message.welcome.evidence_nonce = bytes(32)
        message.welcome.delivered_through = 1000
        await talk.say(message)
        assert await talk.quiet(0.5) == []

    size = await table.world.node.journal.read(lambda view: view.size())
    await table.run(script, match="the exchange has our envelopes through 1000")
    assert await table.world.node.journal.read(lambda view: view.size()) == size


@pytest.mark.parametrize("size", [1, 3, 1 << 40, (1 << 64) - 1])
async def test_an_exchange_that_witnessed_another_history(table: Table, size: int) -> None:
    async def script(talk: Talk) -> None:
        witnessed = log_pb2.WitnessedHead(log_id=table.world.node.log_id, size=size, root=bytes(32))
        with contextlib.suppress(Gone):
            await talk.welcome(witnessed=witnessed)

    await table.run(script, match="leaves that are not here")


async def test_an_exchange_that_witnessed_a_log_before_this_one(table: Table) -> None:
    async def script(talk: Talk) -> None:
        witnessed = log_pb2.WitnessedHead(log_id="ff" * 32, size=500, root=bytes(32))
        await talk.welcome(witnessed=witnessed)
        await talk.until("envelopes")

    await table.run(script)


# --- an exchange that breaks the rules ---


async def test_an_acknowledgement_of_what_was_never_sent(table: Table) -> None:
    async def script(talk: Talk) -> None:
        await talk.welcome()
        await talk.say(Response(delivered_through=(1 << 64) - 1))
        await asyncio.sleep(5)

    await table.run(script, match="acknowledged")


@pytest.mark.parametrize("sequence", [500, (1 << 63), (1 << 64) - 1])
async def test_a_refusal_of_what_was_never_sent(table: Table, sequence: int) -> None:
    async def script(talk: Talk) -> None:
        await talk.welcome()
        await talk.say(Response(nack=session_pb2.Nack(delivery_sequence=sequence, reason=1)))
        await asyncio.sleep(5)

    await table.run(script, match="refused")
    assert await table.nacks() == []


async def test_a_refusal_of_what_was_sent_is_kept_once(table: Table) -> None:
    async def script(talk: Talk) -> None:
        await talk.welcome()
        await talk.until("envelopes")
        for _ in range(2):
            nack = session_pb2.Nack(delivery_sequence=1, reason=3, detail="no " * 1000)
            await talk.say(Response(nack=nack))
        await asyncio.sleep(0.3)

    await table.run(script)
    [(sequence, reason, detail)] = await table.nacks()
    assert (sequence, reason) == (1, 3)
    assert len(detail) == 500


async def test_an_epoch_that_is_behind_catches_up(table: Table) -> None:
    """A restored snapshot: the exchange fences the older stream, and says from where on."""

    async def first(talk: Talk) -> None:
        await talk.until("hello")
        await talk.say(Response(nack=session_pb2.Nack(reason=6, minimum_epoch=77, detail="old")))
        await asyncio.sleep(5)

    async def second(talk: Talk) -> None:
        assert (await talk.welcome()).session_epoch == 78

    await table.run(first, second)


async def test_an_epoch_beyond_all_numbers_changes_nothing(table: Table) -> None:
    async def script(talk: Talk) -> None:
        await talk.until("hello")
        await talk.say(Response(nack=session_pb2.Nack(minimum_epoch=(1 << 64) - 1)))
        await asyncio.sleep(5)

    await table.run(script, match="minimum_epoch")
    assert (await table.cursors())["epoch"] == 1


async def test_two_welcomes_are_one_too_many(table: Table) -> None:
    async def script(talk: Talk) -> None:
        await talk.welcome()
        message = Response()
        message.welcome.protocol = 1
        message.welcome.evidence_nonce = bytes(32)
        await talk.say(message)
        await asyncio.sleep(5)

    await table.run(script, match="welcomed twice")


async def test_no_welcome_no_session(table: Table) -> None:
    async def script(talk: Talk) -> None:
        await talk.until("hello")
        await talk.say(Response(delivered_through=0))
        await asyncio.sleep(5)

    await table.run(script, match="did not welcome")


async def test_a_head_that_was_never_shown_was_never_witnessed(table: Table) -> None:
    async def script(talk: Talk) -> None:
        await talk.welcome()
        witnessed = log_pb2.WitnessedHead(
            log_id=table.world.node.log_id, size=50_000, root=bytes(32)
        )
        await talk.say(Response(witnessed=witnessed))
        await asyncio.sleep(5)

    await table.run(script, match="witnessed 50000")


# --- leaving, stalling, dying ---


async def test_a_goaway_closes_the_stream_and_is_waited_out(table: Table) -> None:
    clock = table.world.clock
    ended = asyncio.Event()

    async def script(talk: Talk) -> None:
        await talk.welcome()
        message = Response()
        message.go_away.reason = "maintenance"
        message.go_away.reconnect_after.FromSeconds(30)
        await talk.say(message)
        try:
            while True:
                await talk.read()
        finally:  # the agent's hanging up cancels this side
            ended.set()

    table.exchange.scripts = [script]
    running = asyncio.create_task(table.session().run(Backoff()))
    async with asyncio.timeout(5):
        await ended.wait()
    await asyncio.sleep(0.2)
    assert not running.done()
    assert not table.link.standing.connected
    await clock.run(29 * SECOND)
    assert not running.done()
    await clock.run(2 * SECOND)
    with pytest.raises(ExchangeError, match="maintenance"):
        await running


async def test_an_exchange_that_reads_nothing_ends_the_session(
    table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Writes return long before anything is read; the credit and a deadline bound the rest."""
    monkeypatch.setattr(sender, "WRITE_DEADLINE_S", 0.5)

    def fill(change: Transaction) -> None:
        for _ in range(100):
            table.world.node.scribe.append(change, "Ballast", bytes(200_000), [table.link.row])

    await table.world.node.journal.write(fill)

    async def script(talk: Talk) -> None:
        message = Response(credit=4096)
        message.welcome.protocol = 1
        message.welcome.evidence_nonce = bytes(32)
        message.welcome.heartbeat_interval.FromSeconds(20)
        await talk.say(message)
        await asyncio.sleep(8)

    table.exchange.deaf = True
    await table.run(script, match="no answer in time")


async def test_a_silent_exchange_is_left(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "CONNECT_DEADLINE_S", 0.5)

    async def script(talk: Talk) -> None:
        await asyncio.sleep(5)

    await table.run(script, match="no answer in time")


async def test_an_exchange_that_falls_silent_is_left(
    table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "MIN_HEARTBEAT_NS", 1)

    async def script(talk: Talk) -> None:
        await talk.welcome(heartbeat_interval=Duration(nanos=1000))
        await asyncio.sleep(60)

    await table.run(script, match="no answer in time")


async def test_nobody_there_is_an_error_with_a_name(
    table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "CONNECT_DEADLINE_S", 0.5)
    await table.exchange.stop()
    with pytest.raises(ExchangeError, match="no answer in time"):
        await table.session().run(Backoff())


async def test_another_certificate_than_the_enrolled_ones_is_nobody(
    table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "CONNECT_DEADLINE_S", 0.5)
    stranger = ScriptedExchange(table.world.pens[0])
    stranger.port = 0
    await stranger.start()
    link = await stranger.link(table.world.node.journal)
    table.link.enrolment = spine.Pen("x", table.world.pens[0].key).enrolment(
        f"127.0.0.1:{stranger.port}",
        session_ca=(table.exchange.ca.der,),
        tls_chain=link.enrolment.tls_chain,
    )
    with pytest.raises(ExchangeError):
        await table.session().run(Backoff())
    assert stranger.sessions == 0
    await stranger.stop()


async def test_a_full_disk_ends_the_session_and_nothing_else(table: Table) -> None:
    """It ended the daemon: an error out of a task group is a group of errors."""
    offer = await offer_of(table)

    async def script(talk: Talk) -> None:
        await talk.welcome()
        await talk.until("envelopes")
        with full(table.world.node.journal):
            await talk.deliver(1, reserve(table, 1, offer))
            await asyncio.sleep(0.5)

    await table.run(script, match="full")
    assert (await table.cursors())["applied"] == 0


async def test_a_damaged_envelope_ends_the_session_and_says_which(table: Table) -> None:
    await table.world.reserve(1, {"VCPU": 100})  # a refusal: no leaf of the log
    journal = table.world.node.journal
    good = "SELECT max(sequence), envelope FROM outbox WHERE envelope IS NOT NULL"
    row = await journal.read(lambda view: view.one(good))
    assert row is not None
    update = "UPDATE outbox SET envelope = ? WHERE sequence = ?"
    await journal.write(lambda change: change.execute(update, b"\xff" * 9, row[0]) and None)

    async def script(talk: Talk) -> None:
        await talk.welcome()
        await asyncio.sleep(5)

    await table.run(script, match=f"delivery {row[0]} is damaged")
    await journal.write(lambda change: change.execute(update, row[1], row[0]) and None)


async def test_whatever_ends_a_session_another_one_follows(table: Table) -> None:
    """Through the very retry that the daemon uses: ten endings, eleven sessions."""
    clock = table.world.clock
    offer = await offer_of(table)

    async def abort(talk: Talk) -> None:
        await talk.welcome()
        await talk.context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "later")

    async def gap(talk: Talk) -> None:
        await talk.welcome()
        await talk.deliver(9, reserve(table, 1, offer))
        await asyncio.sleep(2)

    async def close(talk: Talk) -> None:
        await talk.welcome()

    done = asyncio.Event()

    async def last(talk: Talk) -> None:
        await talk.welcome()
        done.set()
        await asyncio.sleep(5)

    table.exchange.scripts = [*[abort, gap, close] * 3, abort, last]

    async def attempt(backoff: Backoff) -> None:
        await table.session().run(backoff)

    errors = (ExchangeError, HearthError, AttestError)
    running = asyncio.create_task(retrying("exchange", clock, attempt, errors))
    async with asyncio.timeout(20):
        while not done.is_set():
            assert not running.done(), running.exception()
            await clock.run(SECOND)
            await asyncio.sleep(0.02)
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
    assert table.exchange.sessions == 11


async def test_an_exchange_that_asks_too_often_is_told_so(table: Table) -> None:
    """One batch of more than are answered: the rest is refused, and the cursor moves over all."""
    offer = await offer_of(table)
    count = MOST_REQUESTS + 20

    async def script(talk: Talk) -> None:
        await talk.welcome(credit=1000)
        await talk.deliver(1, *(reserve(table, number, offer) for number in range(count)))
        refused = [(await talk.until("nack")).nack for _ in range(20)]
        assert [nack.delivery_sequence for nack in refused] == [
            *range(MOST_REQUESTS + 1, count + 1)
        ]
        assert {nack.reason for nack in refused} == {session_pb2.NACK_REASON_RATE_LIMITED}
        assert all(nack.retry_after.ToNanoseconds() == SECOND for nack in refused)
        if talk.seen[-1].delivered_through < count:
            await talk.applied(count)

    async def second(talk: Talk) -> None:
        """A new session is no new allowance."""
        await talk.welcome(credit=1000)
        await talk.deliver(count + 1, reserve(table, count, offer))
        nack = (await talk.until("nack")).nack
        assert nack.reason == session_pb2.NACK_REASON_RATE_LIMITED

    await table.run(script, second)
    assert table.link.standing.requests_limited == 21
    sent = await table.world.node.journal.read(
        lambda view: spine.sent(view, table.link.row, "LeaseDecision")
    )
    assert len(sent) == MOST_REQUESTS


# --- challenges ---


def challenge(table: Table, number: int) -> Any:
    message = challenge_pb2.Challenge(challenge_id=f"c-{number}", nonce=bytes(32))
    message.quote.pcr_indices.extend([0, 2, 4, 7])
    return table.world.pens[0].sign(message)


async def test_challenges_are_answered_at_most_so_often(table: Table) -> None:
    async def script(talk: Talk) -> None:
        await talk.welcome()
        for number in range(100):
            await talk.deliver(0, challenge(table, number))
        answers = [(await talk.until("challenge_answer")).challenge_answer for _ in range(100)]
        refused = [answer for answer in answers if answer.refusal]
        assert len(answers) - len(refused) == MOST_CHALLENGES
        assert {answer.refusal for answer in refused} == {
            challenge_pb2.CHALLENGE_REFUSAL_RATE_LIMIT
        }
        table.world.clock.tick(3 * SECOND)
        for number in range(100, 105):
            await talk.deliver(0, challenge(table, number))
        again = [(await talk.until("challenge_answer")).challenge_answer for _ in range(5)]
        assert sum(not answer.refusal for answer in again) == 3

    async def second(talk: Talk) -> None:
        """A new session is no new allowance."""
        await talk.welcome()
        await talk.deliver(0, challenge(table, 200))
        answer = (await talk.until("challenge_answer")).challenge_answer
        assert answer.refusal == challenge_pb2.CHALLENGE_REFUSAL_RATE_LIMIT

    await table.run(script, second)
    assert table.link.standing.challenges_answered == MOST_CHALLENGES + 3


async def test_welcomes_are_answered_at_most_so_often(table: Table) -> None:
    """Each one is a quote, and an exchange that drops what it welcomed is dialled again at once."""

    async def drop(talk: Talk) -> None:
        await talk.welcome()

    async def wait(talk: Talk) -> None:
        welcome = Response(credit=100)
        welcome.welcome.protocol = 1
        welcome.welcome.evidence_nonce = bytes(32)
        await talk.until("hello")
        await talk.say(welcome)
        assert await talk.quiet(0.3) == []
        await table.world.clock.run(SECOND)
        await talk.until("evidence")

    await table.run(*[drop] * MOST_CHALLENGES, wait)


async def test_a_tpm_that_does_not_answer_is_an_honest_refusal(table: Table) -> None:
    async def refuse(*words: Any) -> bytes:
        raise TpmError("TPM_RC_LOCKOUT")

    async def script(talk: Talk) -> None:
        await talk.welcome()
        table.world.market.evidence = refuse  # type: ignore[method-assign]  # this desk's TPM is ill
        await talk.deliver(0, challenge(table, 1))
        answer = (await talk.until("challenge_answer")).challenge_answer
        assert answer.refusal == challenge_pb2.CHALLENGE_REFUSAL_TPM_UNAVAILABLE
        assert "LOCKOUT" in answer.detail

    await table.run(script)


async def test_only_challenges_come_without_a_sequence(table: Table) -> None:
    offer = await offer_of(table)

    async def script(talk: Talk) -> None:
        await talk.welcome()
        await talk.deliver(0, reserve(table, 1, offer), None)
        for _ in range(2):
            assert (await talk.until("nack")).nack.delivery_sequence == 0

    await table.run(script)
    sent = await table.world.node.journal.read(
        lambda view: spine.sent(view, table.link.row, "LeaseDecision")
    )
    assert sent == []
