"""ExchangeService: one Session per node, certificates renewed, envelopes handed back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, TypeAlias

import grpc
import grpc.aio
from hearth.v1 import session_pb2
from hearth.v1.session_pb2_grpc import ExchangeServiceServicer

from agent.sandbox.exchange import ca, cursors, enrolment, trust
from agent.sandbox.exchange.faults import Faults
from agent.sandbox.exchange.identity import Exchange, timestamp
from agent.sandbox.exchange.session import Ended, Stream
from agent.sandbox.exchange.session import Session as NodeSession
from agent.sandbox.exchange.store import Store
from attest.errors import AttestError
from attest.keys import key_id

_Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


class ExchangeService(ExchangeServiceServicer):
    """Runs on the mTLS port: who calls has a client certificate of ours.

    PutBlob is left as generated (UNIMPLEMENTED): event logs above 64 KiB are not appraised here.
    """

    def __init__(self, exchange: Exchange, store: Store, faults: Faults) -> None:
        self.sessions: dict[str, NodeSession] = {}  # the attested or attesting one of each node
        self._exchange = exchange
        self._store = store
        self._faults = faults

    async def Session(self, request_iterator: object, context: Stream) -> None:
        """Hold one stream; a newer one of the same node ends it."""
        session = NodeSession(
            self._exchange,
            self._store,
            self._faults,
            await self._peer(context),
            context,
            self._admit,
        )
        try:
            await session.run()
        finally:
            if self.sessions.get(session.node_id) is session:
                del self.sessions[session.node_id]

    async def RenewCertificate(
        self, request: session_pb2.RenewCertificateRequest, context: _Context
    ) -> session_pb2.RenewCertificateResponse:
        """Certify a new TLS key.

        The evidence is over the nonce of the node's running session and names the new key, so
        that a stolen old key renews nothing.
        """
        peer = await self._peer(context)
        session = self.sessions.get(peer.node.node_id)
        if session is None:
            await context.abort(
                grpc.StatusCode.FAILED_PRECONDITION, "renewal needs a running session: its nonce"
            )
        try:
            key = key_id(ca.spki(ca.request_key(request.tls_csr)))
            await trust.appraise(
                self._exchange,
                self._store,
                peer.node,
                request.evidence,
                session.evidence_nonce,
                key,
            )
        except ca.RequestRefused as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        except AttestError as error:
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, str(error))
        issued = await self._store.run(
            enrolment.certify, self._exchange, peer.node, request.tls_csr
        )
        return session_pb2.RenewCertificateResponse(
            tls_certificate_chain=issued.tls,
            ak_certificate_chain=issued.ak,
            expire_time=timestamp(int(issued.end.timestamp()) * 10**9),
        )

    async def ListEnvelopes(
        self, request: session_pb2.ListEnvelopesRequest, context: _Context
    ) -> AsyncIterator[session_pb2.ListEnvelopesResponse]:
        """Hand the node's own envelopes back, in delivery order, also the refused ones."""
        node_id = (await self._peer(context)).node.node_id
        after = request.after_delivery_sequence
        while items := await self._store.run(cursors.incoming, node_id, after, request.lease_id):
            first = previous = items[0][0]
            batch: list[session_pb2.DeliveredEnvelope] = []
            for sequence, item in items:
                if sequence > previous + 1:  # of one lease only: a batch is consecutive
                    yield _listed(first, batch)
                    first, batch = sequence, []
                batch.append(item)
                previous = sequence
            yield _listed(first, batch)
            after = previous

    def wake(self, node_id: str) -> None:
        """Something was put in a node's outbox."""
        if session := self.sessions.get(node_id):
            session.wake()

    def end_all(self, why: str) -> None:
        """Say GoAway on every stream."""
        for session in self.sessions.values():
            session.end(Ended(why))

    def _admit(self, session: NodeSession) -> None:
        """Make room: the store has fenced the older stream already."""
        older = self.sessions.get(session.node_id)
        if older is not None:
            older.end(Ended("a newer session of this node has begun"))
        self.sessions[session.node_id] = session

    async def _peer(self, context: _Context) -> trust.Peer:
        """Return whom the client certificate names; the TLS layer has verified its chain."""
        (pem,) = context.auth_context()["x509_pem_cert"]
        node_id, spki = ca.read_client(pem)
        node = await self._store.run(trust.known_node, node_id)
        if node is None:
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "not a node of this exchange")
        return trust.Peer(node, key_id(spki))


def _listed(
    first: int, items: list[session_pb2.DeliveredEnvelope]
) -> session_pb2.ListEnvelopesResponse:
    return session_pb2.ListEnvelopesResponse(
        batch=session_pb2.EnvelopeBatch(items=items), delivery_sequence=first
    )
