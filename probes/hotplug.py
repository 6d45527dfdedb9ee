"""Tells that hardware may have come or gone: the kernel's uevents, as udev passes them on.

A full look at the machine is taken once at the start and again after such an event, never on a
timer (a udev enumeration costs some 40 ms).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyudev

from probes.errors import Absent

if TYPE_CHECKING:
    from probes.host import Host

SUBSYSTEMS = ("block", "cpu", "memory", "mmc", "net", "nvme", "pci", "tpm", "usb")
VIRTUAL = "/devices/virtual/"  # bridges, veths and loop devices come and go with every container
UDEV = "/run/udev/control"  # there when udevd runs (systemd-udevd(8))


@dataclass(frozen=True, slots=True)
class Change:
    """One event: `add`, `remove`, `bind`, `unbind`, `change`, `online`, `offline`, `move`."""

    action: str
    subsystem: str
    path: str  # below /sys


class Hotplug:
    """A subscription. `fileno` is readable when there is something to `drain`."""

    def __init__(self, host: Host) -> None:
        """Subscribe: to udev, which is heard after its rules ran, else to the kernel itself.

        :raises Absent: where this process may not listen.
        """
        source = "udev" if host.exists(UDEV) else "kernel"
        try:
            self._monitor = pyudev.Monitor.from_netlink(pyudev.Context(), source)
            for subsystem in SUBSYSTEMS:
                self._monitor.filter_by(subsystem)
            self._monitor.start()
        except (OSError, ImportError) as error:  # ImportError: libudev itself is missing
            raise Absent(f"uevents: {error}") from error

    def fileno(self) -> int:
        """Return the descriptor to wait on; it is non-blocking."""
        return int(self._monitor.fileno())

    def drain(self, timeout: float = 0) -> tuple[Change, ...]:
        """Return what has come, waiting at most `timeout` seconds for the first event.

        Events of virtual devices are passed over; the result may be empty.
        """
        changes = []
        device = self._monitor.poll(timeout)
        while device is not None:
            if not device.device_path.startswith(VIRTUAL):
                changes.append(
                    Change(device.action or "", device.subsystem or "", device.device_path)
                )
            device = self._monitor.poll(0)
        return tuple(changes)
