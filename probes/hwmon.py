"""Power, temperature, fans, coolant flow and energy of the board.

Source: Documentation/hwmon/sysfs-interface.rst, which fixes names and units of all attributes.

A sensor's name is the path of the device it belongs to, the chip, and its label: `hwmonN` moves
between boots. What a driver serves when it has nothing is dropped, which leaves a gap.
"""

from __future__ import annotations

import re
from collections import Counter as Tally
from dataclasses import dataclass
from typing import TYPE_CHECKING

from probes.errors import Absent, ProbeError
from probes.reading import Counter, Gauge, Reading, SensorId, SourceClass, Unit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from probes.host import Host, OpenFile
    from probes.reading import Instant

HWMON = "/sys/class/hwmon"
ATTRIBUTE = re.compile(r"(power|temp|fan|energy)(\d+)_(input|average)")

MAX_POWER_UW = 100_000_000_000  # 100 kW: beyond any one host
MIN_TEMPERATURE, MAX_TEMPERATURE = -55_000, 126_999  # 127 °C: an open input of a signed byte
MAX_FAN_RPM = 100_000
DS18B20_POWER_ON = 85_000  # its data sheet: the register's value before the first conversion
ALL_ONES = frozenset(
    ones * factor
    for ones in (0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, (1 << 63) - 1, (1 << 64) - 1)
    for factor in (1, 1000, 1_000_000)
)

# Aquacomputer's driver passes other things off as fans; only the label tells
# (drivers/hwmon/aquacomputer_d5next.c).
FLOW_LABEL = re.compile(r"flow.*\[dL/h\]", re.IGNORECASE)
OTHER_UNIT_LABEL = re.compile(r"\[.*\]")


@dataclass(frozen=True, slots=True)
class Sensor:
    """One attribute file and what it is."""

    id: SensorId
    kind: str  # power, temp, fan, flow, energy
    chip: str
    file: OpenFile


class Hwmon:
    """Every usable sensor below `/sys/class/hwmon`.

    Slow: a chip behind SMBus or an ACPI power meter may take its time. One sensor that fails is
    absent from the readings; only if all fail does the read fail, with the first failure.
    """

    name = "hwmon"
    interval_ns = 5_000_000_000
    slow = True

    def __init__(self) -> None:
        self._names: tuple[str, ...] = ()
        self._sensors: tuple[Sensor, ...] = ()

    def read(self, host: Host, at: Instant) -> tuple[Reading, ...]:
        """Read every sensor, each stamped after it has answered.

        :raises Absent: no hwmon class, or no sensor of a kind that we read.
        """
        names = host.names(HWMON)
        if names != self._names or not self._sensors:
            self.close()
            self._sensors = tuple(find_sensors(host, names))
            self._names = names
        if not self._sensors:
            raise Absent(f"{HWMON}: no power, temperature, fan, flow or energy sensor")
        readings: list[Reading] = []
        first: ProbeError | None = None
        for sensor in self._sensors:
            try:
                raw = sensor.file.read()
            except ProbeError as error:
                first = first or error
                if isinstance(error, Absent):
                    self._names = ()  # a device went: look anew next time
                continue
            value = parse(sensor.kind, sensor.chip, raw, f"{at.boot_id}/{sensor.file.inode}")
            if value is not None:
                source = SourceClass.BMC if sensor.chip == "power_meter" else None
                readings.append(Reading(sensor.id, host.now(), value, source))
        if not readings and first is not None:
            raise first
        return tuple(readings)

    def close(self) -> None:
        """Close all attributes."""
        for sensor in self._sensors:
            sensor.file.close()
        self._sensors = ()
        self._names = ()


def parse(kind: str, chip: str, raw: bytes, epoch: str) -> Counter | Gauge | None:
    """Return an attribute's value in our units, or None where it is no measurement.

    :param kind: `power` [uW], `temp` [m°C], `fan` [rpm], `flow` [dL/h] or `energy` [uJ].
    """
    text = raw.strip(b"\n\t \0")
    if not text.removeprefix(b"-").isdigit() or len(text) > 20:
        return None
    number = int(text)
    if number in ALL_ONES:
        return None
    match kind:
        case "power" if 0 <= number <= MAX_POWER_UW:
            return Gauge((number + 500) // 1000, Unit.MILLIWATT)
        case "temp" if MIN_TEMPERATURE <= number <= MAX_TEMPERATURE:
            if number == DS18B20_POWER_ON and chip.startswith("w1_"):
                return None
            return Gauge(number, Unit.MILLICELSIUS)
        case "fan" if 0 <= number <= MAX_FAN_RPM:
            return Gauge(number, Unit.REVOLUTIONS_PER_MINUTE)
        case "flow" if number >= 0:
            return Gauge(number * 100, Unit.MILLILITRE_PER_HOUR)
        case "energy" if number >= 0:
            return Counter(number, Unit.MICROJOULE, epoch=epoch)
        case _:
            return None


QUANTITIES = {
    "power": "power",
    "temp": "temperature",
    "fan": "fan",
    "flow": "flow",
    "energy": "energy",
}


def find_sensors(host: Host, names: tuple[str, ...]) -> Iterator[Sensor]:
    """Open every sensor of every chip. A chip that goes away meanwhile is skipped."""
    taken: Tally[str] = Tally()
    for name in names:
        try:
            directory = f"{HWMON}/{name}"
            if not any(map(ATTRIBUTE.fullmatch, host.names(directory))):
                directory += "/device"  # drivers of the old interface (applesmc) keep them there
            chip = _text(host, f"{directory}/name") or "unnamed"
            place = f"{device_path(host, name)}/{chip}"
            taken[place] += 1
            if taken[place] > 1:
                place = f"{place}#{taken[place]}"
            yield from _find_on_chip(host, directory, chip, place)
        except ProbeError:
            continue


def _find_on_chip(host: Host, directory: str, chip: str, place: str) -> Iterator[Sensor]:
    matches = [match for match in map(ATTRIBUTE.fullmatch, host.names(directory)) if match]
    inputs = {(match[1], match[2]) for match in matches if match[3] == "input"}
    labels = Tally(_label(host, directory, match) for match in matches)
    for match in matches:
        kind, number, suffix = match.groups()
        if suffix == "average" and (kind != "power" or (kind, number) in inputs):
            continue
        label = _label(host, directory, match)
        if kind == "fan" and FLOW_LABEL.search(label):
            kind = "flow"
        elif kind == "fan" and OTHER_UNIT_LABEL.search(label):
            continue  # water quality, conductivity, pressure
        # A label that two sensors share names neither.
        shown = label if label and labels[label] == 1 else f"{match[1]}{number}"
        try:
            file = host.open(f"{directory}/{match[0]}")
        except ProbeError:
            continue
        yield Sensor(SensorId("hwmon", f"{place}/{shown}", QUANTITIES[kind]), kind, chip, file)


def _label(host: Host, directory: str, match: re.Match[str]) -> str:
    return _text(host, f"{directory}/{match[1]}{match[2]}_label")


def _text(host: Host, path: str) -> str:
    """Return what a file says, nothing where there is none."""
    try:
        return host.text(path)
    except ProbeError:
        return ""


def device_path(host: Host, name: str) -> str:
    """Return the path below `/sys/devices` of the device that a chip belongs to.

    `platform/coretemp.0`, `pci0000:00/0000:00:01.3/0000:02:00.0/nvme/nvme0`; for a chip of no
    device, `virtual`. Stable between boots as long as the hardware stays where it is.
    """
    link = host.path(f"{HWMON}/{name}").resolve()
    try:
        parts = link.relative_to(host.path("/sys/devices").resolve()).parts
    except ValueError:
        return "virtual"  # a plain directory below /sys/class, or a link out of the machine
    parents = list(parts[:-1])
    if parents and parents[-1] == "hwmon":
        parents.pop()
    return "/".join(parents) or "virtual"
