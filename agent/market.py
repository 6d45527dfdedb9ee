"""What exchanges ask, answered from the one ledger behind all of them."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field

import structlog

from agent.clock import SECOND
from agent.core.lease import Agreement, LeaseKey, Outcome, Release, ReserveRequest
from agent.core.ledger import decide_release
from agent.core.session import Allowance
from agent.errors import MalformedMessage, RateLimited, UnknownKind
from agent.journal import ledger
from agent.journal.settlement import Desk
from agent.journal.store import Transaction
from agent.node import Node
from agent.settle import till
from agent.wire.money import DisputeEnd, Notice, PayoutInvoice, StatedRebate
from agent.wire.requests import Acknowledgement, decode
from attest.envelope import Envelope
from probes.reading import Instant

logger = structlog.get_logger()

# Of one exchange: as many at once as a host has leases, then one a second.
MOST_REQUESTS = 128
REQUEST_NS = SECOND


@dataclass(slots=True)
class Market:
    """Answers requests inside the transaction that takes them."""

    node: Node
    draining: bool = False
    desk: Desk | None = None  # where statements about money are taken
    # Written by the loop alone. Requests are answered by the journal's thread, which reads them.
    _offsets: dict[str, int] = field(default_factory=dict)  # exchange time less CLOCK_BOOTTIME
    # The journal's thread alone: exchange row -> what it may ask, on CLOCK_MONOTONIC.
    _requests: dict[int, Allowance] = field(default_factory=dict)

    @property
    def closed(self) -> bool:
        """Whether nothing new is taken on: by the operator's wish, or because the disk is full."""
        return self.draining or self.node.journal.full

    # --- time ----------------------------------------------------------------------------------

    def exchange_time(self, exchange_id: str, server_ns: int) -> None:
        """Take the exchange's clock; the largest offset seen has waited least on its way."""
        offset = server_ns - self.node.clock.now().boottime_ns
        known = self._offsets.get(exchange_id)
        # A clock that was set back at the exchange is followed, one that waited in a queue is not.
        if known is None or offset > known or known - offset > 2 * SECOND:
            self._offsets[exchange_id] = offset

    def heard(self, exchange_id: str) -> bool:
        """Whether this exchange has said in this run what time it is."""
        return exchange_id in self._offsets

    def now_at(self, exchange_id: str, now: Instant | None = None) -> int:
        """The exchange's time by now, in ns; before it was heard, the host's wall clock."""
        now = now or self.node.clock.now()
        offset = self._offsets.get(exchange_id)
        return now.wall_ns if offset is None else now.boottime_ns + offset

    # --- requests ------------------------------------------------------------------------------

    async def evidence(
        self, exchange_id: str, nonce: bytes, tls_spki: bytes, pcrs: tuple[int, ...] | None
    ) -> bytes:
        """Fresh evidence for an exchange's nonce."""
        if pcrs is None:
            return await self.node.evidence(exchange_id, nonce, tls_spki)
        return await self.node.evidence(exchange_id, nonce, tls_spki, pcrs)

    def accept(
        self, change: Transaction, exchange: int, exchange_id: str, name: str, envelope: Envelope
    ) -> None:
        """Act on one verified statement of an exchange.

        :raises MalformedMessage: when it does not decode or is of no known kind.
        :raises RateLimited: when the exchange asks too often; nothing of it is to be kept.
        """
        request = decode(name, envelope.payload)
        digest = hashlib.sha256(envelope.payload).digest()
        now = self.node.clock.now()
        match request:
            case ReserveRequest():
                self._count(exchange, now)
                if ledger.answered_before(change, exchange, digest):
                    return
                key = LeaseKey(exchange_id, request.lease_id)
                decision = ledger.reserve(
                    change,
                    self.node.scribe,
                    exchange,
                    key,
                    request,
                    digest,
                    os.urandom(16),
                    self.node.total,
                    now,
                    self.now_at(exchange_id),
                    draining=self.closed,
                    trusted=till.renews(change, exchange),
                )
                self._note("reserve", key, decision.outcome, decision.detail)
            case Agreement():
                if ledger.answered_before(change, exchange, digest):
                    self._count(exchange, now)  # the answer is sent once more
                    return
                decision = ledger.commit(
                    change,
                    self.node.scribe,
                    exchange,
                    self.node.node_id,
                    request,
                    envelope,
                    digest,
                    now,
                    self.now_at(exchange_id),
                )
                key = LeaseKey(exchange_id, request.lease_id)
                self._note("commit", key, decision.outcome, decision.detail)
                if not decision.accepted:
                    self._count(exchange, now)
            case Release():
                self._release(change, exchange, exchange_id, request, digest)
            case Acknowledgement():
                taken = ledger.acknowledge(
                    change,
                    exchange,
                    request.lease_id,
                    request.through,
                    request.sha256,
                    request.uncontested_msat,
                )
                if not taken:
                    raise MalformedMessage(
                        f"ReceiptAck of {request.lease_id}: receipt {request.through} is not ours"
                    )
                for _ in range(till.contested(change, self.node.scribe, exchange, request)):
                    self._count(exchange, now)  # the answer to a dispute is a leaf
            case Notice() | PayoutInvoice() | StatedRebate() | DisputeEnd() if self.desk:
                till.accept(change, self.desk, exchange, request)
            case _:
                raise UnknownKind(f"{name}: not known to this agent")

    def _count(self, exchange: int, now: Instant) -> None:
        """Take one off what an exchange may ask: reserves, disputes, whatever gets a refusal.

        What is granted bounds itself: a lease is agreed and released once.

        :raises RateLimited: when there is none left.
        """
        allowance = self._requests.setdefault(exchange, Allowance(MOST_REQUESTS, REQUEST_NS))
        if not allowance.take(now.monotonic_ns):
            raise RateLimited(
                f"{MOST_REQUESTS} requests are answered at once, then one a second",
                allowance.wait_ns(now.monotonic_ns),
            )

    def _note(self, what: str, key: LeaseKey, outcome: Outcome, detail: str) -> None:
        logger.info(
            "lease_decision",
            request=what,
            exchange=key.exchange_id[:16],
            lease=key.lease_id,
            outcome=outcome.name,
            detail=detail,
        )

    def _release(
        self,
        change: Transaction,
        exchange: int,
        exchange_id: str,
        release: Release,
        digest: bytes,
    ) -> None:
        stored = ledger.find(change, exchange, release.lease_id)
        decision = decide_release(None if stored is None else stored.lease, release)
        if not decision.accepted or stored is None:
            now = self.node.clock.now()
            self._count(exchange, now)
            ledger.refuse(
                change, self.node.scribe, exchange, release.lease_id, digest, decision, now
            )
            return
        at = self.now_at(exchange_id)
        ledger.end(change, self.node.scribe, stored, release.reason, at)
