"""One stream with one node, from Hello to GoAway.

    Hello -> Welcome (cursors, nonce) -> evidence -> envelopes, checkpoints, heartbeats, challenges

One task reads, one acts on what was read, one delivers what is in the outbox, one beats, one
challenges at random; they share a lock for writing. Nothing is kept here that the store does not
have, so a stream may end anywhere.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Sequence
from typing import NoReturn, TypeAlias

import grpc
import grpc.aio
import structlog
from google.protobuf.duration_pb2 import Duration
from hearth.v1 import common_pb2, session_pb2
from hearth.v1.session_pb2 import SessionRequest, SessionResponse

from agent.sandbox.exchange import cursors, faults, inbox, market, trust, witness
from agent.sandbox.exchange.challenges import Challenger
from agent.sandbox.exchange.identity import Exchange, duration, timestamp
from agent.sandbox.exchange.intake import Intake
from agent.sandbox.exchange.refusal import Refused
from agent.sandbox.exchange.store import Store, tally
from attest import envelope
from attest.errors import AttestError, BadSignature
from attest.formats import envelope_to_proto
from attest.keys import SoftwareKey

PROTOCOL = 1
OPENING_S = 30.0  # for Hello, and for the evidence (a TPM may take seconds)
WRITE_S = 30.0  # for one write: a peer that reads nothing for so long is gone
SILENCE_BEATS = 3  # heartbeats missed until the stream is ended
RECONNECT_S = 1.0  # what a GoAway asks for
MOST_DETAIL = 200  # characters of a node's words that are kept

_MALFORMED = session_pb2.NACK_REASON_MALFORMED
_ATTESTATION = session_pb2.NACK_REASON_ATTESTATION_REQUIRED

Stream: TypeAlias = "grpc.aio.ServicerContext[SessionRequest, SessionResponse]"


class Ended(Exception):
    """The stream is over; with a status other than OK when the peer must see a failure."""

    def __init__(self, why: str, status: grpc.StatusCode = grpc.StatusCode.OK) -> None:
        super().__init__(why)
        self.status = status


class Session:
    """One stream. `run` returns when it is over."""

    def __init__(
        self,
        exchange: Exchange,
        store: Store,
        armed: faults.Faults,
        peer: trust.Peer,
        stream: Stream,
        admit: Callable[[Session], None],
    ) -> None:
        self.peer = peer
        self.evidence_nonce = secrets.token_bytes(32)
        self._exchange = exchange
        self._store = store
        self._faults = armed
        self._stream = stream
        self._admit = admit
        self._log = structlog.get_logger(node_id=self.node_id[:16])
        self._writing = asyncio.Lock()
        self._posted = asyncio.Event()
        self._intake = Intake(inbox.MOST_ENVELOPES)
        self._end: asyncio.Future[Ended] = asyncio.get_running_loop().create_future()
        self._tasks = asyncio.TaskGroup()
        self._challenger = Challenger(exchange, store, armed, peer, self._send_unjournaled)
        self._attested = False
        self._epoch = 0
        self._log_id = ""
        self._delivered = 0  # highest delivery sequence of ours that the agent has

    @property
    def node_id(self) -> str:
        """Whose stream this is."""
        return self.peer.node.node_id

    def wake(self) -> None:
        """Something was put in this node's outbox."""
        self._posted.set()

    def end(self, ended: Ended) -> None:
        """End the stream: politely with status OK, else at once."""
        if not self._end.done():
            self._end.set_result(ended)

    def challenge(self) -> bool:
        """Ask for fresh evidence now; False when the first evidence is still to come."""
        if self._attested:
            self._tasks.create_task(self._challenger.challenge(), name="challenge")
        return self._attested

    async def run(self) -> None:
        """Hold the conversation until either side ends it."""
        ended: Ended | None = None
        try:
            async with self._tasks:
                self._tasks.create_task(self._await_end(), name="end")
                self._tasks.create_task(self._converse(), name="converse")
        except* Ended as group:
            ended = next(each for each in group.exceptions if isinstance(each, Ended))
        except* inbox.Fenced:
            ended = Ended("fenced by a newer session")
        except* TimeoutError:
            ended = Ended("a deadline passed", grpc.StatusCode.DEADLINE_EXCEEDED)
        if ended is not None:
            self._log.info("session_ended", why=str(ended), status=ended.status.name)
            if ended.status is not grpc.StatusCode.OK:
                await self._stream.abort(ended.status, str(ended))

    # --- opening ---

    async def _converse(self) -> None:
        async with asyncio.timeout(OPENING_S):
            hello = (await self._read()).hello
        welcome = await self._accept(hello)
        self._admit(self)
        await self._send(SessionResponse(welcome=welcome))
        async with asyncio.timeout(OPENING_S):
            answer = await self._read()
        if answer.WhichOneof("body") != "evidence":
            await self._refuse(_ATTESTATION, "evidence over Welcome.evidence_nonce comes first")
        await self._attest(answer.evidence)
        for name, work in (
            ("read", self._read_ahead()),
            ("listen", self._listen()),
            ("deliver", self._deliver()),
            ("beat", self._beat()),
            ("challenge_at_random", self._challenger.challenge_at_random()),
        ):
            self._tasks.create_task(work, name=name)

    async def _accept(self, hello: session_pb2.Hello) -> session_pb2.Welcome:
        if hello.node_id != self.node_id:
            await self._refuse(
                session_pb2.NACK_REASON_NOT_AUTHORIZED, "the certificate is another node's"
            )
        if not hello.protocol_minimum <= PROTOCOL <= hello.protocol_maximum:
            await self._refuse(_MALFORMED, f"protocol {PROTOCOL} is spoken here")
        opened = await self._store.run(cursors.open_session, self.node_id, hello)
        if opened.fenced:
            await self._refuse(
                session_pb2.NACK_REASON_EPOCH_BEHIND,
                f"epoch {opened.epoch} has been here",
                minimum_epoch=opened.epoch + 1,
            )
        if hello.delivered_through > opened.sent:
            await self._refuse(_MALFORMED, f"only {opened.sent} deliveries were ever made")
        self._epoch, self._log_id = hello.session_epoch, hello.log_id
        self._delivered = hello.delivered_through
        self._log.info("session_opened", epoch=self._epoch, received=opened.received)
        return session_pb2.Welcome(
            protocol=PROTOCOL,
            server_time=timestamp(self._exchange.now_ns()),
            heartbeat_interval=duration(self._exchange.options.heartbeat),
            disconnect_grace=duration(SILENCE_BEATS * self._exchange.options.heartbeat),
            evidence_nonce=faults.spoil_nonce(self._faults, self.node_id, self.evidence_nonce),
            witnessed=opened.head.to_proto() if opened.head and opened.head.size else None,
            delivered_through=opened.received,
            lease_cursors=opened.leases,
            capabilities=self._exchange.capabilities,
        )

    async def _attest(self, evidence: bytes) -> None:
        try:
            await trust.appraise(
                self._exchange,
                self._store,
                self.peer.node,
                evidence,
                self.evidence_nonce,
                self.peer.tls_spki_sha256,
            )
        except AttestError as error:
            await self._refuse(_ATTESTATION, str(error))
        self._attested = True
        await self._confirm(await self._store.run(cursors.received, self.node_id))

    # --- what the node says ---

    async def _read_ahead(self) -> None:
        silence = SILENCE_BEATS * self._exchange.options.heartbeat
        while True:
            if stall := self._faults.take(faults.Kind.STALL_READS, self.node_id):
                await asyncio.sleep(stall.seconds)
            try:
                async with asyncio.timeout(silence):
                    request = await self._read()
            except Ended:
                await self._intake.drained()
                raise
            await self._intake.put(request)

    async def _listen(self) -> None:
        while True:
            requests = await self._intake.take()
            request = requests[0]
            match request.WhichOneof("body"):
                case "envelopes":
                    await self._apply(requests)
                case "checkpoint":
                    await self._witness(request)
                case "challenge_answer":
                    await self._score(request)
                case "heartbeat" | None:
                    pass  # its arrival is its message
                case "nack":
                    await self._nacked(request.nack)
                case body:
                    # Also a snapshot's end: none was asked for, since nothing is ever lost here.
                    await self._nack(0, session_pb2.NACK_REASON_UNKNOWN_TYPE, f"{body} now")

    async def _nacked(self, nack: session_pb2.Nack) -> None:
        reason = _reason(nack.reason)
        self._log.warning(
            "nacked",
            delivery_sequence=nack.delivery_sequence,
            reason=reason,
            detail=nack.detail,
        )
        await self._store.run(tally, self.node_id, "nacks_received")
        said = f"{reason} {nack.detail[:MOST_DETAIL]}"
        await self._store.run(
            market.nacked, self._exchange, self.node_id, nack.delivery_sequence, said
        )

    async def _apply(self, batches: Sequence[SessionRequest]) -> None:
        first = batches[0].delivery_sequence
        items = [item for batch in batches for item in batch.envelopes.items]
        if self._strikes(faults.Kind.REFUSE_RECEIPTS, items):
            limited = session_pb2.NACK_REASON_RATE_LIMITED
            await self._nack(first, limited, "injected fault", retry_after=duration(1))
            raise Ended("injected fault: receipts refused for now")
        reject = int(self._strikes(faults.Kind.REJECT_RECEIPTS, items))
        try:
            applied = await self._store.run(
                inbox.apply, self._exchange, self.peer.node, self._epoch, first, items, reject
            )
        except Refused as refused:
            await self._refuse(refused.reason, refused.detail, delivery_sequence=first)
        for refusal in applied.refusals:
            self._log.warning(
                "envelope_refused",
                delivery_sequence=refusal.delivery_sequence,
                reason=_reason(refusal.reason),
                detail=refusal.detail,
            )
            await self._nack(refusal.delivery_sequence, refusal.reason, refusal.detail)
        self.wake()
        if delay := self._faults.take(faults.Kind.DELAY_ACKS, self.node_id):
            self._tasks.create_task(self._confirm_later(delay.seconds, applied.through))
        else:
            await self._confirm(applied.through)

    def _strikes(self, kind: faults.Kind, items: Sequence[session_pb2.DeliveredEnvelope]) -> bool:
        """Whether a fault that concerns receipts strikes this batch."""
        if not any(fault.kind is kind for fault in self._faults.armed):
            return False
        receipts = any(item.envelope.payload_type == inbox.RECEIPT for item in items)
        return receipts and self._faults.take(kind, self.node_id) is not None

    async def _witness(self, request: SessionRequest) -> None:
        try:
            head = await self._store.run(
                witness.accept,
                self._exchange,
                self.peer.node,
                self._epoch,
                self._log_id,
                request.checkpoint,
            )
        except (Refused, AttestError) as error:
            reason = error.reason if isinstance(error, Refused) else _MALFORMED
            if isinstance(error, BadSignature):
                reason = session_pb2.NACK_REASON_BAD_SIGNATURE
            await self._store.run(tally, self.node_id, "checkpoints_rejected")
            self._log.warning("checkpoint_refused", detail=str(error))
            await self._nack(0, reason, f"checkpoint: {error}")
            return
        self.wake()
        await self._send(SessionResponse(witnessed=head.to_proto()))

    async def _score(self, request: SessionRequest) -> None:
        try:
            await self._challenger.judge(request.challenge_answer)
        except Refused as refused:
            await self._nack(0, refused.reason, refused.detail)

    # --- what we say ---

    async def _deliver(self) -> None:
        """Send the outbox from where the agent is, and whatever is put in it later."""
        while True:
            self._posted.clear()
            while batch := await self._store.run(cursors.outgoing, self.node_id, self._delivered):
                response = SessionResponse(
                    delivery_sequence=self._delivered + 1,
                    envelopes=session_pb2.EnvelopeBatch(items=batch),
                )
                if self._faults.take(faults.Kind.FORGED_ENVELOPE, self.node_id):
                    response = _forged(response)
                await self._send(response)
                if self._faults.take(faults.Kind.DUPLICATE_DELIVERIES, self.node_id):
                    await self._send(response)
                self._delivered += len(batch)
            await self._posted.wait()

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(self._exchange.options.heartbeat)
            beat = session_pb2.Heartbeat(send_time=timestamp(self._exchange.now_ns()))
            await self._send(SessionResponse(heartbeat=beat))

    async def _send_unjournaled(self, signed: common_pb2.SignedEnvelope) -> None:
        items = [session_pb2.DeliveredEnvelope(envelope=signed)]
        await self._send(SessionResponse(envelopes=session_pb2.EnvelopeBatch(items=items)))

    async def _confirm(self, through: int) -> None:
        credit = self._exchange.options.credit
        await self._send(SessionResponse(delivered_through=through, credit=credit))

    async def _confirm_later(self, seconds: float, through: int) -> None:
        await asyncio.sleep(seconds)
        await self._confirm(through)

    async def _await_end(self) -> None:
        ended = await self._end
        if ended.status is grpc.StatusCode.OK:
            going = session_pb2.GoAway(reason=str(ended), reconnect_after=duration(RECONNECT_S))
            await self._send(SessionResponse(go_away=going))
        raise ended

    # --- the stream ---

    async def _read(self) -> SessionRequest:
        request = await self._stream.read()
        if not isinstance(request, SessionRequest):  # grpc.aio.EOF
            raise Ended("the agent closed the stream")
        return request

    async def _send(self, response: SessionResponse) -> None:
        if slow := self._faults.take(faults.Kind.SLOW, self.node_id):
            await asyncio.sleep(slow.seconds)
        async with self._writing, asyncio.timeout(WRITE_S):
            await self._stream.write(response)

    async def _nack(
        self,
        delivery_sequence: int,
        reason: session_pb2.NackReason,
        detail: str,
        *,
        retry_after: Duration | None = None,
        minimum_epoch: int = 0,
    ) -> None:
        nack = session_pb2.Nack(
            delivery_sequence=delivery_sequence,
            reason=reason,
            detail=detail,
            retry_after=retry_after,
            minimum_epoch=minimum_epoch,
        )
        await self._send(SessionResponse(nack=nack))

    async def _refuse(
        self,
        reason: session_pb2.NackReason,
        detail: str,
        *,
        delivery_sequence: int = 0,
        minimum_epoch: int = 0,
    ) -> NoReturn:
        """Refuse a message after which there is nothing more to say."""
        await self._nack(delivery_sequence, reason, detail, minimum_epoch=minimum_epoch)
        raise Ended(f"{_reason(reason)}: {detail}")


def _reason(reason: session_pb2.NackReason) -> str:
    return session_pb2.NackReason.Name(reason).removeprefix("NACK_REASON_")


def _forged(response: SessionResponse) -> SessionResponse:
    """The same statements, signed by a key that is not ours."""
    forged, stranger = SessionResponse(), SoftwareKey.generate()
    forged.CopyFrom(response)
    for item in forged.envelopes.items:
        signed = envelope.sign(item.envelope.payload_type, item.envelope.payload, stranger)
        item.envelope.CopyFrom(envelope_to_proto(signed))
    return forged
