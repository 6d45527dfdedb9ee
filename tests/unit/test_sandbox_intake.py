"""What a node has said and nobody has acted on yet: order, what is taken together, bounds."""

from __future__ import annotations

import asyncio

from hearth.v1 import common_pb2, log_pb2, session_pb2
from hearth.v1.session_pb2 import SessionRequest

from agent.sandbox.exchange.intake import AHEAD, Intake


def batch(first: int, count: int) -> SessionRequest:
    item = session_pb2.DeliveredEnvelope(envelope=common_pb2.SignedEnvelope(payload=b"x"))
    envelopes = session_pb2.EnvelopeBatch(items=[item] * count)
    return SessionRequest(delivery_sequence=first, envelopes=envelopes)


def heartbeat() -> SessionRequest:
    return SessionRequest(heartbeat=session_pb2.Heartbeat())


async def taken(intake: Intake, *requests: SessionRequest) -> list[list[SessionRequest]]:
    """Put all, then take all."""
    assert len(requests) <= AHEAD
    for request in requests:
        await intake.put(request)
    found: list[list[SessionRequest]] = []
    while sum(map(len, found)) < len(requests):
        found.append(await intake.take())
    return found


async def test_batches_that_continue_each_other_are_taken_together() -> None:
    said = [batch(1, 3), batch(4, 2), batch(6, 1)]
    assert await taken(Intake(100), *said) == [said]


async def test_no_more_than_asked_for() -> None:
    said = [batch(1, 3), batch(4, 2), batch(6, 1)]
    assert await taken(Intake(5), *said) == [said[:2], said[2:]]
    assert await taken(Intake(4), *said) == [said[:1], said[1:]]
    assert await taken(Intake(2), *said) == [[each] for each in said]  # the inbox refuses the first


async def test_what_does_not_continue_is_taken_alone() -> None:
    said = [batch(1, 3), batch(3, 2), batch(9, 1)]  # again, and a gap: for the inbox to judge
    assert await taken(Intake(100), *said) == [[each] for each in said]


async def test_order_is_kept_around_other_messages() -> None:
    said = [batch(1, 3), heartbeat(), batch(4, 2), heartbeat()]
    assert await taken(Intake(100), *said) == [[each] for each in said]


async def test_another_message_with_the_next_sequence_is_no_batch() -> None:
    odd = SessionRequest(delivery_sequence=4, checkpoint=log_pb2.CheckpointBundle())
    assert await taken(Intake(100), batch(1, 3), odd) == [[batch(1, 3)], [odd]]


async def test_a_reader_waits_for_room() -> None:
    intake = Intake(1)
    for place in range(AHEAD):
        await intake.put(batch(1 + place, 1))
    late = asyncio.create_task(intake.put(heartbeat()))
    await asyncio.sleep(0)
    assert not late.done()
    assert await intake.take() == [batch(1, 1)]
    await late
    for _ in range(AHEAD - 1):
        await intake.take()
    assert await intake.take() == [heartbeat()]


async def test_whoever_takes_waits_for_a_message() -> None:
    intake = Intake(1)
    waiting = asyncio.create_task(intake.take())
    await asyncio.sleep(0)
    assert not waiting.done()
    await intake.put(heartbeat())
    assert await waiting == [heartbeat()]


async def test_drained_is_what_is_acted_on() -> None:
    intake = Intake(1)
    await intake.put(heartbeat())
    drained = asyncio.create_task(intake.drained())
    await intake.take()
    await asyncio.sleep(0)
    assert not drained.done()  # taken, and being acted on
    again = asyncio.create_task(intake.take())
    await drained
    again.cancel()
