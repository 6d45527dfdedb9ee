"""An agent that does exactly what a test tells it to, right or wrong, over real gRPC and mTLS.

It has a root of trust, a log and an outbox, and no conduct of its own: a test reads and writes
each message. Nothing of `agent` is in it, so that it can tell what an exchange does on its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from google.protobuf.message import Message
from hearth.v1 import attestation_pb2, log_pb2, session_pb2
from hearth.v1.attestation_pb2_grpc import EnrollmentServiceStub
from hearth.v1.session_pb2 import SessionRequest, SessionResponse
from hearth.v1.session_pb2_grpc import ExchangeServiceStub

from attest import checkpoint, envelope, evidence, formats, merkle
from attest.envelope import Envelope, payload_type
from attest.keys import SoftwareKey
from attest.root import REQUIRED_PCRS, SHA256_BANK, Root

BOOT = "5b0c1a52-3d1e-4b6f-9a57-1f6f0c6e2d42"
WAIT_S = 20.0
Change = Callable[[bytes], bytes]


def same(content: bytes) -> bytes:
    return content


class ScriptedAgent:
    """One node and what it has signed so far."""

    def __init__(self, root: Root) -> None:
        self.root = root
        self.node_id = root.identity.node_id
        self.envelope_key = SoftwareKey.generate()
        self.tls_key = ec.generate_private_key(ec.SECP256R1())
        self.leaves: list[Envelope] = []
        self._nodes: dict[tuple[int, int], bytes] = {}
        self.outbox: list[session_pb2.DeliveredEnvelope] = []  # delivery sequence = position + 1
        self.epoch = 0
        self.applied = 0  # highest delivery sequence of the exchange
        self.exchange_id = ""
        self.enrolled = attestation_pb2.EnrollResult()
        start = formats.encode_log_start(
            formats.LogStart(
                self.node_id, bytes(range(32)), root.identity.incarnation, 1, b"", time.time_ns()
            )
        )
        self.log_id = hashlib.sha256(start).hexdigest()
        self.post_bytes("LogStart", start)
        self.bind_key()

    # --- what it signs ---

    def bind_key(self) -> None:
        incarnation, spki = self.root.identity.incarnation, self.envelope_key.spki
        quote = self.root.quote(
            evidence.key_binding_data(self.log_id, BOOT, spki, incarnation)
        ).result(WAIT_S)
        binding = formats.KeyBinding(
            BOOT, spki, quote.attest, quote.signature, incarnation, self.log_id
        )
        self.post_bytes("KeyBinding", formats.encode_key_binding(binding))

    def post_bytes(self, name: str, payload: bytes) -> int:
        """Sign, log and queue; returns the delivery sequence."""
        return self.post_envelope(envelope.sign(payload_type(name), payload, self.envelope_key))

    def post(self, message: Message) -> bytes:
        """As `post_bytes`; returns the payload."""
        payload = message.SerializeToString(deterministic=True)
        self.post_bytes(type(message).__name__, payload)
        return payload

    def post_envelope(self, signed: Envelope) -> int:
        index = len(self.leaves)
        leaf = envelope.leaf_hash(signed.payload_type, signed.payload)
        for level, at, value in merkle.completed_nodes(index, leaf, self._read):
            self._nodes[level, at] = value
        self.leaves.append(signed)
        item = session_pb2.DeliveredEnvelope(
            envelope=formats.envelope_to_proto(signed), log_index=index
        )
        self.outbox.append(item)
        return len(self.outbox)

    def _read(self, level: int, index: int) -> bytes:
        return self._nodes[level, index]

    def bundle(
        self, old_size: int, size: int | None = None, upto: int | None = None
    ) -> log_pb2.CheckpointBundle:
        """A checkpoint of the first `size` leaves, for a peer that has `old_size` of them."""
        size = len(self.leaves) if size is None else size
        head = checkpoint.Checkpoint(
            checkpoint.origin(self.node_id, self.log_id), size, merkle.root(size, self._read)
        )
        text = checkpoint.text(head)
        signature = self.root.sign_note(text).result(WAIT_S)
        line = checkpoint.signature_by(head.origin, self.root.identity.spki, signature)
        indices = list(range(old_size, size if upto is None else upto))
        bundle = log_pb2.CheckpointBundle(
            note=checkpoint.assemble(text, line),
            inclusion=log_pb2.MultiProof(
                tree_size=size,
                leaf_indices=indices,
                nodes=merkle.multiproof(indices, size, self._read),
            ),
        )
        if old_size:
            bundle.consistency.old_size, bundle.consistency.new_size = old_size, size
            bundle.consistency.path.extend(merkle.consistency_path(old_size, size, self._read))
        return bundle

    def evidence(self, nonce: bytes, *, exchange_id: str = "", tls: bytes = b"") -> bytes:
        exchange_id = exchange_id or self.exchange_id
        payload = formats.encode_evidence_payload(
            formats.EvidencePayload(
                exchange_id=exchange_id,
                inventory_digest=bytes(32),
                inventory_generation=1,
                tls_spki_sha256=tls or hashlib.sha256(self.tls_spki).digest(),
                envelope_spki=self.envelope_key.spki,
                boot_id=BOOT,
                incarnation=self.root.identity.incarnation,
                log_id=self.log_id,
                log_size=len(self.leaves),
                log_root=merkle.root(len(self.leaves), self._read),
                agent_version="scripted",
                agent_code_sha256=b"",
                create_time_ns=time.time_ns(),
            )
        )
        quote = self.root.quote(evidence.evidence_data(exchange_id, nonce, payload)).result(WAIT_S)
        if not quote.attest:
            made = formats.Evidence(payload, software_signature=quote.signature)
        else:
            bank = formats.PcrBank(SHA256_BANK, quote.pcrs)
            made = formats.Evidence(payload, quote.attest, quote.signature, (bank,))
        assert not quote.attest or tuple(index for index, _ in quote.pcrs) == REQUIRED_PCRS
        return formats.encode_evidence(made)

    # --- enrolment ---

    @property
    def tls_spki(self) -> bytes:
        return self.tls_key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    def csr(self) -> bytes:
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "asked")])
        request = x509.CertificateSigningRequestBuilder().subject_name(name)
        return request.sign(self.tls_key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)

    async def enrol(
        self,
        port: int,
        ca: bytes,
        token: str,
        *,
        change_hmac: Change = same,
        change_evidence: Change = same,
        change_nonce: Change = same,
    ) -> attestation_pb2.EnrollResult:
        """Enrol; raises StreamEnded when refused."""
        identity = self.root.identity
        endorsement = self.root.endorsement().result(WAIT_S)
        begin = attestation_pb2.EnrollBegin(
            join_token=token,
            client_nonce=bytes(32),
            ek_certificate_chain=endorsement.ek_certificate_chain,
            ek_public=endorsement.ek_public,
            ak_public=identity.ak_public,
            software_spki=b"" if identity.ak_public else identity.spki,
            tls_csr=self.csr(),
            agent_version="scripted",
        ).SerializeToString()
        credentials = grpc.ssl_channel_credentials(ca)
        async with grpc.aio.secure_channel(f"localhost:{port}", credentials) as channel:
            call = EnrollmentServiceStub(channel).Enroll(timeout=WAIT_S)
            await _write(call, attestation_pb2.EnrollRequest(begin=begin))
            signed = (await _next(call)).challenge
            challenge = attestation_pb2.CredentialChallenge.FromString(signed.payload)
            self._check_challenge(signed, challenge, token)
            made = change_evidence(self.evidence(change_nonce(challenge.nonce)))
            proof = attestation_pb2.EnrollProof(evidence=made)
            if identity.ak_public:
                secret = self.root.activate(
                    challenge.credential_blob, challenge.encrypted_secret
                ).result(WAIT_S)
                proof.transcript_hmac_sha256 = change_hmac(
                    evidence.transcript_hmac(secret, begin, signed.payload, made)
                )
            await _write(call, attestation_pb2.EnrollRequest(proof=proof))
            self.enrolled = (await _next(call)).result
            return self.enrolled

    def _check_challenge(
        self, signed: Any, challenge: attestation_pb2.CredentialChallenge, token: str
    ) -> None:
        (spki,) = challenge.exchange.statement_spki
        assert (
            hashlib.sha256(spki).hexdigest()
            == token.split(".")[1]
            == challenge.exchange.exchange_id
        )
        envelope.verify_only(formats.envelope_from_proto(signed), spki)
        self.exchange_id = challenge.exchange.exchange_id
        self.statement_spki = spki
        self.session_endpoint = challenge.exchange.session_endpoint
        self.session_ca = challenge.exchange.session_ca[0]

    # --- session ---

    def credentials(self) -> grpc.ChannelCredentials:
        pem = b"".join(
            x509.load_der_x509_certificate(each).public_bytes(serialization.Encoding.PEM)
            for each in self.enrolled.tls_certificate_chain
        )
        key = self.tls_key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        ca = x509.load_der_x509_certificate(self.session_ca).public_bytes(
            serialization.Encoding.PEM
        )
        return grpc.ssl_channel_credentials(ca, key, pem)

    @asynccontextmanager
    async def channel(self) -> AsyncIterator[ExchangeServiceStub]:
        async with grpc.aio.secure_channel(self.session_endpoint, self.credentials()) as channel:
            yield ExchangeServiceStub(channel)

    @asynccontextmanager
    async def session(self, epoch: int | None = None) -> AsyncIterator[Conversation]:
        """A stream on which nothing was said yet."""
        self.epoch = self.epoch + 1 if epoch is None else epoch
        async with self.channel() as stub:
            call = stub.Session()
            try:
                yield Conversation(self, call)
            finally:
                call.cancel()

    @asynccontextmanager
    async def attested(self) -> AsyncIterator[Conversation]:
        """A stream past Hello, Welcome and evidence."""
        async with self.session() as talk:
            welcome = await talk.hello()
            await talk.send(evidence=self.evidence(welcome.evidence_nonce))
            assert (await talk.read()).credit > 0
            yield talk


@dataclass
class Conversation:
    """One stream, message by message."""

    agent: ScriptedAgent
    call: Any
    seen: list[SessionResponse] = field(default_factory=list)
    through: int = 0  # highest delivery sequence that the exchange confirmed
    witnessed: int = 0  # size of the newest head that the exchange has
    received: list[Envelope] = field(default_factory=list)  # new journaled envelopes, in order

    async def send(self, **fields: Any) -> None:
        await _write(self.call, SessionRequest(delivered_through=self.agent.applied, **fields))

    async def read(self) -> SessionResponse:
        response: SessionResponse = await _next(self.call)
        self.seen.append(response)
        if response.WhichOneof("body") == "witnessed":
            self.witnessed = response.witnessed.size
        self.through = max(self.through, response.delivered_through)
        for offset, item in enumerate(response.envelopes.items):
            if response.delivery_sequence + offset == self.agent.applied + 1:
                self.agent.applied += 1
                signed = formats.envelope_from_proto(item.envelope)
                envelope.verify_only(signed, self.agent.statement_spki)
                self.received.append(signed)
        return response

    async def until(self, condition: Callable[[SessionResponse], bool]) -> SessionResponse:
        """The next response that meets a condition."""
        while True:
            response = await self.read()
            if condition(response):
                return response

    async def nack(self) -> session_pb2.Nack:
        return (await self.until(lambda each: each.WhichOneof("body") == "nack")).nack

    async def end(self) -> grpc.StatusCode:
        """Read to the end of the stream; its status."""
        while True:
            try:
                await self.read()
            except StreamEnded as ended:
                return ended.status

    async def hello(self, **changed: Any) -> session_pb2.Welcome:
        """Say Hello and return the Welcome."""
        await self.say_hello(**changed)
        response = await self.read()
        assert response.WhichOneof("body") == "welcome", response
        self.through = response.welcome.delivered_through
        self.witnessed = response.welcome.witnessed.size
        return response.welcome

    async def say_hello(self, **changed: Any) -> None:
        fields: dict[str, Any] = {
            "node_id": self.agent.node_id,
            "protocol_minimum": 1,
            "protocol_maximum": 1,
            "session_epoch": self.agent.epoch,
            "log_id": self.agent.log_id,
            "delivered_through": self.agent.applied,
        }
        await self.send(hello=session_pb2.Hello(**{**fields, **changed}))

    async def deliver(self, first: int | None = None, last: int | None = None) -> int:
        """Send the outbox from delivery sequence `first` to `last`; returns the last one."""
        first = self.through + 1 if first is None else first
        last = len(self.agent.outbox) if last is None else last
        for start in range(first, last + 1, 200):
            items = self.agent.outbox[start - 1 : min(start + 199, last)]
            batch = session_pb2.EnvelopeBatch(items=items)
            await self.send(delivery_sequence=start, envelopes=batch)
        return last

    async def confirmed(self, sequence: int | None = None) -> None:
        """Deliver what is queued and read until it is confirmed; there must be no Nack."""
        last = await self.deliver() if sequence is None else sequence
        while self.through < last:
            response = await self.read()
            assert response.WhichOneof("body") != "nack", response.nack

    async def next_envelope(self, name: str) -> Envelope:
        """The next new journaled envelope, which must be of this type."""
        while not self.received:
            response = await self.read()
            assert response.WhichOneof("body") != "nack", response.nack
        signed = self.received.pop(0)
        assert envelope.message_name(signed.payload_type) == name
        return signed

    async def witness(self, bundle: log_pb2.CheckpointBundle) -> log_pb2.WitnessedHead:
        """Send a checkpoint that holds."""
        await self.send(checkpoint=bundle)
        response = await self.until(lambda each: each.WhichOneof("body") in ("witnessed", "nack"))
        assert response.WhichOneof("body") == "witnessed", response.nack
        return response.witnessed


class StreamEnded(Exception):
    """The exchange ended the stream."""

    def __init__(self, status: grpc.StatusCode, details: str) -> None:
        super().__init__(f"{status.name}: {details}")
        self.status = status
        self.details = details


async def _next(call: Any) -> Any:
    try:
        async with asyncio.timeout(WAIT_S):
            message = await call.read()
    except grpc.aio.AioRpcError as error:
        raise StreamEnded(error.code(), error.details() or "") from error
    if message is grpc.aio.EOF:
        raise StreamEnded(await call.code(), "")
    return message


async def _write(call: Any, message: Message) -> None:
    """Write; when the stream is over, the next read says why."""
    with contextlib.suppress(asyncio.InvalidStateError, grpc.aio.AioRpcError):
        async with asyncio.timeout(WAIT_S):
            await call.write(message)
