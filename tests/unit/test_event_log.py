"""The measured-boot log: what parses, what it replays to, what may be read out of it."""

from __future__ import annotations

import hashlib
import struct

import pytest

from attest.errors import Malformed
from attest.eventlog import MAX_EVENTS, MAX_LOG, SecureBoot, parse, replay, secure_boot
from tests.fakes.event_log import (
    DRIVER_CONFIG,
    IPL,
    NO_ACTION,
    NO_SECURE_BOOT,
    SECURE_BOOT,
    SEPARATOR,
    SEPARATORS,
    SHA1,
    SHA256,
    boot,
    event,
    header,
    locality,
    variable,
)

FIRMWARE = event(0, 0x8, b"1.0")
DB = variable("db", b"\1", bytes(16))


def extend(value: bytes, data: bytes) -> bytes:
    return hashlib.sha256(value + hashlib.sha256(data).digest()).digest()


def test_pcrs_start_as_the_specification_says() -> None:
    values = replay(parse(header()))
    assert sorted(values) == list(range(24))
    assert {values[index] for index in (*range(17), 23)} == {bytes(32)}
    assert {values[index] for index in range(17, 23)} == {b"\xff" * 32}


def test_events_extend_their_pcr_in_order() -> None:
    values = replay(parse(header() + event(4, IPL, b"one") + event(4, IPL, b"two")))
    assert values[4] == extend(extend(bytes(32), b"one"), b"two")
    assert values[5] == bytes(32)


def test_what_is_no_action_extends_nothing() -> None:
    assert replay(parse(header() + event(0, NO_ACTION, b"hello"))) == replay(parse(header()))


@pytest.mark.parametrize("value", [0, 3, 4])
def test_the_startup_locality_is_where_pcr_0_begins(value: int) -> None:
    values = replay(parse(header() + locality(value) + FIRMWARE))
    assert values[0] == extend(bytes(31) + bytes((value,)), b"1.0")


@pytest.mark.parametrize(
    ("log", "state"),
    [
        (boot(), SecureBoot.ON),
        (boot(NO_SECURE_BOOT), SecureBoot.OFF),
        (boot(b""), SecureBoot.UNKNOWN),
        # After the separator it comes from what was booted.
        (boot(NO_SECURE_BOOT, after=SECURE_BOOT), SecureBoot.OFF),
        (boot(b"", after=SECURE_BOOT), SecureBoot.UNKNOWN),
        # Data that do not hash to the digest are anybody's.
        (
            boot(
                event(
                    7,
                    DRIVER_CONFIG,
                    variable("SecureBoot", b"\1"),
                    measured=variable("SecureBoot", b"\0"),
                )
            ),
            SecureBoot.UNKNOWN,
        ),
        # The type is covered by no digest: what is measured counts.
        (boot(event(7, IPL, variable("SecureBoot", b"\1"))), SecureBoot.ON),
        (header() + SECURE_BOOT, SecureBoot.UNKNOWN),  # never handed over
        (header() + SECURE_BOOT + event(7, SEPARATOR, b"\1\0\0\0"), SecureBoot.UNKNOWN),
        (boot(SECURE_BOOT + NO_SECURE_BOOT), SecureBoot.UNKNOWN),
        (boot(event(7, DRIVER_CONFIG, variable("SecureBoot", b""))), SecureBoot.UNKNOWN),
        (boot(event(7, DRIVER_CONFIG, variable("SecureBoot", b"\1\0"))), SecureBoot.UNKNOWN),
        (boot(event(7, DRIVER_CONFIG, variable("secureboot", b"\1"))), SecureBoot.UNKNOWN),
        (
            boot(event(7, DRIVER_CONFIG, variable("SecureBoot", b"\1", bytes(16)))),
            SecureBoot.UNKNOWN,
        ),
        (boot(event(6, DRIVER_CONFIG, variable("SecureBoot", b"\1"))), SecureBoot.UNKNOWN),
        (boot(SECURE_BOOT + event(7, DRIVER_CONFIG, DB)), SecureBoot.ON),
        (boot(event(7, DRIVER_CONFIG, variable("SecureBoot", b"\1") + b"x")), SecureBoot.UNKNOWN),
    ],
)
def test_the_secure_boot_state_is_read_from_digested_bytes(log: bytes, state: SecureBoot) -> None:
    assert secure_boot(parse(log)) is state


@pytest.mark.parametrize(
    ("log", "why"),
    [
        (b"", "ends within"),
        (header(type=struct.pack("<I", 1)), "Spec ID"),
        (header(pcr=struct.pack("<I", 1)), "Spec ID"),
        (header(digest=b"\1" * 20), "Spec ID"),
        (header(signature=b"Spec ID Event02\0"), "Spec ID"),
        (header(version=bytes((0, 1, 0, 2))), "version 1"),
        (header(count=struct.pack("<I", 0), banks=b""), "0 banks"),
        (header(count=struct.pack("<I", 9)), "9 banks"),
        (header(count=struct.pack("<I", 0xFFFFFFFF)), "4294967295 banks"),
        (header(banks=struct.pack("<HHHH", SHA256, 32, SHA256, 32)), "twice"),
        (header(banks=struct.pack("<HHHH", SHA1, 20, SHA256, 20)), "digests of 20 bytes"),
        (header(banks=struct.pack("<HHHH", SHA256, 32, 0x99, 0)), "digests of 0 bytes"),
        (header(banks=struct.pack("<HHHH", SHA256, 32, 0x99, 65)), "digests of 65 bytes"),
        (header((SHA1,)), "no SHA-256 bank"),
        (header(vendor=b"\x05abc"), "ends within"),
        (header(vendor=b"\0\0"), "follow"),
        (header() + b"\0", "ends within"),
        (header() + event(24, IPL, b""), "PCR 24"),
        (header() + event(0, IPL, b"", (SHA256,)), "1 digests"),
        (header() + event(0, IPL, b"", (SHA256, SHA256)), "unannounced or twice"),
        (header() + event(0, IPL, b"", (SHA1, 0x000C)), "unannounced or twice"),
        (header() + event(0, IPL, b"")[:-4] + struct.pack("<I", 1), "ends within"),
        (header() + event(0, IPL, b"")[:-4] + b"\xff" * 4, "ends within"),
        (header() + locality(1), "locality 1"),
        (header() + locality(3) + locality(3), "twice"),
        (header() + FIRMWARE + locality(3), "after a measurement"),
        (header() + event(1, NO_ACTION, b"StartupLocality\0\3"), "another shape"),
        (header() + event(0, NO_ACTION, b"StartupLocality\0\3\0"), "another shape"),
        (header() + event(0, NO_ACTION, b"StartupLocality\0"), "another shape"),
        (header() + event(0, IPL, b"") * (MAX_EVENTS + 1), "more than"),
        (boot() + event(0, IPL, bytes(MAX_LOG)), "longer than"),
    ],
)
def test_anything_else_is_malformed(log: bytes, why: str) -> None:
    with pytest.raises(Malformed, match=why):
        parse(log)


def test_what_is_within_the_bounds_parses() -> None:
    assert len(parse(header() + event(0, IPL, b"") * MAX_EVENTS).events) == MAX_EVENTS
    assert parse(header(vendor=b"\x03abc")).events == ()
    assert len(parse(header() + SEPARATORS).events) == 8
