"""From a new scripted agent to an active lease, the way an honest one goes."""

from __future__ import annotations

from dataclasses import dataclass

from hearth.v1 import lease_pb2

from attest import envelope
from attest.keys import SoftwareKey
from attest.software import SoftwareRoot
from tests.fakes.sandbox_process import SandboxProcess
from tests.fakes.scripted_agent import Conversation, ScriptedAgent
from tests.fakes.scripted_messages import Meter, decision, offer

UNITS = {"VCPU": 2, "MEMORY_MB": 512}


def new_agent() -> ScriptedAgent:
    return ScriptedAgent(SoftwareRoot(SoftwareKey.generate()))


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
