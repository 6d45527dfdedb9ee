"""EnrollmentService: from a join token to a node with certificates.

    EnrollBegin -> CredentialChallenge -> EnrollProof -> EnrollResult

The token says that somebody invited this host. The activated credential says that EK and AK live
in one TPM. The evidence says that this AK speaks for this inventory, this boot and this TLS key.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
import sqlite3
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

import grpc
import grpc.aio
import structlog
from google.protobuf.message import DecodeError
from hearth.v1 import attestation_pb2, common_pb2
from hearth.v1.attestation_pb2 import EnrollBegin, EnrollRequest, EnrollResponse, EnrollResult
from hearth.v1.attestation_pb2_grpc import EnrollmentServiceServicer

from agent.sandbox.exchange import ca, trust
from agent.sandbox.exchange.identity import Exchange, timestamp
from agent.sandbox.exchange.store import Store
from attest import verify
from attest.errors import AttestError, Untrusted
from attest.keys import key_id

STEP_S = 60.0  # for one step of the node: a hardware TPM takes seconds to activate

_Stream: TypeAlias = "grpc.aio.ServicerContext[EnrollRequest, EnrollResponse]"
_log = structlog.get_logger()


class EnrolmentRefused(Exception):
    """No enrolment, and why; becomes the status of the call."""

    def __init__(self, status: grpc.StatusCode, detail: str) -> None:
        super().__init__(detail)
        self.status = status


@dataclass(frozen=True, slots=True)
class _Certificates:
    tls: list[bytes]  # DER, leaf first
    ak: list[bytes]
    end: datetime


class EnrollmentService(EnrollmentServiceServicer):
    """Runs on a port of its own, since a node without a certificate cannot use the other one."""

    def __init__(self, exchange: Exchange, store: Store, pinned: verify.TrustRoots) -> None:
        self._exchange = exchange
        self._store = store
        self._pinned = pinned

    async def Enroll(self, request_iterator: object, context: _Stream) -> None:
        """Enrol one node. A call that fails has changed nothing."""
        try:
            await self._enrol(context)
        except EnrolmentRefused as refused:
            _log.warning("enrolment_refused", status=refused.status.name, detail=str(refused))
            await context.abort(refused.status, str(refused))
        except TimeoutError:
            await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "a step took too long")

    async def _enrol(self, stream: _Stream) -> None:
        begin_bytes = (await _read(stream, "begin")).begin
        begin = parse_begin(begin_bytes)
        identity = await self._store.run(invite, self._exchange, self._pinned, begin)
        secret, nonce = secrets.token_bytes(32), secrets.token_bytes(32)
        challenge = attestation_pb2.CredentialChallenge(
            exchange=self._exchange.describe(), nonce=nonce
        )
        if identity.ek_public is not None and identity.node.ak is not None:
            challenge.credential_blob, challenge.encrypted_secret = verify.make_credential(
                identity.ek_public, secret, identity.node.ak.name
            )
        signed = self._exchange.sign(challenge)
        await stream.write(EnrollResponse(challenge=signed))
        proof = (await _read(stream, "proof")).proof
        if identity.ek_public is not None:
            expected = verify.transcript_hmac(secret, begin_bytes, signed.payload, proof.evidence)
            if not hmac.compare_digest(expected, proof.transcript_hmac_sha256):
                raise EnrolmentRefused(
                    grpc.StatusCode.UNAUTHENTICATED,
                    "the transcript's HMAC is wrong: EK and AK are not shown to be in one TPM",
                )
        tls_spki = ca.spki(ca.request_key(begin.tls_csr))
        try:
            appraisal = trust.judge_evidence(
                self._exchange, identity.node, proof.evidence, nonce, key_id(tls_spki)
            )
        except AttestError as error:
            raise EnrolmentRefused(grpc.StatusCode.PERMISSION_DENIED, str(error)) from error
        result = await self._store.run(admit, self._exchange, begin, identity, appraisal)
        _log.info("enrolled", node_id=result.node_id[:16], assurance=identity.assurance.label)
        await stream.write(EnrollResponse(result=result))


async def _read(stream: _Stream, step: str) -> EnrollRequest:
    async with asyncio.timeout(STEP_S):
        request = await stream.read()
    if not isinstance(request, EnrollRequest) or request.WhichOneof("step") != step:
        raise EnrolmentRefused(grpc.StatusCode.INVALID_ARGUMENT, f"{step} comes now")
    return request


def parse_begin(begin_bytes: bytes) -> EnrollBegin:
    """Parse the first step and check what needs no memory.

    :raises EnrolmentRefused: (INVALID_ARGUMENT).
    """
    try:
        begin = EnrollBegin.FromString(begin_bytes)
        ca.request_key(begin.tls_csr)
    except (DecodeError, ca.RequestRefused) as error:
        raise EnrolmentRefused(grpc.StatusCode.INVALID_ARGUMENT, str(error)) from error
    if len(begin.client_nonce) != 32:
        raise EnrolmentRefused(grpc.StatusCode.INVALID_ARGUMENT, "client_nonce is not 32 bytes")
    return begin


def invite(
    db: sqlite3.Connection, exchange: Exchange, pinned: verify.TrustRoots, begin: EnrollBegin
) -> verify.Identity:
    """Decide whether to challenge this node. An act of the store.

    :raises EnrolmentRefused: no such token, used by another node, nobody vouches for the TPM, or
        the TPM is another node's.
    """
    token = _token(db, begin)
    try:
        identity = verify.identify(
            tuple(begin.ek_certificate_chain),
            begin.ek_public,
            begin.ak_public,
            begin.software_spki,
            trust.believed(db, pinned),
        )
    except Untrusted as error:
        raise EnrolmentRefused(grpc.StatusCode.PERMISSION_DENIED, str(error)) from error
    except AttestError as error:
        raise EnrolmentRefused(grpc.StatusCode.INVALID_ARGUMENT, str(error)) from error
    if identity.assurance is verify.Assurance.SOFTWARE and not exchange.options.allow_software:
        raise EnrolmentRefused(grpc.StatusCode.PERMISSION_DENIED, "nodes without a TPM are refused")
    _check_unclaimed(db, token, identity)
    return identity


def admit(
    db: sqlite3.Connection,
    exchange: Exchange,
    begin: EnrollBegin,
    identity: verify.Identity,
    appraisal: verify.Appraisal,
) -> EnrollResult:
    """Make it a node, use the token up and issue certificates. An act of the store.

    A node that lost the answer comes again with its own token and gets new certificates.

    :raises EnrolmentRefused: what `invite` found has changed meanwhile.
    """
    _check_unclaimed(db, _token(db, begin), identity)
    node = identity.node
    db.execute(
        "UPDATE token SET node_id = ? WHERE digest = ?",
        (node.node_id, ca.token_digest(begin.join_token)),
    )
    db.execute(
        "INSERT INTO node (node_id, ek_spki_sha256, ek_certificate_sha256, ak_public,"
        " software_spki, assurance) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (node_id) DO UPDATE SET"
        " ek_certificate_sha256 = excluded.ek_certificate_sha256, assurance = excluded.assurance",
        (
            node.node_id,
            _ek(identity),
            identity.ek_certificate_sha256,
            node.ak_public,
            node.software_spki,
            int(identity.assurance),
        ),
    )
    trust.keep_claims(db, node.node_id, appraisal)
    issued = certify(db, exchange, node, begin.tls_csr)
    return EnrollResult(
        node_id=node.node_id,
        tls_certificate_chain=issued.tls,
        ak_certificate_chain=issued.ak,
        assurance=common_pb2.AssuranceClass.Name(identity.assurance),
        expire_time=timestamp(int(issued.end.timestamp()) * 10**9),
        terms=exchange.terms(),
    )


def certify(
    db: sqlite3.Connection, exchange: Exchange, node: verify.TrustedNode, csr: bytes
) -> _Certificates:
    """Issue a TLS client certificate for the key in `csr` and an AK certificate."""
    row = db.execute(
        "SELECT assurance, ek_certificate_sha256 FROM node WHERE node_id = ?", (node.node_id,)
    ).fetchone()
    authority = exchange.authority
    now = datetime.fromtimestamp(exchange.now_ns() // 10**9, UTC)
    end = now + timedelta(seconds=exchange.options.certificate_lifetime)
    tls = authority.issue_client(csr, node.node_id, now, end)
    ak = authority.issue_ak(
        node.spki, node.node_id, row["ek_certificate_sha256"], row["assurance"], now, end
    )
    root = authority.certificate_der
    return _Certificates([tls, root], [ak, root], end)


def _token(db: sqlite3.Connection, begin: EnrollBegin) -> sqlite3.Row:
    row: sqlite3.Row | None = db.execute(
        "SELECT node_id FROM token WHERE digest = ?", (ca.token_digest(begin.join_token),)
    ).fetchone()
    if row is None:
        raise EnrolmentRefused(grpc.StatusCode.UNAUTHENTICATED, "unknown join token")
    return row


def _ek(identity: verify.Identity) -> bytes | None:
    return key_id(identity.ek_public.spki) if identity.ek_public is not None else None


def _check_unclaimed(db: sqlite3.Connection, token: sqlite3.Row, identity: verify.Identity) -> None:
    """One token is one node, one EK is one node, and neither ever changes silently."""
    node_id, ek = identity.node.node_id, _ek(identity)
    if token["node_id"] not in (None, node_id):
        raise EnrolmentRefused(grpc.StatusCode.UNAUTHENTICATED, "the join token was used")
    rows = db.execute(
        "SELECT node_id, ek_spki_sha256 FROM node WHERE node_id = ? OR ek_spki_sha256 = ?",
        (node_id, ek),
    ).fetchall()
    for row in rows:
        if (row["node_id"], row["ek_spki_sha256"]) != (node_id, ek):
            raise EnrolmentRefused(
                grpc.StatusCode.ALREADY_EXISTS, "this EK, or this AK, is another node's"
            )
