"""CPU energy from the powercap tree (Documentation/power/powercap/powercap.rst).

Either the platform zone (`psys`), or packages and their DRAM, and nothing else: `core` and
`uncore` are part of the package, and `intel-rapl-mmio` shows the same package a second time. AMD
uses the same names and has no DRAM zone.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from probes.errors import Absent, Malformed
from probes.reading import Counter, Reading, SensorId, SourceClass, Unit

if TYPE_CHECKING:
    from probes.host import Host, OpenFile
    from probes.reading import Instant

POWERCAP = "/sys/class/powercap"
ZONE = re.compile(r"intel-rapl:(\d+)(?::(\d+))?")  # control type, zone, sub-zone


@dataclass(frozen=True, slots=True)
class Zone:
    """One energy counter: `locator` as `psys`, `package-0` or `package-0/dram`."""

    locator: str
    file: OpenFile
    modulus: int  # max_energy_range_uj: where the counter starts over


class Rapl:
    """One `energy` counter [uJ] for each zone that counts. Their sum is the CPU's energy.

    A 262 kJ counter wraps in 17 minutes at 250 W, AMD's 65 kJ one in 4: hence once a second. The
    epoch is the boot and the inode of the counter's file, which changes when the driver is loaded
    anew.
    """

    name = "rapl"
    interval_ns = 1_000_000_000
    slow = False

    def __init__(self) -> None:
        self._zones: tuple[Zone, ...] = ()

    def read(self, host: Host, at: Instant) -> tuple[Reading, ...]:
        """Read all zones, or fail: a sum that lacks one of its parts is no figure.

        :raises Absent: no RAPL here.
        :raises Denied: `energy_uj` is readable by root only (since Linux 5.10, CVE-2020-8694).
        """
        if not self._zones:
            self._zones = find_zones(host)
        try:
            return tuple(self._reading(zone, at) for zone in self._zones)
        except Absent:
            self.close()  # the driver went; the next read looks for it anew
            raise

    @staticmethod
    def _reading(zone: Zone, at: Instant) -> Reading:
        energy = parse_energy(zone.file.read(), zone.modulus)
        return Reading(
            sensor=SensorId("rapl", zone.locator, "energy"),
            at=at,
            value=Counter(energy, Unit.MICROJOULE, zone.modulus, f"{at.boot_id}/{zone.file.inode}"),
            source=SourceClass.RAPL_NVML,
        )

    def close(self) -> None:
        """Close all counters."""
        for zone in self._zones:
            zone.file.close()
        self._zones = ()


def parse_energy(raw: bytes, modulus: int) -> int:
    """Return a counter's value in microjoules; one above its own range is `Malformed`."""
    text = raw.strip()
    if not text.isdigit() or len(text) > 20 or int(text) > modulus:
        raise Malformed(f"energy_uj: {raw[:40]!r} with a range of {modulus} uJ")
    return int(text)


def find_zones(host: Host) -> tuple[Zone, ...]:
    """Choose and open the zones that make up the CPU's energy, each counted once.

    A `psys` that stands at zero is not wired up (common on boards whose vendor left it out) and is
    passed over.
    """
    named: dict[str, str] = {}
    for directory in host.names(POWERCAP):
        match = ZONE.fullmatch(directory)
        if match is None:
            continue
        locator = host.text(f"{POWERCAP}/{directory}/name")
        if match[2] is not None:
            locator = f"{host.text(f'{POWERCAP}/intel-rapl:{match[1]}/name')}/{locator}"
        if locator in named:
            locator = f"{locator}@{directory}"
        named[locator] = directory
    platform = [
        locator
        for locator, directory in named.items()
        if locator.startswith("psys") and "/" not in locator and _counts(host, directory)
    ]
    parts = [
        locator
        for locator in named
        if re.fullmatch(r"package-[^/]*(/dram(@.*)?)?", locator) is not None
    ]
    chosen = platform or parts
    if not chosen:
        raise Absent(f"{POWERCAP}: no package and no psys zone")
    zones: list[Zone] = []
    for locator in sorted(chosen):
        path = f"{POWERCAP}/{named[locator]}"
        modulus = host.integer(f"{path}/max_energy_range_uj")
        if modulus <= 0:
            raise Malformed(f"{path}: a range of {modulus} uJ")
        zones.append(Zone(locator, host.open(f"{path}/energy_uj"), modulus))
    return tuple(zones)


def _counts(host: Host, directory: str) -> bool:
    return host.integer(f"{POWERCAP}/{directory}/energy_uj") > 0
