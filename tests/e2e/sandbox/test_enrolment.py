"""Who gets in, with which certificates, and who does not."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from hearth.v1 import common_pb2

from agent.sandbox.exchange.ca import new_token
from attest import envelope, formats, verify
from attest.tpm import Tpm
from tests.fakes.sandbox_process import SandboxProcess
from tests.fakes.scripted_agent import ScriptedAgent, StreamEnded
from tests.fakes.scripted_lease import new_agent


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
