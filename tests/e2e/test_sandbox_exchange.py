"""The reference exchange as a process, and an agent that a script drives: over gRPC and mTLS."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

import grpc
import pytest
from hearth.v1 import common_pb2, lease_pb2, session_pb2

from agent.sandbox.exchange.ca import new_token
from attest import envelope, formats, verify
from attest.keys import SoftwareKey
from attest.software import SoftwareRoot
from attest.tpm import Tpm
from tests.fakes.sandbox_process import SandboxProcess
from tests.fakes.scripted_agent import Conversation, ScriptedAgent, StreamEnded
from tests.fakes.scripted_messages import Meter, decision, offer

UNITS = {"VCPU": 2, "MEMORY_MB": 512}


@pytest.fixture
async def exchange(tmp_path: Path) -> AsyncIterator[SandboxProcess]:
    running = SandboxProcess(tmp_path / "exchange", "--allow-software", "--name", "test")
    await running.start()
    yield running
    if running.is_running:
        assert await running.stop() == 0
    assert running.tracebacks() == []


def new_agent() -> ScriptedAgent:
    return ScriptedAgent(SoftwareRoot(SoftwareKey.generate()))


@pytest.fixture
async def agent(exchange: SandboxProcess) -> ScriptedAgent:
    """Enrolled."""
    node = new_agent()
    await node.enrol(exchange.ready["enrol_port"], exchange.ca, exchange.ready["token"])
    return node


@dataclass
class Leased:
    talk: Conversation
    meter: Meter
    lease_id: str


async def lease(exchange: SandboxProcess, talk: Conversation) -> Leased:
    """From an offer to an active lease."""
    node = talk.agent
    node.post(offer(node))
    await talk.confirmed()
    placed = await exchange.command("place", units=UNITS)
    assert placed["ok"], placed
    request = await talk.next_envelope("ReserveRequest")
    node.post(decision(request))
    await talk.confirmed()
    agreement = await talk.next_envelope("LeaseAgreement")
    node.post_envelope(envelope.countersign(agreement, node.envelope_key))
    node.post(
        lease_pb2.LeaseUpdate(lease_id=placed["lease_id"], state=lease_pb2.LEASE_STATE_ACTIVE)
    )
    await talk.confirmed()
    return Leased(talk, Meter(node, agreement), placed["lease_id"])


# --- enrolment ---


async def test_software_node_gets_certificates(
    exchange: SandboxProcess, agent: ScriptedAgent
) -> None:
    result = agent.enrolled
    assert result.node_id == agent.node_id
    assert result.assurance == common_pb2.ASSURANCE_CLASS_SOFTWARE
    certified = verify_ak(agent)
    assert certified.assurance is verify.Assurance.SOFTWARE
    assert certified.ek_certificate_sha256 == ""
    terms = formats.envelope_from_proto(result.terms)
    envelope.verify_only(terms, agent.statement_spki)
    assert terms.payload_type == envelope.payload_type("ExchangeTerms")
    assert (await exchange.node(agent.node_id))["assurance"] == "software"


def verify_ak(agent: ScriptedAgent):  # type: ignore[no-untyped-def]
    from attest.ak_certificate import check_ak_chain

    chain = list(agent.enrolled.ak_certificate_chain)
    return check_ak_chain(chain, agent.root.identity.spki, agent.node_id)


async def refused(node: ScriptedAgent, exchange: SandboxProcess, token: str, **change):  # type: ignore[no-untyped-def]
    with pytest.raises(StreamEnded) as ended:
        await node.enrol(exchange.ready["enrol_port"], exchange.ca, token, **change)
    return ended.value


async def test_unknown_token(exchange: SandboxProcess) -> None:
    token = new_token(exchange.ready["exchange_id"])
    ended = await refused(new_agent(), exchange, token)
    assert (ended.status, ended.details) == (
        grpc.StatusCode.UNAUTHENTICATED,
        "unknown join token",
    )


async def test_token_of_another_node(exchange: SandboxProcess, agent: ScriptedAgent) -> None:
    ended = await refused(new_agent(), exchange, exchange.ready["token"])
    assert (ended.status, ended.details) == (
        grpc.StatusCode.UNAUTHENTICATED,
        "the join token was used",
    )


async def test_node_that_lost_the_answer_comes_again(
    exchange: SandboxProcess, agent: ScriptedAgent
) -> None:
    first = agent.enrolled.tls_certificate_chain[0]
    await agent.enrol(exchange.ready["enrol_port"], exchange.ca, exchange.ready["token"])
    assert agent.enrolled.tls_certificate_chain[0] != first


async def test_evidence_over_another_nonce(exchange: SandboxProcess) -> None:
    ended = await refused(
        new_agent(), exchange, exchange.ready["token"], change_nonce=lambda _: bytes(32)
    )
    assert ended.status is grpc.StatusCode.PERMISSION_DENIED


async def test_evidence_replayed_from_another_enrolment(exchange: SandboxProcess) -> None:
    node, kept = new_agent(), []
    await node.enrol(
        exchange.ready["enrol_port"],
        exchange.ca,
        exchange.ready["token"],
        change_evidence=lambda made: kept.append(made) or made,  # type: ignore[func-returns-value]
    )
    ended = await refused(
        node, exchange, exchange.ready["token"], change_evidence=lambda _: kept[0]
    )
    assert ended.status is grpc.StatusCode.PERMISSION_DENIED


async def test_refused_enrolment_leaves_the_token(exchange: SandboxProcess) -> None:
    node, token = new_agent(), exchange.ready["token"]
    await refused(node, exchange, token, change_nonce=lambda _: bytes(32))
    await node.enrol(exchange.ready["enrol_port"], exchange.ca, token)
    assert node.enrolled.node_id == node.node_id


async def test_software_node_where_it_is_not_allowed(tmp_path: Path) -> None:
    strict = SandboxProcess(tmp_path / "strict")
    await strict.start()
    ended = await refused(new_agent(), strict, strict.ready["token"])
    assert ended.status is grpc.StatusCode.PERMISSION_DENIED
    assert await strict.terminate() == 0


async def test_session_port_refuses_a_stranger(
    exchange: SandboxProcess, agent: ScriptedAgent, tmp_path: Path
) -> None:
    other = SandboxProcess(tmp_path / "other", "--allow-software")
    await other.start()
    stranger = new_agent()
    await stranger.enrol(other.ready["enrol_port"], other.ca, other.ready["token"])
    stranger.session_endpoint, stranger.session_ca = agent.session_endpoint, agent.session_ca
    async with stranger.session() as talk:
        await talk.say_hello()
        assert await talk.end() is grpc.StatusCode.UNAVAILABLE  # the handshake fails
    assert await other.stop() == 0


# --- opening a session ---


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


# --- deliveries ---


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


# --- checkpoints ---


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


# --- challenges ---


async def challenged(talk: Conversation) -> envelope.Envelope:
    response = await talk.until(lambda each: bool(each.envelopes.items))
    assert response.delivery_sequence == 0
    signed = formats.envelope_from_proto(response.envelopes.items[0].envelope)
    envelope.verify_only(signed, talk.agent.statement_spki)
    return signed


async def test_challenge_answered_well_badly_and_refused(
    exchange: SandboxProcess, agent: ScriptedAgent
) -> None:
    from hearth.v1.attestation_pb2 import Evidence
    from hearth.v1.challenge_pb2 import Challenge, ChallengeAnswer

    async with agent.attested() as talk:
        for answer in ("good", "bad", "refused"):
            assert (await exchange.command("challenge"))["challenged"] == 1
            challenge = Challenge.FromString((await challenged(talk)).payload)
            nonce = bytes(32) if answer == "bad" else challenge.nonce
            made = ChallengeAnswer(
                challenge_id=challenge.challenge_id,
                evidence=Evidence.FromString(agent.evidence(nonce)),
            )
            if answer == "refused":
                made.ClearField("evidence")
                made.refusal = 4  # type: ignore[assignment]
            await talk.send(challenge_answer=made)
        await talk.send(challenge_answer=made)
        assert (await talk.nack()).reason == session_pb2.NACK_REASON_STALE
    node = await exchange.node(agent.node_id)
    outcomes = {
        name: node[f"challenges_{name}"] for name in ("sent", "passed", "failed", "refused")
    }
    assert outcomes == {"sent": 3, "passed": 1, "failed": 1, "refused": 1}


async def test_unanswered_challenge_has_failed(tmp_path: Path) -> None:
    hasty = SandboxProcess(
        tmp_path / "hasty",
        "--allow-software",
        "--challenge-interval=0.05",
        "--challenge-answer-period=0.05",
    )
    await hasty.start()
    node = new_agent()
    await node.enrol(hasty.ready["enrol_port"], hasty.ca, hasty.ready["token"])
    async with node.attested() as talk:
        await challenged(talk)
        await challenged(talk)
    assert (await hasty.node(node.node_id))["challenges_failed"] >= 1
    assert await hasty.stop() == 0


# --- crashes and faults ---


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
    assert not (await exchange.node(agent.node_id))["connected"]


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


# --- what else it serves ---


async def test_node_gets_its_own_envelopes_back(
    exchange: SandboxProcess, agent: ScriptedAgent
) -> None:
    async with agent.attested() as talk:
        leased = await lease(exchange, talk)
        for _ in range(100):
            agent.post(leased.meter.receipt())
        await talk.confirmed()
    listed: list[tuple[int, session_pb2.DeliveredEnvelope]] = []
    async with agent.channel() as stub:
        request = session_pb2.ListEnvelopesRequest(after_delivery_sequence=2)
        async for response in stub.ListEnvelopes(request):
            listed.extend(enumerate(response.batch.items, response.delivery_sequence))
        about = session_pb2.ListEnvelopesRequest(lease_id=leased.lease_id)
        of_lease = [
            item async for response in stub.ListEnvelopes(about) for item in response.batch.items
        ]
    assert [item for _, item in listed] == agent.outbox[2:]
    assert [sequence for sequence, _ in listed] == list(range(3, len(agent.outbox) + 1))
    assert of_lease == agent.outbox[3:]


async def test_certificate_is_renewed_for_a_new_key(
    exchange: SandboxProcess, agent: ScriptedAgent
) -> None:
    new = new_agent()
    async with agent.session() as talk, agent.channel() as stub:
        nonce = (await talk.hello()).evidence_nonce
        await talk.send(evidence=agent.evidence(nonce))
        await talk.read()
        key = hashlib.sha256(new.tls_spki).digest()
        request = session_pb2.RenewCertificateRequest(
            tls_csr=new.csr(), evidence=agent.evidence(nonce)
        )
        with pytest.raises(grpc.aio.AioRpcError, match="not the attested one"):
            await stub.RenewCertificate(request)
        request.evidence = agent.evidence(nonce, tls=key)
        renewed = await stub.RenewCertificate(request)
    agent.enrolled.tls_certificate_chain[:] = renewed.tls_certificate_chain
    agent.tls_key = new.tls_key
    async with agent.attested() as talk:
        await talk.confirmed()


async def test_automatic_placement_tries_again(tmp_path: Path) -> None:
    eager = SandboxProcess(tmp_path / "eager", "--allow-software", "--auto-place=VCPU=1")
    await eager.start()
    node = new_agent()
    await node.enrol(eager.ready["enrol_port"], eager.ca, eager.ready["token"])
    node.post(offer(node))
    async with node.attested() as talk:
        await talk.confirmed()
        node.post(decision(await talk.next_envelope("ReserveRequest"), "NO_CAPACITY"))
        await talk.confirmed()
        node.post(decision(await talk.next_envelope("ReserveRequest")))
        await talk.confirmed()
        await talk.next_envelope("LeaseAgreement")
    assert (await eager.node(node.node_id))["leases"] == {"REFUSED": 1, "AGREED": 1}
    assert await eager.stop() == 0


# --- with a TPM ---


@pytest.fixture
async def tpm_exchange(tmp_path: Path, swtpm) -> AsyncIterator[SandboxProcess]:  # type: ignore[no-untyped-def]
    roots = tmp_path / "roots.pem"
    roots.write_bytes(b"".join(swtpm.ca_certificates))
    running = SandboxProcess(tmp_path / "tpm", "--virtual-tpm-roots", str(roots))
    await running.start()
    yield running
    assert await running.stop() == 0


async def test_tpm_node_enrols_and_its_log_is_witnessed(
    tpm_exchange: SandboxProcess, tpm: Tpm
) -> None:
    node = ScriptedAgent(tpm)
    await node.enrol(tpm_exchange.ready["enrol_port"], tpm_exchange.ca, tpm_exchange.ready["token"])
    certified = verify_ak(node)
    assert certified.assurance is verify.Assurance.VIRTUAL_TPM
    ek = tpm.endorsement().result(20).ek_certificate_chain[0]
    assert certified.ek_certificate_sha256 == hashlib.sha256(ek).hexdigest()
    async with node.attested() as talk:
        await talk.confirmed()
        assert (await talk.witness(node.bundle(0))).size == 2
    figures = await tpm_exchange.node(node.node_id)
    claims = {claim["name"]: claim["tier"] for claim in figures["claims"]}
    assert claims["instance-identity"] == "affirming"


async def test_wrong_transcript_hmac(tpm_exchange: SandboxProcess, tpm: Tpm) -> None:
    ended = await refused(
        ScriptedAgent(tpm),
        tpm_exchange,
        tpm_exchange.ready["token"],
        change_hmac=lambda right: bytes([right[0] ^ 1]) + right[1:],
    )
    assert ended.status is grpc.StatusCode.UNAUTHENTICATED


async def test_tpm_that_nobody_vouches_for_until_it_is_approved(
    exchange: SandboxProcess, tpm: Tpm
) -> None:
    from attest.tcg import parse_public

    node, token = ScriptedAgent(tpm), exchange.ready["token"]
    ended = await refused(node, exchange, token)
    spki = parse_public(tpm.endorsement().result(20).ek_public).spki
    fingerprint = hashlib.sha256(spki).hexdigest()
    assert ended.status is grpc.StatusCode.PERMISSION_DENIED
    assert fingerprint in ended.details
    await exchange.command("approve", ek=fingerprint)
    await node.enrol(exchange.ready["enrol_port"], exchange.ca, token)
    assert verify_ak(node).assurance is verify.Assurance.APPROVED_TPM
