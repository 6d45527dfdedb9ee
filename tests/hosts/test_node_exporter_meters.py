"""The meters in node_exporter's recorded machine read as node_exporter reads them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from probes.host import Host
from probes.hwmon import Hwmon
from probes.rapl import Rapl
from probes.reading import Counter, Gauge, Instant, Reading, Unit

ARCHIVE = Path(__file__).parent / "node_exporter" / "meters.ttar"
AT = Instant(boottime_ns=1, monotonic_ns=1, wall_ns=1, boot_id="boot-1")


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """Unpack the archive: `Path:` with `Lines:` or `SymlinkTo:` in each block."""
    for block in re.split(r"^# ttar.*\n", ARCHIVE.read_text(), flags=re.MULTILINE):
        lines = block.splitlines()
        path = tmp_path / lines[0].removeprefix("Path: ")
        path.parent.mkdir(parents=True, exist_ok=True)
        if lines[1].startswith("SymlinkTo: "):
            path.symlink_to(lines[1].removeprefix("SymlinkTo: "))
        else:
            count = int(lines[1].removeprefix("Lines: "))
            path.write_text("".join(f"{line}\n" for line in lines[2 : 2 + count]))
    boot = tmp_path / "proc/sys/kernel/random/boot_id"
    boot.parent.mkdir(parents=True)
    boot.write_text("boot-1\n")
    return Host(tmp_path)


def gauges(readings: tuple[Reading, ...], quantity: str) -> dict[str, int]:
    return {
        reading.sensor.locator: reading.value.value
        for reading in readings
        if reading.sensor.quantity == quantity and isinstance(reading.value, Gauge)
    }


def test_rapl_counts_the_package_and_not_its_core(host: Host) -> None:
    (reading,) = Rapl().read(host, AT)
    assert reading.sensor.locator == "package-0"
    assert isinstance(reading.value, Counter)
    assert reading.value.total == 240_422_366_267  # node_rapl_package_joules_total
    assert reading.value.modulus == 262_143_328_850
    assert reading.value.unit is Unit.MICROJOULE


def test_temperatures(host: Host) -> None:
    wifi = "platform/soc/18000000.wifi/ieee80211/phy0/mt7996_phy0"
    core = "platform/coretemp"
    found = gauges(Hwmon().read(host, AT), "temperature")
    assert found == {
        "virtual/unnamed/temp1": 55_000,  # both are labelled "foosensor", which names neither
        "virtual/unnamed/temp2": 54_000,
        f"{wifi}_0/temp1": 55_000,
        f"{wifi}_1/temp1": 56_000,
        f"{wifi}_2/temp1": 57_000,
        f"{core}.0/coretemp/Physical id 0": 55_000,
        f"{core}.0/coretemp/Core 0": 54_000,
        f"{core}.0/coretemp/Core 1": 52_000,
        f"{core}.0/coretemp/Core 2": 53_000,
        f"{core}.0/coretemp/Core 3": 50_000,
        f"{core}.1/coretemp/Physical id 0": 55_000,
        f"{core}.1/coretemp/Core 0": 54_000,
        f"{core}.1/coretemp/Core 1": 52_000,
        f"{core}.1/coretemp/Core 2": 53_000,
        f"{core}.1/coretemp/Core 3": 50_000,
    }


def test_fans_also_where_an_old_driver_keeps_them_with_the_device(host: Host) -> None:
    assert gauges(Hwmon().read(host, AT), "fan") == {
        "platform/nct6775.656/nct6779/fan2": 1098,
        "platform/applesmc.768/applesmc/Left side": 0,
        "platform/applesmc.768/applesmc/Right side": 1998,
    }
