"""What a lease is: its states, its terms, the requests that change it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from agent.core.amount import Price

Units = Mapping[str, int]  # resource class -> units, sorted by class, no zeros


class LeaseKey(NamedTuple):
    """Another exchange using the same lease id is another lease."""

    exchange_id: str
    lease_id: str


class LeaseState(IntEnum):
    """hearth.v1.LeaseState."""

    RESERVED = 1
    COMMITTED = 2
    ACTIVE = 3
    SUSPENDED = 4
    RECLAIMING = 5
    CLOSING = 6
    CLOSED = 7
    SETTLED = 8
    EXPIRED = 9
    REFUSED = 10
    FAILED = 11


# States in which a lease holds units of the host.
HOLDING = (
    LeaseState.RESERVED,
    LeaseState.COMMITTED,
    LeaseState.ACTIVE,
    LeaseState.SUSPENDED,
    LeaseState.RECLAIMING,
    LeaseState.CLOSING,
)
# States in which a lease is metered and receipts are cut.
METERED = (LeaseState.ACTIVE, LeaseState.SUSPENDED, LeaseState.RECLAIMING, LeaseState.CLOSING)


class Outcome(IntEnum):
    """hearth.v1.LeaseOutcome."""

    ACCEPTED = 1
    NO_CAPACITY = 2
    OFFER_SUPERSEDED = 3
    HOLD_EXPIRED = 4
    FENCED = 5
    DRAINING = 6
    CREDIT = 7
    INVALID = 8
    RATE_LIMITED = 9


class CloseReason(IntEnum):
    """hearth.v1.CloseReason: tenant 1xx, operator 2xx, exchange 3xx, shared 4xx."""

    NONE = 0
    TENANT_DONE = 100
    OPERATOR_MAINTENANCE = 200
    OPERATOR_FAULT = 201
    POWER_OR_HEAT = 202
    CREDIT_LIMIT = 300
    ACK_TIMEOUT = 301
    END_TIME = 400


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer to a request, with what would be accepted in `detail`."""

    outcome: Outcome
    detail: str = ""

    @property
    def accepted(self) -> bool:
        """Whether the request was granted."""
        return self.outcome is Outcome.ACCEPTED


@dataclass(frozen=True, slots=True)
class ReserveRequest:
    """An exchange asks for a hold."""

    lease_id: str
    offer_id: str
    offer_sequence: int
    units: Units
    hold_ns: int


@dataclass(frozen=True, slots=True)
class Agreement:
    """An exchange commits a held lease; countersigned by the agent it is the contract.

    Times are in the exchange's time, nanoseconds since the epoch. `terms` are the exact bytes of
    service level and settlement terms, to be held against the offer's.
    """

    exchange_id: str
    node_id: str
    lease_id: str
    offer_sha256: bytes
    units: Units
    prices: tuple[Price, ...]
    terms: bytes
    receipt_interval_ns: int
    start_ns: int
    end_ns: int
    fencing_token: bytes
    job_id: str
    binds_workload: bool


@dataclass(frozen=True, slots=True)
class Release:
    """An exchange ends a lease or gives a hold back."""

    lease_id: str
    fencing_token: bytes
    reason: CloseReason


@dataclass(frozen=True, slots=True)
class Lease:
    """One lease as the ledger keeps it."""

    key: LeaseKey
    state: LeaseState
    units: Units
    fencing_token: bytes
    request_sha256: bytes
    offer_index: int  # log index of the offer it froze
    hold_until_ns: int  # CLOCK_BOOTTIME of `hold_boot_id`
    hold_boot_id: str
    agreement_sha256: bytes = b""
    prices: tuple[Price, ...] = ()
    receipt_interval_ns: int = 0
    start_ns: int = 0
    end_ns: int = 0
    job_id: str = ""
    reason: CloseReason = CloseReason.NONE
    receipt_sequence: int = 0
    receipt_sha256: bytes = b""
