"""What an offer says, and when a new revision is due. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from agent.core.amount import Price
from agent.core.bill import Terms as Money
from agent.core.lease import Units
from agent.core.rebate import Level
from probes.reading import SourceClass

SECOND_NS = 1_000_000_000
REVISION_NS = SECOND_NS  # at most one new revision a second for each exchange

# Kubernetes quantity names beside the resource classes.
KUBERNETES_NAMES = {"VCPU": "cpu", "MEMORY_MB": "memory", "PGPU": "nvidia.com/gpu"}


@dataclass(frozen=True, slots=True)
class Site:
    """Where the host stands, as the operator chose to say it."""

    site_id: str
    share_ppm: int
    country_code: str
    subdivision_code: str
    heat_sink: str  # of HEAT_SINKS


HEAT_SINKS = (
    "none",
    "space-heating",
    "domestic-hot-water",
    "district-heating",
    "pool",
    "greenhouse",
    "industrial",
)


@dataclass(frozen=True, slots=True)
class Environment:
    """What was measured of power and heat in a window that ends now; None: not measured."""

    window_ns: int
    energy_mj: int | None = None
    energy_measured_ns: int = 0
    energy_source: SourceClass | None = None
    heat_mj: int | None = None
    heat_measured_ns: int = 0
    heat_source: SourceClass | None = None
    supply_millicelsius: int | None = None
    return_millicelsius: int | None = None


@dataclass(frozen=True, slots=True)
class Terms:
    """Price and service level of everything offered; a lease keeps those of its offer."""

    prices: tuple[Price, ...]
    availability_ppm: int
    level: Level
    receipt_interval_ns: int
    money: Money


@dataclass(frozen=True, slots=True)
class Offer:
    """hearth.v1.Offer in the agent's own types; times in ns since the epoch."""

    node_id: str
    exchange_id: str
    offer_id: str
    sequence: int
    inventory_generation: int
    issue_ns: int
    expire_ns: int
    available_until_ns: int
    capacity: Units
    reserved: Units
    available: Units
    traits: tuple[str, ...]
    site: Site
    environment: Environment
    terms: Terms
    assurance: int  # hearth.v1.AssuranceClass
    log_breaks: int


@dataclass(frozen=True, slots=True)
class Shown:
    """The revision that an exchange has."""

    offer_id: str
    sequence: int
    cut_ns: int  # CLOCK_BOOTTIME; 0 when it was cut in an earlier run
    expire_ns: int
    available: Units


def due(
    shown: Shown | None, available: Units, now_ns: int, exchange_ns: int, lifetime_ns: int
) -> bool:
    """Whether an exchange needs a new revision.

    It does when it has none, when half of the life is over, or when what is available changed; and
    never twice within a second.
    """
    if shown is None:
        return True
    if shown.cut_ns and now_ns - shown.cut_ns < REVISION_NS:
        return False
    return (
        dict(shown.available) != dict(available)
        or exchange_ns >= shown.expire_ns - lifetime_ns // 2
    )
