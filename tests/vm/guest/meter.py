"""A meter with one register, at the far end of a serial line: Modbus RTU, unit 1.

(MODBUS over Serial Line V1.02, 2.5.1.) As a program it is given the line and the register's value.
"""

from __future__ import annotations

import os
import struct
import sys
import tty
from collections.abc import Callable

REQUEST_SIZE = 8


def with_crc(frame: bytes) -> bytes:
    crc = 0xFFFF
    for byte in frame:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0xA001 if crc & 1 else 0)
    return frame + struct.pack("<H", crc)


def serve(receive: Callable[[int], bytes], send: Callable[[bytes], object], value: int) -> None:
    """Answer every question for that register until the line ends, and nothing else."""
    question = with_crc(struct.pack(">BBHH", 1, 3, 0, 1))
    answer = with_crc(struct.pack(">BBBH", 1, 3, 2, value))
    heard = b""
    while more := receive(REQUEST_SIZE):
        heard = (heard + more)[-REQUEST_SIZE:]
        if heard == question:
            heard = b""
            send(answer)


if __name__ == "__main__":
    line = os.open(sys.argv[1], os.O_RDWR | os.O_NOCTTY)
    tty.setraw(line)
    serve(lambda size: os.read(line, size), lambda frame: os.write(line, frame), int(sys.argv[2]))
