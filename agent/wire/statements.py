"""What this node signs, as bytes. Encoded once; never decoded and encoded again."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar, cast

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from hearth.v1 import common_pb2, lease_pb2, offer_pb2

from agent.core.amount import Price
from agent.core.lease import CloseReason, Decision, LeaseState, Units
from agent.core.offer import HEAT_SINKS, KUBERNETES_NAMES, Environment, Offer, Site, Terms
from agent.core.receipt import Receipt

SECOND_NS = 1_000_000_000

E = TypeVar("E", bound=int)


def enum(kind: type[E], value: int) -> E:
    """A number as the generated enum's value, which at run time is that number."""
    return cast("E", int(value))


def timestamp(nanoseconds: int) -> Timestamp:
    """Nanoseconds since the epoch as a Timestamp."""
    return Timestamp(seconds=nanoseconds // SECOND_NS, nanos=nanoseconds % SECOND_NS)


def duration(nanoseconds: int) -> Duration:
    """Nanoseconds as a Duration; both parts have the value's sign."""
    seconds, rest = divmod(abs(nanoseconds), SECOND_NS)
    sign = -1 if nanoseconds < 0 else 1
    return Duration(seconds=sign * seconds, nanos=sign * rest)


def units_message(units: Units) -> list[common_pb2.ResourceUnits]:
    """Sorted by class, zeros omitted."""
    return [
        common_pb2.ResourceUnits(resource_class=name, units=units[name])
        for name in sorted(units)
        if units[name]
    ]


def price_message(price: Price) -> offer_pb2.Price:
    """One price."""
    return offer_pb2.Price(
        msat_numerator=price.numerator,
        unit_denominator=price.denominator,
        unit=enum(offer_pb2.PriceUnit, price.unit),
        resource_class=price.resource_class,
    )


def service_level(terms: Terms) -> offer_pb2.ServiceLevel:
    """What is promised."""
    level = terms.level
    return offer_pb2.ServiceLevel(
        availability_ppm=terms.availability_ppm,
        window=duration(level.window_ns),
        rebate_tiers=[
            offer_pb2.RebateTier(below_ppm=tier.below_ppm, rebate_permille=tier.rebate_permille)
            for tier in level.tiers
        ],
        exclusions=[enum(offer_pb2.Exclusion, kind) for kind in sorted(level.exclusions)],
    )


def settlement_terms(terms: Terms) -> offer_pb2.SettlementTerms:
    """How receipts turn into payment."""
    money = terms.money
    return offer_pb2.SettlementTerms(
        receipt_interval=duration(terms.receipt_interval_ns),
        payment_timeout=duration(money.payment_timeout_ns),
        min_settlement_msat=money.least_msat,
        credit_limit_msat=money.credit_limit_msat,
        mode=enum(offer_pb2.SettlementMode, money.mode),
        advance_msat=money.advance_msat,
    )


def terms_digest(level: offer_pb2.ServiceLevel, settlement: offer_pb2.SettlementTerms) -> bytes:
    """Bytes that are equal when service level and settlement terms are: compared, never sent."""
    return b"\0".join(
        part.SerializeToString(deterministic=True).hex().encode() for part in (level, settlement)
    )


def _power(environment: Environment, site: Site) -> offer_pb2.PowerProfile | None:
    measured = environment.energy_measured_ns
    if environment.energy_mj is None or environment.energy_source is None or measured <= 0:
        return None
    return offer_pb2.PowerProfile(
        site_id=site.site_id,
        site_share_ppm=site.share_ppm,
        mean_milliwatts=environment.energy_mj * SECOND_NS // measured,
        source=enum(common_pb2.MeasurementSource, environment.energy_source.value),
        window=duration(environment.window_ns),
        measured_permille=_permille(measured, environment.window_ns),
    )


def _heat(environment: Environment, site: Site) -> offer_pb2.HeatReuse | None:
    if environment.heat_mj is None or environment.heat_source is None:
        return None
    return offer_pb2.HeatReuse(
        sink=enum(offer_pb2.HeatSink, HEAT_SINKS.index(site.heat_sink) + 1),
        reused_millijoules=environment.heat_mj,
        supply_temperature_millicelsius=environment.supply_millicelsius,
        return_temperature_millicelsius=environment.return_millicelsius,
        source=enum(common_pb2.MeasurementSource, environment.heat_source.value),
        window=duration(environment.window_ns),
        measured_permille=_permille(environment.heat_measured_ns, environment.window_ns),
    )


def _permille(part: int, whole: int) -> int:
    return min(1000, part * 1000 // whole) if whole > 0 else 0


def encode_offer(offer: Offer) -> bytes:
    """Serialise an Offer."""
    return offer_pb2.Offer(
        node_id=offer.node_id,
        exchange_id=offer.exchange_id,
        offer_id=offer.offer_id,
        sequence=offer.sequence,
        inventory_generation=offer.inventory_generation,
        issue_time=timestamp(offer.issue_ns),
        expire_time=timestamp(offer.expire_ns),
        available_until_time=timestamp(offer.available_until_ns),
        firmness=offer_pb2.FIRMNESS_INDICATIVE,
        inventories=[
            offer_pb2.ResourceInventory(
                resource_class=name,
                min_unit=1,
                max_unit=offer.available.get(name, 0),
                step_size=1,
                allocation_ratio_permille=1000,
                kubernetes_name=KUBERNETES_NAMES.get(name, ""),
                total_units=total,
                reserved_units=offer.reserved.get(name, 0),
            )
            for name, total in sorted(offer.capacity.items())
        ],
        traits=offer.traits,
        location=offer_pb2.Location(
            country_code=offer.site.country_code, subdivision_code=offer.site.subdivision_code
        ),
        power=_power(offer.environment, offer.site),
        heat_reuse=_heat(offer.environment, offer.site),
        service_level=service_level(offer.terms),
        prices=[price_message(price) for price in offer.terms.prices],
        settlement=settlement_terms(offer.terms),
        track_record=offer_pb2.TrackRecord(log_breaks=offer.log_breaks),
        assurance=enum(common_pb2.AssuranceClass, offer.assurance),
    ).SerializeToString(deterministic=True)


def encode_withdrawal(offer_id: str, sequence: int) -> bytes:
    """Serialise an OfferWithdrawal made by the operator."""
    return offer_pb2.OfferWithdrawal(
        offer_id=offer_id, sequence=sequence, reason=offer_pb2.WITHDRAWAL_REASON_OPERATOR
    ).SerializeToString(deterministic=True)


def encode_decision(
    lease_id: str, request_sha256: bytes, decision: Decision, token: bytes = b"", hold_ns: int = 0
) -> bytes:
    """Serialise a LeaseDecision."""
    return lease_pb2.LeaseDecision(
        lease_id=lease_id,
        request_sha256=request_sha256,
        outcome=enum(lease_pb2.LeaseOutcome, decision.outcome),
        detail=decision.detail,
        fencing_token=token,
        hold=duration(hold_ns) if hold_ns else None,
    ).SerializeToString(deterministic=True)


def encode_update(lease_id: str, state: LeaseState, reason: CloseReason, change_ns: int) -> bytes:
    """Serialise a LeaseUpdate; the time is the exchange's."""
    return lease_pb2.LeaseUpdate(
        lease_id=lease_id,
        state=enum(lease_pb2.LeaseState, state),
        reason=enum(lease_pb2.CloseReason, reason),
        change_time=timestamp(change_ns),
    ).SerializeToString(deterministic=True)


def encode_receipt(receipt: Receipt) -> bytes:
    """Serialise a Receipt."""
    message = lease_pb2.Receipt(
        node_id=receipt.node_id,
        exchange_id=receipt.exchange_id,
        lease_id=receipt.lease_id,
        job_id=receipt.job_id,
        log_id=receipt.log_id,
        sequence=receipt.sequence,
        previous_sha256=receipt.previous_sha256,
        agreement_sha256=receipt.agreement_sha256,
        interval=common_pb2.TimeInterval(
            start_time=timestamp(receipt.start_ns), end_time=timestamp(receipt.end_ns)
        ),
        monotonic_duration=duration(receipt.monotonic_ns),
        boot_id=receipt.boot_id,
        clock_events=[
            lease_pb2.ClockEvent(
                kind=enum(lease_pb2.ClockEventKind, event.kind),
                event_time=timestamp(at_ns),
                magnitude=duration(event.magnitude_ns),
            )
            for at_ns, event in receipt.events
        ],
        totals=_totals(receipt),
        lines=[
            lease_pb2.AmountLine(
                price_index=line.price_index, quantity=line.quantity, msat=line.msat
            )
            for line in receipt.lines
        ],
        gross_msat_total=receipt.gross_msat,
        final=receipt.final,
    )
    if receipt.energy is not None:
        message.energy.CopyFrom(
            lease_pb2.EnergyTotal(
                millijoules=receipt.energy.millijoules,
                source=enum(common_pb2.MeasurementSource, receipt.energy.source.value),
                quality=enum(common_pb2.Quality, receipt.energy.quality),
                uncertainty_permille=receipt.energy.uncertainty_permille,
                missing_milliseconds=receipt.energy.missing_ms,
            )
        )
    if receipt.heat is not None:
        message.heat.CopyFrom(
            lease_pb2.HeatTotal(
                reused_millijoules=receipt.heat.reused_mj,
                reverse_millijoules=receipt.heat.reverse_mj,
                source=enum(common_pb2.MeasurementSource, receipt.heat.source.value),
                quality=enum(common_pb2.Quality, receipt.heat.quality),
                uncertainty_permille=receipt.heat.uncertainty_permille,
            )
        )
    return message.SerializeToString(deterministic=True)


def _totals(receipt: Receipt) -> Iterable[lease_pb2.MeterTotal]:
    return [
        lease_pb2.MeterTotal(
            resource_class=total.resource_class,
            reserved_unit_milliseconds=total.reserved,
            delivered_unit_milliseconds=total.delivered,
            used_unit_milliseconds=total.used,
            throttled_milliseconds=total.throttled_ms,
            stalled_milliseconds=total.stalled_ms,
            missing_milliseconds=total.missing_ms,
            quality=enum(common_pb2.Quality, total.quality),
            counter_epoch=total.counter_epoch,
        )
        for total in receipt.totals
    ]
