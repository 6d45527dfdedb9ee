"""An exchange that breaks the rules, or has seen another history than ours."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
import structlog
from hearth.v1 import log_pb2, session_pb2

from tests.fakes.scripted_exchange import Gone, Response, Talk
from tests.fakes.table import Table


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


async def test_a_refusal_that_is_said_again_and_again_is_logged_once(table: Table) -> None:
    async def script(talk: Talk) -> None:
        await talk.welcome()
        await talk.until("envelopes")
        for _ in range(20):
            await talk.say(Response(nack=session_pb2.Nack(delivery_sequence=1, reason=3)))
        await talk.deliver(1, None)
        await talk.applied(1)

    with structlog.testing.capture_logs() as said:
        await table.run(script)
    assert [entry["event"] for entry in said].count("statement_refused") == 1


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
