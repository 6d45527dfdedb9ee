"""SMBIOS structure tables in pure Python (DMTF DSP0134 3.7). Strict and bounded.

Offsets are those of DSP0134 chapter 7; a field that lies beyond a structure's length was not
defined in the version that wrote it, and is unknown.
"""

from __future__ import annotations

import struct
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

from probes.component import clean
from probes.errors import Malformed

MAX_TABLE = 1 << 20  # the largest seen are some 10 KiB
MAX_STRUCTURES = 8192
END_OF_TABLE = 127


@dataclass(frozen=True, slots=True)
class Structure:
    """One structure: its formatted area, header included, and its strings."""

    kind: int
    handle: int
    area: bytes
    strings: tuple[bytes, ...]

    def number(self, offset: int, size: int) -> int | None:
        """Return a little-endian number of `size` bytes, None beyond the structure's end."""
        if offset + size > len(self.area):
            return None
        return int.from_bytes(self.area[offset : offset + size], "little")

    def text(self, offset: int) -> str:
        """Return the string that the byte at `offset` numbers, cleaned; empty for none."""
        index = self.number(offset, 1)
        if not index or index > len(self.strings):
            return ""
        return clean(self.strings[index - 1].decode("utf-8", "replace"))


def structures(table: bytes) -> Iterator[Structure]:
    """Yield the structures up to the end-of-table one or the table's end (6.1.2, 6.1.3).

    :raises Malformed: when a structure or its string set does not end within the table.
    """
    if len(table) > MAX_TABLE:
        raise Malformed(f"SMBIOS table: longer than {MAX_TABLE} bytes")
    at = 0
    for _ in range(MAX_STRUCTURES):
        if at == len(table):
            return
        if len(table) - at < 4:
            raise Malformed(f"SMBIOS table: header at {at} is cut off")
        kind, length, handle = struct.unpack_from("<BBH", table, at)
        if length < 4 or at + length > len(table):
            raise Malformed(f"SMBIOS table: structure at {at} has length {length}")
        if kind == END_OF_TABLE:
            return
        end = table.find(b"\0\0", at + length)
        if end < 0:
            raise Malformed(f"SMBIOS table: strings of the structure at {at} do not end")
        strings = table[at + length : end]
        yield Structure(
            kind, handle, table[at : at + length], tuple(strings.split(b"\0")) if strings else ()
        )
        at = end + 2
    raise Malformed(f"SMBIOS table: more than {MAX_STRUCTURES} structures")


def version(entry_point: bytes) -> tuple[int, int]:
    """Return major and minor of an entry point structure (5.2.1 `_SM_`, 5.2.2 `_SM3_`).

    :raises Malformed: when it is neither.
    """
    if entry_point.startswith(b"_SM3_") and len(entry_point) >= 24:
        return entry_point[7], entry_point[8]
    if entry_point.startswith(b"_SM_") and len(entry_point) >= 31:
        return entry_point[6], entry_point[7]
    raise Malformed("SMBIOS entry point: no anchor")


@dataclass(frozen=True, slots=True)
class Bios:
    """Type 0."""

    vendor: str
    version: str
    date: str  # mm/dd/yyyy as firmware has it
    release: str  # "major.minor", empty where unknown
    rom_bytes: int | None


@dataclass(frozen=True, slots=True)
class System:
    """Type 1."""

    vendor: str
    product: str
    version: str
    serial: str
    uuid: str  # lower case, empty where unset
    sku: str
    family: str


@dataclass(frozen=True, slots=True)
class Board:
    """Type 2."""

    vendor: str
    product: str
    version: str
    serial: str
    asset_tag: str


@dataclass(frozen=True, slots=True)
class Chassis:
    """Type 3."""

    vendor: str
    kind: int  # table 17
    version: str
    serial: str
    asset_tag: str


@dataclass(frozen=True, slots=True)
class Socket:
    """Type 4, a populated socket of a central processor."""

    designation: str
    vendor: str
    version: str
    serial: str
    part: str
    max_mhz: int | None
    cores: int | None
    threads: int | None


@dataclass(frozen=True, slots=True)
class Array:
    """Type 16 with use 3, system memory."""

    correction: str  # empty where unknown
    slots: int | None


@dataclass(frozen=True, slots=True)
class Module:
    """Type 17, a populated memory device."""

    handle: int
    locator: str
    bank: str
    size_bytes: int | None
    form_factor: str
    technology: str
    vendor: str
    serial: str
    part: str
    rank: int | None
    speed_mts: int | None
    configured_mts: int | None
    total_bits: int | None
    data_bits: int | None


@dataclass(frozen=True, slots=True)
class PowerSupply:
    """Type 39, present."""

    location: str
    name: str
    vendor: str
    serial: str
    part: str
    revision: str
    max_watts: int | None


@dataclass(frozen=True, slots=True)
class Tables:
    """What an inventory wants of an SMBIOS table."""

    bios: tuple[Bios, ...]
    systems: tuple[System, ...]
    boards: tuple[Board, ...]
    chassis: tuple[Chassis, ...]
    sockets: tuple[Socket, ...]
    arrays: tuple[Array, ...]
    modules: tuple[Module, ...]
    supplies: tuple[PowerSupply, ...]


CORRECTION = {3: "none", 4: "parity", 5: "single-bit", 6: "multi-bit", 7: "crc"}  # table 70
# fmt: off
FORM_FACTOR = {  # table 75
    0x03: "SIMM", 0x04: "SIP", 0x05: "Chip", 0x06: "DIP", 0x07: "ZIP", 0x09: "DIMM",
    0x0A: "TSOP", 0x0B: "Row of chips", 0x0C: "RIMM", 0x0D: "SODIMM", 0x0E: "SRIMM",
    0x0F: "FB-DIMM", 0x10: "Die", 0x11: "CAMM",
}
TECHNOLOGY = {  # table 76
    0x03: "DRAM", 0x07: "RAM", 0x0F: "SDRAM", 0x12: "DDR", 0x13: "DDR2", 0x14: "DDR2 FB-DIMM",
    0x18: "DDR3", 0x1A: "DDR4", 0x1B: "LPDDR", 0x1C: "LPDDR2", 0x1D: "LPDDR3",
    0x1E: "LPDDR4", 0x1F: "Logical non-volatile device", 0x20: "HBM", 0x21: "HBM2",
    0x22: "DDR5", 0x23: "LPDDR5", 0x24: "HBM3",
}
# fmt: on


def _known(value: int | None, *unknown: int) -> int | None:
    return None if value is None or value in unknown else value


def _bios(s: Structure) -> Bios:
    size, major, minor = s.number(0x09, 1), s.number(0x14, 1), s.number(0x15, 1)
    rom = None if size is None else (size + 1) << 16
    if size == 0xFF and (extended := s.number(0x18, 2)) is not None:  # 7.1.2.1
        rom = (extended & 0x3FFF) << {0: 20, 1: 30}.get(extended >> 14, 20)
    # 0xFF in both: the system does not support it (7.1, offset 14h).
    release = "" if None in (major, minor) or (major, minor) == (0xFF, 0xFF) else f"{major}.{minor}"
    return Bios(s.text(0x04), s.text(0x05), s.text(0x08), release, rom)


def _uuid(s: Structure, since_2_6: bool) -> str:
    raw = s.area[0x08:0x18]
    if len(raw) < 16 or raw in (bytes(16), b"\xff" * 16):  # 7.2.1: not set
        return ""
    return str(uuid.UUID(bytes_le=raw) if since_2_6 else uuid.UUID(bytes=raw))


def _socket(s: Structure) -> Socket | None:
    status = s.number(0x18, 1)
    if s.number(0x05, 1) != 3 or status is None or not status & 0x40:
        return None  # no central processor (7.5.1), or not populated (7.5, offset 18h)
    cores, threads = s.number(0x23, 1), s.number(0x25, 1)
    if cores == 0xFF:  # 7.5.6: see Core Count 2
        cores = s.number(0x2A, 2)
    if threads == 0xFF:
        threads = s.number(0x2E, 2)
    return Socket(
        designation=s.text(0x04),
        vendor=s.text(0x07),
        version=s.text(0x10),
        serial=s.text(0x20),
        part=s.text(0x22),
        max_mhz=_known(s.number(0x14, 2), 0),
        cores=_known(cores, 0, 0xFFFF),
        threads=_known(threads, 0, 0xFFFF),
    )


def _size(s: Structure) -> int | None:
    """Return bytes, 0 for an empty slot, None where unknown (7.18, offsets 0Ch and 1Ch)."""
    size = s.number(0x0C, 2)
    if size is None or size == 0xFFFF:
        return None
    if size == 0x7FFF and (extended := s.number(0x1C, 4)) is not None:
        return (extended & 0x7FFFFFFF) << 20
    return (size & 0x7FFF) << (10 if size & 0x8000 else 20)


def _speed(s: Structure, short: int, extended: int) -> int | None:
    """Return MT/s; 0xFFFF means: see the extended field (7.18.4)."""
    speed = s.number(short, 2)
    if speed == 0xFFFF:
        wide = s.number(extended, 4)
        speed = None if wide is None else wide & 0x7FFFFFFF
    return _known(speed, 0)


def _module(s: Structure) -> Module | None:
    size = _size(s)
    if size == 0:
        return None
    attributes = s.number(0x1B, 1)
    return Module(
        handle=s.handle,
        locator=s.text(0x10),
        bank=s.text(0x11),
        size_bytes=size,
        form_factor=FORM_FACTOR.get(s.number(0x0E, 1) or 0, ""),
        technology=TECHNOLOGY.get(s.number(0x12, 1) or 0, ""),
        vendor=s.text(0x17),
        serial=s.text(0x18),
        part=s.text(0x1A),
        rank=None if attributes is None else _known(attributes & 0x0F, 0),
        speed_mts=_speed(s, 0x15, 0x54),
        configured_mts=_speed(s, 0x20, 0x58),
        total_bits=_known(s.number(0x08, 2), 0, 0xFFFF),
        data_bits=_known(s.number(0x0A, 2), 0, 0xFFFF),
    )


def _supply(s: Structure) -> PowerSupply | None:
    if not (s.number(0x0E, 2) or 0) & 0x02:  # 7.40.1 bit 1: present
        return None
    return PowerSupply(
        location=s.text(0x05),
        name=s.text(0x06),
        vendor=s.text(0x07),
        serial=s.text(0x08),
        part=s.text(0x0A),
        revision=s.text(0x0B),
        max_watts=_known(s.number(0x0C, 2), 0, 0x8000),
    )


def _array(s: Structure) -> Array | None:
    if s.number(0x05, 1) != 3:
        return None
    return Array(CORRECTION.get(s.number(0x06, 1) or 0, ""), s.number(0x0D, 2))


def parse(table: bytes, release: tuple[int, int] = (3, 0)) -> Tables:
    """Return what an inventory wants of a table written to this release of the specification.

    :raises Malformed: when the table cannot be walked to its end.
    """
    of: dict[int, list[Structure]] = {}
    for structure in structures(table):
        of.setdefault(structure.kind, []).append(structure)

    def each(kind: int) -> list[Structure]:
        return of.get(kind, [])

    return Tables(
        bios=tuple(_bios(s) for s in each(0)),
        systems=tuple(
            System(
                *(s.text(0x04), s.text(0x05), s.text(0x06), s.text(0x07)),
                *(_uuid(s, release >= (2, 6)), s.text(0x19), s.text(0x1A)),
            )
            for s in each(1)
        ),
        boards=tuple(Board(*(s.text(offset) for offset in range(0x04, 0x09))) for s in each(2)),
        chassis=tuple(
            Chassis(
                *(s.text(0x04), (s.number(0x05, 1) or 0) & 0x7F),
                *(s.text(0x06), s.text(0x07), s.text(0x08)),
            )
            for s in each(3)
        ),
        sockets=tuple(socket for s in each(4) if (socket := _socket(s))),
        arrays=tuple(array for s in each(16) if (array := _array(s))),
        modules=tuple(module for s in each(17) if (module := _module(s))),
        supplies=tuple(supply for s in each(39) if (supply := _supply(s))),
    )
