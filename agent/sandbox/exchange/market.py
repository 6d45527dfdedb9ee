"""Leases. Every function is an act of the store: judged and stored in one transaction.

A lease is placed on the newest offer: ReserveRequest -> LeaseDecision -> LeaseAgreement ->
countersigned LeaseAgreement -> LeaseUpdates. The agreement copies price, service level and
settlement from the very offer it names by digest, so neither side can change them later.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Mapping
from enum import StrEnum

from hearth.v1 import common_pb2, lease_pb2, offer_pb2, session_pb2

from agent.sandbox.exchange.identity import Exchange, duration, timestamp, uuid7
from agent.sandbox.exchange.judge import MAX_QUANTITY, Contract, nanoseconds
from agent.sandbox.exchange.offers import fits, parse, read_prices
from agent.sandbox.exchange.refusal import Refused
from attest.envelope import Envelope, payload_type
from attest.formats import encode_envelope

HOLD_S = 45.0
RETRY_NS = 2 * 10**9  # between automatic placements on one node


class Stage(StrEnum):
    """Where a lease stands, as far as this exchange knows."""

    REQUESTED = "REQUESTED"  # the ReserveRequest is on its way
    AGREED = "AGREED"  # held by the node; the agreement is on its way
    COMMITTED = "COMMITTED"  # both signatures
    ACTIVE = "ACTIVE"
    SUSPENDED = "SUSPENDED"
    RECLAIMING = "RECLAIMING"
    CLOSING = "CLOSING"
    CLOSED = "CLOSED"
    SETTLED = "SETTLED"
    EXPIRED = "EXPIRED"
    REFUSED = "REFUSED"
    FAILED = "FAILED"


ENDED = (Stage.CLOSED, Stage.SETTLED, Stage.EXPIRED, Stage.REFUSED, Stage.FAILED)
NEVER_BEGAN = (Stage.EXPIRED, Stage.REFUSED, Stage.FAILED)
_RUNNING = (Stage.ACTIVE, Stage.SUSPENDED, Stage.RECLAIMING, Stage.CLOSING, Stage.CLOSED)
_ASKED: dict[
    str, type[lease_pb2.ReserveRequest | lease_pb2.LeaseAgreement | lease_pb2.LeaseRelease]
] = {
    payload_type("ReserveRequest"): lease_pb2.ReserveRequest,
    payload_type("LeaseAgreement"): lease_pb2.LeaseAgreement,
    payload_type("LeaseRelease"): lease_pb2.LeaseRelease,
}
_LATER = {Stage.CLOSED: (Stage.SETTLED,)}  # what may still follow an ended stage


class NotPlaced(Exception):
    """No lease, and why."""


def place(
    db: sqlite3.Connection,
    exchange: Exchange,
    node_id: str,
    units: Mapping[str, int],
    *,
    duration_s: float,
    job_id: str = "",
    offer_id: str = "",
    workload: bytes = b"",
) -> str:
    """Ask a node for a lease on its newest offer and return the lease id.

    :param offer_id: use this offer; empty: the newest one that holds the units.
    :param workload: serialised WorkloadBinding; empty: the agent makes a cgroup of its own.
    :raises NotPlaced: no valid offer has room for these units.
    """
    now_ns = exchange.now_ns()
    rows = db.execute(
        "SELECT payload FROM offer WHERE node_id = ? AND NOT withdrawn AND expire_ns > ?"
        " AND ? IN ('', offer_id) ORDER BY accept_ns DESC",
        (node_id, now_ns, offer_id),
    ).fetchall()
    offers = [offer_pb2.Offer.FromString(row["payload"]) for row in rows]
    chosen = next((index for index, offer in enumerate(offers) if fits(offer, units)), None)
    if chosen is None:
        raise NotPlaced(f"none of {len(offers)} valid offers has room for {dict(units)}")
    offer = offers[chosen]
    lease_id = uuid7(now_ns)
    request = lease_pb2.ReserveRequest(
        lease_id=lease_id,
        offer_id=offer.offer_id,
        offer_sequence=offer.sequence,
        units=_units(units),
        hold=duration(HOLD_S),
    )
    db.execute(
        "INSERT INTO lease (node_id, lease_id, stage, stage_ns, duration_ns, job_id, workload,"
        " offer, request) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            node_id,
            lease_id,
            Stage.REQUESTED,
            now_ns,
            round(duration_s * 1000) * 1_000_000,
            job_id or f"job-{lease_id[-12:]}",
            workload,
            rows[chosen]["payload"],
            exchange.post(db, node_id, request),
        ),
    )
    return lease_id


def auto_place(
    db: sqlite3.Connection, exchange: Exchange, node_id: str, units: Mapping[str, int]
) -> str | None:
    """Place one lease on a node that has none; again when that one never began."""
    rows = db.execute("SELECT stage, stage_ns FROM lease WHERE node_id = ?", (node_id,)).fetchall()
    if any(row["stage"] not in NEVER_BEGAN for row in rows):
        return None
    if any(row["stage_ns"] > exchange.now_ns() - RETRY_NS for row in rows):
        return None
    try:
        return place(db, exchange, node_id, units, duration_s=exchange.options.lease_duration)
    except NotPlaced:
        return None  # a later offer may have room


def decide(db: sqlite3.Connection, exchange: Exchange, node_id: str, payload: bytes) -> None:
    """Take the node's decision on a request, an agreement or a release.

    :raises Refused: a decision on nothing that was asked.
    """
    decision = parse(lease_pb2.LeaseDecision, payload)
    lease = _lease(db, node_id, decision.lease_id)
    accepted = decision.outcome == lease_pb2.LEASE_OUTCOME_ACCEPTED
    stage = Stage(lease["stage"])
    asked = decision.request_sha256
    detail = f"{_name(lease_pb2.LeaseOutcome, decision.outcome)} {decision.detail}".strip()
    if asked == hashlib.sha256(lease["request"]).digest():
        if stage is not Stage.REQUESTED:
            return  # the same answer to the same request, given again
        if not accepted:
            _move(db, exchange, lease, Stage.REFUSED, detail)
        elif not decision.fencing_token:
            raise Refused(session_pb2.NACK_REASON_MALFORMED, "accepted without a fencing token")
        else:
            _agree(db, exchange, lease, decision.fencing_token)
    elif lease["agreement"] and asked == hashlib.sha256(lease["agreement"]).digest():
        if stage is Stage.AGREED and not accepted:
            expired = decision.outcome == lease_pb2.LEASE_OUTCOME_HOLD_EXPIRED
            _move(db, exchange, lease, Stage.EXPIRED if expired else Stage.REFUSED, detail)
    elif lease["release"] and asked == hashlib.sha256(lease["release"]).digest():
        _move(db, exchange, lease, stage, f"release: {detail}")
    else:
        raise Refused(session_pb2.NACK_REASON_STALE, "a decision on nothing that was asked")


def _agree(
    db: sqlite3.Connection, exchange: Exchange, lease: sqlite3.Row, fencing_token: bytes
) -> None:
    offer = offer_pb2.Offer.FromString(lease["offer"])
    request = lease_pb2.ReserveRequest.FromString(lease["request"])
    start_ns = exchange.now_ns()
    end_ns = start_ns + lease["duration_ns"]
    if offer.HasField("available_until_time"):
        end_ns = min(end_ns, max(start_ns, nanoseconds(offer.available_until_time)))
    agreement = lease_pb2.LeaseAgreement(
        exchange_id=exchange.exchange_id,
        node_id=lease["node_id"],
        lease_id=lease["lease_id"],
        offer_sha256=hashlib.sha256(lease["offer"]).digest(),
        units=request.units,
        prices=offer.prices,
        start_time=timestamp(start_ns),
        end_time=timestamp(end_ns),
        fencing_token=fencing_token,
        job_id=lease["job_id"],
    )
    if offer.HasField("service_level"):
        agreement.service_level.CopyFrom(offer.service_level)
    if offer.HasField("settlement"):
        agreement.settlement.CopyFrom(offer.settlement)
    if lease["workload"]:
        agreement.workload.ParseFromString(lease["workload"])
    payload = exchange.post(db, lease["node_id"], agreement)
    db.execute(
        "UPDATE lease SET stage = ?, stage_ns = ?, fencing_token = ?, agreement = ?"
        " WHERE node_id = ? AND lease_id = ?",
        (
            Stage.AGREED,
            start_ns,
            fencing_token,
            payload,
            lease["node_id"],
            lease["lease_id"],
        ),
    )


def accept_countersigned(
    db: sqlite3.Connection, exchange: Exchange, node_id: str, envelope: Envelope
) -> None:
    """Take our agreement back with the node's signature beside ours (both verified before).

    :raises Refused: not byte for byte what we signed.
    """
    agreement = parse(lease_pb2.LeaseAgreement, envelope.payload)
    lease = _lease(db, node_id, agreement.lease_id)
    if envelope.payload != lease["agreement"]:
        raise Refused(session_pb2.NACK_REASON_NOT_AUTHORIZED, "not the agreement of this lease")
    db.execute(
        "UPDATE lease SET countersigned = ? WHERE node_id = ? AND lease_id = ?",
        (encode_envelope(envelope), node_id, agreement.lease_id),
    )
    if lease["stage"] == Stage.AGREED:
        _move(db, exchange, lease, Stage.COMMITTED, "")


def accept_update(db: sqlite3.Connection, exchange: Exchange, node_id: str, payload: bytes) -> None:
    """Take the node's word on where a lease stands.

    :raises Refused: from an ended stage, or running without both signatures.
    """
    update = parse(lease_pb2.LeaseUpdate, payload)
    lease = _lease(db, node_id, update.lease_id)
    stage = Stage(lease["stage"])
    name = _name(lease_pb2.LeaseState, update.state).removeprefix("LEASE_STATE_")
    if name in ("RESERVED", "COMMITTED"):
        return  # the decision and the countersigned agreement say it with consequences
    try:
        later = Stage(name)
    except ValueError as error:
        raise Refused(session_pb2.NACK_REASON_MALFORMED, f"lease state {name}") from error
    if stage in ENDED and later is not stage and later not in _LATER.get(stage, ()):
        raise Refused(session_pb2.NACK_REASON_STALE, f"{later} after {stage}")
    if later in _RUNNING and not lease["countersigned"] and later is not Stage.CLOSED:
        raise Refused(session_pb2.NACK_REASON_NOT_AUTHORIZED, f"{later} before both signatures")
    _move(db, exchange, lease, later, _name(lease_pb2.CloseReason, update.reason))


def nacked(
    db: sqlite3.Connection, exchange: Exchange, node_id: str, sequence: int, detail: str
) -> None:
    """Take the node's word that it has kept nothing of one of our deliveries.

    A lease that was asked for is refused, a release may be asked again.
    """
    row = db.execute(
        "SELECT envelope FROM outbox WHERE node_id = ? AND delivery_sequence = ?",
        (node_id, min(sequence, MAX_QUANTITY)),
    ).fetchone()
    if row is None:
        return
    signed = common_pb2.SignedEnvelope.FromString(row["envelope"])
    kind = _ASKED.get(signed.payload_type)
    if kind is None:
        return
    lease = _lease(db, node_id, kind.FromString(signed.payload).lease_id)
    if kind is lease_pb2.LeaseRelease:
        db.execute(
            "UPDATE lease SET release = x'' WHERE node_id = ? AND lease_id = ?",
            (node_id, lease["lease_id"]),
        )
    elif lease["stage"] in (Stage.REQUESTED, Stage.AGREED):
        _move(db, exchange, lease, Stage.REFUSED, detail)


def release(
    db: sqlite3.Connection, exchange: Exchange, lease_id: str = "", node_id: str = ""
) -> list[tuple[str, str]]:
    """Ask for the end of a lease (empty: of all), and return (node id, lease id) of those asked.

    The stage changes when the node says so. A lease that the node has not granted yet has no
    fencing token to release it by: it is passed over; ask again once it is granted.
    """
    rows = db.execute(
        "SELECT * FROM lease WHERE ? IN ('', lease_id) AND ? IN ('', node_id)", (lease_id, node_id)
    ).fetchall()
    asked = []
    for lease in rows:
        if lease["stage"] in ENDED or lease["release"] or not lease["fencing_token"]:
            continue
        payload = exchange.post(
            db,
            lease["node_id"],
            lease_pb2.LeaseRelease(
                lease_id=lease["lease_id"],
                fencing_token=lease["fencing_token"],
                reason=lease_pb2.CLOSE_REASON_TENANT_DONE,
            ),
        )
        db.execute(
            "UPDATE lease SET release = ? WHERE node_id = ? AND lease_id = ?",
            (payload, lease["node_id"], lease["lease_id"]),
        )
        asked.append((lease["node_id"], lease["lease_id"]))
    return asked


def contract(agreement: bytes) -> Contract:
    """Return what receipts are judged by; of an agreement we wrote ourselves."""
    message = lease_pb2.LeaseAgreement.FromString(agreement)
    return Contract(
        node_id=message.node_id,
        exchange_id=message.exchange_id,
        lease_id=message.lease_id,
        job_id=message.job_id,
        agreement_sha256=hashlib.sha256(agreement).digest(),
        units={part.resource_class: part.units for part in message.units},
        prices=read_prices(message.prices),
        start_ns=nanoseconds(message.start_time),
        end_ns=nanoseconds(message.end_time),
    )


def _lease(db: sqlite3.Connection, node_id: str, lease_id: str) -> sqlite3.Row:
    row: sqlite3.Row | None = db.execute(
        "SELECT * FROM lease WHERE node_id = ? AND lease_id = ?", (node_id, lease_id)
    ).fetchone()
    if row is None:
        raise Refused(session_pb2.NACK_REASON_NOT_AUTHORIZED, f"no lease {lease_id!r} of this node")
    return row


def _move(
    db: sqlite3.Connection, exchange: Exchange, lease: sqlite3.Row, stage: Stage, detail: str
) -> None:
    db.execute(
        "UPDATE lease SET stage = ?, stage_ns = ?, detail = ? WHERE node_id = ? AND lease_id = ?",
        (stage, exchange.now_ns(), detail, lease["node_id"], lease["lease_id"]),
    )


def _name(enum: object, value: int) -> str:
    names: dict[int, str] = {number: name for name, number in enum.items()}  # type: ignore[attr-defined]  # generated enum wrapper
    return names.get(value, str(value))


def _units(units: Mapping[str, int]) -> list[common_pb2.ResourceUnits]:
    return [
        common_pb2.ResourceUnits(resource_class=name, units=count)
        for name, count in sorted(units.items())
    ]
