"""probes.hostcpu, probes.rapl and probes.hwmon on small trees, one way to be wrong each."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from probes.errors import Absent, Malformed
from probes.host import Host
from probes.hostcpu import HostCpu, parse_proc_stat
from probes.hwmon import Hwmon, parse
from probes.rapl import Rapl, parse_energy
from probes.reading import Counter, Gauge, Instant, Reading, SourceClass, Unit

AT = Instant(boottime_ns=1, monotonic_ns=1, wall_ns=1, boot_id="boot-1")
STAT = "cpu  23113 5 6610 235895 1028 1 354 4550 9 0\ncpu0 1 2 3 4 5 6 7 8 9 0\nintr 0\n"


def write(root: Path, path: str, text: str) -> None:
    where = root / path
    where.parent.mkdir(parents=True, exist_ok=True)
    where.write_text(text)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write(tmp_path, "proc/sys/kernel/random/boot_id", "boot-1\n")
    return tmp_path


def values(readings: tuple[Reading, ...]) -> dict[tuple[str, str], int]:
    return {
        (reading.sensor.locator, reading.sensor.quantity): (
            reading.value.total if isinstance(reading.value, Counter) else reading.value.value
        )
        for reading in readings
        if isinstance(reading.value, Counter | Gauge)
    }


# --- hostcpu


def test_cpu_from_proc_stat_alone(root: Path) -> None:
    write(root, "proc/stat", STAT)
    busy, steal = HostCpu().read(Host(root), AT)
    assert busy.value == Counter(300_830_000, Unit.MICROSECOND, epoch="boot-1/stat")
    assert steal.value == Counter(45_500_000, Unit.MICROSECOND, epoch="boot-1/stat")


@pytest.mark.parametrize(("namespaced", "busy"), [(False, 77), (True, 300_830_000)])
def test_cpu_from_the_root_cgroup_unless_it_is_a_namespace(
    root: Path, namespaced: bool, busy: int
) -> None:
    write(root, "proc/stat", STAT)
    write(root, "proc/self/mountinfo", "4 3 0:3 / /sys/fs/cgroup rw - cgroup2 none rw\n")
    write(root, "sys/fs/cgroup/cpu.stat", "usage_usec 99\nuser_usec 70\nsystem_usec 7\n")
    if namespaced:
        write(root, "sys/fs/cgroup/cgroup.events", "populated 1\nfrozen 0\n")
    assert values(HostCpu().read(Host(root), AT))["host", "busy"] == busy


def test_no_proc_stat(root: Path) -> None:
    with pytest.raises(Absent):
        HostCpu().read(Host(root), AT)


def test_proc_stat_of_another_shape() -> None:
    with pytest.raises(Malformed):
        parse_proc_stat(b"cpu 1 2 3 4\n")


# --- rapl


def zone(root: Path, directory: str, name: str, energy: int | str, span: int = 1000) -> Path:
    base = f"sys/class/powercap/{directory}"
    write(root, f"{base}/name", f"{name}\n")
    write(root, f"{base}/energy_uj", f"{energy}\n")
    write(root, f"{base}/max_energy_range_uj", f"{span}\n")
    return root / base


def two_sockets(root: Path) -> None:
    zone(root, "intel-rapl:0", "package-0", 100)
    zone(root, "intel-rapl:0:0", "core", 60)
    zone(root, "intel-rapl:0:1", "uncore", 5)
    zone(root, "intel-rapl:0:2", "dram", 20)
    zone(root, "intel-rapl:1", "package-1", 200)
    zone(root, "intel-rapl:1:0", "dram", 30)
    zone(root, "intel-rapl-mmio:0", "package-0", 100)


def test_packages_and_dram_each_once(root: Path) -> None:
    two_sockets(root)
    readings = Rapl().read(Host(root), AT)
    assert values(readings) == {
        ("package-0", "energy"): 100,
        ("package-0/dram", "energy"): 20,
        ("package-1", "energy"): 200,
        ("package-1/dram", "energy"): 30,
    }
    assert {reading.source for reading in readings} == {SourceClass.RAPL_NVML}
    assert all(
        isinstance(reading.value, Counter)
        and reading.value.modulus == 1000
        and reading.value.unit is Unit.MICROJOULE
        for reading in readings
    )


def test_psys_replaces_its_parts(root: Path) -> None:
    two_sockets(root)
    zone(root, "intel-rapl:2", "psys", 700)
    assert values(Rapl().read(Host(root), AT)) == {("psys", "energy"): 700}


def test_psys_that_is_not_wired_up(root: Path) -> None:
    two_sockets(root)
    zone(root, "intel-rapl:2", "psys", 0)
    assert ("package-0", "energy") in values(Rapl().read(Host(root), AT))


def test_no_rapl(root: Path) -> None:
    with pytest.raises(Absent):
        Rapl().read(Host(root), AT)
    zone(root, "intel-rapl:0:0", "core", 60)
    zone(root, "intel-rapl:0", "mystery", 60)
    with pytest.raises(Absent):
        Rapl().read(Host(root), AT)


@pytest.mark.skipif(os.geteuid() != 0, reason="gives its privileges up, so must have them")
def test_root_only_counters_are_denied() -> None:
    program = (
        "import sys; from probes.errors import Denied; from probes.host import Host\n"
        "from probes.rapl import find_zones\n"
        "try: find_zones(Host(sys.argv[1]))\n"
        "except Denied: print('denied')\n"
    )
    with tempfile.TemporaryDirectory() as directory:  # tmp_path lies where only we may go
        root = Path(directory)
        root.chmod(0o755)
        (zone(root, "intel-rapl:0", "package-0", 100) / "energy_uj").chmod(0o400)
        told = subprocess.run(
            [sys.executable, "-c", program, directory],
            env={"PYTHONPATH": str(Path(__file__).parents[2])},
            user=65534,
            capture_output=True,
            check=True,
            text=True,
        )
    assert told.stdout == "denied\n"


def test_a_reloaded_driver_is_another_epoch(root: Path) -> None:
    directory = zone(root, "intel-rapl:0", "package-0", 100)
    probe, host = Rapl(), Host(root)
    (before,) = probe.read(host, AT)
    (directory / "energy_uj").rename(directory / "old")  # keeps the old inode in use
    write(root, "sys/class/powercap/intel-rapl:0/energy_uj", "3\n")
    probe.close()
    (after,) = probe.read(host, AT)
    assert isinstance(before.value, Counter)
    assert isinstance(after.value, Counter)
    assert before.value.epoch != after.value.epoch


@pytest.mark.parametrize("raw", [b"", b"-1\n", b"1001\n", b"0x10", b"9" * 30, b"\xff"])
def test_energy_outside_its_range(raw: bytes) -> None:
    with pytest.raises(Malformed):
        parse_energy(raw, 1000)


# --- hwmon


def chip(root: Path, number: int, device: str, name: str, files: dict[str, str]) -> None:
    base = f"sys/devices/{device}/hwmon/hwmon{number}"
    write(root, f"{base}/name", f"{name}\n")
    for file, text in files.items():
        write(root, f"{base}/{file}", f"{text}\n")
    link = root / f"sys/class/hwmon/hwmon{number}"
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(f"../../devices/{device}/hwmon/hwmon{number}")


GPU = {"power1_average": "35000499", "power1_label": "PPT", "temp1_input": "54000"}


def test_names_do_not_move_with_hwmon_numbers(tmp_path: Path) -> None:
    seen = []
    for turn, (gpu, disk) in enumerate([(0, 1), (7, 3)]):
        root = tmp_path / str(turn)
        write(root, "proc/sys/kernel/random/boot_id", "boot-1\n")
        chip(root, gpu, "pci0000:00/0000:03:00.0", "amdgpu", GPU)
        chip(root, disk, "pci0000:00/0000:04:00.0/nvme/nvme0", "nvme", {"temp1_input": "31850"})
        seen.append(values(Hwmon().read(Host(root), AT)))
    assert seen[0] == seen[1]
    assert seen[0] == {
        ("pci0000:00/0000:03:00.0/amdgpu/PPT", "power"): 35_000,
        ("pci0000:00/0000:03:00.0/amdgpu/temp1", "temperature"): 54_000,
        ("pci0000:00/0000:04:00.0/nvme/nvme0/nvme/temp1", "temperature"): 31_850,
    }


def test_coolant_flow_is_known_by_its_label_only(root: Path) -> None:
    files = {
        "fan1_input": "1200",
        "fan1_label": "Fan 1 speed",
        "fan2_input": "845",
        "fan2_label": "Flow speed [dL/h]",
        "fan3_input": "99",
        "fan3_label": "Water quality [%]",
    }
    chip(root, 0, "usb1/1-3/0003:0C70", "quadro", files)
    assert values(Hwmon().read(Host(root), AT)) == {
        ("usb1/1-3/0003:0C70/quadro/Fan 1 speed", "fan"): 1200,
        ("usb1/1-3/0003:0C70/quadro/Flow speed [dL/h]", "flow"): 84_500,
    }


def test_input_is_preferred_to_average_and_a_shared_label_names_nobody(root: Path) -> None:
    files = {
        "power1_input": "1000000",
        "power1_average": "2000000",
        "temp1_input": "20000",
        "temp1_label": "Sensor",
        "temp2_input": "30000",
        "temp2_label": "Sensor",
    }
    chip(root, 0, "platform/acpi", "power_meter", files)
    readings = Hwmon().read(Host(root), AT)
    assert values(readings) == {
        ("platform/acpi/power_meter/power1", "power"): 1000,
        ("platform/acpi/power_meter/temp1", "temperature"): 20_000,
        ("platform/acpi/power_meter/temp2", "temperature"): 30_000,
    }
    assert readings[0].source is SourceClass.BMC


@pytest.mark.parametrize(
    ("kind", "raw"),
    [
        ("power", b"4294967295000\n"),
        ("power", b"-1\n"),
        ("power", b"4294967295\n"),
        ("temp", b"-273150\n"),
        ("temp", b"127000\n"),
        ("temp", b"4294967295\n"),
        ("fan", b"65535\n"),
        ("fan", b"-7\n"),
        ("energy", b"18446744073709551615\n"),
        ("temp", b""),
        ("temp", b"12.5\n"),
        ("temp", b"--5\n"),
        ("humidity", b"5\n"),
    ],
)
def test_what_stands_for_nothing_is_no_reading(kind: str, raw: bytes) -> None:
    assert parse(kind, "chip", raw, "") is None


def test_ds18b20_power_on_value_is_no_temperature_but_a_cpu_may_be_that_hot() -> None:
    assert parse("temp", "w1_slave_temp", b"85000\n", "") is None
    assert parse("temp", "k10temp", b"85000\n", "") == Gauge(85_000, Unit.MILLICELSIUS)


def test_hwmon_energy_is_a_counter(root: Path) -> None:
    chip(root, 0, "platform/amd_energy.0", "amd_energy", {"energy1_input": "5000"})
    (reading,) = Hwmon().read(Host(root), AT)
    assert isinstance(reading.value, Counter)
    assert (reading.value.total, reading.value.unit) == (5000, Unit.MICROJOULE)


def test_no_hwmon(root: Path) -> None:
    with pytest.raises(Absent):
        Hwmon().read(Host(root), AT)
    chip(root, 0, "platform/x", "x", {"in0_input": "12000"})
    with pytest.raises(Absent):
        Hwmon().read(Host(root), AT)


def test_a_chip_that_comes_is_found_and_one_sensor_that_fails_is_a_gap(root: Path) -> None:
    probe, host = Hwmon(), Host(root)
    chip(root, 0, "platform/a", "a", {"temp1_input": "20000", "temp2_input": "?"})
    assert values(probe.read(host, AT)) == {("platform/a/a/temp1", "temperature"): 20_000}
    chip(root, 1, "platform/b", "b", {"temp1_input": "21000"})
    assert values(probe.read(host, AT)) == {
        ("platform/a/a/temp1", "temperature"): 20_000,
        ("platform/b/b/temp1", "temperature"): 21_000,
    }
