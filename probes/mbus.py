"""Heat and electricity meters on wired M-Bus behind a TCP gateway (EN 13757-2 and -3).

One request is REQ_UD2 with an alternating FCB; a meter with more to tell is asked again. M-Bus has
one master: two agents must not read one gateway.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Literal

from probes import mbus_telegram
from probes.errors import Malformed, ProbeError
from probes.link import Deadline, Unreachable, connect, translate
from probes.mbus_telegram import FORWARD_ONLY, REVERSE_ONLY, Record, Telegram
from probes.reading import Counter, Gauge, Reading, SensorId, SourceClass, State, Unit

if TYPE_CHECKING:
    from probes.host import Host
    from probes.reading import Instant

MAX_TELEGRAMS = 16  # a meter that always has more to tell must not hold us

# EN 13757-3, table 7: what a meter says it measures.
MEDIA: Mapping[str, frozenset[int]] = {
    "heat": frozenset({0x04, 0x0C, 0x0D}),  # heat (outlet), heat (inlet), heat and cooling
    "electricity": frozenset({0x02}),
}

# Status byte, EN 13757-3, table 8 (busy and application error never get as far as here).
STATUS_BITS = ((0x04, "power-low"), (0x08, "permanent-error"), (0x10, "temporary-error"))
ABNORMAL = 0x03

# How many of our unit one of a record's is: exact, so that no energy is lost between the two.
ENERGY = {"Wh": Fraction(3_600_000), "kWh": Fraction(3_600_000_000), "J": Fraction(1_000)}
POWER = {"W": Fraction(1_000), "J/h": Fraction(1_000, 3_600)}
FLOW = {
    "m^3/h": Fraction(10**6),
    "m^3/min": Fraction(60 * 10**6),
    "m^3/s": Fraction(3_600 * 10**6),
}
VOLUME = {"m^3": Fraction(10**9), "l": Fraction(10**6)}
TEMPERATURE = {"C": Fraction(1_000)}

# EN 1434-1 meters measure up to 200 °C; what is outside stands for a sensor that is not there.
MIN_TEMPERATURE, MAX_TEMPERATURE = -50_000, 200_000


@dataclass(frozen=True, slots=True, kw_only=True)
class MbusMeter:
    """Configuration of one meter. `address` is its primary address, 254 where it is alone."""

    name: str
    host: str
    port: int = 10001
    address: int
    interval_seconds: int = 60
    medium: Literal["heat", "electricity"] = "heat"
    deadline_ms: int = 5_000  # 255 bytes at 2400 baud take 1.2 s
    source: SourceClass = SourceClass.BILLING_METER
    uncertainty_permille: int = 50  # a class 2 heat meter at a small temperature difference

    def __post_init__(self) -> None:
        if not 0 <= self.address <= 254 or 251 <= self.address <= 253:
            raise ValueError(f"address {self.address} is not a primary one (0 to 250, or 254)")
        if self.medium not in MEDIA:
            raise ValueError(f"medium {self.medium!r} is not one of {', '.join(sorted(MEDIA))}")
        if self.interval_seconds < 1 or self.deadline_ms < 1:
            raise ValueError("interval_seconds and deadline_ms must be at least 1")


class MbusProbe:
    """One meter: its energy register and what else it tells, all stamped when it had answered.

    Quantities of a heat meter: `heat` and `heat_reverse` [mJ, counters], `power` (of heat) [mW],
    `flow` [mL/h], `supply_temperature` and `return_temperature` [m°C], `volume` [uL, counter]; of
    an electricity meter `energy` and `energy_export` [mJ] and `power` [mW]. Always `status`, a
    state: `ok`, or what the meter complains of. The epoch of the counters is the meter's own
    identification: another meter at the same address is another counter.
    """

    slow = True

    def __init__(self, meter: MbusMeter) -> None:
        self.name = f"mbus:{meter.name}"
        self.interval_ns = meter.interval_seconds * 1_000_000_000
        self._meter = meter
        self._socket: socket.socket | None = None
        self._fcb = True

    def read(self, host: Host, at: Instant) -> tuple[Reading, ...]:
        """Ask the meter within its deadline; on any failure the connection is dropped.

        :raises Unreachable, Denied, TimedOut, Malformed: as network and meter answer. Malformed
            also for another medium than configured, or a meter without an energy register.
        """
        deadline = Deadline(self._meter.deadline_ms / 1000, self.name)
        reused = self._socket is not None
        try:
            try:
                telegrams = self._ask(deadline)
            except Unreachable:
                if not reused:
                    raise
                self.close()  # gateways cut idle connections: that is no fault of the meter
                telegrams = self._ask(deadline)
            values = interpret(telegrams, self._meter.medium)
        except ProbeError:
            self.close()  # a late answer must not be taken for the next one's
            raise
        now = host.now()
        return tuple(
            Reading(
                sensor=SensorId("mbus", self._meter.name, quantity),
                at=now,
                value=value,
                source=self._meter.source,
                uncertainty_permille=self._meter.uncertainty_permille,
            )
            for quantity, value in values.items()
        )

    def close(self) -> None:
        """Close the connection."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _ask(self, deadline: Deadline) -> tuple[Telegram, ...]:
        """Fetch all telegrams that the meter has for one read-out."""
        link = self._socket  # `close` may come from another thread, to end a read that hangs
        if link is None:
            link = self._socket = connect(self._meter.host, self._meter.port, deadline)
            self._reset(link, deadline)
        telegrams: list[Telegram] = []
        for _ in range(MAX_TELEGRAMS):
            control = mbus_telegram.REQ_UD2 | (mbus_telegram.FCB if self._fcb else 0)
            self._send(link, control, deadline)
            header = self._receive(link, 4, deadline)
            rest = self._receive(link, mbus_telegram.long_frame_length(header), deadline)
            telegrams.append(mbus_telegram.decode(header + rest, self._meter.address))
            self._fcb = not self._fcb
            if not telegrams[-1].more_follows:
                return tuple(telegrams)
        raise Malformed(f"{self.name}: more than {MAX_TELEGRAMS} telegrams in one read-out")

    def _reset(self, link: socket.socket, deadline: Deadline) -> None:
        """Reset the meter's link layer, so that it starts over with its first telegram."""
        self._send(link, mbus_telegram.SND_NKE, deadline)
        answer = self._receive(link, 1, deadline)
        if answer[0] != mbus_telegram.ACK:
            raise Malformed(f"{self.name}: SND_NKE answered by {answer.hex()}")
        self._fcb = True  # EN 13757-2, 5.7.6: the first request after SND_NKE has FCB set

    def _send(self, link: socket.socket, control: int, deadline: Deadline) -> None:
        try:
            link.settimeout(deadline.remaining())
            link.sendall(mbus_telegram.short_frame(control, self._meter.address))
        except OSError as error:
            raise translate(error, self.name) from error

    def _receive(self, link: socket.socket, count: int, deadline: Deadline) -> bytes:
        received = bytearray()
        while len(received) < count:
            try:
                link.settimeout(deadline.remaining())
                chunk = link.recv(count - len(received))
            except OSError as error:
                raise translate(error, self.name) from error
            if not chunk:
                raise Unreachable(f"{self.name}: the connection was cut")
            received += chunk
        return bytes(received)


def interpret(telegrams: tuple[Telegram, ...], medium: str) -> dict[str, Counter | Gauge | State]:
    """Turn one read-out into quantities. Pure.

    Only current values of the main register count: storage, tariff and sub-unit 0. The first
    record of a quantity wins. A value that the meter marks as invalid is left out.

    :param medium: a key of `MEDIA`.
    :raises Malformed: another medium or meter, or no energy register.
    """
    first = telegrams[0]
    if any(telegram.secondary != first.secondary for telegram in telegrams):
        raise Malformed("M-Bus: one read-out with telegrams of two meters")
    if first.medium not in MEDIA[medium]:
        raise Malformed(f"M-Bus: the meter measures medium {first.medium:#04x}, not {medium}")
    values: dict[str, Counter | Gauge | State] = {}
    for telegram in telegrams:
        for record in telegram.records:
            for quantity, value in _quantity(record, medium, first.secondary):
                values.setdefault(quantity, value)
    total = "heat" if medium == "heat" else "energy"
    if total not in values:
        raise Malformed("M-Bus: the read-out has no valid energy register")
    values["status"] = State(describe_status(first.status))
    return values


def describe_status(status: int) -> str:
    """Name the complaints of a status byte, `ok` without one."""
    names = [name for bit, name in STATUS_BITS if status & bit]
    if status & ABNORMAL == ABNORMAL:
        names.append("abnormal")
    return "+".join(names) or "ok"


def _quantity(record: Record, medium: str, epoch: str) -> Iterator[tuple[str, Counter | Gauge]]:
    """Yield the quantity that a record is, or nothing."""
    current = record.function == "INSTANTANEOUS_VALUE" and record.plain
    if record.value is None or not current or record.storage or record.tariff or record.device:
        return
    reverse = record.direction == REVERSE_ONLY
    kind, unit, value = record.kind.upper(), record.unit, record.value
    if kind.startswith("ENERGY") and unit in ENERGY:
        names = ("heat", "heat_reverse") if medium == "heat" else ("energy", "energy_export")
        yield from _total(names[reverse], value * ENERGY[unit], Unit.MILLIJOULE, epoch)
    elif reverse or record.direction == FORWARD_ONLY:
        return
    elif kind == "VOLUME" and unit in VOLUME:
        yield from _total("volume", value * VOLUME[unit], Unit.MICROLITRE, epoch)
    elif kind.startswith("POWER") and unit in POWER:
        yield "power", Gauge(round(value * POWER[unit]), Unit.MILLIWATT)
    elif kind.startswith("VOLUME_FLOW") and unit in FLOW:
        yield "flow", Gauge(round(value * FLOW[unit]), Unit.MILLILITRE_PER_HOUR)
    elif kind in ("FLOW_TEMPERATURE", "RETURN_TEMPERATURE") and unit in TEMPERATURE:
        temperature = round(value * TEMPERATURE[unit])
        if MIN_TEMPERATURE <= temperature <= MAX_TEMPERATURE:
            name = "supply_temperature" if kind.startswith("FLOW") else "return_temperature"
            yield name, Gauge(temperature, Unit.MILLICELSIUS)


def _total(
    name: str, value: Fraction, unit: Unit, epoch: str
) -> Iterator[tuple[str, Counter | Gauge]]:
    if value >= 0:  # no total is below zero; such a record is not valid
        yield name, Counter(int(value), unit, epoch=epoch)
