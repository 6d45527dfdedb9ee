"""Energy meters over Modbus TCP, through pymodbus' synchronous client.

pymodbus is imported only when a meter is read, so that its memory is paid for only where one is
configured.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from probes.errors import Malformed, ProbeError, TimedOut
from probes.link import Deadline, Unreachable, connect
from probes.modbus_maps import MAPS, Register, Table, decode
from probes.reading import Reading, SensorId, SourceClass

if TYPE_CHECKING:
    from pymodbus.client import ModbusTcpClient
    from pymodbus.pdu import ModbusPDU

    from probes.host import Host
    from probes.reading import Instant

SLAVE_BUSY = 6  # Modbus Application Protocol V1.1b3, 7: exception codes
GATEWAY_NO_PATH, GATEWAY_NO_ANSWER = 10, 11


@dataclass(frozen=True, slots=True, kw_only=True)
class ModbusMeter:
    """Configuration of one meter. `map` is a name in `modbus_maps.MAPS`."""

    name: str
    host: str
    port: int = 502
    unit: int = 1
    map: str
    interval_seconds: int = 10
    deadline_ms: int = 2_000
    source: SourceClass = SourceClass.BILLING_METER
    uncertainty_permille: int = 10  # class B of the MID (2014/32/EU, annex V) at full load

    def __post_init__(self) -> None:
        if self.map not in MAPS:
            raise ValueError(f"map {self.map!r} is not one of {', '.join(sorted(MAPS))}")
        if not 0 <= self.unit <= 255:
            raise ValueError(f"unit {self.unit} is not between 0 and 255")
        if self.interval_seconds < 1 or self.deadline_ms < 1:
            raise ValueError("interval_seconds and deadline_ms must be at least 1")


class ModbusProbe:
    """One meter: the rows of its map, each stamped when its answer came.

    Nothing is kept from one read to the next but the connection, so an old value cannot be served
    as a new one. A row that the meter says is not available is left out.
    """

    slow = True

    def __init__(self, meter: ModbusMeter) -> None:
        self.name = f"modbus:{meter.name}"
        self.interval_ns = meter.interval_seconds * 1_000_000_000
        self._meter = meter
        self._map = MAPS[meter.map]
        self._client: ModbusTcpClient | None = None

    def read(self, host: Host, at: Instant) -> tuple[Reading, ...]:
        """Read all rows within the meter's deadline; on any failure the connection is dropped.

        :raises Unreachable, Denied, TimedOut, Malformed: as network and meter answer. Also when no
            row at all is available.
        """
        deadline = Deadline(self._meter.deadline_ms / 1000, self.name)
        reused = self._client is not None
        try:
            return self._read(host, deadline)
        except Unreachable:
            self.close()
            if not reused:
                raise
            # Gateways cut idle connections: that is no fault of the meter.
            return self._retry(host, deadline)
        except ProbeError:
            self.close()  # a late answer must not be taken for the next one's
            raise

    def _retry(self, host: Host, deadline: Deadline) -> tuple[Reading, ...]:
        try:
            return self._read(host, deadline)
        except ProbeError:
            self.close()
            raise

    def _read(self, host: Host, deadline: Deadline) -> tuple[Reading, ...]:
        readings = []
        for row in self._map.rows:
            value = decode(row, self._fetch(row, deadline))
            if value is None:
                continue
            readings.append(
                Reading(
                    sensor=SensorId("modbus", self._meter.name, row.quantity),
                    at=host.now(),
                    value=value,
                    source=self._meter.source,
                    uncertainty_permille=self._meter.uncertainty_permille,
                )
            )
        if not readings:
            raise Malformed(f"{self.name}: every register says that it has no value")
        return tuple(readings)

    def _fetch(self, row: Register, deadline: Deadline) -> list[int]:
        """Read one row's registers."""
        from pymodbus.exceptions import (  # noqa: PLC0415 - only where a meter is configured
            ConnectionException,
            ModbusException,
        )

        client = self._connected(deadline)
        # The client waits up to twice this long: once for the first byte and once for the rest.
        half = deadline.remaining() / 2
        client.comm_params.timeout_connect = half
        client.transaction.comm_params.timeout_connect = half
        count, unit = row.kind.registers, self._meter.unit
        try:
            if self._map.table is Table.INPUT:
                answer = client.read_input_registers(row.address, count=count, device_id=unit)
            else:
                answer = client.read_holding_registers(row.address, count=count, device_id=unit)
        except (ConnectionException, OSError) as error:
            raise Unreachable(f"{self.name}: {error}") from error
        except ModbusException as error:
            if "No response" in str(error):
                raise TimedOut(f"{self.name}: no answer before its deadline") from error
            raise Malformed(f"{self.name}: {error}") from error
        except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError) as error:
            # pymodbus decodes foreign bytes and does not promise what it raises on bad ones.
            raise Malformed(f"{self.name}: {type(error).__name__} in the answer") from error
        return self._registers(row, answer)

    def _registers(self, row: Register, answer: ModbusPDU) -> list[int]:
        if answer.isError():
            code = getattr(answer, "exception_code", 0)
            text = f"{self.name}: exception {code} at register {row.address:#06x}"
            if code in (SLAVE_BUSY, GATEWAY_NO_ANSWER):
                raise TimedOut(text)
            raise Unreachable(text) if code == GATEWAY_NO_PATH else Malformed(text)
        asked = self._map.table.value
        if answer.function_code != asked or len(answer.registers) != row.kind.registers:
            raise Malformed(
                f"{self.name}: function {answer.function_code} with {len(answer.registers)} "
                f"registers, asked for {asked} with {row.kind.registers}"
            )
        return list(answer.registers)

    def _connected(self, deadline: Deadline) -> ModbusTcpClient:
        from pymodbus.client import ModbusTcpClient  # noqa: PLC0415 - only where configured

        if self._client is None:
            # It reports every failure itself; ours are typed, and logged once by who reads us.
            logging.getLogger("pymodbus").setLevel(logging.CRITICAL)
            link = connect(self._meter.host, self._meter.port, deadline)
            self._client = ModbusTcpClient(self._meter.host, port=self._meter.port, retries=0)
            self._client.socket = link
        elif not self._client.connected:
            raise Unreachable(f"{self.name}: the connection was cut")
        return self._client

    def close(self) -> None:
        """Close the connection."""
        if self._client is not None:
            self._client.close()
            self._client = None
