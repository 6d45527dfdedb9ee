#!/usr/bin/env python3
"""A board's management controller to test with: device, SDR repository, sensors, DCMI power.

    bmc.py --tty STATE              on a pseudo-terminal, whose name it prints, for
                                    ipmitool -I serial-basic -D NAME:115200
    bmc.py --machine SOCKET STATE   for QEMU's ipmi-bmc-extern, which listens on SOCKET

STATE is a JSON file with keys of `State`, read at every command; what it lacks is as it stands
there.

Sources: IPMI 2.0 revision 1.1 (14.4 basic mode, 20 device, 33 SDR repository, 35 sensors, 43.1
full sensor record), DCMI 1.5 (6.6.1), QEMU's hw/ipmi/ipmi_bmc_extern.c for the framing between it
and a BMC.
"""

import json
import os
import socket
import struct
import sys
import time
import tty
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

INVALID_COMMAND, NOT_FOUND = 0xC1, 0xCB
SCANNING, NO_READING = 0xC0, 0x20
START, STOP, MESSAGE, COMMAND, HANDSHAKE, ESCAPE = 0xA0, 0xA5, 0xA0, 0xA1, 0xA6, 0xAA

# What a special byte is sent as, after an ESCAPE.
DISGUISED = {START: 0xB0, COMMAND: 0xB1, STOP: 0xB5, HANDSHAKE: 0xB6, ESCAPE: 0xBA, 0x1B: 0x3B}
PLAIN = {disguise: byte for byte, disguise in DISGUISED.items()}
SPECIAL_ON_TTY = bytes([START, STOP, HANDSHAKE, ESCAPE, 0x1B])
SPECIAL_IN_QEMU = bytes([MESSAGE, COMMAND, ESCAPE])


@dataclass(frozen=True)
class State:
    """What it measures and how it behaves."""

    watts: int = 230
    active: bool = True  # whether it says that it measures power
    completion: int = 0  # the code with which DCMI is refused
    silent: bool = False
    celsius: int | None = 23


def record(number: int, kind: int, unit: int, name: str) -> bytes:
    """Return a full sensor record: one byte, unsigned, its value as it is."""
    body = struct.pack("<9B3H3B", 0x20, 0, number, 7, 1, 0x7F, 0x68, kind, 1, 0, 0, 0, 0, unit, 0)
    # Linear, M = 1, B = 0, exponents 0; of nominal values, bounds and thresholds none.
    body += bytes([0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0]) + bytes(11)
    text = name.encode()
    body += bytes([0xC0 | len(text)]) + text
    return struct.pack("<HBBB", number, 0x51, 0x01, len(body)) + body


RECORDS = {
    1: record(1, 0x01, 1, "Inlet Temp"),
    2: record(2, 0x04, 18, "Fan 1"),
    3: record(3, 0x0B, 6, "PS1, Input"),
}


class Bmc:
    """Answers one command after another."""

    def __init__(self, state: Path) -> None:
        self._file = state

    def answer(self, netfn: int, command: int, data: bytes) -> bytes | None:
        """Return completion code and data; None where it says nothing."""
        try:
            state = State(**json.loads(self._file.read_text()))
        except FileNotFoundError:
            state = State()
        if state.silent:
            return None
        match netfn, command:
            case 0x06, 0x01:  # Get Device ID: with an SDR repository and sensors
                return bytes([0, 0x20, 1, 1, 0, 0x02, 0x83, 0, 0, 0, 0, 0])
            case 0x06, 0x04:  # Get Self Test Results
                return bytes([0, 0x55, 0])
            case 0x06, 0x2E | 0x30:  # Set BMC Global Enables, Clear Message Flags
                return bytes(1)
            case 0x06, 0x2F | 0x31:  # Get BMC Global Enables, Get Message Flags
                return bytes(2)
            case 0x0A, 0x20:  # Get SDR Repository Info
                return struct.pack("<BBHHIIB", 0, 0x51, len(RECORDS), 0xFFFF, 0, 0, 0x02)
            case 0x0A, 0x22:  # Reserve SDR Repository
                return bytes([0, 1, 0])
            case 0x0A, 0x23:
                return _sdr(data)
            case 0x04, 0x2D:
                return _reading(data[0], state)
            case 0x2C, 0x02 if data[:2] == b"\xdc\x01":
                return _power(state)
        return bytes([INVALID_COMMAND])


def _sdr(data: bytes) -> bytes:
    """Get SDR: a part of a record, and which comes next."""
    _, wanted, offset, count = struct.unpack("<HHBB", data)
    numbers = sorted(RECORDS)
    number = wanted or numbers[0]
    if number not in RECORDS:
        return bytes([NOT_FOUND])
    following = next((other for other in numbers if other > number), 0xFFFF)
    return struct.pack("<BH", 0, following) + RECORDS[number][offset : offset + count]


def _reading(number: int, state: State) -> bytes:
    """Get Sensor Reading."""
    values = {1: state.celsius, 2: 42, 3: state.watts // 2}
    if number not in values:
        return bytes([NOT_FOUND])
    value = values[number]
    return bytes([0, 0, SCANNING | NO_READING, 0] if value is None else [0, value, SCANNING, 0])


def _power(state: State) -> bytes:
    """Get Power Reading: now, least, most, average; time, period, state."""
    if state.completion:
        return bytes([state.completion])
    watts, least, most = state.watts, state.watts // 2, state.watts * 2
    figures = struct.pack("<HHHHII", watts, least, most, watts, int(time.time()), 1000)
    return b"\0\xdc" + figures + bytes([0x40 if state.active else 0])


def _checksum(data: bytes) -> int:
    return -sum(data) & 0xFF


def _escaped(data: bytes, special: bytes) -> bytes:
    return b"".join(
        bytes([ESCAPE, DISGUISED[byte]]) if byte in special else bytes([byte]) for byte in data
    )


def _frames(read: Callable[[], bytes], ends: bytes) -> Iterator[tuple[int, bytes]]:
    """Split a stream into (the byte that ended a frame, the frame)."""
    frame, escape = bytearray(), False
    while chunk := read():
        for byte in chunk:
            if byte in ends:
                yield byte, bytes(frame)
                frame.clear()
            elif byte == ESCAPE:
                escape = True
            else:
                frame.append(PLAIN[byte] if escape else byte)
                escape = False


def serve_tty(bmc: Bmc) -> None:
    """Basic mode: A0 address netfn sum asker sequence command data sum A5."""
    ours, theirs = os.openpty()
    tty.setraw(theirs)
    sys.stdout.write(os.ttyname(theirs) + "\n")
    sys.stdout.flush()
    for _, frame in _frames(lambda: os.read(ours, 256), bytes([STOP])):
        address, net, _, asker, sequence, command, *data = frame.lstrip(bytes([START]))
        answer = bmc.answer(net >> 2, command, bytes(data[:-1]))
        if answer is None:
            continue
        head = bytes([asker, net | 0x04])
        tail = bytes([address, sequence, command]) + answer
        body = head + bytes([_checksum(head)]) + tail + bytes([_checksum(tail)])
        os.write(ours, bytes([START]) + _escaped(body, SPECIAL_ON_TTY) + bytes([STOP]))


def serve_machine(bmc: Bmc, path: str) -> None:
    """QEMU's: sequence netfn command data sum A0; what ends in A1 is about the wire itself."""
    line = socket.socket(socket.AF_UNIX)
    deadline = time.monotonic() + 30
    while line.connect_ex(path) != 0:
        if time.monotonic() > deadline:
            sys.exit(f"bmc: nobody listens on {path}")
        time.sleep(0.05)
    line.sendall(_escaped(b"\xff\x01", SPECIAL_IN_QEMU) + bytes([COMMAND]))  # version 1 of it
    for end, frame in _frames(lambda: line.recv(256), bytes([MESSAGE, COMMAND])):
        if end != MESSAGE:
            continue
        sequence, net, command, *data = frame
        answer = bmc.answer(net >> 2, command, bytes(data[:-1]))
        if answer is None:
            continue
        body = bytes([sequence, net | 0x04, command]) + answer
        line.sendall(_escaped(body + bytes([_checksum(body)]), SPECIAL_IN_QEMU) + bytes([MESSAGE]))


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["--tty", state]:
            serve_tty(Bmc(Path(state)))
        case ["--machine", path, state]:
            serve_machine(Bmc(Path(state)), path)
        case _:
            sys.exit("usage: bmc.py --tty STATE | --machine SOCKET STATE")
