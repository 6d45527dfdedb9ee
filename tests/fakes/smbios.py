"""Write SMBIOS tables, and make one from what dmidecode printed of a real machine.

The encoder stands on its own: nothing of it is shared with `probes.smbios`, and `dmidecode
--from-dump` reads what it writes. dmidecode's output does not hold every byte; structures of kinds
that an inventory does not read are written with their length and zeros.
"""

from __future__ import annotations

import re
import struct
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass

ANONYMISED = ("--", "")


@dataclass(frozen=True)
class Dump:
    """One structure as dmidecode printed it."""

    handle: int
    kind: int
    length: int
    fields: Mapping[str, str]


HEAD = re.compile(r"Handle 0x([0-9A-F]{4}), DMI type (\d+), (\d+) bytes")


def release(text: str) -> tuple[int, int]:
    found = re.search(r"^SMBIOS (\d+)\.(\d+)", text, re.MULTILINE)
    assert found
    return int(found[1]), int(found[2])


def read_dump(text: str) -> list[Dump]:
    """Return the structures, serial numbers and UUIDs filled in where the source took them out."""
    dumps = []
    for block in re.split(r"\n\n+", text):
        at = block.find("Handle 0x")
        head = HEAD.match(block, at) if at >= 0 else None
        if not head:
            continue
        handle = int(head[1], 16)
        fields: dict[str, str] = {}
        for line in block[at:].splitlines()[2:]:
            if line.startswith("\t") and not line.startswith("\t\t"):
                name, colon, value = line[1:].partition(":")
                if colon:
                    fields.setdefault(name, value.removeprefix(" "))
        if fields.get("Serial Number") in ANONYMISED:
            fields["Serial Number"] = f"SN{handle:04X}{head[2]}"
        if int(head[2]) == 1:
            fields["UUID"] = str(uuid.uuid5(uuid.NAMESPACE_OID, text[:2000]))
        dumps.append(Dump(handle, int(head[2]), int(head[3]), fields))
    return dumps


class Area:
    """One structure being written."""

    def __init__(self, kind: int, handle: int, length: int) -> None:
        self.bytes = bytearray(length)
        struct.pack_into("<BBH", self.bytes, 0, kind, length, handle)
        self.strings: list[bytes] = []

    def put(self, offset: int, form: str, value: int) -> None:
        if offset + struct.calcsize("<" + form) <= len(self.bytes):
            struct.pack_into("<" + form, self.bytes, offset, value)

    def text(self, offset: int, value: str | None) -> None:
        if value == "<BAD INDEX>":  # some firmware points behind its own strings
            self.put(offset, "B", 0xEE)
        elif value not in (None, "Not Specified", "") and offset < len(self.bytes):
            self.strings.append(str(value).encode())
            self.bytes[offset] = len(self.strings)

    def finish(self) -> bytes:
        return bytes(self.bytes) + (b"\0".join([*self.strings, b""]) or b"\0") + b"\0"


def _number(text: str | None, unknown: int = 0) -> int:
    found = re.match(r"\d+", text or "")
    return int(found[0]) if found else unknown


def _bytes(text: str) -> int:
    number, unit = text.split()
    return int(number) * {"kB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30}[unit]


def _bios(area: Area, has: Mapping[str, str], _: tuple[int, int]) -> None:
    area.text(0x04, has.get("Vendor"))
    area.text(0x05, has.get("Version"))
    area.text(0x08, has.get("Release Date"))
    rom = _bytes(has["ROM Size"])
    if rom >= 16 << 20 or rom == 0:  # 0 MB: 0xFF and an extended size of nothing
        area.put(0x09, "B", 0xFF)
        area.put(0x18, "H", rom >> 20)
    else:
        area.put(0x09, "B", (rom >> 16) - 1)
    major, minor = has.get("BIOS Revision", "255.255").split(".")
    area.put(0x14, "B", int(major))
    area.put(0x15, "B", int(minor))


def _system(area: Area, has: Mapping[str, str], version: tuple[int, int]) -> None:
    area.text(0x04, has.get("Manufacturer"))
    area.text(0x05, has.get("Product Name"))
    area.text(0x06, has.get("Version"))
    area.text(0x07, has.get("Serial Number"))
    identity = uuid.UUID(has["UUID"])
    area.bytes[0x08:0x18] = identity.bytes_le if version >= (2, 6) else identity.bytes
    area.text(0x19, has.get("SKU Number"))
    area.text(0x1A, has.get("Family"))


def _board(area: Area, has: Mapping[str, str], _: tuple[int, int]) -> None:
    names = ("Manufacturer", "Product Name", "Version", "Serial Number", "Asset Tag")
    for offset, name in enumerate(names, 0x04):
        area.text(offset, has.get(name))


CHASSIS = ["Other", "Unknown", "Desktop", "Low Profile Desktop", "Pizza Box", "Mini Tower", "Tower"]
CHASSIS_TYPE = {name: number for number, name in enumerate(CHASSIS, 1)} | {
    "Main Server Chassis": 0x11,
    "Rack Mount Chassis": 0x17,
    "Blade": 0x1C,
    "Blade Enclosing": 0x1D,
    "Mini PC": 0x23,
    "<OUT OF SPEC>": 0x7F,
}


def _chassis(area: Area, has: Mapping[str, str], _: tuple[int, int]) -> None:
    area.text(0x04, has.get("Manufacturer"))
    lock = 0x80 if has.get("Lock") == "Present" else 0
    area.put(0x05, "B", CHASSIS_TYPE[has["Type"]] | lock)
    area.text(0x06, has.get("Version"))
    area.text(0x07, has.get("Serial Number"))
    area.text(0x08, has.get("Asset Tag"))


def _processor(area: Area, has: Mapping[str, str], _: tuple[int, int]) -> None:
    area.text(0x04, has.get("Socket Designation"))
    area.put(0x05, "B", 3)
    area.text(0x07, has.get("Manufacturer"))
    area.text(0x10, has.get("Version"))
    area.put(0x14, "H", _number(has.get("Max Speed")))
    area.put(0x18, "B", 0x41 if has["Status"].startswith("Populated") else 0x00)
    area.text(0x20, has.get("Serial Number"))
    area.text(0x22, has.get("Part Number"))
    for short, wide, name in ((0x23, 0x2A, "Core Count"), (0x25, 0x2E, "Thread Count")):
        count = _number(has.get(name))
        area.put(short, "B", min(count, 0xFF))
        area.put(wide, "H", count)


CORRECTION = {"Unknown": 2, "None": 3, "Parity": 4, "Single-bit ECC": 5, "Multi-bit ECC": 6}


def _array(area: Area, has: Mapping[str, str], _: tuple[int, int]) -> None:
    area.put(0x05, "B", 3 if has["Use"] == "System Memory" else 1)
    area.put(0x06, "B", CORRECTION.get(has["Error Correction Type"], 0xFF))
    area.put(0x0D, "H", _number(has.get("Number Of Devices")))


FORM = {"Other": 1, "Unknown": 2, "DIMM": 9, "SODIMM": 13, "Row Of Chips": 11, "Chip": 5, "Die": 16}
MEMORY = {
    "Other": 1,
    "Unknown": 2,
    "DRAM": 3,
    "Flash": 9,
    "SDRAM": 0x0F,
    "DDR": 0x12,
    "DDR2": 0x13,
    "DDR3": 0x18,
    "DDR4": 0x1A,
    "LPDDR3": 0x1D,
    "LPDDR4": 0x1E,
    "DDR5": 0x22,
    "<OUT OF SPEC>": 0xFF,
}


def _module(area: Area, has: Mapping[str, str], _: tuple[int, int]) -> None:
    area.put(0x08, "H", _number(has["Total Width"], 0xFFFF))
    area.put(0x0A, "H", _number(has["Data Width"], 0xFFFF))
    size = has["Size"]
    if size == "Unknown":
        area.put(0x0C, "H", 0xFFFF)
    elif size != "No Module Installed":
        mebibytes = _bytes(size) >> 20
        area.put(0x0C, "H", min(mebibytes, 0x7FFF))
        area.put(0x1C, "I", mebibytes if mebibytes >= 0x7FFF else 0)
    area.put(0x0E, "B", FORM[has["Form Factor"]])
    area.text(0x10, has.get("Locator"))
    area.text(0x11, has.get("Bank Locator"))
    area.put(0x12, "B", MEMORY[has["Type"]])
    area.put(0x15, "H", _number(has.get("Speed")))
    area.text(0x17, has.get("Manufacturer"))
    area.text(0x18, has.get("Serial Number"))
    area.text(0x19, has.get("Asset Tag"))
    area.text(0x1A, has.get("Part Number"))
    area.put(0x1B, "B", _number(has.get("Rank")))
    area.put(
        0x20, "H", _number(has.get("Configured Memory Speed") or has.get("Configured Clock Speed"))
    )


def _supply(area: Area, has: Mapping[str, str], _: tuple[int, int]) -> None:
    area.text(0x05, has.get("Location"))
    area.text(0x06, has.get("Name"))
    area.text(0x07, has.get("Manufacturer"))
    area.text(0x08, has.get("Serial Number"))
    area.text(0x09, has.get("Asset Tag"))
    area.text(0x0A, has.get("Model Part Number"))
    area.text(0x0B, has.get("Revision"))
    area.put(0x0C, "H", _number(has.get("Max Power Capacity"), 0x8000))
    area.put(0x0E, "H", 0x02 if has["Status"].startswith("Present") else 0)


Writer = Callable[[Area, Mapping[str, str], tuple[int, int]], None]
WRITERS: dict[int, Writer] = {
    0: _bios,
    1: _system,
    2: _board,
    3: _chassis,
    4: _processor,
    16: _array,
    17: _module,
    39: _supply,
}


def encode(dumps: list[Dump], version: tuple[int, int]) -> bytes:
    """Return the table that these structures come from, as far as they tell."""
    table = bytearray()
    for dump in dumps:
        area = Area(dump.kind, dump.handle, dump.length)
        if dump.kind in WRITERS:
            WRITERS[dump.kind](area, dump.fields, version)
        table += area.finish()
    return bytes(table)


def entry_point(version: tuple[int, int], size: int) -> bytes:
    """Return a 64-bit entry point for a table 32 bytes behind it (DSP0134 5.2.2)."""
    entry = bytearray(struct.pack("<5sBBBBBBBIQ", b"_SM3_", 0, 24, *version, 0, 1, 0, size, 32))
    entry[5] = -sum(entry) & 0xFF
    return bytes(entry)
