"""One long-lived session with one exchange: Hello to GoAway, then again.

Whatever is durable is sent from cursors, so a session may end anywhere. What is written, and in
which order, is `exchange.sender`'s; here is what the exchange says, and what follows from it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import NoReturn, Protocol

import grpc
import grpc.aio
import structlog
from hearth.v1 import session_pb2
from hearth.v1.session_pb2_grpc import ExchangeServiceStub

from agent.clock import SECOND, Clock
from agent.core.session import Incoming, ProtocolBroken
from agent.errors import ExchangeError, HearthError, MalformedMessage, RateLimited, UnknownKind
from agent.exchange import outbox
from agent.exchange.link import Link
from agent.exchange.sender import Call, Sender
from agent.journal.store import Journal, Transaction
from agent.supervise import Backoff
from agent.version import version
from agent.wire import stream as wire
from agent.wire.foreign import one_line
from agent.wire.requests import Challenge, decode
from attest.envelope import Envelope, message_name, verify_only
from attest.errors import AttestError, TpmError

__all__ = ["Desk", "Link", "Session"]

logger = structlog.get_logger()

CONNECT_DEADLINE_S = 20.0
MOST_AWAY_NS = 600 * SECOND
MIN_HEARTBEAT_NS = SECOND
MAX_HEARTBEAT_NS = 300 * SECOND
CHANNEL_OPTIONS = (
    # Application heartbeats tell a dead peer; faster pings are answered with too_many_pings.
    ("grpc.keepalive_time_ms", 300_000),
    ("grpc.enable_retries", 0),
)


class Desk(Protocol):
    """Whoever acts on what an exchange asks."""

    def accept(
        self, change: Transaction, exchange: int, exchange_id: str, name: str, envelope: Envelope
    ) -> None:
        """Act on one verified statement inside the transaction that moves the cursor.

        :raises MalformedMessage: when it does not decode; the cursor moves all the same.
        :raises RateLimited: when such are asked too often; the cursor moves all the same.
        """
        ...

    def exchange_time(self, exchange_id: str, server_ns: int) -> None:
        """Take the exchange's clock as it was a moment ago."""
        ...

    async def evidence(
        self, exchange_id: str, nonce: bytes, tls_spki: bytes, pcrs: tuple[int, ...] | None
    ) -> bytes:
        """Fresh evidence; None: over the PCRs always required."""
        ...


# Sees to the client certificate over a running session, given its channel and welcome nonce.
Renewal = Callable[[grpc.aio.Channel, bytes], Coroutine[None, None, None]]


# What ends a session and is waited out. A full disk is among it: nothing of ours is lost by it.
ENDINGS = (grpc.aio.AioRpcError, HearthError, AttestError, ProtocolBroken, TimeoutError)


class Session:
    """One run of the stream, from Hello until something ends it."""

    def __init__(
        self,
        link: Link,
        journal: Journal,
        desk: Desk,
        clock: Clock,
        node_id: str,
        log_id: str,
        renewal: Renewal,
    ) -> None:
        self._link = link
        self._journal = journal
        self._desk = desk
        self._clock = clock
        self._node_id = node_id
        self._log_id = log_id
        self._renewal = renewal
        # A renewal puts a new certificate on the link: evidence names the one this session runs on.
        self._tls_spki = link.tls_spki
        self._credentials = link.credentials()
        self._away_ns = 0
        self._incoming = Incoming(applied=0)
        self._sender = Sender(link, journal, clock, self._incoming)
        self._heartbeat_ns = 20 * SECOND
        self._limiting = False

    async def run(self, backoff: Backoff) -> None:
        """Open the stream and keep it until it ends.

        :raises ExchangeError: whatever ended it; trying again is right.
        """
        failure: BaseException | None = None
        try:
            await self._converse(backoff)
        except* ENDINGS as group:  # raising in here would wrap what is raised in another group
            failure = group
        while isinstance(failure, BaseExceptionGroup):
            failure = failure.exceptions[0]
        if failure is None:
            return
        text = str(failure) or "no answer in time"
        if isinstance(failure, grpc.aio.AioRpcError):
            text = f"{failure.code().name}: {one_line(failure.details())}"
        text += self._ended_certificate()
        self._link.standing.last_error = text
        await self._clock.sleep(self._away_ns)
        raise ExchangeError(f"{self._link.enrolment.session_endpoint}: {text}")

    def _ended_certificate(self) -> str:
        """What a failure is likely to come from, and its remedy, once the certificate has ended.

        The wall clock may be wrong, so that this explains a failure and never makes one.
        """
        enrolment = self._link.enrolment
        if self._clock.now().wall_ns < enrolment.expire_ns:
            return ""
        ended = datetime.fromtimestamp(enrolment.expire_ns // SECOND, UTC)
        return (
            f"; this host's certificate ended at {ended:%Y-%m-%d %H:%M} UTC:"
            f" enrol again, hearth enroll {enrolment.enrol_endpoint} --token <a new one>"
        )

    async def _converse(self, backoff: Backoff) -> None:
        channel = grpc.aio.secure_channel(
            self._link.enrolment.session_endpoint,
            self._credentials,
            options=CHANNEL_OPTIONS,
        )
        call: Call | None = None
        try:
            async with asyncio.timeout(CONNECT_DEADLINE_S):
                await channel.channel_ready()
            call = ExchangeServiceStub(channel).Session()
            nonce = await self._greet(call)
            backoff.reset()
            self._link.standing.connected = True
            self._link.standing.last_error = ""
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._sender.run(call), name="send")
                tasks.create_task(self._sender.beat(self._heartbeat_ns), name="beat")
                tasks.create_task(self._receive(call, tasks), name="receive")
                tasks.create_task(self._renewal(channel, nonce), name="renew")
        finally:
            self._link.standing.connected = False
            if call is not None:
                call.cancel()
            await channel.close()

    async def _greet(self, call: Call) -> bytes:
        """Hello, Welcome, evidence; returns the welcome's nonce."""
        row = self._link.row
        cursors = await self._journal.write(lambda change: outbox.begin_session(change, row))
        self._incoming.applied = cursors.applied_through
        self._sender.outgoing.last = cursors.last
        async with asyncio.timeout(CONNECT_DEADLINE_S):
            await self._sender.write(
                call,
                wire.hello(
                    self._node_id,
                    version(),
                    cursors.epoch,
                    self._log_id,
                    cursors.applied_through,
                    cursors.leases,
                    self._link.capabilities,
                ),
            )
            response = await self._read(call)
            if isinstance(response.body, wire.Nack):
                await self._refused(response.body)
            if not isinstance(response.body, wire.Welcome):
                raise ProtocolBroken("the exchange did not welcome")
            welcome = response.body
            self._desk.exchange_time(self._link.enrolment.exchange_id, welcome.server_ns)
            self._sender.outgoing.welcome(welcome.delivered_through, response.credit)
            if welcome.witnessed is not None and welcome.witnessed.log_id == self._log_id:
                await self._sender.agree(welcome.witnessed)
            self._heartbeat_ns = min(max(welcome.heartbeat_ns, MIN_HEARTBEAT_NS), MAX_HEARTBEAT_NS)
            self._sender.snapshot_due = welcome.snapshot_required
            # An exchange that drops what it welcomed asks the TPM as often as one that challenges.
            allowance = self._link.welcomes
            while not allowance.take(self._clock.now().boottime_ns):
                await self._clock.sleep(allowance.wait_ns(self._clock.now().boottime_ns))
            content = await self._desk.evidence(
                self._link.enrolment.exchange_id, welcome.nonce, self._tls_spki, None
            )
            await self._sender.write(call, wire.evidence(content))
        await self._advance(welcome.delivered_through)
        settles = wire.Capability.LIGHTNING_BOLT11 in welcome.capabilities
        await self._journal.write(lambda change: outbox.settles(change, row, settles=settles))
        return welcome.nonce

    async def _read(self, call: Call) -> wire.Response:
        message = await call.read()
        if not isinstance(message, session_pb2.SessionResponse):
            raise ExchangeError("the exchange closed the stream")
        return wire.read(message)

    async def _refused(self, nack: wire.Nack) -> None:
        """Keep a refusal of something that was delivered; one of the session itself ends it.

        :raises ExchangeError: for one of the session.
        :raises ProtocolBroken: for one of something that was never sent.
        """
        if nack.sequence == 0:
            if nack.minimum_epoch:
                row, epoch = self._link.row, nack.minimum_epoch

                def catch_up(change: Transaction) -> None:
                    change.execute(
                        "UPDATE exchanges SET epoch = max(epoch, ?) WHERE id = ?", epoch, row
                    )

                await self._journal.write(catch_up)
            raise ExchangeError(f"refused: {nack.detail or nack.reason}")
        sent = self._sender.outgoing.sent
        if nack.sequence > sent:
            raise ProtocolBroken(f"refused {nack.sequence}, sent through {sent}")

        def note(change: Transaction) -> bool:
            kept = change.execute(
                "INSERT OR IGNORE INTO nacks VALUES (?, ?, ?, ?)",
                self._link.row,
                nack.sequence,
                nack.reason,
                nack.detail,
            )
            return kept.rowcount > 0

        if await self._journal.write(note):  # the same again is no news: it does not fill our log
            logger.warning(
                "statement_refused",
                exchange=self._link.enrolment.exchange_id[:16],
                sequence=nack.sequence,
                reason=nack.reason,
                detail=nack.detail,
            )

    # --- receiving -----------------------------------------------------------------------------

    async def _receive(self, call: Call, tasks: asyncio.TaskGroup) -> NoReturn:
        patience = 3 * self._heartbeat_ns / SECOND + 1
        while True:
            await self._sender.room()  # an exchange that does not listen is not heard
            async with asyncio.timeout(patience):
                response = await self._read(call)
            if self._sender.outgoing.acknowledge(response.delivered_through, response.credit):
                await self._advance(response.delivered_through)
            self._link.bell.set()
            match response.body:
                case wire.Batch() as batch:
                    await self._take(response.sequence, batch, tasks)
                case wire.Witnessed() as head:
                    if head.log_id == self._log_id:
                        self._sender.witness(head.size)
                case wire.Heartbeat() as beat:
                    self._desk.exchange_time(self._link.enrolment.exchange_id, beat.send_ns)
                case wire.Nack() as nack:
                    await self._refused(nack)
                case wire.GoAway() as away:
                    self._away_ns = min(away.reconnect_after_ns, MOST_AWAY_NS)
                    raise ExchangeError(f"the exchange asked us to leave: {away.reason}")
                case wire.Welcome():
                    raise ProtocolBroken("welcomed twice")
                case None if response.sequence:  # of a kind that is not known yet: refused, passed
                    await self._take(response.sequence, wire.Batch((None,)), tasks)
                case None:
                    pass

    async def _advance(self, through: int) -> None:
        row = self._link.row
        offered = await self._journal.write(lambda change: outbox.delivered(change, row, through))
        if offered and not self._link.standing.first_offer_ns:
            self._link.standing.first_offer_ns = self._clock.now().wall_ns

    async def _take(self, sequence: int, batch: wire.Batch, tasks: asyncio.TaskGroup) -> None:
        if sequence == 0:
            for envelope in batch.envelopes:
                self._challenged(envelope, tasks)
            return
        skip = self._incoming.fresh(sequence, len(batch.envelopes))
        fresh = batch.envelopes[skip:]
        if not fresh:
            return
        through = sequence + len(batch.envelopes) - 1

        def accept(change: Transaction) -> list[tuple[int, Exception]]:
            refused: list[tuple[int, Exception]] = []
            for place, envelope in enumerate(fresh, sequence + skip):
                change.execute("SAVEPOINT statement")
                try:
                    self._accept(change, envelope)
                except (MalformedMessage, RateLimited, AttestError) as error:
                    change.execute("ROLLBACK TO statement")
                    refused.append((place, error))
                change.execute("RELEASE statement")
            change.execute(
                "UPDATE exchanges SET applied_through = ? WHERE id = ?", through, self._link.row
            )
            return refused

        limited, wrong = 0, []
        for place, error in await self._journal.write(accept):
            if isinstance(error, RateLimited):
                limited += 1
                self._sender.say(wire.limited(place, str(error), error.retry_ns))
                continue
            wrong.append((place, str(error)))
            self._sender.say(wire.nack(place, str(error), unknown=isinstance(error, UnknownKind)))
        if wrong:  # one line, however many: an exchange does not fill our log
            place, detail = wrong[0]
            logger.warning("requests_refused", count=len(wrong), sequence=place, detail=detail)
        self._note_limited(limited)
        self._incoming.applied = through
        self._sender.confirm()

    def _note_limited(self, count: int) -> None:
        """Count what came too often; only the first of them is worth a line of the log."""
        standing = self._link.standing
        if count and not self._limiting:
            exchange = self._link.enrolment.exchange_id[:16]
            logger.warning("requests_limited", exchange=exchange, before=standing.requests_limited)
        self._limiting = count > 0
        standing.requests_limited += count

    def _statement(self, envelope: Envelope | None) -> tuple[str, Envelope]:
        if envelope is None:
            raise MalformedMessage("an envelope that does not decode")
        for spki in self._link.enrolment.statement_spki[:-1]:
            try:
                verify_only(envelope, spki)
            except AttestError:
                continue
            return message_name(envelope.payload_type), envelope
        verify_only(envelope, self._link.enrolment.statement_spki[-1])
        return message_name(envelope.payload_type), envelope

    def _accept(self, change: Transaction, envelope: Envelope | None) -> None:
        name, statement = self._statement(envelope)
        self._desk.accept(change, self._link.row, self._link.enrolment.exchange_id, name, statement)

    def _challenged(self, envelope: Envelope | None, tasks: asyncio.TaskGroup) -> None:
        try:
            name, statement = self._statement(envelope)
            challenge = decode(name, statement.payload)
        except (AttestError, MalformedMessage) as error:
            self._sender.say(wire.nack(0, str(error)))
            return
        if isinstance(challenge, Challenge):
            if not self._link.challenges.take(self._clock.now().boottime_ns):
                refusal, detail = wire.Refusal.RATE_LIMIT, "one a second is answered"
                self._sender.say(wire.refuse_challenge(challenge.challenge_id, refusal, detail))
                return
            tasks.create_task(self._answer(challenge), name="answer")
        else:
            self._sender.say(
                wire.nack(0, f"{name}: only challenges come without a delivery sequence")
            )

    async def _answer(self, challenge: Challenge) -> None:
        try:
            content = await self._desk.evidence(
                self._link.enrolment.exchange_id,
                challenge.nonce,
                self._tls_spki,
                challenge.pcrs or None,
            )
        except (TpmError, TimeoutError) as error:
            refusal, detail = wire.Refusal.TPM_UNAVAILABLE, str(error) or "no answer in time"
            self._sender.say(wire.refuse_challenge(challenge.challenge_id, refusal, detail))
            return
        self._link.standing.challenges_answered += 1
        self._sender.say(wire.answer(challenge.challenge_id, content))
