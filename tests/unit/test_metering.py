"""Which of the host's meters is believed, by its configuration."""

from __future__ import annotations

from pathlib import Path

from agent.config import MbusMeter, Sensors
from agent.sampler import Batch
from probes.reading import Counter, Reading, SensorId, SourceClass, Unit
from tests.fakes.spine import SECOND
from tests.fakes.world import World

HOUR = 3600
MAIN = SensorId("mbus", "main", "energy")
PACKAGE = SensorId("rapl", "package-0", "energy")


def read(world: World, sensor: SensorId, total: int, source: SourceClass) -> None:
    counter = Counter(total, Unit.MILLIJOULE)
    world.metering.take(Batch((Reading(sensor, world.clock.now(), counter, source),), ()))


async def test_a_meter_that_is_read_every_hour_has_not_gone_between(tmp_path: Path) -> None:
    meter = MbusMeter(name="main", host="192.0.2.1", interval_seconds=HOUR)
    world = await World.open(tmp_path, sensors=Sensors(mbus=(meter,)))
    clock = world.clock
    read(world, MAIN, 0, SourceClass.BILLING_METER)
    for hour in (1, 2):
        clock.tick((HOUR - 1) * SECOND)
        read(world, PACKAGE, hour, SourceClass.RAPL_NVML)
        clock.tick(SECOND)
        read(world, MAIN, hour * 1000, SourceClass.BILLING_METER)
    assert world.metering.state.host_energy_mj == 2000
    assert world.metering.state.energy_class is SourceClass.BILLING_METER
    clock.tick(3 * HOUR * SECOND)
    read(world, PACKAGE, 3, SourceClass.RAPL_NVML)
    assert world.metering.state.energy_class is SourceClass.RAPL_NVML
    world.crash()
