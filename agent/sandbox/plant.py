"""The physics of the simulated site. Pure, in integers.

A host draws `base` power and more under load; nearly all of it leaves as heat in a water circuit
of constant flow, so that supply temperature and heat power agree by Q = V * rho * cp * dT.
"""

from __future__ import annotations

from dataclasses import dataclass

# Water at 45/35 °C with the flow sensor in the return: rho * cp = 4.154 MJ/(m3 K).
J_PER_LITRE_KELVIN = 4154
NS_PER_S = 1_000_000_000
NS_PER_H = 3_600 * NS_PER_S


@dataclass(slots=True)
class Plant:
    """One host, one energy meter, one heat meter. `advance` moves time on; the rest are readings.

    :param base_mw: power at no load [mW]; `slope_mw` what full load adds.
    :param heat_permille: which part of the power reaches the heat meter.
    """

    monotonic_ns: int
    base_mw: int = 60_000
    slope_mw: int = 140_000
    heat_permille: int = 920
    flow_ml_h: int = 20_000
    return_mc: int = 35_000
    power_mw: int = 0
    energy_mw_ns: int = 4_321_000 * 3_600_000 * NS_PER_S  # a meter that is not new: 4,321 kWh
    heat_mw_ns: int = 3_456_000 * 3_600_000 * NS_PER_S
    volume_ml_h_ns: int = 512_000_000 * NS_PER_H

    def advance(self, monotonic_ns: int, load_permille: int) -> None:
        """Let the time until now pass at the mean load that was measured in it."""
        elapsed = max(0, monotonic_ns - self.monotonic_ns)
        self.monotonic_ns += elapsed
        self.power_mw = self.base_mw + self.slope_mw * load_permille // 1000
        self.energy_mw_ns += self.power_mw * elapsed
        self.heat_mw_ns += self.heat_mw * elapsed
        self.volume_ml_h_ns += self.flow_ml_h * elapsed

    @property
    def heat_mw(self) -> int:
        """Heat power [mW]."""
        return self.power_mw * self.heat_permille // 1000

    @property
    def energy_mj(self) -> int:
        """Total of the energy meter [mJ]."""
        return self.energy_mw_ns // NS_PER_S

    @property
    def heat_mj(self) -> int:
        """Total of the heat meter [mJ]."""
        return self.heat_mw_ns // NS_PER_S

    @property
    def volume_ml(self) -> int:
        """Water that passed the heat meter [mL]."""
        return self.volume_ml_h_ns // NS_PER_H

    @property
    def supply_mc(self) -> int:
        """Temperature of the water that carries the heat away [m°C]."""
        rise = self.heat_mw * 3_600 * 1_000 // (self.flow_ml_h * J_PER_LITRE_KELVIN)
        return self.return_mc + rise
