"""A small exchange on loopback that does exactly what a test tells it; mTLS as in reality."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import grpc.aio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from google.protobuf.message import Message
from hearth.v1 import common_pb2, session_pb2
from hearth.v1.session_pb2_grpc import (
    ExchangeServiceServicer,
    add_ExchangeServiceServicer_to_server,
)

from agent.exchange.link import Link
from agent.journal.store import Journal
from attest.envelope import Envelope
from attest.formats import envelope_to_proto
from tests.fakes.spine import Pen

Response = session_pb2.SessionResponse
DEADLINE_S = 10.0


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


class ThrowawayCa:
    """A CA that lives as long as a test, and certificates for 127.0.0.1 and for an agent."""

    def __init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.certificate = self._sign("throwaway CA", self.key, ca=True)

    def _sign(
        self, name: str, key: ec.EllipticCurvePrivateKey, *, ca: bool = False
    ) -> x509.Certificate:
        import ipaddress

        now = datetime.now(UTC)
        issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "throwaway CA")])
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(minutes=5))
            .not_valid_after(now + timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca, None), critical=True)
            .add_extension(
                x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
                critical=False,
            )
            .sign(self.key, hashes.SHA256())
        )

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def issue(self, name: str) -> tuple[bytes, bytes, bytes]:
        """Key PEM, certificate PEM, certificate DER."""
        key = ec.generate_private_key(ec.SECP256R1())
        made = self._sign(name, key)
        return (
            _key_pem(key),
            made.public_bytes(serialization.Encoding.PEM),
            made.public_bytes(serialization.Encoding.DER),
        )


class Gone(Exception):
    """The agent left."""


@dataclass
class Talk:
    """One session as the exchange sees it."""

    context: Any
    requests: AsyncIterator[session_pb2.SessionRequest]
    seen: list[session_pb2.SessionRequest] = field(default_factory=list)
    arrived: asyncio.Queue[session_pb2.SessionRequest | None] = field(default_factory=asyncio.Queue)

    async def listen(self) -> None:
        """Take what comes until the agent goes; not reading at all is `deaf`."""
        async for message in self.requests:
            self.arrived.put_nowait(message)
        self.arrived.put_nowait(None)

    async def read(self) -> session_pb2.SessionRequest:
        """The next message of the agent.

        :raises Gone: when it left. :raises TimeoutError: when it says nothing.
        """
        async with asyncio.timeout(DEADLINE_S):
            message = await self.arrived.get()
        if message is None:
            raise Gone
        self.seen.append(message)
        return message

    async def quiet(self, seconds: float) -> list[str]:
        """The bodies of all that comes within so many seconds."""
        await asyncio.sleep(seconds)
        bodies = []
        while not self.arrived.empty():
            bodies.append((await self.read()).WhichOneof("body") or "")
        return bodies

    async def until(self, body: str) -> session_pb2.SessionRequest:
        """The next message with this body; others are kept in `seen`."""
        while True:
            message = await self.read()
            if message.WhichOneof("body") == body:
                return message

    async def say(self, message: Response) -> None:
        await self.context.write(message)

    async def welcome(self, credit: int = 100, **parts: Any) -> session_pb2.Hello:
        """Take the Hello, welcome, take the evidence."""
        hello = await self.until("hello")
        message = Response(credit=credit)
        message.welcome.protocol = 1
        message.welcome.evidence_nonce = bytes(32)
        message.welcome.server_time.GetCurrentTime()
        message.welcome.heartbeat_interval.FromSeconds(20)
        for name, value in parts.items():
            if isinstance(value, Message):
                getattr(message.welcome, name).CopyFrom(value)
            else:
                setattr(message.welcome, name, value)
        message.delivered_through = message.welcome.delivered_through
        await self.say(message)
        await self.until("evidence")
        return hello.hello

    async def deliver(self, sequence: int, *envelopes: Envelope | None, through: int = 0) -> None:
        """Send envelopes from this delivery sequence on; None: one that is none."""
        message = Response(delivery_sequence=sequence, delivered_through=through)
        for envelope in envelopes:
            item = message.envelopes.items.add()
            content = common_pb2.SignedEnvelope(payload_type="rubbish")
            item.envelope.CopyFrom(content if envelope is None else envelope_to_proto(envelope))
        await self.say(message)

    async def applied(self, through: int) -> session_pb2.SessionRequest:
        """Wait until the agent says that it has applied our deliveries through this one."""
        while True:
            message = await self.read()
            if message.delivered_through >= through:
                return message


Script = Callable[[Talk], Any]


class ScriptedExchange(ExchangeServiceServicer):
    """Runs one script for each session, the last one again and again."""

    def __init__(self, pen: Pen) -> None:
        self.pen = pen
        self.ca = ThrowawayCa()
        self.scripts: list[Script] = []
        self.failures: list[BaseException] = []
        self.sessions = 0
        self.deaf = False  # reads nothing at all
        self.port = 0
        self._server: grpc.aio.Server | None = None

    async def start(self) -> None:
        key, certificate, _ = self.ca.issue("exchange")
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        add_ExchangeServiceServicer_to_server(self, self._server)
        credentials = grpc.ssl_server_credentials(
            [(key, certificate)], root_certificates=self.ca.pem, require_client_auth=True
        )
        self.port = self._server.add_secure_port(f"127.0.0.1:{self.port}", credentials)
        await self._server.start()

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.stop(grace=0)
            self._server = None

    async def link(self, journal: Journal) -> Link:
        """Enrol an agent with this exchange."""
        from attest.keys import SoftwareKey

        key, _, der = self.ca.issue("agent")
        link = await self.pen.enrol(
            journal,
            session_endpoint=f"127.0.0.1:{self.port}",
            session_ca=(self.ca.der,),
            tls_chain=(der,),
        )
        link.tls_key, link.tls_spki = key, SoftwareKey.from_pem(key).spki
        return link

    async def Session(self, request_iterator: Any, context: Any) -> None:  # noqa: N802
        script = self.scripts[min(self.sessions, len(self.scripts) - 1)]
        self.sessions += 1
        talk = Talk(context, request_iterator)
        listening = None if self.deaf else asyncio.create_task(talk.listen())
        try:
            await script(talk)
        except (AssertionError, TimeoutError, Gone) as error:
            self.failures.append(error)
            await context.abort(grpc.StatusCode.INTERNAL, f"the script failed: {error!r}")
        finally:
            if listening is not None:
                listening.cancel()
