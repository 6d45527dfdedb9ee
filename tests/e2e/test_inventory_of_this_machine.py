"""This very machine, whatever it is, against others who look at it: psutil and lshw."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import psutil
import pytest

from probes import ids
from probes.component import ComponentKind
from probes.host import Host
from probes.inventory import Inventory, resources, take

HOST = Host("/")


@pytest.fixture(scope="module")
def found() -> Inventory:
    return take(HOST)


def test_two_takes_are_equal(found: Inventory) -> None:
    assert take(HOST) == found


# psutil


def test_psutil_counts_the_same_threads_and_cores(found: Inventory) -> None:
    assert dict(resources(found))["VCPU"] == psutil.cpu_count(logical=True)
    cores = sum(int(c.get("cores")) for c in found.of(ComponentKind.PROCESSOR))
    if psutil.cpu_count(logical=False) is not None:
        assert cores == psutil.cpu_count(logical=False)


def test_psutil_sees_the_same_memory(found: Inventory) -> None:
    assert dict(resources(found))["MEMORY_MB"] == psutil.virtual_memory().total >> 20


def test_psutil_knows_our_interfaces(found: Inventory) -> None:
    """psutil lists virtual ones as well; those with a device behind them are ours."""
    hardware = {
        name for name in psutil.net_if_addrs() if Path(f"/sys/class/net/{name}/device").is_symlink()
    }
    assert {c.get("name") for c in found.of(ComponentKind.NETWORK_INTERFACE)} == hardware
    for component in found.of(ComponentKind.NETWORK_INTERFACE):
        links = [
            address.address
            for address in psutil.net_if_addrs()[component.get("name")]
            if address.family == psutil.AF_LINK
        ]
        if component.serial and not Path(f"/sys/class/net/{component.get('name')}/master").exists():
            assert links == [component.serial]


def test_psutil_knows_our_disks(found: Inventory) -> None:
    """Every mounted disk, and every disk that counts its traffic."""
    counted = set(psutil.disk_io_counters(perdisk=True, nowrap=False) or {})
    names = {
        c.get("name") for c in found.of(ComponentKind.DISK) if "removable" not in dict(c.properties)
    }
    assert names <= counted
    for partition in psutil.disk_partitions():
        device = Path(partition.device).resolve().name
        whole = Path(f"/sys/class/block/{device}")
        disk = whole.resolve().parent.name if (whole / "partition").exists() else device
        if (Path("/sys/block") / disk / "device/subsystem").exists():
            assert disk in {c.get("name") for c in found.of(ComponentKind.DISK)}


# lshw


@cache
def lshw() -> tuple[dict[str, Any], ...]:
    program = shutil.which("lshw")
    if program is None:
        pytest.skip("lshw is not installed")
    done = subprocess.run(
        [program, "-json", "-quiet"], check=True, capture_output=True, text=True, timeout=120
    )
    tree = json.loads(done.stdout)

    def walk(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
        yield node
        for child in node.get("children", ()):
            yield from walk(child)

    top = tree if isinstance(tree, list) else [tree]
    return tuple(node for root in top for node in walk(root))


def of_class(name: str) -> list[dict[str, Any]]:
    return [node for node in lshw() if node["class"] == name]


def test_every_pci_function_that_lshw_shows(found: Inventory) -> None:
    theirs = {
        node["businfo"].removeprefix("pci@"): node
        for node in lshw()
        if str(node.get("businfo", "")).startswith("pci@")
    }
    ours = {
        c.locator: c
        for kind in (ComponentKind.PCI_DEVICE, ComponentKind.ACCELERATOR)
        for c in found.of(kind)
        if "parent" not in dict(c.properties)
    }
    assert set(theirs) <= set(ours)
    names = ids.names(HOST, [(c.vendor, c.model) for c in ours.values()])
    for address, node in theirs.items():
        if (ours[address].vendor, ours[address].model) in names and "vendor" in node:
            assert names[ours[address].vendor, ours[address].model][0] == node["vendor"]
        driver = node.get("configuration", {}).get("driver", "")
        if driver and "=" not in driver and node["class"] not in ("network", "storage", "display"):
            assert ours[address].get("driver") == driver


def test_every_processor_that_lshw_shows(found: Inventory) -> None:
    theirs = [node for node in of_class("processor") if not node.get("disabled")]
    ours = found.of(ComponentKind.PROCESSOR)
    assert len(theirs) == len(ours)
    for node, component in zip(theirs, ours, strict=True):
        assert node["product"].strip() == component.model
        microcode = node.get("configuration", {}).get("microcode")
        if microcode:
            assert int(microcode) == int(component.firmware, 16)


def device_of(node: dict[str, Any]) -> str:
    """The /dev name; lshw gives a list when the disk is mounted as a whole."""
    names = node.get("logicalname", ())
    names = [names] if isinstance(names, str) else names
    return next((name for name in names if re.match(r"/dev/(?!sr|cdrom|ng)", name)), "")


def test_every_disk_that_lshw_shows(found: Inventory) -> None:
    ours = {f"/dev/{c.get('name')}": c for c in found.of(ComponentKind.DISK)}
    theirs = {device_of(node): node for node in of_class("disk") if device_of(node)}
    assert set(theirs) <= set(ours)
    for name, node in theirs.items():
        if "size" in node and ours[name].get("size_bytes"):
            assert int(ours[name].get("size_bytes")) == node["size"]
        if "serial" in node and ours[name].serial:  # of NVMe it shows the namespace's own
            assert ours[name].serial in node["serial"] or "nvme" in name


def test_every_interface_that_lshw_shows(found: Inventory) -> None:
    ours = {c.get("name"): c for c in found.of(ComponentKind.NETWORK_INTERFACE)}
    theirs = [
        node
        for node in of_class("network")
        if isinstance(node.get("logicalname"), str)
        and Path(f"/sys/class/net/{node['logicalname']}/device").is_symlink()
    ]
    assert {node["logicalname"] for node in theirs} <= set(ours)
    for node in theirs:
        if ours[node["logicalname"]].serial:
            assert node["serial"] == ours[node["logicalname"]].serial


def test_memory_that_lshw_shows(found: Inventory) -> None:
    """lshw shows what is plugged (memory blocks or modules); the kernel keeps some for itself."""
    (total,) = [int(n["size"]) for n in of_class("memory") if n["id"] == "memory" and "size" in n][
        :1
    ]
    ours = dict(resources(found))["MEMORY_MB"] << 20
    assert 0.8 * total < ours <= total
