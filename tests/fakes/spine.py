"""A node without a daemon, and exchanges that are nothing but a pen: for tests of the books."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from google.protobuf.message import Message
from hearth.v1 import lease_pb2, offer_pb2

from agent.config import Config, Lease, Tpm
from agent.exchange import enrolment as rows
from agent.exchange.enrolment import Enrolment
from agent.exchange.stream import Link
from agent.journal.store import Journal, View
from agent.market import Market
from agent.node import Node
from attest import envelope as dsse
from attest.envelope import Envelope, message_name
from attest.formats import decode_envelope
from attest.keys import SoftwareKey
from probes.host import Host
from tests.fakes.clock import VirtualClock

SECOND = 1_000_000_000


async def open_node(
    state: Path, clock: VirtualClock | None = None, **parts: Any
) -> tuple[Node, VirtualClock]:
    """A node with a software key and 64 threads to sell, on a clock that the test moves."""
    config = Config(
        state_dir=str(state),
        tpm=Tpm(tcti="none"),
        lease=Lease(cgroup_root=str(state / "cgroup")),
        **parts,
    )
    clock = clock or VirtualClock()
    node = await Node.open(config, Host())
    node.clock = clock
    node.capacity = {"MEMORY_MB": 65536 + config.reserve.memory_mb, "VCPU": 64}
    return node, clock


def timestamp(message: Any, nanoseconds: int) -> None:
    message.FromNanoseconds(nanoseconds)


@dataclass
class Pen:
    """One exchange's statement key, and what it writes with it."""

    name: str
    key: SoftwareKey = field(default_factory=SoftwareKey.generate)
    row: int = 0

    @property
    def exchange_id(self) -> str:
        return self.key.key_id.hex()

    def enrolment(self, endpoint: str = "127.0.0.1:1", **parts: Any) -> Enrolment:
        values: dict[str, Any] = {
            "exchange_id": self.exchange_id,
            "display_name": self.name,
            "enrol_endpoint": endpoint,
            "session_endpoint": endpoint,
            "statement_spki": (self.key.spki,),
            "session_ca": (b"ca",),
            "tls_chain": (b"tls",),
            "ak_chain": (b"ak",),
            "assurance": 1,
            "issue_ns": 0,
            "expire_ns": 1 << 62,
        }
        return Enrolment(**{**values, **parts})

    async def enrol(self, journal: Journal, **parts: Any) -> Link:
        """Enter the enrolment into the journal."""
        enrolment = self.enrolment(**parts)
        self.row, _ = await journal.write(lambda change: rows.keep(change, enrolment))
        return Link(self.row, enrolment, b"", b"")

    def sign(self, message: Message) -> Envelope:
        kind = dsse.payload_type(message.DESCRIPTOR.name)
        return dsse.sign(kind, message.SerializeToString(deterministic=True), self.key)

    def reserve(
        self,
        offer: offer_pb2.Offer,
        lease_id: str,
        units: dict[str, int],
        hold_s: int = 30,
        **parts: Any,
    ) -> Envelope:
        request = lease_pb2.ReserveRequest(
            lease_id=lease_id,
            offer_id=offer.offer_id,
            offer_sequence=offer.sequence,
            units=[
                {"resource_class": name, "units": count} for name, count in sorted(units.items())
            ],
        )
        request.hold.FromSeconds(hold_s)
        for name, value in parts.items():
            setattr(request, name, value)
        return self.sign(request)

    def agreement(
        self,
        offer: Envelope,
        lease_id: str,
        units: dict[str, int],
        token: bytes,
        start_ns: int,
        end_ns: int,
    ) -> lease_pb2.LeaseAgreement:
        """The agreement that an offer asks for, to be changed or signed."""
        terms = offer_pb2.Offer.FromString(offer.payload)
        agreement = lease_pb2.LeaseAgreement(
            exchange_id=self.exchange_id,
            node_id=terms.node_id,
            lease_id=lease_id,
            offer_sha256=hashlib.sha256(offer.payload).digest(),
            units=[
                {"resource_class": name, "units": count} for name, count in sorted(units.items())
            ],
            prices=terms.prices,
            service_level=terms.service_level,
            settlement=terms.settlement,
            fencing_token=token,
            job_id="job",
        )
        agreement.start_time.FromNanoseconds(start_ns)
        agreement.end_time.FromNanoseconds(end_ns)
        return agreement


async def tell(market: Market, pen: Pen, envelope: Envelope) -> None:
    """Hand one statement of an exchange in, as its session would."""
    name = message_name(envelope.payload_type)
    await market.node.journal.write(
        lambda change: market.accept(change, pen.row, pen.exchange_id, name, envelope)
    )


def sent(view: View, row: int, name: str | None = None) -> list[Envelope]:
    """What an exchange was sent so far, or is going to be, in order."""
    found = [
        decode_envelope(raw)
        for (raw,) in view.all(
            "SELECT coalesce(o.envelope, e.envelope) FROM outbox o"
            " LEFT JOIN entries e ON e.idx = o.idx WHERE o.exchange = ? ORDER BY o.sequence",
            row,
        )
    ]
    return [item for item in found if name in (None, message_name(item.payload_type))]


async def last(journal: Journal, row: int, name: str) -> Envelope:
    """The newest statement of a kind to one exchange."""
    found = await journal.read(lambda view: sent(view, row, name))
    assert found, f"no {name}"
    return found[-1]


async def newest_offer(journal: Journal, row: int) -> tuple[Envelope, offer_pb2.Offer]:
    envelope = await last(journal, row, "Offer")
    return envelope, offer_pb2.Offer.FromString(envelope.payload)


async def newest_decision(journal: Journal, row: int) -> lease_pb2.LeaseDecision:
    envelope = await last(journal, row, "LeaseDecision")
    return lease_pb2.LeaseDecision.FromString(envelope.payload)


def lease_id(number: int) -> str:
    return f"0190c1d2-0000-7000-8000-{number:012d}"
