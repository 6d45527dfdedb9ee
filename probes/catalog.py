"""Which sources there are. Explicit: nothing is found by scanning.

Local sources are always tried and need no configuration. Wire drivers are made from configuration
and imported only then, so that their libraries cost memory only where they are used.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from probes.hostcpu import HostCpu
from probes.hwmon import Hwmon
from probes.ipmi import IpmiPower, IpmiSensors
from probes.nvml_meter import NvmlMeter
from probes.rapl import Rapl

if TYPE_CHECKING:
    from probes.mbus import MbusMeter
    from probes.modbus import ModbusMeter
    from probes.probe import Probe

PROBES: tuple[type[Probe], ...] = (
    HostCpu,
    Rapl,
    Hwmon,
    NvmlMeter,
    IpmiPower,
    IpmiSensors,
)


def _modbus(meter: ModbusMeter) -> Probe:
    from probes.modbus import ModbusProbe  # noqa: PLC0415 - loaded only where configured

    return ModbusProbe(meter)


def _mbus(meter: MbusMeter) -> Probe:
    from probes.mbus import MbusProbe  # noqa: PLC0415 - loaded only where configured

    return MbusProbe(meter)


# Section of the configuration -> what makes a probe of one of its entries.
DRIVERS: dict[str, Callable[..., Probe]] = {"modbus": _modbus, "mbus": _mbus}
