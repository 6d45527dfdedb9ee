"""Wired M-Bus telegrams: frames checked here, records taken apart by pyMeterBus. No I/O.

Sources: EN 13757-2 (link layer: frames, C field) and EN 13757-3 (application layer: header, DIF,
VIF, status). pyMeterBus multiplies with floats, takes hexadecimal digits for decimal ones, lets a
record be cut short and ignores correcting VIFEs; so it splits a telegram into records, and the
numbers are made here, exactly.

pyMeterBus is imported only when a telegram is decoded, so that its memory (it draws in a cipher
library) is paid for only where a meter is configured.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from math import isfinite
from typing import TYPE_CHECKING

from probes.decimals import shortest_single
from probes.errors import Denied, Malformed, TimedOut

if TYPE_CHECKING:
    from meterbus import TelegramVariableDataRecord

ACK = 0xE5
SND_NKE = 0x40
REQ_UD2 = 0x5B  # with FCV; the FCB (0x20) alternates between requests
FCB = 0x20
RSP_UD = 0x08  # ACD and DFC (0x30) may be set
ANY_ADDRESS = 0xFE  # every meter answers to it, and with its own address

LONG_START, SHORT_START, STOP = 0x68, 0x10, 0x16
VARIABLE_DATA = 0x72  # CI field: variable data respond, least significant byte first

# EN 13757-3, configuration word: these security modes encipher the records.
ENCIPHERED_MODES = frozenset({2, 3, 5, 7, 8, 9, 10, 13})

SPECIAL = (0x0F, 0x1F)  # DIF codes: manufacturer's data, more records follow
RECORD_ERRORS = range(0x01, 0x20)  # VIFE E000 0001-E001 1111: an error instead of a value
FORWARD_ONLY, REVERSE_ONLY = 0x3B, 0x3C  # accumulation of positive, of negative contributions only


@dataclass(frozen=True, slots=True)
class Record:
    """One data record of a telegram.

    `value` is exact, in `unit` (pyMeterBus' spelling: Wh, J, W, J/h, m^3, m^3/h, C, K, seconds...),
    and None for text, dates, errors and numbers that are not valid. `kind` names the VIF.
    `direction` is FORWARD_ONLY, REVERSE_ONLY or 0. `plain` is false when a VIFE changes the meaning
    in a way not known here.
    """

    kind: str
    unit: str
    value: Fraction | None
    function: str
    storage: int
    tariff: int
    device: int
    direction: int
    plain: bool


@dataclass(frozen=True, slots=True)
class Telegram:
    """A meter's answer. `secondary` is identification, manufacturer, version and medium in hex."""

    secondary: str
    medium: int
    status: int
    records: tuple[Record, ...]
    more_follows: bool


def short_frame(control: int, address: int) -> bytes:
    """Build a request without data (EN 13757-2, 5.7.3)."""
    return bytes((SHORT_START, control, address, (control + address) & 0xFF, STOP))


def long_frame_length(header: bytes) -> int:
    """Return how many bytes follow the four of a long frame's header.

    :raises Malformed: when these four bytes start no long frame.
    """
    if len(header) != 4 or header[0] != LONG_START or header[3] != LONG_START:
        raise Malformed(f"M-Bus: {header.hex()} starts no long frame")
    if header[1] != header[2] or header[1] < 3:
        raise Malformed(f"M-Bus: lengths {header[1]} and {header[2]}")
    return header[1] + 2


def check_frame(frame: bytes, address: int) -> None:
    """Check a whole long frame: lengths, checksum, stop, that it is an answer, and from whom.

    :raises Malformed: at the first thing that is wrong.
    """
    if len(frame) < 9 or long_frame_length(frame[:4]) != len(frame) - 4:
        raise Malformed(f"M-Bus: a frame of {len(frame)} bytes is not as long as it says")
    if frame[-1] != STOP:
        raise Malformed(f"M-Bus: ends in {frame[-1]:#04x} and not in 0x16")
    if sum(frame[4:-2]) & 0xFF != frame[-2]:
        raise Malformed("M-Bus: wrong checksum")
    if frame[4] & ~0x30 != RSP_UD:
        raise Malformed(f"M-Bus: C field {frame[4]:#04x} is no answer to REQ_UD2")
    if address not in (ANY_ADDRESS, frame[5]):
        raise Malformed(f"M-Bus: asked address {address}, answered by {frame[5]}")


def decode(frame: bytes, address: int = ANY_ADDRESS) -> Telegram:
    """Decode one RSP_UD frame.

    :raises Malformed: anything that is not a complete variable-data telegram.
    :raises Denied: an enciphered telegram.
    :raises TimedOut: the meter says that it is busy.
    """
    check_frame(frame, address)
    if frame[6] != VARIABLE_DATA or len(frame) < 21:
        raise Malformed(
            f"M-Bus: CI field {frame[6]:#04x} in {len(frame)} bytes is not variable data"
        )
    header = frame[
        7:19
    ]  # identification 4, manufacturer 2, version, medium, access, status, word 2
    status = header[9]
    if header[11] & 0x1F in ENCIPHERED_MODES:
        raise Denied(f"M-Bus: enciphered telegram (mode {header[11] & 0x1F})")
    if status & 0x03 == 1:
        raise TimedOut("M-Bus: the meter is busy")
    if status & 0x03 == 2:
        raise Malformed("M-Bus: the meter reports an application error")
    identity = header[3::-1] + header[4:8]
    parts = _split(frame)
    return Telegram(
        secondary=identity.hex(),
        medium=header[7],
        status=status,
        records=tuple(_record(part) for part in parts if part.dib.parts[0] not in SPECIAL),
        more_follows=any(part.more_records_follow for part in parts),
    )


def _split(frame: bytes) -> Sequence[TelegramVariableDataRecord]:
    """Let pyMeterBus split the telegram, and let nothing of its own out."""
    from meterbus import TelegramLong  # noqa: PLC0415 - only where a meter is configured
    from meterbus.exceptions import MBusError  # noqa: PLC0415

    try:
        records: Sequence[TelegramVariableDataRecord] = TelegramLong.parse(frame).records
        for record in records:
            record.dib.parse_dife()
            _check_complete(record)
    except (
        MBusError,
        LookupError,
        ValueError,
        TypeError,
        AttributeError,
        ArithmeticError,
        UnboundLocalError,
    ) as error:
        raise Malformed(f"M-Bus: undecodable records ({type(error).__name__})") from error
    return records


def _check_complete(record: TelegramVariableDataRecord) -> None:
    """Raise where the telegram ended within a record, which pyMeterBus lets pass."""
    dif = record.dib.parts[0]
    if dif in SPECIAL:
        return
    if record.dib.has_extension_bit or record.vib.has_extension_bit or not record.vib.parts:
        raise Malformed("M-Bus: the telegram ends within a record's header")
    length, _ = record.dib.length_encoding
    if not record.dib.is_variable_length and len(record.dataField.parts) != length:
        raise Malformed("M-Bus: the telegram ends within a record")


def _record(part: TelegramVariableDataRecord) -> Record:
    kind, unit, scale, extensions = _meaning(part.vib.parts)
    direction, plain, failed = 0, True, False
    for extension in extensions:
        if extension == 0x7F:  # what follows is the manufacturer's own
            plain = False
            break
        if extension in RECORD_ERRORS:
            failed = True
        elif 0x70 <= extension <= 0x77:  # multiplicative correction factor 10^(nnn-6)
            scale *= Fraction(10) ** ((extension & 0x07) - 6)
        elif extension == 0x7D:  # multiplicative correction factor 1000
            scale *= 1000
        elif extension in (FORWARD_ONLY, REVERSE_ONLY) and direction == 0:
            direction = extension
        elif extension != 0:
            plain = False
    number = None if failed or unit in NOT_NUMBERS else _number(part)
    return Record(
        kind=kind,
        unit=unit,
        value=None if number is None else number * scale,
        function=part.dib.function_type.name,
        storage=part.dib.storage_number,
        tariff=part.dib.tariff or 0,
        device=part.dib.device or 0,
        direction=direction,
        plain=plain,
    )


NOT_NUMBERS = ("date", "date time", "time", "date time to second")

# What pyMeterBus' table has under a wrong unit (EN 13757-3, table 12: VIF FBh).
CORRECTED = {
    0x208: (1e8, "J", "Energy"),
    0x209: (1e9, "J", "Energy"),
    0x230: (1e8, "J/h", "Power"),
    0x231: (1e9, "J/h", "Power"),
}


def _meaning(vib: Sequence[int]) -> tuple[str, str, Fraction, list[int]]:
    """Return kind, unit, scale, and the VIFEs that are left, without their extension bits."""
    from meterbus import VIFTable  # noqa: PLC0415 - only where a meter is configured

    first, extensions = vib[0], [vife & 0x7F for vife in vib[1:]]
    if first in (0xFB, 0xFD):
        code = extensions.pop(0) | (0x200 if first == 0xFB else 0x100)
    elif first & 0x7F in (0x7C, 0x7E, 0x7F):  # text, any, manufacturer specific
        return "UNKNOWN", "", Fraction(1), extensions
    else:
        code = first & 0x7F
    entry = CORRECTED.get(code) or VIFTable.lut.get(code)
    if entry is None:
        return "UNKNOWN", "", Fraction(1), extensions
    multiplier, unit, kind = entry
    # The table's floats are powers of ten and whole seconds: their repr is the exact number.
    scale = Fraction(Decimal(repr(multiplier)))
    return getattr(kind, "name", str(kind)), str(getattr(unit, "value", unit)), scale, extensions


def _number(part: TelegramVariableDataRecord) -> Fraction | None:
    """Return the data field as a number; None when it is none, or not a valid one."""
    raw = bytes(part.dataField.parts)
    match part.dib.parts[0] & 0x0F:
        case 1 | 2 | 3 | 4 | 6 | 7:
            # The most negative integer is "not valid" (EN 13757-3, annex A, type B).
            number = int.from_bytes(raw, "little", signed=True)
            return None if number == -(1 << (8 * len(raw) - 1)) else Fraction(number)
        case 5:
            (real,) = struct.unpack("<f", raw)  # type H: binary32
            return Fraction(shortest_single(real)) if isfinite(real) else None
        case 9 | 10 | 11 | 12 | 14:
            return _decimal_digits(raw)
        case _:
            return None


def _decimal_digits(raw: bytes) -> Fraction | None:
    """Return a BCD number (type A): a first digit F is a minus sign, any other letter an error."""
    text = raw[::-1].hex()
    sign = 1
    if text.startswith("f"):
        sign, text = -1, text[1:]
    return Fraction(sign * int(text)) if text.isdigit() else None
