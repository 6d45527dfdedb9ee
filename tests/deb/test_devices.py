"""What the daemon reaches within its unit: NVIDIA's library, and another service's socket.

No code that was written can be run there. A double of the library (tests/fakes/nvml) lies where
NVIDIA's package puts the real one, which also opens /dev/nvidiactl and /dev/nvidia0 and asks
NVIDIA's driver behind them. That driver needs one of its boards, so none of that is tried here;
that the unit opens devices of those names is, in tests/vm/test_devices.py.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.nvml.double import NvmlDouble, recorded

from .conftest import System

pytestmark = pytest.mark.long

LIBRARIES = "usr/lib/x86_64-linux-gnu"
# The double is told by the environment which boards to show. The unit is as it is otherwise.
DROP_IN = "[Service]\nEnvironment=HEARTH_NVML_SPEC=/etc/hearth/boards.spec\n"
WAIT_S = 60.0


def boards(system: System) -> list[dict[str, Any]]:
    """What the daemon says of NVML, once it says something."""
    deadline = time.monotonic() + WAIT_S
    while True:
        sensors = system.status()["sensors"]
        found = [item for item in sensors if item["sensor"].partition(":")[0] == "nvml"]
        if found:
            return found
        assert time.monotonic() < deadline, "the daemon says nothing of NVML"
        time.sleep(0.5)


def test_the_daemon_reads_an_nvidia_board_in_its_unit(
    system: System, package: Path, tmp_path: Path
) -> None:
    system.install(package)
    (without,) = boards(system)
    assert without["fault"].startswith("absent: nvml: libnvidia-ml.so.1: cannot open")
    generation = system.status()["inventory_generation"]

    double = NvmlDouble.build(tmp_path / "nvml")
    board = recorded("a100")
    double.show(board)
    shutil.copy(double.directory / "libnvidia-ml.so.1", system.root / LIBRARIES)
    shutil.copy(double.spec, system.root / "etc/hearth/boards.spec")
    drop_in = system.root / "etc/systemd/system/hearth-agent.service.d"
    drop_in.mkdir()
    (drop_in / "boards.conf").write_text(DROP_IN)
    system.run("ldconfig")
    system.run("systemctl", "daemon-reload")
    system.run("systemctl", "restart", "hearth-agent")

    readings = {item["sensor"]: item["value"] for item in boards(system) if not item["fault"]}
    assert readings[f"nvml:{board['gpu.0.uuid']}:power"] == int(board["gpu.0.power_mw"])
    # A board more than before.
    assert system.status()["inventory_generation"] == generation + 1

    # The library is in the daemon itself, and the confinement is in force, in a container too.
    (pid,) = system.unit("MainPID")
    assert f" /{LIBRARIES}/libnvidia-ml.so.1" in system.says("cat", f"/proc/{pid}/maps")
    assert "Seccomp:\t2" in system.says("cat", f"/proc/{pid}/status").splitlines()
    mounts = [line.split() for line in system.says("cat", f"/proc/{pid}/mountinfo").splitlines()]
    (root,) = (options.split(",") for _, _, _, _, where, options, *_ in mounts if where == "/")
    assert {"ro", "noexec"} <= set(root)
    assert system.unit("MemoryDenyWriteExecute") == ["yes"]


SOCKET = "/run/lightningd/lightning-rpc"
SERVE = f"""
import os, shutil, socket
os.makedirs("/run/lightningd", exist_ok=True)
listener = socket.socket(socket.AF_UNIX)
listener.bind("{SOCKET}")
shutil.chown("{SOCKET}", group="lightning")
os.chmod("{SOCKET}", 0o660)
listener.listen()
print("ready", flush=True)
while True:
    listener.accept()[0].close()
"""
# Under all that confines the daemon, before it is started.
ASK = (
    "[Service]\nExecStartPre=/usr/bin/python3 -ISc "
    f"\"import socket; socket.socket(socket.AF_UNIX).connect('{SOCKET}')\"\n"
)


def test_lightnings_socket_is_reached_by_its_group(system: System, package: Path) -> None:
    """With the drop-in that the unit's comment names, and not without it."""
    system.install(package)
    system.run("groupadd", "--system", "lightning")
    drop_in = system.root / "etc/systemd/system/hearth-agent.service.d/lightning.conf"
    drop_in.parent.mkdir(parents=True)
    with system.start("python3", "-c", SERVE) as node:
        assert node.stdout is not None
        assert node.stdout.readline() == "ready\n"
        for groups, code in (("", 1), ("SupplementaryGroups=lightning\n", 0)):
            drop_in.write_text(ASK + groups)
            system.run("systemctl", "daemon-reload")
            system.run("systemctl", "restart", "hearth-agent", code=code)
        assert system.status()["node_id"]
        node.kill()
        system.run("pkill", "-f", SOCKET, code=None)
