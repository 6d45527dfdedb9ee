"""A measured-boot log put together by hand: right, or wrong in one chosen way."""

from __future__ import annotations

import hashlib
import struct

SHA1, SHA256, SHA384 = 0x0004, 0x000B, 0x000C
NAMES = {SHA1: "sha1", SHA256: "sha256", SHA384: "sha384"}
SIZES = {SHA1: 20, SHA256: 32, SHA384: 48}
NO_ACTION, SEPARATOR, S_CRTM, IPL = 0x3, 0x4, 0x8, 0xD
DRIVER_CONFIG, BOOT_APPLICATION = 0x80000001, 0x80000003
GLOBAL_VARIABLE = bytes.fromhex("61dfe48bca93d211aa0d00e098032b8c")


def header(of: tuple[int, ...] = (SHA1, SHA256), **changed: bytes) -> bytes:
    """TCG_PCClientPCREvent with a Spec ID event; `changed` replaces a part by name."""
    parts = {
        "pcr": struct.pack("<I", 0),
        "type": struct.pack("<I", NO_ACTION),
        "digest": bytes(20),
        "signature": b"Spec ID Event03\0",
        "class": struct.pack("<I", 0),
        "version": bytes((0, 2, 0, 2)),
        "count": struct.pack("<I", len(of)),
        "banks": b"".join(struct.pack("<HH", bank, SIZES[bank]) for bank in of),
        "vendor": b"\0",
        **changed,
    }
    names = list(parts)
    body = b"".join(parts[name] for name in names[3:])
    return b"".join(parts[name] for name in names[:3]) + struct.pack("<I", len(body)) + body


def event(
    pcr: int,
    kind: int,
    data: bytes,
    banks: tuple[int, ...] = (SHA1, SHA256),
    measured: bytes | None = None,
) -> bytes:
    """TCG_PCR_EVENT2; `measured` is what was hashed where that is not `data`."""
    of = data if measured is None else measured
    digests = b"".join(
        struct.pack("<H", bank)
        + (bytes(SIZES[bank]) if kind == NO_ACTION else hashlib.new(NAMES[bank], of).digest())
        for bank in banks
    )
    head = struct.pack("<III", pcr, kind, len(banks))
    return head + digests + struct.pack("<I", len(data)) + data


def variable(name: str, value: bytes, vendor: bytes = GLOBAL_VARIABLE) -> bytes:
    """UEFI_VARIABLE_DATA."""
    return vendor + struct.pack("<QQ", len(name), len(value)) + name.encode("utf-16-le") + value


def locality(value: int) -> bytes:
    return event(0, NO_ACTION, b"StartupLocality\0" + bytes((value,)))


SECURE_BOOT = event(7, DRIVER_CONFIG, variable("SecureBoot", b"\1"))
NO_SECURE_BOOT = event(7, DRIVER_CONFIG, variable("SecureBoot", b"\0"))
SEPARATORS = b"".join(event(pcr, SEPARATOR, bytes(4)) for pcr in range(8))


def boot(secure: bytes = SECURE_BOOT, after: bytes = b"") -> bytes:
    """A short, honest boot: firmware, the Secure Boot variable, separators, a boot loader."""
    firmware = event(0, S_CRTM, b"1.0")
    loader = event(4, BOOT_APPLICATION, b"path of a boot loader", measured=b"its image")
    return header() + firmware + secure + SEPARATORS + loader + after
