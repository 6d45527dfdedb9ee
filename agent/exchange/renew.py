"""A new client certificate before the old one ends: a new key, fresh evidence, the same node."""

from __future__ import annotations

import asyncio
from typing import NoReturn

import grpc
import grpc.aio
import structlog
from hearth.v1.session_pb2_grpc import ExchangeServiceStub

from agent.clock import SECOND
from agent.errors import ExchangeError, MalformedMessage
from agent.exchange import tls_keys
from agent.exchange.enroll import certificate_request, check_certificates
from agent.exchange.enrolment import Enrolment, keep
from agent.exchange.stream import Link
from agent.node import Node
from agent.wire import enrol as wire
from agent.wire.foreign import one_line
from attest.errors import TpmError

logger = structlog.get_logger()

CALL_DEADLINE_S = 60.0
LOOK_EVERY_NS = 600 * SECOND
LAST_PART = 3  # renewed once less than a third of its life is left


def due(enrolment: Enrolment, now_ns: int) -> bool:
    """Whether the certificate is in the last third of its life."""
    life = enrolment.expire_ns - enrolment.issue_ns
    return now_ns >= enrolment.expire_ns - life // LAST_PART


async def renew(node: Node, link: Link, channel: grpc.aio.Channel, nonce: bytes) -> None:
    """Renew over a session that stands; the next session uses the new certificate.

    :param nonce: of the running session's Welcome.
    :raises ExchangeError: when the exchange refuses or does not answer.
    """
    enrolment = link.enrolment
    key, csr, spki = certificate_request(node.node_id)
    evidence = await node.evidence(enrolment.exchange_id, nonce, spki)
    try:
        response = await ExchangeServiceStub(channel).RenewCertificate(
            wire.renewal(csr, evidence), timeout=CALL_DEADLINE_S
        )
        tls_chain, ak_chain, expire_ns = wire.renewed(response)
    except grpc.aio.AioRpcError as error:
        raise ExchangeError(f"renewal: {error.code().name}: {one_line(error.details())}") from None
    except MalformedMessage as error:
        raise ExchangeError(f"renewal: {error}") from None
    where = enrolment.session_endpoint
    stated = check_certificates(where, node, tls_chain, ak_chain, spki)
    fresh = Enrolment(
        exchange_id=enrolment.exchange_id,
        display_name=enrolment.display_name,
        enrol_endpoint=enrolment.enrol_endpoint,
        session_endpoint=enrolment.session_endpoint,
        statement_spki=enrolment.statement_spki,
        session_ca=enrolment.session_ca,
        tls_chain=tls_chain,
        ak_chain=ak_chain,
        assurance=stated,
        issue_ns=node.clock.now().wall_ns,
        expire_ns=expire_ns,
    )
    pem = await asyncio.to_thread(tls_keys.keep, node.state, fresh, key)
    _, replaced = await node.journal.write(lambda change: keep(change, fresh))
    link.enrolment, link.tls_key, link.tls_spki = fresh, pem, spki
    await asyncio.to_thread(tls_keys.forget, node.state, replaced)
    logger.info("certificate_renewed", exchange=enrolment.exchange_id[:16])


async def keep_certificate(
    node: Node, link: Link, channel: grpc.aio.Channel, nonce: bytes
) -> NoReturn:
    """See to the certificate as long as a session stands; a refusal is logged and tried again."""
    while True:
        if due(link.enrolment, node.clock.now().wall_ns):
            try:
                await renew(node, link, channel, nonce)
            except (ExchangeError, TpmError, TimeoutError) as error:
                logger.warning("renewal_failed", error=str(error))
        life = link.enrolment.expire_ns - link.enrolment.issue_ns
        await node.clock.sleep(min(LOOK_EVERY_NS, max(SECOND, life // 10)))
