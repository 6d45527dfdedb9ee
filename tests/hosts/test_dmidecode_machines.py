"""Forty real machines: their tables, written from what dmidecode printed, say the same to us."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from probes import cpu, dmi, memory, smbios
from probes.component import Component, ComponentKind, clean
from probes.host import Host
from probes.inventory import take
from tests.fakes.smbios import Dump, encode, entry_point, read_dump, release

MACHINES = sorted((Path(__file__).parent / "dmidecode").glob("*.txt"))


def machine(path: Path) -> tuple[list[Dump], tuple[int, int], bytes]:
    text = path.read_text()
    version = release(text)
    dumps = read_dump(text)
    return dumps, version, encode(dumps, version)


def of(dumps: list[Dump], kind: int) -> list[Dump]:
    return [dump for dump in dumps if dump.kind == kind]


def text(dump: Dump, name: str) -> str:
    """What we should make of one printed string; dmidecode prints a missing one in words."""
    value = dump.fields.get(name, "")
    return "" if value in ("Not Specified", "Unknown", "<BAD INDEX>") else clean(value)


def number(dump: Dump, name: str) -> int | None:
    found = re.match(r"\d+", dump.fields.get(name, ""))
    return int(found[0]) or None if found else None


def size(dump: Dump) -> int | None:
    number, _, unit = dump.fields["Size"].partition(" ")
    return int(number) * {"kB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30}[unit]


def test_forty_machines_are_there() -> None:
    assert len(MACHINES) == 40


@pytest.mark.parametrize("path", MACHINES, ids=lambda p: p.stem)
def test_identity_of_the_machine(path: Path) -> None:
    dumps, version, table = machine(path)
    tables = smbios.parse(table, version)
    (system,) = of(dumps, 1)
    assert tables.systems == (
        smbios.System(
            vendor=text(system, "Manufacturer"),
            product=text(system, "Product Name"),
            version=text(system, "Version"),
            serial=text(system, "Serial Number"),
            uuid=system.fields["UUID"],
            sku=text(system, "SKU Number") if system.length > 0x19 else "",
            family=text(system, "Family"),
        ),
    )
    assert [(b.vendor, b.product, b.version, b.serial) for b in tables.boards] == [
        tuple(text(d, n) for n in ("Manufacturer", "Product Name", "Version", "Serial Number"))
        for d in of(dumps, 2)
    ]
    (bios,) = of(dumps, 0)
    assert [(b.vendor, b.version, b.date) for b in tables.bios] == [
        tuple(text(bios, n) for n in ("Vendor", "Version", "Release Date"))
    ]
    revision = bios.fields.get("BIOS Revision", "")
    assert tables.bios[0].release == revision
    number_, unit = bios.fields["ROM Size"].split()
    assert tables.bios[0].rom_bytes == int(number_) << {"kB": 10, "MB": 20}[unit]


@pytest.mark.parametrize("path", MACHINES, ids=lambda p: p.stem)
def test_memory_modules(path: Path) -> None:
    dumps, version, table = machine(path)
    tables = smbios.parse(table, version)
    printed = [d for d in of(dumps, 17) if d.fields["Size"] != "No Module Installed"]
    assert [m.handle for m in tables.modules] == [d.handle for d in printed]
    for module, dump in zip(tables.modules, printed, strict=True):
        assert module.size_bytes == size(dump)
        assert module.locator == text(dump, "Locator")
        assert module.bank == text(dump, "Bank Locator")
        assert module.vendor == text(dump, "Manufacturer")
        assert module.serial == text(dump, "Serial Number")
        assert module.part == text(dump, "Part Number")
        assert module.rank == number(dump, "Rank")
        assert module.speed_mts == number(dump, "Speed")
        configured = "Configured Memory Speed"
        configured = configured if configured in dump.fields else "Configured Clock Speed"
        assert module.configured_mts == number(dump, configured)
        assert module.total_bits == number(dump, "Total Width")
        assert module.data_bits == number(dump, "Data Width")
        kind = dump.fields["Type"]
        assert module.technology == ("" if kind in ("Other", "Unknown", "<OUT OF SPEC>") else kind)
    components = memory.modules(tables)
    assert len({c.locator for c in components}) == len(components) == len(printed)
    slots = sum(
        int(d.fields["Number Of Devices"])
        for d in of(dumps, 16)
        if d.fields["Use"] == "System Memory"
    )
    assert memory.slots(tables)["memory_slots"] == slots


@pytest.mark.parametrize("path", MACHINES, ids=lambda p: p.stem)
def test_processors_and_power_supplies(path: Path) -> None:
    dumps, version, table = machine(path)
    tables = smbios.parse(table, version)
    printed = [d for d in of(dumps, 4) if d.fields["Status"].startswith("Populated")]
    assert [(s.designation, s.vendor, s.version, s.serial) for s in tables.sockets] == [
        (
            *(text(d, n) for n in ("Socket Designation", "Manufacturer", "Version")),
            text(d, "Serial Number") if d.length > 0x20 else "",
        )
        for d in printed
    ]
    assert [(s.cores, s.threads, s.max_mhz) for s in tables.sockets] == [
        (number(d, "Core Count"), number(d, "Thread Count"), number(d, "Max Speed"))
        for d in printed
    ]
    assert [(s.vendor, s.name, s.max_watts) for s in tables.supplies] == [
        (text(d, "Manufacturer"), text(d, "Name"), number(d, "Max Power Capacity"))
        for d in of(dumps, 39)
    ]


@pytest.mark.parametrize("path", MACHINES, ids=lambda p: p.stem)
def test_the_whole_inventory_through_files(path: Path, tmp_path: Path) -> None:
    """The table where the kernel has it; what /sys/class/dmi/id lacks comes from the table."""
    dumps, version, table = machine(path)
    folder = tmp_path / "sys/firmware/dmi/tables"
    folder.mkdir(parents=True)
    (folder / "DMI").write_bytes(table)
    (folder / "smbios_entry_point").write_bytes(entry_point(version, len(table)))
    found = take(Host(tmp_path))
    pairs = Counter((c.kind, c.locator) for c in found.components)
    assert set(pairs.values()) == {1}
    system = next(c for c in found.components if c.locator == "system")
    assert system.model == text(of(dumps, 1)[0], "Product Name")
    assert system.get("uuid") == of(dumps, 1)[0].fields["UUID"]
    installed = sum(int(c.get("size_bytes")) for c in found.of(ComponentKind.MEMORY_MODULE))
    assert installed == sum(
        size(d) or 0 for d in of(dumps, 17) if d.fields["Size"] != "No Module Installed"
    )
    assert all(value for c in found.components for _, value in c.properties)


@pytest.mark.parametrize("path", MACHINES, ids=lambda p: p.stem)
def test_dmidecode_reads_our_tables_as_the_machines_own(path: Path, tmp_path: Path) -> None:
    """The encoder is no echo of our parser: dmidecode prints what it printed on the machine."""
    dmidecode = shutil.which("dmidecode") or shutil.which("/usr/sbin/dmidecode")
    if dmidecode is None:
        pytest.skip("dmidecode is not installed")
    dumps, version, table = machine(path)
    dump = tmp_path / "dump"
    dump.write_bytes(entry_point(version, len(table)).ljust(32, b"\0") + table)
    printed = subprocess.run(
        [dmidecode, "--from-dump", str(dump)], check=True, capture_output=True, text=True
    ).stdout
    again = {d.handle: d for d in read_dump(printed)}
    compared = 0
    for original in dumps:
        for name in CHECKED.get(original.kind, ()):
            value = original.fields.get(name)
            if value is None or "OUT OF SPEC" in value or name not in again[original.handle].fields:
                continue
            theirs = again[original.handle].fields[name]
            assert _plain(theirs) == _plain(value), (original.handle, name)
            compared += 1
    assert compared > 20


# Serial numbers and the UUID are ours; sizes and speeds are printed in other units by other
# versions of dmidecode, so they are compared as numbers of one unit.
CHECKED = {
    0: ("Vendor", "Version", "Release Date", "BIOS Revision"),
    1: ("Manufacturer", "Product Name", "Version", "SKU Number", "Family"),
    2: ("Manufacturer", "Product Name", "Version"),
    3: ("Manufacturer", "Type", "Lock", "Version"),
    4: (
        *("Socket Designation", "Type", "Manufacturer", "Version"),
        *("Max Speed", "Core Count", "Thread Count"),
    ),
    16: ("Use", "Error Correction Type", "Number Of Devices"),
    17: (
        *("Total Width", "Data Width", "Size", "Form Factor", "Locator", "Bank Locator", "Type"),
        *("Speed", "Manufacturer", "Part Number", "Rank", "Configured Memory Speed"),
    ),
    39: ("Location", "Name", "Manufacturer", "Max Power Capacity"),
}


def _plain(value: str) -> str:
    value = value.strip().replace("MHz", "MT/s")
    if found := re.fullmatch(r"(\d+) GB", value):
        value = f"{int(found[1]) << 10} MB"
    return "Not Specified" if value in ("", "Unknown") else value


def test_a_processor_is_joined_to_its_socket() -> None:
    _, version, table = machine(next(p for p in MACHINES if "RX300_S7" in p.stem))
    tables = smbios.parse(table, version)
    topology = cpu.Topology({"0": (0, 1), "1": (2, 3)}, {"0": 1, "1": 1}, {}, 2)
    components: tuple[Component, ...] = cpu.components(topology, {}, tables)
    assert [c.get("socket") for c in components] == [s.designation for s in tables.sockets]
    assert [c.model for c in components] == [s.version for s in tables.sockets]


def test_more_boards_than_the_kernel_shows() -> None:
    dumps, version, _ = machine(next(p for p in MACHINES if "R6515" in p.stem))
    (board,) = of(dumps, 2)
    riser = Dump(0x0300, 2, 15, {"Product Name": "Riser", "Serial Number": "R1"})
    nothing = Dump(0x0301, 2, 15, {"Serial Number": "R2"})
    found = smbios.parse(encode([board, riser, nothing], version), version)
    boards = [c for c in dmi.components({}, found, {}) if c.kind is ComponentKind.BOARD]
    assert [(b.locator, b.model, b.serial) for b in boards] == [
        ("board", text(board, "Product Name"), board.fields["Serial Number"]),
        ("board1", "Riser", "R1"),
    ]
