"""What this node signed, read back out of its own log to be checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from google.protobuf.message import DecodeError, Message
from hearth.v1 import lease_pb2, offer_pb2

from agent.core.lease import LeaseState, Outcome
from agent.errors import MalformedMessage
from agent.wire.requests import nanoseconds, units

M = TypeVar("M", bound=Message)


@dataclass(frozen=True, slots=True)
class Issued:
    """A receipt as a link of its chain. `registers` never fall; None: not counted there."""

    exchange_id: str
    lease_id: str
    sequence: int
    previous_sha256: bytes
    agreement_sha256: bytes
    start_ns: int
    end_ns: int
    registers: Mapping[str, int | None]
    delivered: Mapping[str, tuple[int, int]]  # resource class -> delivered, reserved
    final: bool


def _parse(message: M, payload: bytes) -> M:
    try:
        message.ParseFromString(payload)
    except DecodeError as error:
        raise MalformedMessage(f"{message.DESCRIPTOR.name}: {error}") from None
    return message


def issued(payload: bytes) -> Issued:
    """Read a Receipt.

    :raises MalformedMessage: when it is none.
    """
    message = _parse(lease_pb2.Receipt(), payload)
    registers: dict[str, int | None] = {"gross": message.gross_msat_total}
    for total in message.totals:
        name = total.resource_class
        used = total.used_unit_milliseconds if total.HasField("used_unit_milliseconds") else None
        registers[f"{name} reserved"] = total.reserved_unit_milliseconds
        registers[f"{name} delivered"] = total.delivered_unit_milliseconds
        registers[f"{name} missing"] = total.missing_milliseconds
        registers[f"{name} used"] = used
    has = message.HasField
    registers["energy"] = message.energy.millijoules if has("energy") else None
    registers["heat"] = message.heat.reused_millijoules if has("heat") else None
    registers["heat reverse"] = message.heat.reverse_millijoules if has("heat") else None
    return Issued(
        message.exchange_id,
        message.lease_id,
        message.sequence,
        message.previous_sha256,
        message.agreement_sha256,
        nanoseconds(message.interval.start_time, "interval.start_time"),
        nanoseconds(message.interval.end_time, "interval.end_time"),
        registers,
        {
            total.resource_class: (
                total.delivered_unit_milliseconds,
                total.reserved_unit_milliseconds,
            )
            for total in message.totals
        },
        message.final,
    )


def granted(payload: bytes) -> str | None:
    """Return the lease that a LeaseDecision grants a hold for; None when it refuses.

    :raises MalformedMessage: when it is no decision.
    """
    message = _parse(lease_pb2.LeaseDecision(), payload)
    return message.lease_id if int(message.outcome) == Outcome.ACCEPTED else None


def agreed(payload: bytes) -> tuple[str, dict[str, int]]:
    """Return the lease and the units of a LeaseAgreement.

    :raises MalformedMessage: when it is none.
    """
    message = _parse(lease_pb2.LeaseAgreement(), payload)
    return message.lease_id, units(message.units)


def moved(payload: bytes) -> tuple[str, LeaseState]:
    """Return the lease and the state of a LeaseUpdate.

    :raises MalformedMessage: when it is none.
    """
    message = _parse(lease_pb2.LeaseUpdate(), payload)
    try:
        return message.lease_id, LeaseState(message.state)
    except ValueError as error:
        raise MalformedMessage(f"LeaseUpdate: {error}") from None


def sellable(payload: bytes) -> dict[str, int]:
    """Return the units that an Offer says are sold at all.

    :raises MalformedMessage: when it is none.
    """
    message = _parse(offer_pb2.Offer(), payload)
    return {
        item.resource_class: max(0, item.total_units - item.reserved_units)
        for item in message.inventories
    }
