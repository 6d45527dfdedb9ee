"""`hearth status`: how the daemon on this host stands."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agent.cli.lines import joules, msat, plural
from agent.cli.options import DEFAULT_PATH, AsJson, ConfigFile
from agent.cli.out import clear, echo

if TYPE_CHECKING:
    from google.protobuf.duration_pb2 import Duration
    from google.protobuf.message import Message
    from google.protobuf.timestamp_pb2 import Timestamp
    from hearth.admin.v1 import admin_pb2

WATCH_EVERY_S = 2.0


def status(
    config: ConfigFile = DEFAULT_PATH,
    as_json: AsJson = False,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Again every two seconds, until Ctrl-C.")
    ] = False,
) -> None:
    """Show what runs, what is leased, how each exchange stands; first what needs doing.

    Exit code 4: no daemon answers.
    """
    from agent.config_file import load

    socket = Path(load(config).admin_socket)
    if not watch:
        echo(_text(socket, as_json))
        return
    # On a terminal each one takes the place of the one before; elsewhere they follow each other.
    try:
        while True:
            text = _text(socket, as_json)
            if not as_json:
                clear()
            echo(text)
            time.sleep(WATCH_EVERY_S)
    except KeyboardInterrupt:
        raise typer.Exit(0) from None


def _text(socket: Path, as_json: bool) -> str:
    from hearth.admin.v1 import admin_pb2

    from agent.cli.socket import DEADLINE_S, ask

    answer = ask(socket, lambda stub: stub.Status(admin_pb2.StatusRequest(), timeout=DEADLINE_S))
    if as_json:
        return json.dumps(summary(answer))
    return "\n".join(describe(answer))


# --- for programs ------------------------------------------------------------------------------


def summary(answer: admin_pb2.StatusResponse) -> dict[str, Any]:
    """All of it as JSON values: integers in the unit of their name, times in RFC 3339 or null."""
    return {
        "agent_version": answer.agent_version,
        "node_id": answer.node_id,
        "tpm": answer.tpm,
        "boot_id": answer.boot_id,
        "uptime_seconds": answer.uptime.seconds,
        "inventory_generation": answer.inventory_generation,
        "inventory_digest": answer.inventory_digest.hex(),
        "capacity": _units(answer.capacity),
        "available": _units(answer.available),
        "log_id": answer.log_id,
        "log_size": answer.log_size,
        "checkpoint": {
            "sequence": answer.checkpoint.sequence,
            "size": answer.checkpoint.size,
            "time": _time(answer.checkpoint.time),
        }
        if answer.HasField("checkpoint")
        else None,
        "exchanges": [_exchange(item) for item in answer.exchanges],
        "leases": [_lease(item) for item in answer.leases],
        "sensors": [
            {
                "sensor": item.sensor,
                "value": None if item.fault else item.value,
                "unit": item.unit,
                "age_milliseconds": None if item.fault else _milliseconds(item.age),
                "fault": item.fault,
            }
            for item in answer.sensors
        ],
        "energy_millijoules": (
            answer.energy_millijoules if answer.HasField("energy_millijoules") else None
        ),
        "energy_source": _source(answer) if answer.energy_source else None,
        "heat_millijoules": (
            answer.heat_millijoules if answer.HasField("heat_millijoules") else None
        ),
        "resident_kibibytes_peak": answer.resident_kibibytes_peak,
        "cpu_milliseconds": answer.cpu_milliseconds,
        "next_steps": list(answer.next_steps),
    }


def _exchange(item: admin_pb2.ExchangeStatus) -> dict[str, Any]:
    return {
        "exchange_id": item.exchange_id,
        "display_name": item.display_name,
        "endpoint": item.endpoint,
        "connected": item.connected,
        "last_error": item.last_error,
        "assurance": assurance(item),
        "offers_delivered": item.offers_delivered,
        "receipts_issued": item.receipts_issued,
        "receipts_acked": item.receipts_acked,
        "receipts_rejected": item.receipts_rejected,
        "challenges_answered": item.challenges_answered,
        "requests_limited": item.requests_limited,
        "undelivered": item.undelivered,
        "first_offer_time": _time(item.first_offer_time),
        "certificate_expire_time": _time(item.certificate_expire_time),
    }


def _lease(item: admin_pb2.LeaseStatus) -> dict[str, Any]:
    return {
        "exchange_id": item.exchange_id,
        "lease_id": item.lease_id,
        "state": item.state,
        "units": _units(item.units),
        "cgroup": item.cgroup,
        "limits_in_force": item.limits_in_force,
        "receipt_sequence": item.receipt_sequence,
        "used_cpu_milliseconds": item.used_cpu_milliseconds,
        "energy_millijoules": (
            item.energy_millijoules if item.HasField("energy_millijoules") else None
        ),
        "heat_millijoules": item.heat_millijoules if item.HasField("heat_millijoules") else None,
        "amount_due_msat": item.amount_due_msat,
    }


def _units(parts: Any) -> dict[str, int]:
    return {part.resource_class: part.units for part in parts}


def _time(moment: Timestamp) -> str | None:
    if not moment.seconds:
        return None
    return datetime.fromtimestamp(moment.seconds, UTC).isoformat().replace("+00:00", "Z")


def _milliseconds(duration: Duration) -> int:
    return duration.seconds * 1000 + duration.nanos // 1_000_000


def assurance(item: admin_pb2.ExchangeStatus) -> str:
    """Assurance class as it is spoken of: "virtual-tpm"."""
    return _word(item, "assurance", "ASSURANCE_CLASS_")


def _source(answer: admin_pb2.StatusResponse) -> str:
    """Where energy comes from, in the configuration's words: "billing-meter"."""
    return _word(answer, "energy_source", "MEASUREMENT_SOURCE_")


def _word(message: Message, field: str, prefix: str) -> str:
    """The name of an enumeration's value without its prefix; a value that is new, as a number."""
    kind = message.DESCRIPTOR.fields_by_name[field].enum_type
    value = getattr(message, field)
    known = None if kind is None else kind.values_by_number.get(value)
    name = str(value) if known is None else known.name
    return name.removeprefix(prefix).lower().replace("_", "-")


# --- for people --------------------------------------------------------------------------------


def describe(answer: admin_pb2.StatusResponse) -> Iterator[str]:
    """Return the lines, what the operator should do first."""
    for step in answer.next_steps:
        yield f"next: {step}"
    if answer.next_steps:
        yield ""
    free, capacity = _units(answer.available), _units(answer.capacity)
    units = ", ".join(
        f"{free.get(name, 0)} of {capacity[name]} {name}" for name in sorted(capacity, reverse=True)
    )
    yield f"node       {answer.node_id}"
    yield f"root       {answer.tpm}"
    yield f"agent      {answer.agent_version}, up {_long(answer.uptime.seconds)}"
    digest = answer.inventory_digest.hex()[:16]
    yield f"inventory  {digest}, generation {answer.inventory_generation}"
    yield f"free       {units or 'nothing to sell'}"
    yield f"log        {answer.log_size} leaves, {_checkpoint(answer)}"
    yield f"energy     {_energy(answer)}"
    yield (
        f"process    {answer.resident_kibibytes_peak / 1024:.1f} MiB at most,"
        f" {answer.cpu_milliseconds / 1000:.1f} s of CPU"
    )
    for item in answer.exchanges:
        yield ""
        yield from _describe_exchange(item)
        for lease in answer.leases:
            if lease.exchange_id == item.exchange_id:
                yield f"  {_describe_lease(lease)}"
    yield from _describe_sensors(answer.sensors)


def _describe_exchange(item: admin_pb2.ExchangeStatus) -> Iterator[str]:
    name = item.display_name or item.exchange_id[:16]
    state = "connected" if item.connected else f"NOT connected: {item.last_error or 'not yet'}"
    yield f"{name}  {item.endpoint}  {assurance(item)}  {state}"
    rejected = f", {item.receipts_rejected} REJECTED" if item.receipts_rejected else ""
    limited = f" {item.requests_limited} requests came TOO OFTEN;" if item.requests_limited else ""
    yield (
        f"  {plural(item.offers_delivered, 'offer')} delivered;"
        f" {plural(item.receipts_issued, 'receipt')} issued,"
        f" {item.receipts_acked} acknowledged{rejected}; {item.undelivered} waiting;{limited}"
        f" certificate until {(_time(item.certificate_expire_time) or 'never')[:10]}"
    )


def _describe_lease(lease: admin_pb2.LeaseStatus) -> str:
    units = ", ".join(f"{count} {name}" for name, count in _units(lease.units).items())
    loose = "; LIMITS NOT IN FORCE" if lease.cgroup and not lease.limits_in_force else ""
    return (
        f"{lease.lease_id}  {lease.state.lower()}; {units};"
        f" {plural(lease.receipt_sequence, 'receipt')},"
        f" {lease.used_cpu_milliseconds / 1000:.1f} s of CPU,"
        f" {msat(lease.amount_due_msat)} due{loose}"
    )


def _describe_sensors(sensors: Sequence[admin_pb2.SensorStatus]) -> Iterator[str]:
    """Name those that fail; those that this host does not have are one line."""
    faults = [item for item in sensors if item.fault]
    absent = [item.sensor for item in faults if item.fault.startswith("absent")]
    if faults:
        yield ""
    for item in faults:
        if item.sensor not in absent:
            yield f"no reading of {item.sensor}: {item.fault}"
    if absent:
        yield f"not on this host: {', '.join(absent)}"


def _energy(answer: admin_pb2.StatusResponse) -> str:
    if not answer.HasField("energy_millijoules"):
        return "not measured yet"
    used = f"{joules(answer.energy_millijoules)} used since the start ({_source(answer)})"
    if not answer.HasField("heat_millijoules"):
        return used
    return f"{used}, {joules(answer.heat_millijoules)} of heat reused"


def _checkpoint(answer: admin_pb2.StatusResponse) -> str:
    if not answer.HasField("checkpoint"):
        return "no checkpoint yet"
    head = answer.checkpoint
    return f"checkpoint {head.sequence} over {head.size} at {_time(head.time)}"


def _long(seconds: int) -> str:
    days, rest = divmod(seconds, 86_400)
    clock = f"{rest // 3600}:{rest % 3600 // 60:02}:{rest % 60:02}"
    return f"{plural(days, 'day')} {clock}" if days else clock
