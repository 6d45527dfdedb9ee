"""Enrolment: a join token and the TPM in, certificates out. All trust is in the token's pin."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator

import grpc
import grpc.aio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hearth.v1 import attestation_pb2
from hearth.v1.attestation_pb2_grpc import EnrollmentServiceStub

from agent.errors import ExchangeError, ExchangeRefused, MalformedMessage
from agent.exchange import enrolment as rows
from agent.exchange import tls_keys
from agent.exchange.enrolment import Enrolment
from agent.journal.store import Transaction
from agent.node import Node
from agent.version import version
from agent.wire import enrol as wire
from agent.wire.foreign import one_line
from attest.ak_certificate import Assurance, check_vouched
from attest.errors import AttestError
from attest.evidence import transcript_hmac
from attest.formats import decode_envelope

STEP_DEADLINE_S = 60.0
TOKEN = re.compile(r"[A-Za-z0-9_-]{8,128}\.[0-9a-f]{64}")
REFUSALS = (
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.ALREADY_EXISTS,
)


def certificate_request(node_id: str) -> tuple[ec.EllipticCurvePrivateKey, bytes, bytes]:
    """Make a TLS key; returns the key, its PKCS#10 request and its SPKI, both DER."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, node_id)])
    request = (
        x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    )
    spki = key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return key, request.public_bytes(serialization.Encoding.DER), spki


def normal_endpoint(endpoint: str) -> str:
    """host:port of an enrolment address, with or without https:// before it.

    :raises ExchangeRefused: when it is none, or has no port.
    """
    bare = endpoint.removeprefix("https://").rstrip("/")
    found = re.fullmatch(r"(\[[0-9a-fA-F:]+\]|[A-Za-z0-9.-]+):([0-9]{1,5})", bare)
    if found is None or not 0 < int(found[2]) < 1 << 16:
        raise ExchangeRefused(f"{endpoint!r}: not an address; give HOST:PORT or https://HOST:PORT")
    return bare


async def enroll(node: Node, endpoint: str, token: str, ca_pem: bytes | None) -> Enrolment:
    """Enrol with one more exchange, or again with a known one.

    The enrolment, and the leaves by which the exchange starts to follow the log (LogStart, this
    start's KeyBinding, the inventory), are durable when this returns.

    :param ca_pem: roots for the enrolment endpoint's certificate; None: the system's.
    :raises ExchangeRefused: when the exchange says no, naming why.
    :raises ExchangeError: when it cannot be reached or breaks the protocol.
    :raises TpmError: when the TPM does not take part.
    """
    where = normal_endpoint(endpoint)
    if not TOKEN.fullmatch(token):
        raise ExchangeRefused("this is no join token; take it whole as the exchange gave it")
    key, csr, tls_spki = certificate_request(node.node_id)
    credentials = grpc.ssl_channel_credentials(root_certificates=ca_pem)
    async with grpc.aio.secure_channel(where, credentials) as channel:
        try:
            challenge, result = await _converse(node, channel, token, csr, tls_spki)
        except grpc.aio.AioRpcError as error:
            kind = ExchangeRefused if error.code() in REFUSALS else ExchangeError
            raise kind(f"{where}: {error.code().name}: {one_line(error.details())}") from None
        except (MalformedMessage, TimeoutError) as error:
            raise ExchangeError(f"{where}: {error or 'no answer in time'}") from None
    if result.node_id != node.node_id:
        raise ExchangeError(
            f"{where}: certified {result.node_id[:16]}, this is {node.node_id[:16]}"
        )
    stated = check_certificates(where, node, result.tls_chain, result.ak_chain, tls_spki)
    if stated != result.assurance:
        raise ExchangeError(
            f"{where}: speaks of assurance class {result.assurance} and certified {stated.name}"
        )
    enrolment = Enrolment(
        exchange_id=challenge.exchange_id,
        display_name=challenge.display_name,
        enrol_endpoint=where,
        session_endpoint=normal_endpoint(challenge.session_endpoint),
        statement_spki=challenge.statement_spki,
        session_ca=challenge.session_ca,
        tls_chain=result.tls_chain,
        ak_chain=result.ak_chain,
        assurance=stated,
        issue_ns=node.clock.now().wall_ns,
        expire_ns=result.expire_ns,
    )
    await asyncio.to_thread(tls_keys.keep, node.state, enrolment, key)
    replaced = await node.journal.write(lambda change: _keep(change, node, enrolment))
    await asyncio.to_thread(tls_keys.forget, node.state, replaced)
    return enrolment


async def _converse(
    node: Node, channel: grpc.aio.Channel, token: str, csr: bytes, tls_spki: bytes
) -> tuple[wire.Challenge, wire.Result]:
    endorsement = await asyncio.wrap_future(node.root.endorsement())
    begin = wire.begin(token, os.urandom(32), node.root.identity, endorsement, csr, version())
    steps: asyncio.Queue[attestation_pb2.EnrollRequest | None] = asyncio.Queue()

    async def requests() -> AsyncIterator[attestation_pb2.EnrollRequest]:
        while (step := await steps.get()) is not None:
            yield step

    call = EnrollmentServiceStub(channel).Enroll(requests())
    try:
        steps.put_nowait(wire.begin_step(begin))
        challenge = wire.challenge(await _answer(call), token.rpartition(".")[2])
        evidence = await node.evidence(challenge.exchange_id, challenge.nonce, tls_spki)
        hmac = b""
        if node.root.identity.ak_public:
            secret = await asyncio.wrap_future(
                node.root.activate(challenge.credential_blob, challenge.encrypted_secret)
            )
            hmac = transcript_hmac(secret, begin, challenge.payload, evidence)
        steps.put_nowait(wire.proof_step(hmac, evidence))
        result = wire.result(await _answer(call))
        steps.put_nowait(None)
        return challenge, result
    finally:
        call.cancel()


async def _answer(
    call: grpc.aio.StreamStreamCall[attestation_pb2.EnrollRequest, attestation_pb2.EnrollResponse],
) -> attestation_pb2.EnrollResponse:
    async with asyncio.timeout(STEP_DEADLINE_S):
        response = await call.read()
    if not isinstance(response, attestation_pb2.EnrollResponse):
        raise MalformedMessage("the exchange ended the enrolment early")
    return response


def check_certificates(
    where: str,
    node: Node,
    tls_chain: tuple[bytes, ...],
    ak_chain: tuple[bytes, ...],
    tls_spki: bytes,
) -> Assurance:
    """See that the TLS certificate is over our key, and that the AK chain would hold in a proof.

    Returns the assurance class that the AK certificate states.

    :raises ExchangeError: when one is not as it should be.
    """
    try:
        leaf = x509.load_der_x509_certificate(tls_chain[0])
        certified = leaf.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    except (IndexError, ValueError) as error:
        raise ExchangeError(f"{where}: its TLS certificate does not parse: {error}") from None
    if certified != tls_spki:
        raise ExchangeError(f"{where}: its TLS certificate is over another key")
    root = node.root.identity
    try:
        by = check_vouched(ak_chain, root.spki, root.node_id, software=not root.ak_public)
    except AttestError as error:
        raise ExchangeError(f"{where}: its AK certificate: {error}") from None
    return by.assurance


def _keep(change: Transaction, node: Node, enrolment: Enrolment) -> Enrolment | None:
    row, replaced = rows.keep(change, enrolment)
    if replaced is None:
        for index in _beginning(change, node):
            change.enqueue(row, index)
    return replaced


def _beginning(change: Transaction, node: Node) -> list[int]:
    """The leaves by which an exchange starts to follow the log, in log order.

    LogStart and the newest inventory may have been signed by keys of earlier starts: whatever
    introduced those keys goes with them, and before them in all but LogStart's own case.
    """
    inventory = change.one("SELECT idx FROM inventories ORDER BY generation DESC LIMIT 1")
    statements = [0, *([int(inventory[0])] if inventory is not None else [])]
    signers = [node.scribe.signer.key_id]
    for index in statements:
        signers.append(decode_envelope(change.envelope(index)).signatures[-1].key_id)
    bindings = [change.one("SELECT idx FROM bindings WHERE key_id = ?", key) for key in signers]
    return sorted({*statements, *(int(row[0]) for row in bindings if row is not None)})
