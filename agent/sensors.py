"""The probes of this host: every local source, and the drivers that the configuration names."""

from __future__ import annotations

from agent.config import Config
from agent.errors import ConfigError
from probes.catalog import DRIVERS, PROBES
from probes.probe import Probe
from probes.reading import SourceClass


def configured(config: Config) -> list[Probe]:
    """Make every probe. A driver's library is loaded only if the configuration names it.

    :raises ConfigError: for a register map or a value that a driver does not know.
    """
    try:
        return _probes(config)
    except ValueError as error:
        raise ConfigError(f"sensors: {error}") from None


def _probes(config: Config) -> list[Probe]:
    probes: list[Probe] = [kind() for kind in PROBES]
    for meter in config.sensors.modbus:
        from probes.modbus import ModbusMeter  # noqa: PLC0415 - loads the driver

        probes.append(
            DRIVERS["modbus"](
                ModbusMeter(
                    name=meter.name,
                    host=meter.host,
                    port=meter.port,
                    unit=meter.unit,
                    map=meter.map,
                    interval_seconds=meter.interval_seconds,
                    source=source_class(meter.source),
                )
            )
        )
    for heat in config.sensors.mbus:
        from probes.mbus import MbusMeter  # noqa: PLC0415 - loads the driver

        probes.append(
            DRIVERS["mbus"](
                MbusMeter(
                    name=heat.name,
                    host=heat.host,
                    port=heat.port,
                    address=heat.address,
                    interval_seconds=heat.interval_seconds,
                    source=source_class(heat.source),
                )
            )
        )
    return probes


def source_class(name: str) -> SourceClass:
    """`billing-meter` -> BILLING_METER."""
    return SourceClass[name.upper().replace("-", "_")]
