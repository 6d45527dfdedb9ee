"""The rules by which units are granted. Pure: the journal runs them inside one transaction.

Invariant at every moment: 0 <= available <= sellable, for every class. On doubt units are withheld.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from agent.core.amount import Price
from agent.core.bounds import writable
from agent.core.lease import (
    HOLDING,
    Agreement,
    Decision,
    Lease,
    LeaseState,
    Outcome,
    Release,
    ReserveRequest,
    Units,
)
from probes.reading import Instant

SECOND_NS = 1_000_000_000
MIN_HOLD_NS = 5 * SECOND_NS
MAX_HOLD_NS = 60 * SECOND_NS
MAX_LATE_NS = 120 * SECOND_NS  # a lease begins before it is agreed by a hold and a slow way at most

TOO_MUCH = "units x longest lease x price could pass what a receipt can say; ask for fewer units"
ACCEPTED = Decision(Outcome.ACCEPTED)


@dataclass(frozen=True, slots=True)
class OfferTerms:
    """What a lease must agree with: the offer it was asked from."""

    log_index: int
    sha256: bytes
    expire_ns: int  # in the exchange's time
    newest: bool  # no later revision of this offer was cut
    available_until_ns: int
    steps: Mapping[str, tuple[int, int]]  # resource class -> (smallest unit, step)
    prices: tuple[Price, ...]
    terms: bytes
    receipt_interval_ns: int


def sellable(capacity: Units, reserve: Units) -> dict[str, int]:
    """Return capacity less the host's reserve, never below zero, zeros left out.

    Published: an exchange computes the same from the quoted inventory.
    """
    left = {name: max(0, total - reserve.get(name, 0)) for name, total in capacity.items()}
    return {name: left[name] for name in sorted(left) if left[name]}


def available(total: Units, held: Iterable[Units]) -> dict[str, int]:
    """Return what may still be granted. Zeros are kept: a class that is sold out is still known.

    When the inventory shrank below what is held, nothing of that class is available; leases stand.
    """
    left = dict(sorted(total.items()))
    for units in held:
        for name, count in units.items():
            if name in left:
                left[name] -= count
    return {name: max(0, count) for name, count in left.items()}


class Holding(Protocol):
    """As much of a lease as tells whether it keeps units from others."""

    @property
    def state(self) -> LeaseState:
        """Where it stands."""
        ...

    @property
    def hold_until_ns(self) -> int:
        """CLOCK_BOOTTIME at which a hold ends."""
        ...

    @property
    def hold_boot_id(self) -> str:
        """The boot that this is counted in."""
        ...


def hold_expired(lease: Holding, now: Instant) -> bool:
    """Whether a hold ran out. A hold is a duration of one boot; another boot ends it."""
    return lease.hold_boot_id != now.boot_id or now.boottime_ns >= lease.hold_until_ns


def holds(lease: Holding, now: Instant) -> bool:
    """Whether this lease keeps units from others."""
    if lease.state is LeaseState.RESERVED:
        return not hold_expired(lease, now)
    return lease.state in HOLDING


def decide_reserve(
    request: ReserveRequest,
    offer: OfferTerms | None,
    free: Units,
    exchange_ns: int,
    *,
    draining: bool,
    trusted: bool = True,
) -> Decision:
    """Judge a reserve against the offer it names and what is free; `exchange_ns`: its time now.

    `trusted`: none of the exchange's leases is past its credit.
    """
    if draining:
        return Decision(Outcome.DRAINING, "the host takes no new leases")
    if not trusted:
        return Decision(Outcome.CREDIT, "pay what other leases owe first; see CreditNotice")
    if offer is None:
        return Decision(Outcome.INVALID, "no such offer was made to this exchange")
    if not offer.newest or exchange_ns >= offer.expire_ns:
        return Decision(Outcome.OFFER_SUPERSEDED, "ask from the newest revision of the offer")
    if not request.units:
        return Decision(Outcome.INVALID, "no units asked for")
    for name, count in request.units.items():
        if name not in offer.steps:
            return Decision(Outcome.INVALID, f"{name} is not in the offer")
        least, step = offer.steps[name]
        if count < least or (count - least) % step:
            return Decision(Outcome.INVALID, f"{name}: at least {least}, in steps of {step}")
    for name, count in request.units.items():
        if count > free.get(name, 0):
            return Decision(Outcome.NO_CAPACITY, f"{name}: {free.get(name, 0)} left")
    longest_ns = offer.available_until_ns - exchange_ns + MAX_LATE_NS
    if not writable(offer.prices, request.units, longest_ns):
        return Decision(Outcome.INVALID, TOO_MUCH)
    return ACCEPTED


def bounded_hold(asked_ns: int) -> int:
    """Return the hold that is granted: what was asked, within 5 to 60 s."""
    return min(max(asked_ns, MIN_HOLD_NS), MAX_HOLD_NS)


def decide_commit(
    lease: Lease | None,
    agreement: Agreement,
    offer: OfferTerms | None,
    node_id: str,
    now: Instant,
    exchange_ns: int,
) -> Decision:
    """Judge an agreement against the hold it commits and the offer it froze."""
    if lease is None or offer is None:
        return Decision(Outcome.INVALID, "no hold with this lease id")
    if not hmac.compare_digest(agreement.fencing_token, lease.fencing_token):
        return Decision(Outcome.FENCED, "the fencing token is not this hold's")
    if lease.state is not LeaseState.RESERVED:
        return Decision(Outcome.INVALID, f"the lease is {lease.state.name}, not RESERVED")
    if hold_expired(lease, now):
        return Decision(Outcome.HOLD_EXPIRED, "the hold ran out; reserve again")
    wrong = [
        name
        for name, same in (
            ("exchange_id", agreement.exchange_id == lease.key.exchange_id),
            ("node_id", agreement.node_id == node_id),
            ("offer_sha256", agreement.offer_sha256 == offer.sha256),
            ("units", dict(agreement.units) == dict(lease.units)),
            ("prices", agreement.prices == offer.prices),
            ("service_level or settlement", agreement.terms == offer.terms),
            # Time before the agreement would be owed and could never be delivered.
            ("start_time", agreement.start_ns >= exchange_ns - MAX_LATE_NS),
            ("end_time", agreement.start_ns < agreement.end_ns <= offer.available_until_ns),
            ("workload", not agreement.binds_workload),
        )
        if not same
    ]
    if wrong:
        return Decision(Outcome.INVALID, f"not as offered or held: {', '.join(wrong)}")
    if not writable(agreement.prices, agreement.units, agreement.end_ns - agreement.start_ns):
        return Decision(Outcome.INVALID, TOO_MUCH)  # the exchange's time went back since the hold
    return ACCEPTED


def decide_release(lease: Lease | None, release: Release) -> Decision:
    """Judge a release. Ending what has ended is accepted: the wish is fulfilled."""
    if lease is None:
        return Decision(Outcome.INVALID, "no lease with this id")
    if not hmac.compare_digest(release.fencing_token, lease.fencing_token):
        return Decision(Outcome.FENCED, "the fencing token is not this lease's")
    return ACCEPTED
