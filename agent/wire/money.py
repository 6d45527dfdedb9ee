"""Settlement's statements: what this node signs, as bytes, and what exchanges sign, decoded."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from google.protobuf.message import DecodeError, Message
from hearth.v1 import common_pb2, lease_pb2, offer_pb2, settlement_pb2

from agent.core.availability import Exclusion, Span, Standing, lease_milliseconds
from agent.core.bill import Bill, Mode, Terms
from agent.core.credit import CreditLevel
from agent.core.payout import Refusal
from agent.core.rebate import Level, Rebate, Tier
from agent.core.settling import Collected
from agent.errors import MalformedMessage
from agent.wire.statements import SECOND_NS, enum, timestamp

M = TypeVar("M", bound=Message)

_OUTAGES = (lease_pb2.CLOCK_EVENT_KIND_OUTAGE, lease_pb2.CLOCK_EVENT_KIND_SUSPEND)


def parse(message: M, payload: bytes) -> M:
    """Parse one message.

    :raises MalformedMessage: when it is none.
    """
    try:
        message.ParseFromString(payload)
    except DecodeError as error:
        raise MalformedMessage(f"{message.DESCRIPTOR.name}: {error}") from None
    return message


def _span(interval: common_pb2.TimeInterval) -> Span:
    start, end = interval.start_time, interval.end_time
    return Span(start.seconds * SECOND_NS + start.nanos, end.seconds * SECOND_NS + end.nanos)


# --- what this node signs ------------------------------------------------------------------------


def encode_invoice(bill: Bill, lease_id: str, netted: Sequence[bytes]) -> bytes:
    """Serialise an Invoice.

    :param netted: SHA-256 of the statement of every rebate that was ever netted for the lease.
    """
    made_of = bill.sum
    return settlement_pb2.Invoice(
        lease_id=lease_id,
        through_sequence=bill.through,
        amount_msat=bill.msat,
        bolt11=bill.bolt11,
        label=bill.label,
        receipt_sha256=bill.receipt_sha256,
        payment_hash=bill.payment_hash,
        expire_time=timestamp(bill.expire_ns),
        uncontested_msat_total=made_of.uncontested,
        adjustment_msat_total=made_of.adjusted,
        netted_msat_total=made_of.netted,
        netted_statement_sha256=netted,
        settled_msat_total=made_of.settled,
        pending_msat=made_of.pending,
        advance_msat=made_of.ahead,
    ).SerializeToString(deterministic=True)


def encode_received(done: Collected, lease_id: str) -> bytes:
    """Serialise a PaymentNotice of money that came in."""
    bill = done.bill
    return settlement_pb2.PaymentNotice(
        lease_id=lease_id,
        payment_hash=bill.payment_hash,
        preimage=done.preimage,
        amount_msat=done.received_msat,
        label=bill.label,
        through_sequence=bill.through,
        receipt_sha256=bill.receipt_sha256,
        payment_time=timestamp(done.paid_ns),
    ).SerializeToString(deterministic=True)


def encode_paid(
    lease_id: str, payment_hash: bytes, preimage: bytes, msat: int, statement: bytes, paid_ns: int
) -> bytes:
    """Serialise a PaymentNotice of a payout."""
    return settlement_pb2.PaymentNotice(
        lease_id=lease_id,
        payment_hash=payment_hash,
        preimage=preimage,
        amount_msat=msat,
        statement_sha256=statement,
        payment_time=timestamp(paid_ns),
    ).SerializeToString(deterministic=True)


def encode_rebate(lease_id: str, rebate: Rebate) -> bytes:
    """Serialise a RebateStatement."""
    return lease_pb2.RebateStatement(
        lease_id=lease_id,
        window=common_pb2.TimeInterval(
            start_time=timestamp(rebate.window.start_ns), end_time=timestamp(rebate.window.end_ns)
        ),
        inputs_sha256=rebate.inputs_sha256,
        availability_ppm=rebate.availability_ppm,
        msat=rebate.msat,
    ).SerializeToString(deterministic=True)


def encode_refund(lease_id: str, through: int, msat: int) -> bytes:
    """Serialise a RefundStatement."""
    return settlement_pb2.RefundStatement(
        lease_id=lease_id, through_sequence=through, msat=msat
    ).SerializeToString(deterministic=True)


def encode_refusal(lease_id: str, statement: bytes, reason: Refusal, detail: str) -> bytes:
    """Serialise a PayoutRefusal."""
    return settlement_pb2.PayoutRefusal(
        lease_id=lease_id,
        statement_sha256=statement,
        reason=enum(settlement_pb2.PayoutRefusalReason, reason),
        detail=detail,
    ).SerializeToString(deterministic=True)


def encode_credit(
    lease_id: str, level: CreditLevel, exposure_msat: int, limit_msat: int, change_ns: int
) -> bytes:
    """Serialise a CreditNotice; the time is the exchange's."""
    return settlement_pb2.CreditNotice(
        lease_id=lease_id,
        level=enum(settlement_pb2.CreditLevel, level),
        exposure_msat=exposure_msat,
        credit_limit_msat=limit_msat,
        change_time=timestamp(change_ns),
    ).SerializeToString(deterministic=True)


def encode_adjustment(
    lease_id: str, sequences: tuple[int, int], msat: int, reason: str, dispute_id: str
) -> bytes:
    """Serialise an Adjustment."""
    return lease_pb2.Adjustment(
        lease_id=lease_id,
        first_sequence=sequences[0],
        last_sequence=sequences[1],
        msat=msat,
        reason=reason,
        dispute_id=dispute_id,
    ).SerializeToString(deterministic=True)


def encode_dispute_answer(dispute_id: str, evidence: tuple[bytes, ...], detail: str) -> bytes:
    """Serialise the DisputeStep by which the agent stands by what it signed."""
    return lease_pb2.DisputeStep(
        dispute_id=dispute_id,
        kind=lease_pb2.DISPUTE_STEP_KIND_ANSWER,
        evidence_sha256=evidence,
        detail=detail,
    ).SerializeToString(deterministic=True)


# --- what exchanges sign -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Agreed:
    """What a lease's agreement says of money and service; times in ns of the exchange's time."""

    terms: Terms
    level: Level
    lease: Span


@dataclass(frozen=True, slots=True)
class Notice:
    """The exchange shows that it has paid."""

    lease_id: str
    payment_hash: bytes
    preimage: bytes


@dataclass(frozen=True, slots=True)
class PayoutInvoice:
    """The exchange asks for a rebate or refund."""

    lease_id: str
    statement_sha256: bytes
    bolt11: str


@dataclass(frozen=True, slots=True)
class StatedRebate:
    """The exchange's own statement of a rebate."""

    lease_id: str
    window: Span
    inputs_sha256: bytes
    availability_ppm: int
    msat: int
    sha256: bytes  # of its payload


@dataclass(frozen=True, slots=True)
class DisputeEnd:
    """The exchange ends a dispute."""

    dispute_id: str
    withdrawn: bool  # else a verdict
    agreed_msat: int


MoneyRequest = Notice | PayoutInvoice | StatedRebate | DisputeEnd


def agreed(payload: bytes) -> Agreed:
    """Read settlement terms and service level off a LeaseAgreement that both sides signed.

    :raises MalformedMessage: when it is none.
    """
    message = parse(lease_pb2.LeaseAgreement(), payload)
    terms, service = message.settlement, message.service_level
    prepaid = terms.mode == offer_pb2.SETTLEMENT_MODE_PREPAID
    return Agreed(
        Terms(
            mode=Mode.PREPAID if prepaid else Mode.POSTPAID,
            credit_limit_msat=terms.credit_limit_msat,
            least_msat=terms.min_settlement_msat,
            payment_timeout_ns=terms.payment_timeout.ToNanoseconds(),
            advance_msat=terms.advance_msat,
        ),
        Level(
            service.window.ToNanoseconds(),
            tuple(Tier(tier.below_ppm, tier.rebate_permille) for tier in service.rebate_tiers),
            frozenset(kind for kind in Exclusion if int(kind) in service.exclusions),
        ),
        Span(message.start_time.ToNanoseconds(), message.end_time.ToNanoseconds()),
    )


def standing(payload: bytes, units: Mapping[str, int]) -> tuple[Standing, tuple[Span, ...]]:
    """Read one of our receipts: where the lease stood after it, and the outages in it.

    :raises MalformedMessage: when it is none.
    """
    message = parse(lease_pb2.Receipt(), payload)
    delivered = lease_milliseconds(
        (units.get(total.resource_class, 0), total.delivered_unit_milliseconds)
        for total in message.totals
    )
    outages = []
    for event in message.clock_events:
        if event.kind in _OUTAGES:
            start = event.event_time.ToNanoseconds()
            outages.append(Span(start, start + event.magnitude.ToNanoseconds()))
    return (
        Standing(
            _span(message.interval),
            delivered,
            message.gross_msat_total,
            hashlib.sha256(payload).digest(),
        ),
        tuple(outages),
    )


@dataclass(frozen=True, slots=True)
class Metered:
    """One of our receipts as it is accounted: cumulative quantities and amounts."""

    lease_id: str
    sequence: int
    span: Span
    lines: tuple[tuple[int, int], ...]  # quantity and msat of each price, in their order
    gross_msat: int
    energy_mj: int | None
    final: bool


def metered(payload: bytes) -> Metered:
    """Read one of our receipts.

    :raises MalformedMessage: when it is none.
    """
    message = parse(lease_pb2.Receipt(), payload)
    return Metered(
        message.lease_id,
        message.sequence,
        _span(message.interval),
        tuple((line.quantity, line.msat) for line in message.lines),
        message.gross_msat_total,
        message.energy.millijoules if message.HasField("energy") else None,
        message.final,
    )


def rebate_window(payload: bytes) -> tuple[Span, int]:
    """Read window and availability (ppm) off one of our RebateStatements.

    :raises MalformedMessage: when it is none.
    """
    message = parse(lease_pb2.RebateStatement(), payload)
    return _span(message.window), message.availability_ppm


def decode_money(name: str, payload: bytes) -> MoneyRequest | None:
    """Decode an exchange's statement about money; None for another kind.

    :raises MalformedMessage: naming the field.
    """
    match name:
        case "PaymentNotice":
            notice = parse(settlement_pb2.PaymentNotice(), payload)
            if hashlib.sha256(notice.preimage).digest() != notice.payment_hash:
                raise MalformedMessage("preimage: not of this payment hash")
            return Notice(notice.lease_id, notice.payment_hash, notice.preimage)
        case "RebateInvoice":
            asked = parse(settlement_pb2.RebateInvoice(), payload)
            return PayoutInvoice(asked.lease_id, asked.rebate_statement_sha256, asked.bolt11)
        case "RebateStatement":
            stated = parse(lease_pb2.RebateStatement(), payload)
            return StatedRebate(
                stated.lease_id,
                _span(stated.window),
                stated.inputs_sha256,
                stated.availability_ppm,
                stated.msat,
                hashlib.sha256(payload).digest(),
            )
        case "DisputeStep":
            return _dispute_end(parse(lease_pb2.DisputeStep(), payload))
        case _:
            return None


def _dispute_end(step: lease_pb2.DisputeStep) -> DisputeEnd:
    ends = (lease_pb2.DISPUTE_STEP_KIND_WITHDRAW, lease_pb2.DISPUTE_STEP_KIND_VERDICT)
    if step.kind not in ends:
        raise MalformedMessage("kind: an exchange withdraws a dispute or gives its verdict")
    withdrawn = step.kind == lease_pb2.DISPUTE_STEP_KIND_WITHDRAW
    return DisputeEnd(step.dispute_id, withdrawn, step.agreed_msat)
