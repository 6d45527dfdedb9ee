"""What exchanges sign, decoded into the agent's own types. Untrusted until it is through here."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError, Message
from google.protobuf.timestamp_pb2 import Timestamp
from hearth.v1 import challenge_pb2, common_pb2, lease_pb2, offer_pb2

from agent.core.amount import Price, PriceUnit
from agent.core.lease import Agreement, CloseReason, Release, ReserveRequest
from agent.core.ledger import OfferTerms
from agent.errors import MalformedMessage
from agent.wire.foreign import one_line
from agent.wire.money import MoneyRequest, decode_money
from agent.wire.statements import SECOND_NS, terms_digest

# Until 2200: nanoseconds since 1970, and what is added to them, fit the 63 bits that SQLite has.
MOST_SECONDS = 7_258_118_400
MOST_NUMBER = (1 << 63) - 1
MOST_CLASSES = 32
MOST_DISPUTES = 64
MOST_TEXT = 256  # of ids that are kept or sent back: a job's is in every receipt
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
RESOURCE_CLASS = re.compile(r"[A-Z][A-Z0-9_]{0,254}")

M = TypeVar("M", bound=Message)


@dataclass(frozen=True, slots=True)
class Dispute:
    """The exchange contests part of one receipt's interval."""

    dispute_id: str
    sequence: int
    reason: int  # hearth.v1.DisputeReason
    contested_msat: int
    detail: str
    answer_by_ns: int


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """The exchange accepted a lease's receipts through a watermark."""

    lease_id: str
    through: int
    sha256: bytes  # of the receipt's payload at the watermark
    uncontested_msat: int
    disputes: tuple[Dispute, ...] = ()


@dataclass(frozen=True, slots=True)
class Challenge:
    """The exchange wants fresh evidence."""

    challenge_id: str
    nonce: bytes
    pcrs: tuple[int, ...]


Request = ReserveRequest | Agreement | Release | Acknowledgement | Challenge | MoneyRequest


def decode(name: str, payload: bytes) -> Request | None:
    """Decode an exchange's statement by its message name; None for a kind that is not known yet.

    :raises MalformedMessage: naming the field.
    """
    match name:
        case "ReserveRequest":
            return _reserve(_parse(lease_pb2.ReserveRequest(), payload))
        case "LeaseAgreement":
            return _agreement(_parse(lease_pb2.LeaseAgreement(), payload))
        case "LeaseRelease":
            return _release(_parse(lease_pb2.LeaseRelease(), payload))
        case "ReceiptAck":
            return _acknowledgement(_parse(lease_pb2.ReceiptAck(), payload))
        case "Challenge":
            return _challenge(_parse(challenge_pb2.Challenge(), payload))
        case _:
            return decode_money(name, payload)


def _parse(message: M, payload: bytes) -> M:
    try:
        message.ParseFromString(payload)
    except DecodeError as error:
        raise MalformedMessage(f"{message.DESCRIPTOR.name}: {error}") from None
    return message


def nanoseconds(value: Timestamp | Duration, field: str) -> int:
    """A Timestamp since the epoch, or a Duration, in nanoseconds; neither may be negative here.

    :raises MalformedMessage: when out of range.
    """
    if not 0 <= value.seconds <= MOST_SECONDS or not 0 <= value.nanos < SECOND_NS:
        raise MalformedMessage(f"{field}: {value.seconds} s {value.nanos} ns is out of range")
    return value.seconds * SECOND_NS + value.nanos


def _number(value: int, field: str) -> int:
    if value > MOST_NUMBER:
        raise MalformedMessage(f"{field}: {value} is out of range")
    return value


def _text(value: str, field: str) -> str:
    if len(value) > MOST_TEXT or not value.isprintable():
        raise MalformedMessage(f"{field}: longer than {MOST_TEXT} characters, or not printable")
    return value


def _lease_id(lease_id: str) -> str:
    if not UUID.fullmatch(lease_id):
        raise MalformedMessage(f"lease_id: {lease_id[:40]!r} is not a lower-case UUID")
    return lease_id


def units(items: Iterable[common_pb2.ResourceUnits]) -> dict[str, int]:
    """Resource units as a mapping.

    :raises MalformedMessage: unless sorted by class, without zeros or repetition.
    """
    found: dict[str, int] = {}
    last = ""
    for item in items:
        if not RESOURCE_CLASS.fullmatch(item.resource_class) or item.resource_class <= last:
            raise MalformedMessage(
                f"units: {item.resource_class[:40]!r} is no class, or not in order"
            )
        if not 0 < item.units < 1 << 63 or len(found) >= MOST_CLASSES:
            raise MalformedMessage(f"units: {item.resource_class}: {item.units}")
        last = item.resource_class
        found[last] = item.units
    return found


def _reserve(message: lease_pb2.ReserveRequest) -> ReserveRequest:
    return ReserveRequest(
        lease_id=_lease_id(message.lease_id),
        offer_id=message.offer_id,
        offer_sequence=_number(message.offer_sequence, "offer_sequence"),
        units=units(message.units),
        hold_ns=nanoseconds(message.hold, "hold"),
    )


def prices(items: Iterable[offer_pb2.Price]) -> tuple[Price, ...]:
    """Prices in their order.

    :raises MalformedMessage: for a unit that is not known, or a zero denominator.
    """
    try:
        return tuple(
            Price(
                item.msat_numerator,
                item.unit_denominator,
                PriceUnit(item.unit),
                item.resource_class,
            )
            for item in items
        )
    except ValueError as error:
        raise MalformedMessage(f"prices: {error}") from None


def _agreement(message: lease_pb2.LeaseAgreement) -> Agreement:
    return Agreement(
        exchange_id=message.exchange_id,
        node_id=message.node_id,
        lease_id=_lease_id(message.lease_id),
        offer_sha256=message.offer_sha256,
        units=units(message.units),
        prices=prices(message.prices),
        terms=terms_digest(message.service_level, message.settlement),
        receipt_interval_ns=nanoseconds(
            message.settlement.receipt_interval, "settlement.receipt_interval"
        ),
        start_ns=nanoseconds(message.start_time, "start_time"),
        end_ns=nanoseconds(message.end_time, "end_time"),
        fencing_token=message.fencing_token,
        job_id=_text(message.job_id, "job_id"),
        binds_workload=message.HasField("workload"),
    )


def _release(message: lease_pb2.LeaseRelease) -> Release:
    try:
        reason = CloseReason(message.reason)
    except ValueError:
        reason = CloseReason.NONE
    return Release(_lease_id(message.lease_id), message.fencing_token, reason)


def _acknowledgement(message: lease_pb2.ReceiptAck) -> Acknowledgement:
    if len(message.accepted_sha256) != 32:
        raise MalformedMessage("accepted_sha256: not 32 bytes")
    if len(message.disputes) > MOST_DISPUTES:
        raise MalformedMessage(f"disputes: more than {MOST_DISPUTES}")
    return Acknowledgement(
        _lease_id(message.lease_id),
        _number(message.accepted_through, "accepted_through"),
        message.accepted_sha256,
        _number(message.uncontested_msat_total, "uncontested_msat_total"),
        tuple(map(_dispute, message.disputes)),
    )


def _dispute(message: lease_pb2.Dispute) -> Dispute:
    return Dispute(
        _text(message.dispute_id, "dispute_id"),
        _number(message.sequence, "disputes.sequence"),
        message.reason,
        _number(message.contested_msat, "contested_msat"),
        one_line(message.detail, MOST_TEXT),
        nanoseconds(message.answer_by_time, "answer_by_time"),
    )


def _challenge(message: challenge_pb2.Challenge) -> Challenge:
    if len(message.nonce) != 32:
        raise MalformedMessage("nonce: not 32 bytes")
    if message.WhichOneof("kind") != "quote":
        raise MalformedMessage("kind: only quote challenges are supported")
    pcrs = tuple(message.quote.pcr_indices)
    if any(index > 23 for index in pcrs) or list(pcrs) != sorted(set(pcrs)):
        raise MalformedMessage("quote.pcr_indices: not ascending below 24")
    return Challenge(_text(message.challenge_id, "challenge_id"), message.nonce, pcrs)


def offered(payload: bytes, log_index: int, *, newest: bool) -> OfferTerms:
    """What this node's own offer, read back from the log, binds it to.

    :raises MalformedMessage: when it is no offer.
    """
    message = _parse(offer_pb2.Offer(), payload)
    return OfferTerms(
        log_index=log_index,
        sha256=hashlib.sha256(payload).digest(),
        expire_ns=nanoseconds(message.expire_time, "expire_time"),
        newest=newest,
        available_until_ns=nanoseconds(message.available_until_time, "available_until_time"),
        steps={
            item.resource_class: (item.min_unit, item.step_size) for item in message.inventories
        },
        prices=prices(message.prices),
        terms=terms_digest(message.service_level, message.settlement),
        receipt_interval_ns=nanoseconds(message.settlement.receipt_interval, "receipt_interval"),
    )
