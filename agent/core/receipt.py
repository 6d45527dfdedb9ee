"""Cutting a receipt from a lease and its meter. Pure.

Totals are cumulative since the lease's start, the sequence has no gaps, each receipt names the
digest of the one before it.
"""

from __future__ import annotations

from dataclasses import dataclass

from agent.core.amount import Delivered, Line, gross, lines
from agent.core.lease import Lease
from agent.core.meter import ClockEvent, LeaseMeter, Quality
from probes.reading import SourceClass

MILLISECOND_NS = 1_000_000
VCPU = "VCPU"
MEMORY_MB = "MEMORY_MB"
BYTES_PER_MB = 1 << 20  # OpenStack Placement's MEMORY_MB is a mebibyte


@dataclass(frozen=True, slots=True)
class Sources:
    """Where energy and heat figures come from; None: there is no such meter."""

    energy: SourceClass | None = None
    energy_uncertainty_permille: int = 0
    heat: SourceClass | None = None
    heat_uncertainty_permille: int = 0


@dataclass(frozen=True, slots=True)
class Total:
    """Cumulative unit-milliseconds of one resource class."""

    resource_class: str
    reserved: int
    delivered: int
    used: int | None
    throttled_ms: int | None
    stalled_ms: int | None
    missing_ms: int
    quality: Quality
    counter_epoch: int


@dataclass(frozen=True, slots=True)
class Energy:
    """Energy attributed to the lease, in mJ since its start."""

    millijoules: int
    source: SourceClass
    quality: Quality
    uncertainty_permille: int
    missing_ms: int


@dataclass(frozen=True, slots=True)
class Heat:
    """Two registers, as on a heat meter; neither ever falls."""

    reused_mj: int
    reverse_mj: int
    source: SourceClass
    quality: Quality
    uncertainty_permille: int


@dataclass(frozen=True, slots=True)
class Receipt:
    """hearth.v1.Receipt in the agent's own types; times in ns of the exchange's time."""

    node_id: str
    exchange_id: str
    lease_id: str
    job_id: str
    log_id: str
    sequence: int
    previous_sha256: bytes
    agreement_sha256: bytes
    start_ns: int
    end_ns: int
    monotonic_ns: int
    boot_id: str
    events: tuple[tuple[int, ClockEvent], ...]  # exchange time and event
    totals: tuple[Total, ...]
    energy: Energy | None
    heat: Heat | None
    lines: tuple[Line, ...]
    gross_msat: int
    final: bool


def close(
    lease: Lease,
    meter: LeaseMeter,
    previous_reserved_ns: int,
    node_id: str,
    log_id: str,
    sources: Sources,
    *,
    final: bool,
) -> Receipt:
    """Cut the next receipt of `lease`.

    `previous_reserved_ns` is the meter's reserved time at the receipt before (0 for the first): the
    interval begins where that one ended. A lease's time starts at its agreed start and advances as
    its meter does, so intervals join without a seam whatever the wall clock did.
    """
    totals = tuple(_total(name, units, meter) for name, units in sorted(lease.units.items()))
    delivered = Delivered(
        units=lease.units,
        unit_milliseconds={total.resource_class: total.delivered for total in totals},
        energy_millijoules=meter.energy_mj or 0,
    )
    parts = lines(lease.prices, delivered)
    return Receipt(
        node_id=node_id,
        exchange_id=lease.key.exchange_id,
        lease_id=lease.key.lease_id,
        job_id=lease.job_id,
        log_id=log_id,
        sequence=lease.receipt_sequence + 1,
        previous_sha256=lease.receipt_sha256,
        agreement_sha256=lease.agreement_sha256,
        start_ns=lease.start_ns + previous_reserved_ns,
        end_ns=lease.start_ns + meter.reserved_ns,
        monotonic_ns=meter.reserved_ns - previous_reserved_ns,
        boot_id=meter.at.boot_id,
        events=tuple((lease.start_ns + event.at_ns, event) for event in meter.events),
        totals=totals,
        energy=_energy(meter, sources),
        heat=_heat(meter, sources),
        lines=parts,
        gross_msat=gross(parts),
        final=final,
    )


def _total(name: str, units: int, meter: LeaseMeter) -> Total:
    used: int | None = None
    if name == VCPU:
        used = meter.used_cpu_us // 1000
    elif name == MEMORY_MB:
        used = meter.used_mb_ms
    processor = name == VCPU
    return Total(
        resource_class=name,
        reserved=units * meter.reserved_ns // MILLISECOND_NS,
        delivered=units * meter.delivered_ns // MILLISECOND_NS,
        used=used,
        throttled_ms=_milliseconds(meter.throttled_total_us) if processor else None,
        stalled_ms=_milliseconds(meter.stalled_total_us) if processor else None,
        missing_ms=meter.missing_ns // MILLISECOND_NS,
        quality=meter.quality,
        counter_epoch=meter.counter_epoch,
    )


def _milliseconds(microseconds: int | None) -> int | None:
    return None if microseconds is None else microseconds // 1000


def _energy(meter: LeaseMeter, sources: Sources) -> Energy | None:
    source, uncertainty = meter.energy_class, meter.energy_uncertainty_permille
    if source is None:  # of a meter that is older than the field, or was lost
        source, uncertainty = sources.energy, sources.energy_uncertainty_permille
    if meter.energy_mj is None or source is None:
        return None
    return Energy(
        meter.energy_mj,
        source,
        Quality.PARTIAL if meter.energy_missing_ns else meter.quality,
        uncertainty,
        meter.energy_missing_ns // MILLISECOND_NS,
    )


def _heat(meter: LeaseMeter, sources: Sources) -> Heat | None:
    if sources.heat is None or (meter.heat_mj is None and meter.heat_reverse_mj is None):
        return None
    return Heat(
        meter.heat_mj or 0,
        meter.heat_reverse_mj or 0,
        sources.heat,
        meter.quality,
        sources.heat_uncertainty_permille,
    )
