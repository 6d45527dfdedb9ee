"""Sessions, deliveries, checkpoints and challenges, right and wrong."""

from __future__ import annotations

import asyncio
import hashlib

import grpc
import pytest
from hearth.v1 import lease_pb2, session_pb2

from attest import envelope
from attest.keys import SoftwareKey
from attest.software import SoftwareRoot
from tests.fakes.sandbox_process import SandboxProcess
from tests.fakes.scripted_agent import Conversation, ScriptedAgent
from tests.fakes.scripted_lease import UNITS, lease
from tests.fakes.scripted_messages import decision, offer


async def test_hello_of_another_node(exchange: SandboxProcess, agent: ScriptedAgent) -> None:
    async with agent.session() as talk:
        await talk.say_hello(node_id="0" * 64)
        assert (await talk.nack()).reason == session_pb2.NACK_REASON_NOT_AUTHORIZED
        assert await talk.end() is grpc.StatusCode.OK


async def test_epoch_that_was_there_before(exchange: SandboxProcess, agent: ScriptedAgent) -> None:
    async with agent.attested():
        pass
    async with agent.session(epoch=1) as talk:
        await talk.say_hello()
        nack = await talk.nack()
        assert (nack.reason, nack.minimum_epoch) == (session_pb2.NACK_REASON_EPOCH_BEHIND, 2)


async def test_newer_session_ends_the_older(exchange: SandboxProcess, agent: ScriptedAgent) -> None:
    async with agent.attested() as older, agent.attested():
        gone = await older.until(lambda each: each.WhichOneof("body") == "go_away")
        assert "newer session" in gone.go_away.reason
        assert await older.end() is grpc.StatusCode.OK


async def nacked(exchange: SandboxProcess, talk: Conversation, sequence: int, detail: str) -> None:
    """Refuse one delivery for now, and wait until the exchange has heard it."""
    node_id, limited = talk.agent.node_id, session_pb2.NACK_REASON_RATE_LIMITED
    heard = (await exchange.node(node_id))["nacks_received"]
    nack = session_pb2.Nack(delivery_sequence=sequence, reason=limited, detail=detail)
    await talk.send(nack=nack)
    while (await exchange.node(node_id))["nacks_received"] == heard:  # noqa: ASYNC110 - a process
        await asyncio.sleep(0.02)


async def test_what_a_node_kept_nothing_of_is_refused_and_may_be_asked_again(
    exchange: SandboxProcess, agent: ScriptedAgent
) -> None:
    async with agent.attested() as talk:
        leased = await lease(exchange, talk)
        await exchange.command("release", lease_id=leased.lease_id)
        release = await talk.next_envelope("LeaseRelease")
        made = (await exchange.node(agent.node_id))["deliveries_made"]
        await nacked(exchange, talk, made, "")
        await exchange.command("release", lease_id=leased.lease_id)
        assert (await talk.next_envelope("LeaseRelease")).payload == release.payload

        placed = await exchange.command("place", units=UNITS)
        await talk.next_envelope("ReserveRequest")
        for sequence in (1 << 63, 0, made + 9):  # of nothing
            await nacked(exchange, talk, sequence, "")
        await nacked(exchange, talk, made + 2, "d" * 1000)
        found = (await exchange.node(agent.node_id))["lease"]
    assert found[leased.lease_id]["stage"] == "ACTIVE"
    refused = found[placed["lease_id"]]
    assert (refused["stage"], refused["detail"]) == ("REFUSED", "RATE_LIMITED " + "d" * 200)


async def test_nothing_is_taken_before_evidence(
    exchange: SandboxProcess, agent: ScriptedAgent
) -> None:
    async with agent.session() as talk:
        await talk.hello()
        await talk.deliver()
        assert (await talk.nack()).reason == session_pb2.NACK_REASON_ATTESTATION_REQUIRED
        assert await talk.end() is grpc.StatusCode.OK
    assert (await exchange.node(agent.node_id))["deliveries_received"] == 0


@pytest.mark.parametrize("wrong", ["nonce", "exchange", "tls"])
async def test_evidence_that_is_not_this_sessions(
    exchange: SandboxProcess, agent: ScriptedAgent, wrong: str
) -> None:
    async with agent.session() as talk:
        nonce = (await talk.hello()).evidence_nonce
        made = agent.evidence(
            bytes(32) if wrong == "nonce" else nonce,
            exchange_id="f" * 64 if wrong == "exchange" else "",
            tls=bytes(32) if wrong == "tls" else b"",
        )
        await talk.send(evidence=made)
        assert (await talk.nack()).reason == session_pb2.NACK_REASON_ATTESTATION_REQUIRED


async def test_lease_from_offer_to_final_receipt(
    exchange: SandboxProcess, agent: ScriptedAgent
) -> None:
    async with agent.attested() as talk:
        leased = await lease(exchange, talk)
        for _ in range(3):
            agent.post(leased.meter.receipt())
        await talk.confirmed()
        await exchange.command("release", lease_id=leased.lease_id)
        await talk.next_envelope("LeaseRelease")
        for state in (lease_pb2.LEASE_STATE_CLOSING, lease_pb2.LEASE_STATE_CLOSED):
            if state == lease_pb2.LEASE_STATE_CLOSED:
                last = leased.meter.receipt(final=True)
                payload = agent.post(last)
            agent.post(lease_pb2.LeaseUpdate(lease_id=leased.lease_id, state=state))
        await talk.confirmed()
        before = await exchange.node(agent.node_id)
        assert (before["receipts_verified"], before["receipts_final"]) == (4, 0)
        head = await talk.witness(agent.bundle(0))
        assert head.size == len(agent.leaves)
        ack = lease_pb2.ReceiptAck.FromString((await talk.next_envelope("ReceiptAck")).payload)
        assert (ack.lease_id, ack.accepted_through) == (leased.lease_id, 4)
        assert ack.accepted_sha256 == hashlib.sha256(payload).digest()
        assert ack.uncontested_msat_total == last.gross_msat_total > 0
    node = await exchange.node(agent.node_id)
    assert node["leases"] == {"CLOSED": 1}
    assert (node["receipts_final"], node["receipts_acked"]) == (4, 4)
    assert (node["receipts_rejected"], node["others_rejected"]) == (0, 0)
    assert (node["gaps"], node["regressions"], node["head_size"]) == (0, 0, head.size)
    receipt = node["lease"][leased.lease_id]["receipt"]
    assert receipt["final"]
    assert receipt["gross_msat"] == last.gross_msat_total
    assert receipt["totals"]["VCPU"]["delivered_unit_ms"] == 8


async def test_redelivery_is_applied_once(exchange: SandboxProcess, agent: ScriptedAgent) -> None:
    async with agent.attested() as talk:
        leased = await lease(exchange, talk)
        agent.post(leased.meter.receipt())
        await talk.confirmed()
        again = await talk.deliver(first=1)
        await talk.until(lambda each: each.delivered_through == again)
        await talk.deliver(first=again - 1)
        await talk.until(lambda each: each.delivered_through == again)
        assert not [each for each in talk.seen if each.WhichOneof("body") == "nack"]
    node = await exchange.node(agent.node_id)
    assert (node["receipts_verified"], node["offers_accepted"]) == (1, 1)
    assert node["deliveries_received"] == again


async def test_gap_in_deliveries_ends_the_stream(
    exchange: SandboxProcess, agent: ScriptedAgent
) -> None:
    agent.post(offer(agent))
    async with agent.attested() as talk:
        await talk.deliver(first=2)
        nack = await talk.nack()
        assert (nack.reason, nack.delivery_sequence) == (session_pb2.NACK_REASON_MALFORMED, 2)
        assert await talk.end() is grpc.StatusCode.OK
    assert (await exchange.node(agent.node_id))["deliveries_received"] == 0


async def test_a_batch_longer_than_the_protocol_allows_ends_the_stream(
    exchange: SandboxProcess, agent: ScriptedAgent
) -> None:
    empty = session_pb2.EnvelopeBatch(items=[session_pb2.DeliveredEnvelope()] * 1001)
    async with agent.attested() as talk:
        await talk.send(delivery_sequence=1, envelopes=empty)
        nack = await talk.nack()
        assert (nack.reason, nack.delivery_sequence) == (session_pb2.NACK_REASON_MALFORMED, 1)
        assert await talk.end() is grpc.StatusCode.OK
    assert (await exchange.node(agent.node_id))["deliveries_received"] == 0


async def test_refused_receipt_leaves_the_last_good_state(
    exchange: SandboxProcess, agent: ScriptedAgent
) -> None:
    async with agent.attested() as talk:
        leased = await lease(exchange, talk)
        good = leased.meter.receipt()
        agent.post(good)
        await talk.confirmed()
        previous = leased.meter.previous
        leased.meter.sequence += 1  # the receipt between never comes
        agent.post(leased.meter.receipt())
        last = await talk.deliver()
        nack = await talk.nack()
        assert nack.delivery_sequence == last
        assert "gap" in nack.detail
        await talk.confirmed(last)
        leased.meter.sequence, leased.meter.previous = 1, previous
        agent.post(leased.meter.receipt())
        await talk.confirmed()
        await talk.witness(agent.bundle(0))  # the refused leaf is proved like the others
    node = await exchange.node(agent.node_id)
    assert (node["receipts_verified"], node["receipts_rejected"]) == (2, 1)
    assert (node["receipts_final"], node["gaps"]) == (2, 0)


async def test_receipt_signed_by_an_unbound_key(
    exchange: SandboxProcess, agent: ScriptedAgent
) -> None:
    async with agent.attested() as talk:
        leased = await lease(exchange, talk)
        payload = leased.meter.receipt().SerializeToString(deterministic=True)
        kind = envelope.payload_type("Receipt")
        last = agent.post_envelope(envelope.sign(kind, payload, SoftwareKey.generate()))
        await talk.deliver()
        nack = await talk.nack()
        assert (nack.reason, nack.delivery_sequence) == (
            session_pb2.NACK_REASON_BAD_SIGNATURE,
            last,
        )
    assert (await exchange.node(agent.node_id))["receipts_rejected"] == 1


async def test_changed_agreement_is_not_one(exchange: SandboxProcess, agent: ScriptedAgent) -> None:
    async with agent.attested() as talk:
        agent.post(offer(agent))
        await talk.confirmed()
        await exchange.command("place", units=UNITS)
        agent.post(decision(await talk.next_envelope("ReserveRequest")))
        await talk.confirmed()
        agreement = await talk.next_envelope("LeaseAgreement")
        dearer = lease_pb2.LeaseAgreement.FromString(agreement.payload)
        dearer.prices[0].msat_numerator += 1
        changed = envelope.Envelope(
            agreement.payload_type, dearer.SerializeToString(), agreement.signatures
        )
        agent.post_envelope(envelope.countersign(changed, agent.envelope_key))
        await talk.deliver()
        assert (await talk.nack()).reason == session_pb2.NACK_REASON_BAD_SIGNATURE
    assert (await exchange.node(agent.node_id))["leases"] == {"AGREED": 1}


async def test_backlog_is_final_by_multiproof(
    exchange: SandboxProcess, agent: ScriptedAgent
) -> None:
    async with agent.attested() as talk:
        leased = await lease(exchange, talk)
        before = len(agent.outbox)
        for _ in range(300):
            agent.post(leased.meter.receipt())
        last = await talk.deliver()
        await talk.confirmed(last)
        node = await exchange.node(agent.node_id)
        assert (node["receipts_stored"], node["receipts_verified"]) == (last - before, 0)
        await talk.witness(agent.bundle(0))
        ack = lease_pb2.ReceiptAck.FromString((await talk.next_envelope("ReceiptAck")).payload)
        assert ack.accepted_through == 300
    node = await exchange.node(agent.node_id)
    assert (node["receipts_verified"], node["receipts_final"]) == (300, 300)


async def test_checkpoint_that_leaves_out_a_leaf(
    exchange: SandboxProcess, agent: ScriptedAgent
) -> None:
    async with agent.attested() as talk:
        await talk.confirmed()
        await talk.send(checkpoint=agent.bundle(0, upto=1))
        assert "not of the 2 leaves" in (await talk.nack()).detail
        head = await talk.witness(agent.bundle(0))
        assert head.size == 2


async def test_checkpoint_of_a_log_that_shrank(
    exchange: SandboxProcess, agent: ScriptedAgent
) -> None:
    agent.post(offer(agent))
    async with agent.attested() as talk:
        await talk.confirmed()
        await talk.witness(agent.bundle(0))
        await talk.send(checkpoint=agent.bundle(0, size=2))
        assert (await talk.nack()).reason == session_pb2.NACK_REASON_STALE
    async with agent.session() as talk:
        assert (await talk.hello()).witnessed.size == 3


async def test_checkpoint_by_another_key(exchange: SandboxProcess, agent: ScriptedAgent) -> None:
    async with agent.attested() as talk:
        await talk.confirmed()
        honest, agent.root = agent.root, SoftwareRoot(SoftwareKey.generate())
        await talk.send(checkpoint=agent.bundle(0))
        assert (await talk.nack()).reason == session_pb2.NACK_REASON_BAD_SIGNATURE
        agent.root = honest
        await talk.witness(agent.bundle(0))
    assert (await exchange.node(agent.node_id))["checkpoints_rejected"] == 1


async def test_leaf_below_the_witnessed_head(
    exchange: SandboxProcess, agent: ScriptedAgent
) -> None:
    async with agent.attested() as talk:
        await talk.confirmed()
        await talk.witness(agent.bundle(0))
        agent.outbox.append(
            session_pb2.DeliveredEnvelope(envelope=agent.outbox[1].envelope, log_index=1)
        )
        await talk.deliver()
        assert (await talk.nack()).reason == session_pb2.NACK_REASON_STALE
