"""Crashes, and misbehaviour on command."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from random import Random
from time import monotonic

import grpc
import pytest
from hearth.v1 import lease_pb2, session_pb2

from attest.errors import BadSignature
from tests.fakes.sandbox_process import SandboxProcess
from tests.fakes.scripted_agent import ScriptedAgent, StreamEnded
from tests.fakes.scripted_lease import UNITS, lease, new_agent
from tests.fakes.scripted_messages import offer


async def test_kill_and_restart_lose_nothing(
    exchange: SandboxProcess, agent: ScriptedAgent
) -> None:
    async with agent.attested() as talk:
        leased = await lease(exchange, talk)
        for _ in range(5):
            agent.post(leased.meter.receipt())
        await talk.confirmed()
        await talk.witness(agent.bundle(0))
        await talk.next_envelope("ReceiptAck")
        before = await exchange.node(agent.node_id)
        for _ in range(40):
            agent.post(leased.meter.receipt())
        await talk.deliver()
        await exchange.kill()
    first = exchange.ready
    await exchange.start()
    for name in ("exchange_id", "enrol_port", "session_port"):
        assert exchange.ready[name] == first[name]
    async with agent.attested() as talk:
        welcome = talk.seen[0].welcome
        assert before["deliveries_received"] <= welcome.delivered_through <= len(agent.outbox)
        assert welcome.witnessed.size == before["head_size"]
        assert welcome.lease_cursors[0].receipt_sequence >= 5
        await talk.confirmed()
        await talk.witness(agent.bundle(before["head_size"]))
        ack = lease_pb2.ReceiptAck.FromString((await talk.next_envelope("ReceiptAck")).payload)
        assert ack.accepted_through == 45
    node = await exchange.node(agent.node_id)
    assert (node["receipts_final"], node["receipts_rejected"], node["gaps"]) == (45, 0, 0)
    assert node["leases"] == {"ACTIVE": 1}


async def test_killed_at_any_moment(exchange: SandboxProcess, agent: ScriptedAgent) -> None:
    """Deliver, checkpoint and kill at random; in the end everything is there once."""
    random = Random(20)
    async with agent.attested() as talk:
        leased = await lease(exchange, talk)
    for _ in range(5):
        for _ in range(60):
            agent.post(leased.meter.receipt())
        async with agent.attested() as talk:
            kill = asyncio.create_task(kill_after(exchange, random.uniform(0, 0.15)))
            with contextlib.suppress(StreamEnded):
                while True:
                    await talk.confirmed(await talk.deliver())
                    await talk.send(checkpoint=agent.bundle(talk.witnessed))
                    await talk.until(lambda each: each.WhichOneof("body") == "witnessed")
                    await talk.deliver(first=max(1, talk.through - 30))  # and again, what it has
            await kill
        await exchange.start()
    async with agent.attested() as talk:
        await talk.confirmed()
        await talk.witness(agent.bundle(talk.witnessed))
    node = await exchange.node(agent.node_id)
    assert (node["receipts_final"], node["receipts_rejected"]) == (300, 0)
    assert (node["gaps"], node["regressions"], node["checkpoints_rejected"]) == (0, 0, 0)
    assert node["deliveries_received"] == len(agent.outbox)


async def kill_after(exchange: SandboxProcess, seconds: float) -> None:
    await asyncio.sleep(seconds)
    await exchange.kill()


async def test_undelivered_request_comes_after_a_restart(
    exchange: SandboxProcess, agent: ScriptedAgent
) -> None:
    agent.post(offer(agent))
    async with agent.attested() as talk:
        await talk.confirmed()
    placed = await exchange.command("place", units=UNITS)
    await exchange.kill()
    await exchange.start()
    async with agent.attested() as talk:
        request = await talk.next_envelope("ReserveRequest")
        message = lease_pb2.ReserveRequest.FromString(request.payload)
        assert message.lease_id == placed["lease_id"]
    agent.applied = 0  # the agent lost it before it was durable: it comes again, the same bytes
    async with agent.attested() as talk:
        assert (await talk.next_envelope("ReserveRequest")).payload == request.payload


async def test_receipts_refused_for_now_are_taken_later(
    exchange: SandboxProcess, agent: ScriptedAgent
) -> None:
    async with agent.attested() as talk:
        leased = await lease(exchange, talk)
        assert (await exchange.command("fault", kind="refuse_receipts"))["ok"]
        agent.post(leased.meter.receipt())
        await talk.deliver()
        nack = await talk.nack()
        assert nack.reason == session_pb2.NACK_REASON_RATE_LIMITED
        assert nack.retry_after.ToMilliseconds() == 1000
        assert await talk.end() is grpc.StatusCode.OK
    async with agent.attested() as talk:
        await talk.confirmed()
    node = await exchange.node(agent.node_id)
    assert (node["receipts_verified"], node["receipts_rejected"]) == (1, 0)


async def test_drop_ends_the_stream_rudely(exchange: SandboxProcess, agent: ScriptedAgent) -> None:
    async with agent.attested() as talk:
        assert (await exchange.command("fault", kind="drop"))["dropped"] == 1
        assert await talk.end() is grpc.StatusCode.UNAVAILABLE
    for _ in range(300):  # the stream ends before the exchange has put it away
        if not (await exchange.node(agent.node_id))["connected"]:
            return
        await asyncio.sleep(0.1)
    pytest.fail("the exchange still thinks that it is connected")


async def test_short_nonce_and_duplicate_deliveries(
    exchange: SandboxProcess, agent: ScriptedAgent
) -> None:
    await exchange.command("fault", kind="short_nonce")
    async with agent.session() as talk:
        assert len((await talk.hello()).evidence_nonce) == 31
    await exchange.command("fault", kind="duplicate_deliveries")
    agent.post(offer(agent))
    async with agent.attested() as talk:
        await talk.confirmed()
        await exchange.command("place", units=UNITS)
        for _ in range(2):
            response = await talk.until(lambda each: bool(each.envelopes.items))
            assert response.delivery_sequence == 1


@pytest.mark.parametrize("kind", ["delay_acks", "slow", "stall_reads"])
async def test_late_by_command(exchange: SandboxProcess, agent: ScriptedAgent, kind: str) -> None:
    async with agent.attested() as talk:
        await talk.confirmed()
        await exchange.command("fault", kind=kind, seconds=0.5)
        agent.post(offer(agent))
        began = monotonic()
        await talk.confirmed()
        if kind == "stall_reads":  # the read that was under way comes first
            agent.post(offer(agent, sequence=2))
            await talk.confirmed()
        assert monotonic() - began >= 0.5


async def test_rejected_for_good_by_command(exchange: SandboxProcess, agent: ScriptedAgent) -> None:
    async with agent.attested() as talk:
        leased = await lease(exchange, talk)
        await exchange.command("fault", kind="reject_receipts")
        agent.post(leased.meter.receipt())
        last = await talk.deliver()
        assert (await talk.nack()).delivery_sequence == last
        await talk.confirmed(last)
    assert (await exchange.node(agent.node_id))["receipts_rejected"] == 1


async def test_forged_envelope_by_command(exchange: SandboxProcess, agent: ScriptedAgent) -> None:
    agent.post(offer(agent))
    async with agent.attested() as talk:
        await talk.confirmed()
        await exchange.command("fault", kind="forged_envelope")
        await exchange.command("place", units=UNITS)
        with pytest.raises(BadSignature):
            await talk.next_envelope("ReserveRequest")


async def test_wrong_nonce_by_command(exchange: SandboxProcess, agent: ScriptedAgent) -> None:
    await exchange.command("fault", kind="wrong_nonce")
    async with agent.session() as talk:
        await talk.send(evidence=agent.evidence((await talk.hello()).evidence_nonce))
        assert (await talk.nack()).reason == session_pb2.NACK_REASON_ATTESTATION_REQUIRED


async def test_silent_node_is_let_go_and_others_are_not(tmp_path: Path) -> None:
    brisk = SandboxProcess(tmp_path / "brisk", "--allow-software", "--heartbeat=0.2", "--tokens=2")
    await brisk.start()
    silent, lively = new_agent(), new_agent()
    for node, token in zip((silent, lively), brisk.ready["tokens"], strict=True):
        await node.enrol(brisk.ready["enrol_port"], brisk.ca, token)
    async with silent.attested() as quiet, lively.attested() as talk:
        for _ in range(5):
            await asyncio.sleep(0.2)
            await talk.send(heartbeat=session_pb2.Heartbeat())
        assert await quiet.end() is grpc.StatusCode.DEADLINE_EXCEEDED
        await talk.confirmed()
    assert await brisk.stop() == 0
