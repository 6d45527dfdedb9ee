"""The site's heat meter: a wired M-Bus slave behind a TCP gateway (EN 13757-2 and -3).

Records in the finest steps the standard has, so that a short run shows on them: heat in J, power
in mW, volume in mL, flow in mL/h, temperatures in m°C.
"""

from __future__ import annotations

import asyncio
import contextlib

from agent.sandbox.plant import Plant

ADDRESS = 1
BROADCAST = 254
ACK = b"\xe5"
SND_NKE, REQ_UD2, FCB = 0x40, 0x5B, 0x20

IDENTIFICATION = 20_250_001  # eight decimal digits
MANUFACTURER = "HRT"
VERSION, MEDIUM = 0x01, 0x04  # heat (outlet)

# DIF (data type) and VIF (quantity and unit) of EN 13757-3, tables 4 and 10.
INT32, INT48 = 0x04, 0x06
HEAT_J, VOLUME_ML, POWER_MW, FLOW_ML_H, SUPPLY_MC, RETURN_MC = 0x08, 0x10, 0x28, 0x38, 0x58, 0x5C
SIZES = {INT32: 4, INT48: 6}


def manufacturer_code(letters: str) -> int:
    """Pack three letters (EN 13757-3, 5.6: five bits each, A is 1)."""
    first, second, third = (ord(letter) - 64 for letter in letters)
    return first << 10 | second << 5 | third


def record(dif: int, vif: int, value: int) -> bytes:
    """Build one data record."""
    return bytes((dif, vif)) + value.to_bytes(SIZES[dif], "little", signed=True)


def respond(address: int, access: int, records: bytes) -> bytes:
    """Build an RSP_UD long frame with the long header (CI 72h)."""
    body = (
        bytes((0x08, address, 0x72))
        + bytes.fromhex(f"{IDENTIFICATION:08d}")[::-1]
        + manufacturer_code(MANUFACTURER).to_bytes(2, "little")
        + bytes((VERSION, MEDIUM, access & 0xFF, 0x00, 0x00, 0x00))
        + records
    )
    start = bytes((0x68, len(body), len(body), 0x68))
    return start + body + bytes((sum(body) & 0xFF, 0x16))


class HeatMeter:
    """An M-Bus slave on a loopback port of its own. `fault` is one of `FAULTS` or None."""

    FAULTS = ("hang", "drop", "checksum", "truncate", "freeze")

    def __init__(self, plant: Plant) -> None:
        self.fault: str | None = None
        self.port = 0
        self._plant = plant
        self._offset_mj = 0
        self._access = 0
        self._last_fcb: int | None = None
        self._last_frame = b""
        self._shown = b""
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def start(self) -> None:
        """Listen; `port` says where."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Close all connections and stop listening."""
        if self._server is not None:
            self._server.close()
            for writer in tuple(self._writers):
                writer.close()
            await self._server.wait_closed()

    def reset(self) -> None:
        """Start the heat register over at zero, as a meter after a battery change may."""
        self._offset_mj = self._plant.heat_mj

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                while True:
                    request = await reader.readexactly(5)
                    if self.fault == "drop":
                        break
                    writer.write(self._spoil(self._answer(request)))
                    await writer.drain()
        finally:
            self._writers.discard(writer)
            writer.close()

    def _answer(self, request: bytes) -> bytes:
        """Answer a short frame that is right and for us; a slave is silent to all others."""
        start, control, address, checksum, stop = request
        if (start, stop, checksum) != (0x10, 0x16, (control + address) & 0xFF):
            return b""
        if address not in (ADDRESS, BROADCAST):
            return b""
        if control == SND_NKE:
            self._last_fcb = None
            return ACK
        if control & ~FCB != REQ_UD2:
            return b""
        fcb = control & FCB
        if fcb != self._last_fcb:  # the same bit again asks for the same frame again
            self._last_fcb = fcb
            self._access += 1
            self._last_frame = respond(ADDRESS, self._access, self._records())
        return self._last_frame

    def _records(self) -> bytes:
        if self.fault != "freeze" or not self._shown:
            plant = self._plant
            self._shown = b"".join(
                (
                    record(INT48, HEAT_J, (plant.heat_mj - self._offset_mj) // 1000),
                    record(INT48, VOLUME_ML, plant.volume_ml),
                    record(INT32, POWER_MW, plant.heat_mw),
                    record(INT32, FLOW_ML_H, plant.flow_ml_h),
                    record(INT32, SUPPLY_MC, plant.supply_mc),
                    record(INT32, RETURN_MC, plant.return_mc),
                )
            )
        return self._shown

    def _spoil(self, answer: bytes) -> bytes:
        if self.fault == "hang":
            return b""
        if len(answer) > 1 and self.fault == "checksum":
            return answer[:-2] + bytes((answer[-2] ^ 0x55,)) + answer[-1:]
        if len(answer) > 1 and self.fault == "truncate":
            return answer[:-9]
        return answer
