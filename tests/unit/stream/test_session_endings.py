"""How a session ends: left, stalled, dead, and another one follows."""

from __future__ import annotations

import asyncio
import contextlib

import grpc
import msgspec
import pytest
from google.protobuf.duration_pb2 import Duration
from hearth.v1 import session_pb2

from agent.clock import SECOND
from agent.errors import ExchangeError, HearthError
from agent.exchange import sender, stream
from agent.journal.store import Transaction
from agent.market import MOST_REQUESTS
from agent.supervise import Backoff, retrying
from attest.errors import AttestError
from tests.fakes import spine
from tests.fakes.disk import full
from tests.fakes.scripted_exchange import Response, ScriptedExchange, Talk
from tests.fakes.table import Table, offer_of, reserve


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


async def test_a_certificate_that_has_ended_is_named_with_its_remedy(
    table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "CONNECT_DEADLINE_S", 0.5)
    await table.exchange.stop()
    table.link.enrolment = msgspec.structs.replace(
        table.link.enrolment, expire_ns=1_767_225_600 * SECOND, enrol_endpoint="ex.example:7443"
    )
    with pytest.raises(ExchangeError, match="ended at 2026-01-01 00:00 UTC: enrol again"):
        await table.session().run(Backoff())
    assert "hearth enroll ex.example:7443 --token" in table.link.standing.last_error


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
