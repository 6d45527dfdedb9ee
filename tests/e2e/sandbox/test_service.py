"""What else it does: challenges, renewal, envelopes handed back, placement."""

from __future__ import annotations

import hashlib
from pathlib import Path

import grpc
import pytest
from hearth.v1 import session_pb2

from attest import envelope, formats
from tests.fakes.sandbox_process import SandboxProcess
from tests.fakes.scripted_agent import Conversation, ScriptedAgent
from tests.fakes.scripted_lease import lease, new_agent
from tests.fakes.scripted_messages import decision, offer


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
