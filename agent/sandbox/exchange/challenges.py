"""Questions at random: fresh evidence over a nonce nobody could foresee.

A refusal, a wrong answer and silence are three different things and are counted apart. Challenges
are not journaled: of one that a broken stream cut off nothing is concluded.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import structlog
from hearth.v1 import challenge_pb2, common_pb2, session_pb2

from agent.sandbox.exchange import faults, trust
from agent.sandbox.exchange.identity import Exchange, duration, timestamp, uuid7
from agent.sandbox.exchange.refusal import Refused
from agent.sandbox.exchange.store import Store, tally
from attest.errors import AttestError
from attest.root import REQUIRED_PCRS

LONGEST = 1.5  # times the mean interval


@dataclass(slots=True)
class _Open:
    nonce: bytes
    answered: asyncio.Event = field(default_factory=asyncio.Event)


class Challenger:
    """The challenges of one session."""

    def __init__(
        self,
        exchange: Exchange,
        store: Store,
        armed: faults.Faults,
        peer: trust.Peer,
        send: Callable[[common_pb2.SignedEnvelope], Awaitable[None]],
    ) -> None:
        self._exchange = exchange
        self._store = store
        self._faults = armed
        self._peer = peer
        self._send = send
        self._open: dict[str, _Open] = {}
        self._log = structlog.get_logger(node_id=peer.node.node_id[:16])

    async def challenge_at_random(self) -> None:
        """Challenge for ever, at times nobody can foresee; return at once when switched off."""
        mean = self._exchange.options.challenge_interval
        random = secrets.SystemRandom()
        while mean > 0:
            # Memoryless, so that having just been asked tells nothing; and never long forgotten.
            await asyncio.sleep(min(random.expovariate(1 / mean), LONGEST * mean))
            await self.challenge()

    async def challenge(self) -> None:
        """Send one challenge and wait until it is answered or its time is over."""
        period = self._exchange.options.challenge_answer_period
        now_ns = self._exchange.now_ns()
        nonce = secrets.token_bytes(32)
        challenge = challenge_pb2.Challenge(
            challenge_id=uuid7(now_ns),
            nonce=faults.spoil_nonce(self._faults, self._peer.node.node_id, nonce),
            issue_time=timestamp(now_ns),
            answer_period=duration(period),
            quote=challenge_pb2.QuoteChallenge(pcr_indices=REQUIRED_PCRS),
        )
        opened = self._open[challenge.challenge_id] = _Open(nonce)
        await self._count("challenges_sent")
        await self._send(self._exchange.sign(challenge))
        try:
            async with asyncio.timeout(period):
                await opened.answered.wait()
        except TimeoutError:
            del self._open[challenge.challenge_id]
            await self._score("challenges_failed", "not answered in time")

    async def judge(self, answer: challenge_pb2.ChallengeAnswer) -> None:
        """Score an answer.

        :raises Refused: (STALE) when no such challenge is open.
        """
        opened = self._open.pop(answer.challenge_id, None)
        if opened is None:
            raise Refused(session_pb2.NACK_REASON_STALE, "no such challenge is open")
        opened.answered.set()
        if answer.refusal:
            refusal = challenge_pb2.ChallengeRefusal.Name(answer.refusal)
            await self._score("challenges_refused", f"{refusal} {answer.detail}")
            return
        try:
            await trust.appraise(
                self._exchange,
                self._store,
                self._peer.node,
                answer.evidence.SerializeToString(),
                opened.nonce,
                self._peer.tls_spki_sha256,
            )
        except AttestError as error:
            await self._score("challenges_failed", str(error))
        else:
            await self._score("challenges_passed", "")

    async def _score(self, outcome: str, detail: str) -> None:
        await self._count(outcome)
        self._log.info("challenge_scored", outcome=outcome, detail=detail)

    async def _count(self, name: str) -> None:
        await self._store.run(tally, self._peer.node.node_id, name)
