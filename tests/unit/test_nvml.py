"""GPUs through nvidia-ml-py on recorded boards, and every way in which that goes wrong."""

from __future__ import annotations

import json
import os
import textwrap
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from probes import nvml
from probes.component import Component, ComponentKind, Health
from probes.errors import Malformed
from probes.host import Host
from probes.inventory import take
from tests.fakes.nvml.double import NvmlDouble, recorded

READ = textwrap.dedent(
    """
    import msgspec
    from probes import nvml
    from probes.host import Host
    from probes.errors import ProbeError
    try:
        print(msgspec.json.encode({"boards": nvml.read(Host("/"))}).decode())
    except ProbeError as error:
        print(msgspec.json.encode({"error": type(error).__name__, "text": str(error)}).decode())
    """
)


@pytest.fixture(scope="module")
def double(tmp_path_factory: pytest.TempPathFactory) -> NvmlDouble:
    return NvmlDouble.build(tmp_path_factory.mktemp("nvml"))


def boards(double: NvmlDouble, spec: Mapping[str, str | int]) -> nvml.Boards:
    double.show(spec)
    answer = json.loads(double.run(READ))
    assert "boards" in answer, answer
    return msgspec.convert(answer["boards"], nvml.Boards)


def failure(double: NvmlDouble, spec: Mapping[str, str | int]) -> str:
    double.show(spec)
    answer = json.loads(double.run(READ))
    assert "error" in answer, answer
    return str(answer["error"])


def test_a_recorded_a100(double: NvmlDouble) -> None:
    found = boards(double, recorded("a100"))
    assert found.driver == "570.148.08"
    assert found.boards == (
        nvml.Board(
            address="0000:06:00.0",
            uuid="GPU-00000000-0000-0000-0000-000000000000",
            name="NVIDIA A100-SXM4-40GB",
            serial="1650000000001",
            vbios="92.00.45.00.03",
            part="692-2G506-0200-003",
            memory_bytes=40960 << 20,
            ecc=True,
            mig=False,
            power_limit_mw=400_000,
            remapping_failed=False,
        ),
    )
    assert found.lost == ()


def test_eight_recorded_h100(double: NvmlDouble) -> None:
    found = boards(double, recorded("h100"))
    assert len({board.uuid for board in found.boards}) == 8
    assert [b.address for b in found.boards][-1] == "0000:ca:00.0"
    assert {b.memory_bytes for b in found.boards} == {81559 << 20}


def test_what_a_t4_does_not_tell_is_none(double: NvmlDouble) -> None:
    (board,) = boards(double, recorded("t4")).boards
    assert (board.name, board.mig, board.remapping_failed) == ("Tesla T4", None, None)


def test_mig_devices(double: NvmlDouble) -> None:
    spec = recorded("a100") | {
        "gpu.0.mig_current": "1",
        "gpu.0.mig_max": "7",
        **{
            f"gpu.0.mig.{n}.{key}": str(value)
            for n in (0, 2)  # a hole, as after one was destroyed
            for key, value in {
                "uuid": f"MIG-{n}",
                "name": "NVIDIA A100-SXM4-40GB MIG 3g.20gb",
                "memory_total": 20096 << 20,
                "gi": n + 1,
                "ci": 0,
            }.items()
        },
    }
    (board,) = boards(double, spec).boards
    assert board.mig is True
    assert [(s.uuid, s.gpu_instance, s.memory_bytes) for s in board.slices] == [
        ("MIG-0", 1, 20096 << 20),
        ("MIG-2", 3, 20096 << 20),
    ]


@pytest.mark.parametrize(
    ("spec", "error"),
    [
        ({"error.nvmlInitWithFlags": 18}, "DriverMismatch"),
        ({"error.nvmlInitWithFlags": 9}, "Absent"),
        ({"error.nvmlInitWithFlags": 4}, "Denied"),
        ({"error.nvmlInitWithFlags": 999}, "Malformed"),
        ({"error.nvmlDeviceGetCount_v2": 10}, "TimedOut"),
        ({"error.nvmlSystemGetDriverVersion": 18}, "DriverMismatch"),
        ({"gpu.0.error.nvmlDeviceGetUUID": 13}, "Absent"),
        ({"gpu.0.name": b"\xff\xfe".decode("latin-1")}, None),
    ],
)
def test_errors_of_the_library(
    double: NvmlDouble, spec: Mapping[str, str | int], error: str | None
) -> None:
    if error is None:
        assert boards(double, recorded("a100") | dict(spec)).boards[0].name
    else:
        assert failure(double, recorded("a100") | dict(spec)) == error


def test_text_that_is_not_utf8(double: NvmlDouble) -> None:
    double.show(recorded("a100"))
    double.spec.write_bytes(double.spec.read_bytes().replace(b"NVIDIA A100", b"\xff\xfe A100"))
    assert json.loads(double.run(READ))["error"] == "Malformed"


def test_one_lost_board_hides_no_other(double: NvmlDouble) -> None:
    found = boards(double, recorded("h100") | {"gpu.3.error": 15})
    assert len(found.boards) == 7
    assert found.lost == ("",)
    found = boards(double, recorded("h100") | {"gpu.3.error.nvmlDeviceGetUUID": 15})
    assert found.lost == ("0000:86:00.0",)


def test_functions_that_an_old_driver_lacks(double: NvmlDouble) -> None:
    spec = recorded("a100") | {
        "error.nvmlDeviceGetMigMode": 13,
        "error.nvmlDeviceGetRemappedRows": 13,
        "error.nvmlDeviceGetMemoryInfo": 3,
    }
    (board,) = boards(double, spec).boards
    assert (board.mig, board.remapping_failed, board.memory_bytes) == (None, None, None)


def test_without_the_library_nothing_of_nvidia_is_loaded() -> None:
    bare = NvmlDouble(Path("/nonexistent"))
    program = READ + "\nimport sys; assert 'pynvml' not in sys.modules"
    answer = json.loads(bare.run(program))
    assert answer["error"] == "Absent"
    assert os.environ.get("LD_LIBRARY_PATH", "") != str(bare.directory)


# what the boards become in an inventory

SEAT = Component(
    ComponentKind.ACCELERATOR,
    "0000:06:00.0",
    vendor="10de",
    model="20b0",
    properties=(("class", "030200"), ("driver", "nvidia")),
)
BOARD = nvml.Board(address="0000:06:00.0", uuid="GPU-1", name="A100", mig=False)


def test_a_board_sits_at_its_pci_address() -> None:
    (card,) = nvml.overlay((SEAT,), nvml.Boards("570", (BOARD,)))
    assert (card.locator, card.model, card.serial) == ("0000:06:00.0", "A100", "GPU-1")
    assert card.health is Health.OK
    assert card.get("id") == "10de:20b0"
    assert card.get("driver_version") == "570"


def test_a_board_that_the_library_lost_has_failed() -> None:
    for boards in (nvml.Boards("570", ()), nvml.Boards("570", (), ("0000:06:00.0",))):
        (card,) = nvml.overlay((SEAT,), boards)
        assert card.health is Health.FAILED
        assert card.model == "20b0"


def test_other_accelerators_are_left_alone() -> None:
    other = Component(ComponentKind.ACCELERATOR, "0000:07:00.0", vendor="1002")
    assert nvml.overlay((other,), nvml.Boards("570", ())) == (other,)
    taken = Component(  # given to a virtual machine: not NVML's any more
        ComponentKind.ACCELERATOR, "0000:08:00.0", properties=(("driver", "vfio-pci"),)
    )
    assert nvml.overlay((taken,), nvml.Boards("570", ())) == (taken,)


def test_what_nvml_says_wins_over_sysfs() -> None:
    seat = replace(SEAT, properties=(("class", "030200"), ("memory_bytes", "1")))
    board = replace(BOARD, memory_bytes=2)
    (card,) = nvml.overlay((seat,), nvml.Boards("570", (board,)))
    assert card.get("memory_bytes") == "2"


@pytest.mark.parametrize("address", ["", "06:00.0", "00000000:06:00.8", "x" * 300])
def test_no_pci_address(address: str) -> None:
    with pytest.raises(Malformed):
        nvml.sysfs_address(address)


def test_memory_that_cannot_be_remapped_degrades() -> None:
    worn = nvml.Board(address="0000:06:00.0", uuid="GPU-1", name="A100", remapping_failed=True)
    (card,) = nvml.overlay((SEAT,), nvml.Boards("570", (worn,)))
    assert card.health is Health.DEGRADED


def test_a_recorded_machine_keeps_what_the_library_said(tmp_path: Path) -> None:
    (tmp_path / "nvml.json").write_bytes(msgspec.json.encode(nvml.Boards("570", (BOARD,))))
    (card,) = take(Host(tmp_path)).of(ComponentKind.ACCELERATOR)
    assert card.serial == "GPU-1"
    (tmp_path / "nvml.json").write_text('{"driver": 1}')
    with pytest.raises(Malformed):
        nvml.read(Host(tmp_path))


def test_return_codes_are_those_of_the_binding() -> None:
    import pynvml

    names = {
        3: "NOT_SUPPORTED",
        4: "NO_PERMISSION",
        6: "NOT_FOUND",
        9: "DRIVER_NOT_LOADED",
        10: "TIMEOUT",
        12: "LIBRARY_NOT_FOUND",
        13: "FUNCTION_NOT_FOUND",
        15: "GPU_IS_LOST",
        16: "RESET_REQUIRED",
        18: "LIB_RM_VERSION_MISMATCH",
        19: "IN_USE",
        28: "GPU_NOT_FOUND",
    }
    assert set(names) == set(nvml.ERRORS)
    for code, name in names.items():
        assert getattr(pynvml, f"NVML_ERROR_{name}") == code
