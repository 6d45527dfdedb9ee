"""Both wire drivers against the simulated site, a process of its own, with every fault it knows."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from probes.catalog import DRIVERS
from probes.errors import Malformed, TimedOut
from probes.host import Host
from probes.link import Unreachable
from probes.mbus import MbusMeter
from probes.modbus import ModbusMeter
from probes.probe import Probe
from probes.reading import Counter, Gauge, Reading, SourceClass, State

DEADLINE_MS = 400


@dataclass
class Site:
    process: subprocess.Popen[str]
    where: dict[str, Any]

    def say(self, **wish: object) -> dict[str, object]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(wish) + "\n")
        self.process.stdin.flush()
        answer: dict[str, object] = json.loads(self.process.stdout.readline())
        return answer

    def spoil(self, fault: str | None) -> None:
        for meter in ("energy", "heat"):
            wish = {"meter": meter, "fault": fault}
            assert self.say(**wish) == {"applied": wish}


def start(directory: Path) -> Site:
    ready = directory / "site.json"
    process = subprocess.Popen(
        [sys.executable, "-m", "agent.sandbox.site", "--ready-file", str(ready)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    end = time.monotonic() + 20
    while not ready.exists():
        assert process.poll() is None, "the site ended before it was ready"
        assert time.monotonic() < end, "the site was not ready in 20 s"
        time.sleep(0.02)
    return Site(process, json.loads(ready.read_text()))


def finish(site: Site) -> None:
    site.process.kill()
    site.process.wait()
    for pipe in (site.process.stdin, site.process.stdout):
        assert pipe is not None
        pipe.close()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    running = start(tmp_path_factory.mktemp("site"))
    yield running
    finish(running)


def modbus(site: Site, **changes: Any) -> Probe:
    settings: dict[str, Any] = {
        "name": "feed",
        "host": "127.0.0.1",
        "port": site.where["modbus_port"],
        "unit": site.where["modbus_unit"],
        "map": site.where["modbus_map"],
        "deadline_ms": DEADLINE_MS,
    }
    return DRIVERS["modbus"](ModbusMeter(**(settings | changes)))


def mbus(site: Site, **changes: Any) -> Probe:
    settings: dict[str, Any] = {
        "name": "loop",
        "host": "127.0.0.1",
        "port": site.where["mbus_port"],
        "address": site.where["mbus_address"],
        "deadline_ms": DEADLINE_MS,
    }
    return DRIVERS["mbus"](MbusMeter(**(settings | changes)))


@pytest.fixture(params=[modbus, mbus], ids=["modbus", "mbus"])
def probe(request: pytest.FixtureRequest, site: Site) -> Iterator[Probe]:
    site.spoil(None)
    made: Probe = request.param(site)
    yield made
    made.close()
    site.spoil(None)


HOST = Host()


def read(probe: Probe) -> dict[str, Reading]:
    return {reading.sensor.quantity: reading for reading in probe.read(HOST, HOST.now())}


def total(readings: dict[str, Reading]) -> int:
    value = (readings.get("energy") or readings["heat"]).value
    assert isinstance(value, Counter)
    return value.total


def gauge(readings: dict[str, Reading], quantity: str) -> int:
    value = readings[quantity].value
    assert isinstance(value, Gauge)
    return value.value


def wait_for_growth(probe: Probe, from_total: int) -> dict[str, Reading]:
    end = time.monotonic() + 5
    while True:
        readings = read(probe)
        if total(readings) > from_total:
            return readings
        assert time.monotonic() < end, "the meter stands still"
        time.sleep(0.05)


def test_names_sources_and_quantities(site: Site) -> None:
    site.spoil(None)
    feed, loop = modbus(site), mbus(site)
    energy, heat = read(feed), read(loop)
    feed.close()
    loop.close()
    assert energy.keys() == {"energy", "energy_export", "power"}
    assert heat.keys() == {
        *("heat", "power", "flow", "volume", "supply_temperature", "return_temperature", "status"),
    }
    assert {str(reading.sensor).rpartition(":")[0] for reading in energy.values()} == {
        "modbus:feed"
    }
    assert {str(reading.sensor).rpartition(":")[0] for reading in heat.values()} == {"mbus:loop"}
    for reading in (*energy.values(), *heat.values()):
        assert reading.source is SourceClass.BILLING_METER
        assert reading.uncertainty_permille
        assert reading.at.boot_id == HOST.boot_id
    assert heat["status"].value == State("ok")


def test_it_grows_and_is_stamped_when_the_meter_answered(probe: Probe) -> None:
    before = HOST.now()
    first = read(probe)
    second = wait_for_growth(probe, total(first))
    quantity = "energy" if "energy" in first else "heat"
    assert before.boottime_ns < first[quantity].at.boottime_ns < second[quantity].at.boottime_ns


def test_power_energy_heat_and_water_agree(site: Site) -> None:
    site.spoil(None)
    feed, loop = modbus(site), mbus(site)
    start_energy, start_heat = read(feed), read(loop)
    time.sleep(2.5)
    end_energy, end_heat = read(feed), read(loop)
    feed.close()
    loop.close()
    energy = total(end_energy) - total(start_energy)
    heat = total(end_heat) - total(start_heat)
    # The two meters are read within a tick (250 ms) of each other, at 200 W at most.
    assert abs(energy * 920 // 1000 - heat) <= 2 * 250 * 200 + 1_000
    assert 60_000 * 2 <= energy <= 200_000 * 4
    # Q = V * rho * cp * dT, with the plant's water, to the last milli-kelvin.
    rise = gauge(end_heat, "supply_temperature") - gauge(end_heat, "return_temperature")
    power = gauge(end_heat, "flow") * 4154 * rise // 3_600_000
    assert abs(power - gauge(end_heat, "power")) <= 24


@pytest.mark.parametrize(
    ("fault", "modbus_error", "mbus_error"),
    [
        ("hang", TimedOut, TimedOut),
        ("drop", Unreachable, Unreachable),
        ("checksum", TimedOut, Malformed),  # a foreign transaction id is no answer at all
        ("truncate", TimedOut, TimedOut),
    ],
)
def test_fault_is_typed_in_time_and_leaves_nothing_behind(
    probe: Probe, site: Site, fault: str, modbus_error: type, mbus_error: type
) -> None:
    good = total(read(probe))
    site.spoil(fault)
    for _ in range(2):  # on the open connection, and on a new one
        begin = time.monotonic()
        with pytest.raises(modbus_error if probe.name.startswith("modbus") else mbus_error):
            read(probe)
        assert time.monotonic() - begin < 2 * DEADLINE_MS / 1000
    site.spoil(None)
    wait_for_growth(probe, good)


def test_a_frozen_meter_shows_the_same_total_at_new_instants(probe: Probe, site: Site) -> None:
    site.spoil("freeze")
    first = read(probe)
    time.sleep(0.6)
    second = read(probe)
    assert total(first) == total(second)
    assert all(first[name].at.boottime_ns < second[name].at.boottime_ns for name in first)


def test_a_reset_register_falls_and_is_not_hidden(probe: Probe, site: Site) -> None:
    before = total(read(probe))
    meter = "energy" if probe.name.startswith("modbus") else "heat"
    site.say(meter=meter, reset=True)
    assert total(read(probe)) < before


def test_an_idle_connection_that_was_cut_costs_no_reading(probe: Probe, site: Site) -> None:
    good = total(read(probe))
    connection = getattr(probe, "_socket", None) or probe._client.socket  # type: ignore[attr-defined]
    connection.shutdown(2)  # as a gateway does to an idle client
    assert total(read(probe)) >= good


def test_nobody_there(tmp_path: Path) -> None:
    gone = start(tmp_path)
    probes = (modbus(gone), mbus(gone))
    finish(gone)
    for probe in probes:
        with pytest.raises(Unreachable):
            read(probe)


def test_another_address_is_silence(site: Site) -> None:
    site.spoil(None)
    with pytest.raises(TimedOut):
        read(mbus(site, address=7))


def test_another_map_is_refused(site: Site) -> None:
    site.spoil(None)
    with pytest.raises(Malformed, match="exception 2"):
        read(modbus(site, map="abb-b23"))


def test_another_medium_is_refused(site: Site) -> None:
    site.spoil(None)
    with pytest.raises(Malformed, match="medium"):
        read(mbus(site, medium="electricity"))


def test_control_lines_that_are_wrong_are_answered(site: Site) -> None:
    for wish in ({"meter": "gas"}, {"meter": "heat", "fault": "explode"}, {}):
        assert "error" in site.say(**wish)


@pytest.mark.parametrize("how", ["sigterm", "sigint", "stdin"])
def test_it_ends_cleanly(tmp_path: Path, how: str) -> None:
    own = start(tmp_path)
    probe = modbus(own)
    read(probe)  # with a client connected
    if how == "stdin":
        assert own.process.stdin is not None
        own.process.stdin.close()
    else:
        own.process.send_signal(signal.SIGTERM if how == "sigterm" else signal.SIGINT)
    try:
        assert own.process.wait(10) == 0
    finally:
        finish(own)
        probe.close()
