"""Energy, power, use and temperature of NVIDIA boards, by NVML (nvml.h names every unit)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from probes.errors import Absent, Malformed, ProbeError
from probes.nvml import BoardLost, Session
from probes.reading import Counter, Gauge, Reading, SensorId, SourceClass, Unit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from probes.host import Host
    from probes.reading import Instant

TEMPERATURE_GPU = 0  # NVML_TEMPERATURE_GPU
MAX_POWER_MW = 10_000_000  # 10 kW: no single board; NVML has served all ones


class NvmlMeter:
    """Per board, by its UUID: `energy` [mJ, since the driver was loaded], `power` [mW],
    `utilisation` [permille], `memory` used [B], `temperature` [m°C].

    What a board or driver does not tell is left out (no energy counter before Volta). A lost board
    never hides the others. Slow: a board that hangs lets the library hang.
    """

    name = "nvml"
    interval_ns = 1_000_000_000
    slow = True

    def __init__(self) -> None:
        self._session: Session | None = None
        self._driver = ""

    def read(self, host: Host, at: Instant) -> tuple[Reading, ...]:
        """Read every board.

        :raises Absent: no NVIDIA driver, no board, or a recorded machine.
        :raises ProbeError: what the library says when no board can be read at all.
        """
        if host.root != Path("/"):
            raise Absent("nvml: the library tells of this machine only")
        if self._session is None:
            self._session = Session.open()
            self._driver = str(self._session.ask("nvmlSystemGetDriverVersion"))
        readings: list[Reading] = []
        first: ProbeError | None = None
        try:
            for index in range(self._session.count()):
                try:
                    handle = self._session.ask("nvmlDeviceGetHandleByIndex", index)
                    uuid = str(self._session.ask("nvmlDeviceGetUUID", handle))
                    # All of a board or nothing of it: its figures are of one moment.
                    found = list(_quantities(self._session, handle))
                except BoardLost as error:
                    first = first or error
                    continue
                now = host.now()
                readings.extend(
                    self._reading(uuid, quantity, value, now) for quantity, value in found
                )
        except ProbeError:
            self.close()  # the driver may have been replaced; begin anew
            raise
        if not readings:
            raise first or Absent("nvml: no board tells anything")
        return tuple(readings)

    def _reading(self, uuid: str, quantity: str, value: tuple[int, Unit], at: Instant) -> Reading:
        number, unit = value
        counts = quantity == "energy"
        return Reading(
            sensor=SensorId("nvml", uuid, quantity),
            at=at,
            value=Counter(number, unit, epoch=f"{at.boot_id}/{self._driver}")
            if counts
            else Gauge(number, unit),
            source=SourceClass.RAPL_NVML if quantity in ("energy", "power") else None,
        )

    def close(self) -> None:
        """Give the library back, in whatever state it is."""
        session, self._session = self._session, None
        if session is not None:
            try:
                session.close()
            except ProbeError:
                return  # it was shut down already, or lost with its driver


def _quantities(session: Session, handle: Any) -> Iterator[tuple[str, tuple[int, Unit]]]:
    energy = session.maybe("nvmlDeviceGetTotalEnergyConsumption", handle)
    if energy is not None:
        yield "energy", (_natural(energy), Unit.MILLIJOULE)
    power = session.maybe("nvmlDeviceGetPowerUsage", handle)
    if power is not None and power <= MAX_POWER_MW:
        yield "power", (_natural(power), Unit.MILLIWATT)
    rates = session.maybe("nvmlDeviceGetUtilizationRates", handle)
    if rates is not None:
        yield "utilisation", (_natural(rates.gpu) * 10, Unit.PERMILLE)
    memory = session.maybe("nvmlDeviceGetMemoryInfo", handle)
    if memory is not None:
        yield "memory", (_natural(memory.used), Unit.BYTE)
    temperature = session.maybe("nvmlDeviceGetTemperature", handle, TEMPERATURE_GPU)
    if temperature is not None:
        yield "temperature", (int(temperature) * 1000, Unit.MILLICELSIUS)


def _natural(number: int) -> int:
    if number < 0:
        raise Malformed(f"nvml: {number} where nothing is below zero")
    return int(number)
