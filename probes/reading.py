"""Values that probes return. Pure.

A probe declares what a number is (`Counter` or `Gauge`), nobody guesses it later; every number is
an integer in the unit it names.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Unit(Enum):
    """Small integer units. Prefixes are spelled so that no factor is ever implied."""

    MICROSECOND = "us"
    NANOSECOND = "ns"
    BYTE = "B"
    MICROJOULE = "uJ"
    MILLIJOULE = "mJ"
    MILLIWATT = "mW"
    MILLICELSIUS = "m°C"
    MILLIVOLT = "mV"
    MILLIAMPERE = "mA"
    MILLIHERTZ = "mHz"
    MICROLITRE = "uL"
    MILLILITRE_PER_HOUR = "mL/h"
    PERMILLE = "permille"
    REVOLUTIONS_PER_MINUTE = "rpm"
    COUNT = "count"


class SourceClass(Enum):
    """Where an energy, power or heat figure comes from, best first (MeasurementSource)."""

    BILLING_METER = 1
    PDU = 2
    BMC = 3
    RAPL_NVML = 4
    MODEL = 5
    DECLARED = 6


@dataclass(frozen=True, slots=True)
class Instant:
    """One moment on the clocks that matter.

    `boottime_ns` (CLOCK_BOOTTIME) is what durations are computed from, within one `boot_id`;
    `monotonic_ns` stands still in suspend, so their difference shows it; `wall_ns` is a label.
    """

    boottime_ns: int
    monotonic_ns: int
    wall_ns: int
    boot_id: str


@dataclass(frozen=True, slots=True, order=True)
class SensorId:
    """Stable name of one sensor: probe, place on it, quantity (`rapl`, `package-0`, `energy`)."""

    source: str
    locator: str
    quantity: str

    def __str__(self) -> str:
        return f"{self.source}:{self.locator}:{self.quantity}"


@dataclass(frozen=True, slots=True)
class Counter:
    """A total that only rises.

    `modulus` is the value at which the device wraps, where it is known to; without one a fall is a
    reset, never a wrap. `epoch` changes whenever the device or its driver starts anew.
    """

    total: int
    unit: Unit
    modulus: int | None = None
    epoch: str = ""


@dataclass(frozen=True, slots=True)
class Gauge:
    """A value of the moment."""

    value: int
    unit: Unit


@dataclass(frozen=True, slots=True)
class State:
    """A named condition (`frozen`, `on-battery`)."""

    value: str


@dataclass(frozen=True, slots=True)
class Reading:
    """One value from one sensor at the instant at which the *device* was read."""

    sensor: SensorId
    at: Instant
    value: Counter | Gauge | State
    source: SourceClass | None = None
    uncertainty_permille: int | None = None
