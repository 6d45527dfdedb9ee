"""What a demo shows: one moment of the agent and its exchanges, as plain values. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hearth.admin.v1 import admin_pb2

from agent.core.lease import LeaseKey
from agent.sandbox.books import ENDED, oversold

# Sensors whose gauge is the host's power, and the reused heat's: probe -> figure.
_POWER, _HEAT = "modbus", "mbus"


@dataclass(frozen=True, slots=True)
class Identity:
    """Who the agent is."""

    node_id: str
    tpm: str
    inventory_digest: str  # lower-case hex
    inventory_generation: int


@dataclass(frozen=True, slots=True)
class MoneyMoment:
    """What moved between the host and one exchange, by the exchange's own books."""

    invoices_issued: int = 0
    invoices_paid: int = 0
    invoiced_msat: int = 0
    paid_msat: int = 0
    rebates_issued: int = 0
    rebates_paid: int = 0  # by the agent, over Lightning
    rebates_netted: int = 0  # taken off an invoice instead
    rebate_msat: int = 0  # of all that were issued
    returned_msat: int = 0  # of those that were paid
    netted_msat: int = 0


@dataclass(frozen=True, slots=True)
class ExchangeMoment:
    """One exchange: what the agent says of it beside what the exchange itself counted."""

    name: str
    connected: bool
    assurance: str
    offers_accepted: int
    receipts_issued: int
    receipts_verified: int
    receipts_acked: int
    receipts_rejected: int
    checkpoints_verified: int
    challenges_passed: int
    challenges_failed: int
    amount_due_msat: int
    money: MoneyMoment


@dataclass(frozen=True, slots=True)
class LeaseMoment:
    """One lease as the agent meters it."""

    exchange: str
    lease_id: str
    state: str
    units: Mapping[str, int]
    used_cpu_ms: int
    energy_mj: int
    heat_mj: int
    amount_due_msat: int
    receipts: int
    outage: bool = False  # it is held up on purpose right now


@dataclass(frozen=True, slots=True)
class Moment:
    """Everything at one time; energy and heat are the host's since the agent's start."""

    identity: Identity
    elapsed_ms: int  # since the agent was started
    capacity: Mapping[str, int]
    available: Mapping[str, int]
    oversold_units: int  # at any time until now, by the exchanges' books
    power_mw: int | None
    heat_mw: int | None
    energy_mj: int
    heat_mj: int
    log_size: int
    checkpoint_size: int
    peak_rss_kib: int
    cpu_ms: int
    exchanges: tuple[ExchangeMoment, ...]
    leases: tuple[LeaseMoment, ...]
    network: str = ""  # of real Lightning nodes; empty: doubles


def moment(
    elapsed_ms: int,
    now_ns: int,
    status: admin_pb2.StatusResponse,
    figures: Sequence[tuple[str, Mapping[str, Any]]],
    *,
    network: str = "",
    outage: LeaseKey | None = None,
) -> Moment:
    """Join the agent's status and the exchanges' figures.

    :param elapsed_ms: since the agent was started.
    :param now_ns: since the epoch.
    :param figures: name of each exchange and what it counted; empty before a node has enrolled.
    :param network: of real Lightning nodes; empty: doubles.
    :param outage: the lease that is held up on purpose.
    """
    said = {item.display_name: item for item in status.exchanges}
    names = {item.exchange_id: item.display_name for item in status.exchanges}
    booked = {
        (name, lease_id): lease
        for name, counted in figures
        for lease_id, lease in counted.get("lease", {}).items()
    }
    leases = tuple(
        replace(
            _lease(name, item, booked.get((name, item.lease_id))),
            outage=outage == LeaseKey(item.exchange_id, item.lease_id),
        )
        for item in status.leases
        for name in (names.get(item.exchange_id, ""),)
    )
    exchanges = tuple(
        _exchange(name, counted, said.get(name) or admin_pb2.ExchangeStatus())
        for name, counted in figures
    )
    capacity = {part.resource_class: part.units for part in status.capacity}
    books = [counted.get("lease", {}) for _, counted in figures]
    return Moment(
        identity=Identity(
            status.node_id, status.tpm, status.inventory_digest.hex(), status.inventory_generation
        ),
        elapsed_ms=elapsed_ms,
        capacity=capacity,
        available={part.resource_class: part.units for part in status.available},
        oversold_units=oversold(capacity, books, now_ns),
        power_mw=_power(status, _POWER),
        heat_mw=_power(status, _HEAT),
        energy_mj=status.energy_millijoules,
        heat_mj=status.heat_millijoules,
        log_size=status.log_size,
        checkpoint_size=status.checkpoint.size,
        peak_rss_kib=status.resident_kibibytes_peak,
        cpu_ms=status.cpu_milliseconds,
        exchanges=exchanges,
        leases=leases,
        network=network,
    )


def _lease(name: str, item: admin_pb2.LeaseStatus, booked: Mapping[str, Any] | None) -> LeaseMoment:
    now = LeaseMoment(
        name,
        item.lease_id,
        item.state,
        {part.resource_class: part.units for part in item.units},
        item.used_cpu_milliseconds,
        item.energy_millijoules,
        item.heat_millijoules,
        item.amount_due_msat,
        item.receipt_sequence,
    )
    receipt = booked["receipt"] if booked is not None else None
    if now.state not in ENDED or receipt is None:
        return now
    # The agent meters it no more: what its last receipt says is what there is.
    return replace(
        now,
        used_cpu_ms=used_cpu_ms(receipt),
        energy_mj=receipt["energy_mj"] or 0,
        heat_mj=receipt["heat_mj"] or 0,
        amount_due_msat=receipt["gross_msat"],
    )


def used_cpu_ms(receipt: Mapping[str, Any]) -> int:
    """Used CPU time of a receipt as an exchange has it in its book."""
    return int((receipt["totals"].get("VCPU") or {}).get("used_unit_ms") or 0)


def _exchange(
    name: str, counted: Mapping[str, Any], said: admin_pb2.ExchangeStatus
) -> ExchangeMoment:
    leases = counted.get("lease", {}).values()
    return ExchangeMoment(
        name,
        said.connected,
        str(counted.get("assurance", "")),
        counted.get("offers_accepted", 0),
        said.receipts_issued,
        counted.get("receipts_verified", 0),
        said.receipts_acked,
        counted.get("receipts_rejected", 0),
        counted.get("checkpoints_verified", 0),
        counted.get("challenges_passed", 0),
        counted.get("challenges_failed", 0) + counted.get("challenges_refused", 0),
        sum(lease["receipt"]["gross_msat"] for lease in leases if lease["receipt"]),
        _money([lease["money"] for lease in leases]),
    )


def _money(books: Sequence[Mapping[str, Any]]) -> MoneyMoment:
    """Add up what one exchange has of all its leases."""
    bills = [bill for book in books for bill in book["invoices"]]
    paid = [bill for bill in bills if bill["state"] == "PAID"]
    rebates = [item for book in books for item in book["payouts"] if item["kind"] == "REBATE"]
    returned = [item["msat"] for item in rebates if item["state"] == "PAID"]
    netted = [item["msat"] for item in rebates if item["state"] == "NETTED"]
    return MoneyMoment(
        invoices_issued=len(bills),
        invoices_paid=len(paid),
        invoiced_msat=sum(bill["msat"] for bill in bills),
        paid_msat=sum(bill["msat"] for bill in paid),
        rebates_issued=len(rebates),
        rebates_paid=len(returned),
        rebates_netted=len(netted),
        rebate_msat=sum(item["msat"] for item in rebates),
        returned_msat=sum(returned),
        netted_msat=sum(netted),
    )


def _power(status: admin_pb2.StatusResponse, probe: str) -> int | None:
    readings = [
        item.value
        for item in status.sensors
        if item.sensor.startswith(f"{probe}:") and item.sensor.endswith(":power") and not item.fault
    ]
    return sum(readings) if readings else None
