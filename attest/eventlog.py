"""The firmware's measured-boot log: parse it strictly, replay it, read the Secure Boot state. Pure.

Source: TCG PC Client Platform Firmware Profile (PFP) 1.06, clause numbers beside the code. Nothing
in a log is true by itself. A replay that gives the quoted PCRs proves the digests and their order.
An event's type is covered by no digest, and its data only where they hash to it: whoever reads
meaning out of an event looks at digested bytes alone.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from attest.errors import Malformed
from attest.root import SHA256_BANK

MAX_LOG = 1 << 20  # bytes; logs of real machines have 3 to 80 KB
MAX_EVENTS = 4096
MAX_ALGORITHMS = 8
FIRMWARE_PCRS = range(8)  # what only firmware and boot loader extend, 3.3.4

NO_ACTION = 0x00000003  # EV_NO_ACTION, 10.4.1: never extended
_DIGEST_SIZES = {0x0004: 20, SHA256_BANK: 32, 0x000C: 48, 0x000D: 64, 0x0012: 32}
_SPEC_ID = b"Spec ID Event03\0"  # 10.4.5.1
_LOCALITY = b"StartupLocality\0"  # 10.4.5.3
_LOCALITIES = (0, 3, 4)
_PCRS = 24
# A separator's data, 10.4.1 EV_SEPARATOR: all zeros or all ones; anything else reports an error.
_SEPARATORS = frozenset(hashlib.sha256(data * 4).digest() for data in (b"\0", b"\xff"))
_GLOBAL_VARIABLE = bytes.fromhex("61dfe48bca93d211aa0d00e098032b8c")  # UEFI 2.10, 3.3
_SECURE_BOOT_PCR = 7
_MAX_NAME = 256  # characters of a UEFI variable's name


@dataclass(frozen=True, slots=True)
class Event:
    """One TCG_PCR_EVENT2 (10.2.2), of its digests the SHA-256 one."""

    pcr: int
    type: int  # covered by no digest
    sha256: bytes
    data: bytes  # true only where it hashes to `sha256`


@dataclass(frozen=True, slots=True)
class EventLog:
    """A log that parses; `replay` shows whether it is what was measured."""

    events: tuple[Event, ...]
    startup_locality: int | None  # None: no such event, which is locality 0


class SecureBoot(Enum):
    """What the digested part of the log says of UEFI Secure Boot."""

    ON = "on"
    OFF = "off"
    UNKNOWN = "not said"


class _Reader:
    """Bytes taken from the front; running out of them is `Malformed`."""

    __slots__ = ("_content", "_place")

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._place = 0

    def take(self, count: int, what: str) -> bytes:
        taken = self._content[self._place : self._place + count]
        if len(taken) != count:
            raise Malformed(f"event log: ends within {what}")
        self._place += count
        return taken

    def u8(self, what: str) -> int:
        return self.take(1, what)[0]

    def u16(self, what: str) -> int:
        value: int = struct.unpack("<H", self.take(2, what))[0]
        return value

    def u32(self, what: str) -> int:
        value: int = struct.unpack("<I", self.take(4, what))[0]
        return value

    @property
    def more(self) -> bool:
        return self._place < len(self._content)


def parse(log: bytes) -> EventLog:
    """Parse a crypto-agile log (10.2.2) to its last byte.

    :raises Malformed: when it is none, is longer than `MAX_LOG`, or has no SHA-256 bank.
    """
    if len(log) > MAX_LOG:
        raise Malformed(f"event log: longer than {MAX_LOG} bytes")
    reader = _Reader(log)
    sizes = _header(reader)
    events: list[Event] = []
    locality: int | None = None
    while reader.more:
        if len(events) == MAX_EVENTS:
            raise Malformed(f"event log: more than {MAX_EVENTS} events")
        event = _event(reader, sizes)
        if event.type == NO_ACTION and event.data.startswith(_LOCALITY):
            if locality is not None or any(item.pcr == 0 for item in _extending(events)):
                raise Malformed(
                    "event log: the startup locality comes twice or after a measurement"
                )
            locality = _locality(event)
        events.append(event)
    return EventLog(tuple(events), locality)


def _header(reader: _Reader) -> dict[int, int]:
    """TCG_PCClientPCREvent with TCG_EfiSpecIDEvent (10.4.5.1): digest size of each bank."""
    what = "its header"
    pcr, kind, digest = reader.u32(what), reader.u32(what), reader.take(20, what)
    if (pcr, kind, digest) != (0, NO_ACTION, bytes(20)):
        raise Malformed("event log: does not begin with a Spec ID event")
    inner = _Reader(reader.take(reader.u32(what), what))
    if inner.take(16, what) != _SPEC_ID:
        raise Malformed("event log: not a crypto-agile one (Spec ID Event03)")
    inner.take(4, what)  # platform class: 0 client, 1 server
    _minor, major, _errata, _uintn = inner.take(4, what)
    if major != 2:
        raise Malformed(f"event log: of specification version {major}")
    count = inner.u32(what)
    if not 1 <= count <= MAX_ALGORITHMS:
        raise Malformed(f"event log: {count} banks")
    sizes: dict[int, int] = {}
    for _ in range(count):
        algorithm, size = inner.u16(what), inner.u16(what)
        if algorithm in sizes:
            raise Malformed(f"event log: bank {algorithm:#06x} twice")
        if not 1 <= size <= 64 or _DIGEST_SIZES.get(algorithm, size) != size:
            raise Malformed(f"event log: bank {algorithm:#06x} with digests of {size} bytes")
        sizes[algorithm] = size
    inner.take(inner.u8(what), what)  # vendor's own
    if inner.more:
        raise Malformed("event log: bytes follow the Spec ID event's last field")
    if SHA256_BANK not in sizes:
        raise Malformed("event log: has no SHA-256 bank")
    return sizes


def _event(reader: _Reader, sizes: Mapping[int, int]) -> Event:
    what = "an event"
    pcr, kind, count = reader.u32(what), reader.u32(what), reader.u32(what)
    if pcr >= _PCRS and kind != NO_ACTION:
        raise Malformed(f"event log: an event of PCR {pcr}")
    if count != len(sizes):
        raise Malformed(f"event log: an event with {count} digests in a log of {len(sizes)} banks")
    digests: dict[int, bytes] = {}
    for _ in range(count):
        algorithm = reader.u16(what)
        if algorithm not in sizes or algorithm in digests:
            raise Malformed(f"event log: a digest of bank {algorithm:#06x}, unannounced or twice")
        digests[algorithm] = reader.take(sizes[algorithm], what)
    data = reader.take(reader.u32(what), what)
    return Event(pcr, kind, digests[SHA256_BANK], data)


def _locality(event: Event) -> int:
    if event.pcr != 0 or len(event.data) != len(_LOCALITY) + 1:
        raise Malformed("event log: a startup locality of another shape")
    locality = event.data[-1]
    if locality not in _LOCALITIES:
        raise Malformed(f"event log: startup locality {locality}")
    return locality


def _extending(events: Sequence[Event]) -> list[Event]:
    return [event for event in events if event.type != NO_ACTION]


def replay(log: EventLog) -> dict[int, bytes]:
    """Return what the SHA-256 bank of every PCR holds after this log: indices 0 to 23.

    PCRs 17 to 22 begin as all ones (PTP 1.05, 4.6.2), PCR 0 with the startup locality in its last
    byte, the others as zeros.
    """
    values = {index: (b"\xff" if 17 <= index <= 22 else b"\0") * 32 for index in range(_PCRS)}
    values[0] = bytes(31) + bytes((log.startup_locality or 0,))
    for event in _extending(log.events):
        values[event.pcr] = hashlib.sha256(values[event.pcr] + event.sha256).digest()
    return values


def secure_boot(log: EventLog) -> SecureBoot:
    """Return the Secure Boot state of a log that was seen to replay.

    That is the value of the variable SecureBoot, which firmware measures into PCR 7 before the
    separator (3.3.4.8); what is extended after it comes from whoever was booted. A log that retypes
    or rewrites the event says nothing, since type and data then do not go with the digest.
    """
    found: list[bytes] = []
    for event in _extending(log.events):
        if event.pcr != _SECURE_BOOT_PCR:
            continue
        if event.sha256 in _SEPARATORS:
            break
        if hashlib.sha256(event.data).digest() == event.sha256:
            value = _variable(event.data, _GLOBAL_VARIABLE, "SecureBoot")
            if value is not None:
                found.append(value)
    else:
        return SecureBoot.UNKNOWN  # no separator: firmware never handed over
    match found:
        case [b"\1"]:
            return SecureBoot.ON
        case [b"\0"]:
            return SecureBoot.OFF
        case _:
            return SecureBoot.UNKNOWN


def _variable(data: bytes, vendor: bytes, name: str) -> bytes | None:
    """Content of a UEFI_VARIABLE_DATA (10.2.6) of this name, or None when it is another thing."""
    if len(data) < 32 or data[:16] != vendor:
        return None
    characters, size = struct.unpack("<QQ", data[16:32])
    if characters > _MAX_NAME or len(data) != 32 + 2 * characters + size:
        return None
    if data[32 : 32 + 2 * characters] != name.encode("utf-16-le"):
        return None
    return data[32 + 2 * characters :]
