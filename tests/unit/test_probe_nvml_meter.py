"""probes.nvml_meter on the double of libnvidia-ml, with boards as they were recorded."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from probes.errors import Absent
from probes.host import Host
from probes.nvml_meter import NvmlMeter
from probes.reading import Instant

PROGRAM = """
import json, sys
from probes.host import Host
from probes.nvml_meter import NvmlMeter
from probes.errors import ProbeError
from probes.reading import Counter
host, probe, out = Host(), NvmlMeter(), []
for _ in range(int(sys.argv[1])):
    try:
        for r in probe.read(host, host.now()):
            kind = "counter" if isinstance(r.value, Counter) else "gauge"
            number = r.value.total if kind == "counter" else r.value.value
            out.append([r.sensor.locator, r.sensor.quantity, kind, number, r.value.unit.value])
    except ProbeError as error:
        out.append([type(error).__name__])
probe.close()
print(json.dumps(out))
"""


def load_double() -> ModuleType:
    path = Path(__file__).parents[1] / "fakes" / "nvml" / "double.py"
    spec = importlib.util.spec_from_file_location("nvml_double", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


DOUBLE = load_double()


@pytest.fixture(scope="module")
def double(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return DOUBLE.NvmlDouble.build(tmp_path_factory.mktemp("nvml"))


def read(double: Any, spec: dict[str, str | int], times: int = 1) -> list[list[Any]]:
    double.show(spec)
    answer: list[list[Any]] = json.loads(double.run(PROGRAM, str(times)))
    return answer


def test_a_recorded_board(double: Any) -> None:
    spec = DOUBLE.recorded("a100") | {"gpu.0.energy_mj": 123_456_789_012}
    uuid = spec["gpu.0.uuid"]
    assert read(double, spec) == [
        [uuid, "energy", "counter", 123_456_789_012, "mJ"],
        [uuid, "power", "gauge", int(spec["gpu.0.power_mw"]), "mW"],
        [uuid, "utilisation", "gauge", int(spec["gpu.0.utilization_gpu"]) * 10, "permille"],
        [uuid, "memory", "gauge", int(spec["gpu.0.memory_used"]), "B"],
        [uuid, "temperature", "gauge", int(spec["gpu.0.temperature_c"]) * 1000, "m°C"],
    ]


def test_a_lost_board_hides_no_other(double: Any) -> None:
    spec = DOUBLE.recorded("h100") | {"gpu.3.error": 15}
    boards = {row[0] for row in read(double, spec)}
    assert boards == {spec[f"gpu.{index}.uuid"] for index in range(8) if index != 3}


def test_all_lost_is_said(double: Any) -> None:
    assert read(double, DOUBLE.recorded("a100") | {"gpu.0.error": 15}) == [["BoardLost"]]


def test_no_energy_counter_is_left_out_and_not_zero(double: Any) -> None:
    assert "energy" not in {row[1] for row in read(double, DOUBLE.recorded("t4"))}


def test_old_library_without_the_symbol(tmp_path: Path) -> None:
    old = DOUBLE.NvmlDouble.build(tmp_path / "old", "WITHOUT_ENERGY")
    quantities = {row[1] for row in read(old, DOUBLE.recorded("t4") | {"gpu.0.energy_mj": 7})}
    assert "power" in quantities
    assert "energy" not in quantities


def test_driver_mismatch_is_said_each_time(double: Any) -> None:
    spec = {"error.nvmlInitWithFlags": 18}
    assert read(double, spec, times=2) == [["DriverMismatch"], ["DriverMismatch"]]


def test_all_ones_is_no_power(double: Any) -> None:
    spec = DOUBLE.recorded("t4") | {"gpu.0.power_mw": 0xFFFFFFFF}
    assert "power" not in {row[1] for row in read(double, spec)}


def test_a_recorded_machine_has_no_library(tmp_path: Path) -> None:
    with pytest.raises(Absent):
        NvmlMeter().read(Host(tmp_path), Instant(1, 1, 1, "boot-1"))
