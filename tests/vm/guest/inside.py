"""Run in the daemon's place, in its unit: tries devices, as it is asked on a socket.

A request is one line, `VERB PATH`, and so is its answer.
`open`: opened for reading and writing; "open", or the name of the error.
`read`: a meter's first register, on that serial line, by the package's own pymodbus and pyserial.
"""

from __future__ import annotations

import errno
import os
import socket
import socketserver
import sys

SITE = "/usr/lib/hearth-agent/site"
SOCKET = "/run/hearth/inside.sock"
LONG_S = 60.0  # the machine is emulated

sys.path.insert(0, SITE)

import serial  # noqa: E402 - from the package
from pymodbus.client import ModbusSerialClient  # noqa: E402


def open_it(path: str) -> str:
    try:
        os.close(os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK))
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return "open"


def read_meter(path: str) -> str:
    client = ModbusSerialClient(path, baudrate=9600, parity="E", timeout=LONG_S, retries=0)
    if not client.connect():
        return f"{path} cannot be opened as a serial line"
    try:
        return str(client.read_holding_registers(0, count=1, device_id=1).registers[0])
    finally:
        client.close()


class Requests(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        verb, path = self.rfile.readline().decode().split()
        try:
            answer = {"open": open_it, "read": read_meter}[verb](path)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the answer
            answer = f"{type(error).__name__}: {error}"
        self.wfile.write(answer.encode() + b"\n")


def main() -> None:
    assert serial.__file__.startswith(SITE)
    with socketserver.UnixStreamServer(SOCKET, Requests) as server:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
            systemd.sendto(b"READY=1", os.environ["NOTIFY_SOCKET"])
        server.serve_forever()


if __name__ == "__main__":
    main()
