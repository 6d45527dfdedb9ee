"""What an exchange asks for in a session, good and bad, and what it is answered."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import structlog
from hearth.v1 import challenge_pb2, lease_pb2, session_pb2

from agent.clock import SECOND
from agent.exchange.link import MOST_CHALLENGES
from agent.wire import stream as wire
from attest.errors import TpmError
from tests.fakes import spine
from tests.fakes.scripted_exchange import Gone, Response, Talk
from tests.fakes.table import Table, offer_of, reserve
from tests.fakes.world import UNITS


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
