"""What the daemon's unit lets it open: serial lines, NVIDIA's devices, the TPM, and nothing else.

A program takes the daemon's place in the very unit that is installed: a drop-in changes what is
run, and nothing of what that may do.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.vm.guest import meter

from .conftest import READY, ROOT, Machine, until

pytestmark = pytest.mark.long

GUEST = Path(__file__).parent / "guest"
UNIT = "hearth-agent.service"
DROP_IN = f"/run/systemd/system/{UNIT}.d/inside.conf"
# The watchdog is fed by samples, and nobody takes any here.
INSIDE = "ExecStart=", "ExecStart=/usr/bin/python3 -BIS /opt/inside.py", "WatchdogSec=0"
AS_AGENT = "setpriv --reuid=hearth --regid=hearth --clear-groups"
# What the meter at the end of each line shows.
LINES = {"/dev/ttyS1": 1001, "/dev/ttyUSB0": 1002, "/dev/ttyACM0": 1003}
ASK_S = 120.0


@dataclass(frozen=True, slots=True)
class Bench:
    """A machine, and a place to try its devices from: within the daemon's unit."""

    machine: Machine
    directory: Path

    def ask(self, verb: str, path: str) -> str:
        """Let it be tried there (guest/inside.py)."""
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(ASK_S)
            line.connect(str(self.directory / "inside.sock"))
            line.sendall(f"{verb} {path}\n".encode())
            return line.makefile().readline().strip()

    def drivers(self) -> set[str]:
        """Drivers of character devices, by the names that DeviceAllow= takes."""
        said = self.machine.run("sed '/^Block/Q; s/^ *[0-9]* //' /proc/devices")
        return set(said.splitlines())

    def plug(self, driver: str, bus: str, value: int) -> None:
        """Plug in one of QEMU's serial devices, with a meter at the end of its line."""
        path = str(self.directory / f"{driver}.sock")
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        listener.listen(1)
        threading.Thread(target=_be_meter, args=(listener, value), daemon=True).start()
        line = {"addr": {"type": "unix", "data": {"path": path}}, "server": False}
        self._qmp("chardev-add", id=driver, backend={"type": "socket", "data": line})
        self._qmp("device_add", id=f"{driver}0", driver=driver, bus=bus, chardev=driver)

    def _qmp(self, command: str, **arguments: object) -> None:
        self.machine.does("qmp", json.dumps({"execute": command, "arguments": arguments}))


def _be_meter(listener: socket.socket, value: int) -> None:
    # The machine ends without saying goodbye.
    with listener, listener.accept()[0] as line, contextlib.suppress(ConnectionError):
        meter.serve(line.recv, line.sendall, value)


@pytest.fixture(scope="module")
def bench(snapshot: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """The unit runs; usbserial and cdc_acm were not loaded before it was started."""
    directory = tmp_path_factory.mktemp("vm")
    (directory / "inside.conf").write_text("\n".join(("[Service]", *INSIDE, "")))
    machine = Machine(f"devices-{os.getpid()}")
    made = Bench(machine, directory)
    try:
        machine.does("restore", READY)
        machine.run(f"systemctl stop {UNIT}; mkdir {Path(DROP_IN).parent}")
        machine.does("push", *(str(file) for file in GUEST.glob("*.py")), "/opt")
        machine.does("push", str(directory / "inside.conf"), DROP_IN)
        machine.run("modprobe -r usbserial cdc_acm")
        assert not {"ttyUSB", "ttyACM"} & made.drivers()
        machine.run(f"systemctl daemon-reload; systemctl start {UNIT}")
        machine.does("forward", "-L", f"{directory}/inside.sock:/run/hearth/inside.sock")
        yield made
    finally:
        machine.does("kill")


@pytest.fixture(scope="module")
def lines(bench: Bench) -> None:
    """A card with a UART, an adapter, and a USB device of the class for modems: all plugged in."""
    bench.plug("pci-serial", "hp1", LINES["/dev/ttyS1"])
    bench.plug("usb-serial", "usb.0", LINES["/dev/ttyUSB0"])
    # QEMU has none of that class. The kernel's own has its far end in the machine.
    bench.machine.run(
        "modprobe dummy_hcd && modprobe g_serial use_acm=1 && udevadm settle && "
        f"systemd-run --quiet python3 /opt/meter.py /dev/ttyGS0 {LINES['/dev/ttyACM0']}"
    )


def test_the_unit_is_that_of_the_package(bench: Bench) -> None:
    show = f"systemctl show --value {UNIT} -p"
    file = bench.machine.run(f"{show} FragmentPath")
    assert bench.machine.run(f"cat {file}") == (ROOT / "systemd" / UNIT).read_text().strip()
    assert bench.machine.run(f"{show} DropInPaths") == DROP_IN


def test_the_drivers_of_lines_are_there_before_any_line(bench: Bench) -> None:
    """What DeviceAllow= names is looked up once, when the unit starts."""
    assert {"ttyUSB", "ttyACM", "ttyS"} <= bench.drivers()


@pytest.mark.parametrize("path", LINES)
def test_a_meter_is_read_on_a_line_that_came_while_it_runs(
    bench: Bench, lines: None, path: str
) -> None:
    bus = f"udevadm info --query=property --property=ID_BUS --value {path} || :"
    until(f"udev knows {path}", lambda: bench.machine.run(bus) in ("pci", "usb"))
    assert bench.machine.run(f"stat -c '%G %a' {path}") == "dialout 660"
    assert bench.ask("read", path) == str(LINES[path])


def test_a_meter_is_read_on_lines_that_were_there_before(bench: Bench, lines: None) -> None:
    bench.machine.run(f"systemctl restart {UNIT}")
    assert {path: bench.ask("read", path) for path in LINES} == {
        path: str(value) for path, value in LINES.items()
    }


def test_the_tpm_can_be_opened(bench: Bench) -> None:
    assert bench.ask("open", "/dev/tpmrm0") == "open"


@pytest.mark.parametrize("path", ["/dev/ipmi0", "/dev/vda", "/dev/tpm0"])
def test_no_other_device_can_be_opened(bench: Bench, path: str) -> None:
    """Neither as it is, nor where somebody opened it to everybody."""
    assert bench.ask("open", path) != "open"
    bench.machine.run(f"chmod 666 {path} && {AS_AGENT} sh -c ': <>{path}'")
    assert bench.ask("open", path) == "EPERM"


def test_nvidias_devices_can_be_opened(bench: Bench) -> None:
    """By the names that NVIDIA's driver gives them, open to everybody as it makes them.

    The driver itself needs one of its boards. A driver in user space has the same names here.
    """
    bench.machine.run(
        "modprobe cuse && for name in nvidiactl nvidia0 accelerator; do "
        "systemd-run --quiet python3 /opt/character_device.py $name; done"
    )
    names = {"nvidiactl", "nvidia0", "accelerator"}
    until("the devices are there", lambda: names <= bench.drivers())
    bench.machine.run(
        "udevadm settle; cd /dev; chmod 666 nvidiactl nvidia0 accelerator; "
        f"{AS_AGENT} sh -c ': <>accelerator'; systemctl restart {UNIT}"
    )
    assert {name: bench.ask("open", f"/dev/{name}") for name in names} == {
        "nvidiactl": "open",
        "nvidia0": "open",
        "accelerator": "EPERM",
    }
