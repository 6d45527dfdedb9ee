"""Logs that real firmware wrote, held against the TPM that measured and against another tool."""

from __future__ import annotations

from pathlib import Path

import pytest

from attest.errors import Malformed
from attest.eventlog import FIRMWARE_PCRS, EventLog, SecureBoot, parse, replay, secure_boot

LOGS = Path(__file__).parent / "eventlog"
QEMU = "qemu-ovmf-secureboot-debian12"
NAMES = sorted(file.stem for file in LOGS.glob("*.bin"))


def log(name: str) -> EventLog:
    return parse((LOGS / f"{name}.bin").read_bytes())


def recorded(name: str) -> dict[int, str]:
    lines = (LOGS / f"{name}.pcrs").read_text().splitlines()
    return {int(index): value for index, value in (line.split() for line in lines)}


def test_there_are_recordings() -> None:
    assert len(NAMES) == 3


@pytest.mark.parametrize("name", NAMES)
def test_a_log_replays_to_the_recorded_pcrs(name: str) -> None:
    values = replay(log(name))
    for index, value in recorded(name).items():
        assert values[index].hex() == value, f"PCR {index}"
    assert set(FIRMWARE_PCRS) <= set(recorded(name))


@pytest.mark.parametrize(
    ("name", "state"),
    [
        (QEMU, SecureBoot.ON),
        ("event-gce-ubuntu-2104-log", SecureBoot.OFF),
        ("event-sd-boot-fedora37", SecureBoot.UNKNOWN),
    ],
)
def test_the_secure_boot_state(name: str, state: SecureBoot) -> None:
    assert secure_boot(log(name)) is state


@pytest.mark.parametrize("name", NAMES)
def test_a_log_cut_anywhere_never_replays(name: str) -> None:
    """Between two events it parses, and then lacks what was measured."""
    content = (LOGS / f"{name}.bin").read_bytes()
    whole = recorded(name)
    parsed = 0
    for end in range(0, len(content), 1 if len(content) < 5000 else 7):
        try:
            values = replay(parse(content[:end]))
        except Malformed:
            continue
        parsed += 1
        assert any(values[index].hex() != value for index, value in whole.items())
    assert parsed < 60


def test_no_byte_of_a_digest_can_be_changed() -> None:
    name = "event-sd-boot-fedora37"
    content = bytearray((LOGS / f"{name}.bin").read_bytes())
    whole = recorded(name)
    events = [event for event in log(name).events if event.type != 3]
    for event in events:
        at = content.index(event.sha256)
        content[at] ^= 1
        values = replay(parse(bytes(content)))
        content[at] ^= 1
        assert any(values[index].hex() != value for index, value in whole.items())
