"""The site's energy meter: pymodbus' own server with the registers of a Siemens SENTRON PAC.

That family because its energy is a double in Wh: a demo of 30 s shows on it, which a register in
steps of 0.1 kWh does not.
"""

from __future__ import annotations

import asyncio
import struct
from typing import cast

from pymodbus.constants import ExcCodes
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from agent.sandbox.plant import Plant

MAP = "siemens-pac"
UNIT = 1
POWER, IMPORT, EXPORT = 65, 801, 809
MJ_PER_WH = 3_600_000


class EnergyMeter:
    """A Modbus TCP server on a loopback port of its own. `fault` is one of `FAULTS` or None."""

    FAULTS = ("hang", "drop", "checksum", "truncate", "freeze")

    def __init__(self, plant: Plant) -> None:
        self.fault: str | None = None
        self.port = 0
        self._plant = plant
        self._offset_mj = 0
        self._shown = (0, 0)
        self._server: ModbusTcpServer | None = None

    async def start(self) -> None:
        """Listen; `port` says where."""
        registers = DataType.REGISTERS
        device = SimDevice(
            id=UNIT,
            simdata=[
                SimData(POWER, values=[0, 0], datatype=registers),
                SimData(IMPORT, values=[0, 0, 0, 0], datatype=registers),
                SimData(EXPORT, values=[0, 0, 0, 0], datatype=registers),
            ],
            action=self._refresh,
        )
        self._server = ModbusTcpServer(
            device, address=("127.0.0.1", 0), trace_packet=self._on_packet
        )
        await self._server.serve_forever(background=True)
        listener = cast("asyncio.Server", self._server.transport)
        self.port = listener.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Close all connections and stop listening."""
        if self._server is not None:
            await self._server.shutdown()

    def reset(self) -> None:
        """Start the energy register over at zero, as a replaced meter does."""
        self._offset_mj = self._plant.energy_mj

    async def _refresh(
        self,
        _function: int,
        start: int,
        _address: int,
        _count: int,
        registers: list[int],
        _written: list[int] | list[bool] | None,
    ) -> ExcCodes | None:
        """Put what the meter shows now into the registers, before one is read."""
        if self.fault != "freeze":
            self._shown = (self._plant.power_mw, self._plant.energy_mj - self._offset_mj)
        power_mw, energy_mj = self._shown
        power = struct.unpack(">2H", struct.pack(">f", power_mw / 1000))
        energy = struct.unpack(">4H", struct.pack(">d", energy_mj / MJ_PER_WH))
        registers[POWER - start : POWER - start + 2] = power
        registers[IMPORT - start : IMPORT - start + 4] = energy
        return None

    def _on_packet(self, sending: bool, packet: bytes) -> bytes:
        """Spoil an answer on its way out as `fault` says."""
        if not sending:
            return packet
        match self.fault:
            case "hang":
                return b""
            case "drop":
                self._cut()
                return b""
            case "checksum":  # Modbus TCP has none: the transaction id is what ties the two
                return bytes((packet[0] ^ 0x55,)) + packet[1:]
            case "truncate":
                return packet[:-3]
            case _:
                return packet

    def _cut(self) -> None:
        if self._server is not None:
            for connection in tuple(self._server.active_connections.values()):
                connection.close()
