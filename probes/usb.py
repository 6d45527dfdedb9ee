"""USB devices: /sys/bus/usb/devices (kernel: Documentation/ABI/stable/sysfs-bus-usb)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from probes import attribute
from probes.component import Component, ComponentKind, properties

if TYPE_CHECKING:
    from probes.host import Host

USB = "/sys/bus/usb/devices"
DEVICE = re.compile(r"[0-9]+-[0-9]+(\.[0-9]+)*")  # bus-port.port; interfaces have a colon


def read(host: Host) -> tuple[Component, ...]:
    """Return what is plugged in, hubs included.

    Root hubs are left out: they are the kernel's picture of a controller that is listed as a PCI
    function, and their names carry the kernel's version. Vendor and model are the device's own
    strings, else its ids. Properties: `id` (vendor:product), `class`.

    :raises Absent: where there is no such bus.
    """
    return tuple(_device(host, name) for name in host.names(USB) if DEVICE.fullmatch(name))


def _device(host: Host, name: str) -> Component:
    base = f"{USB}/{name}"
    vendor, product = (
        attribute.text(host, f"{base}/idVendor"),
        attribute.text(host, f"{base}/idProduct"),
    )
    return Component(
        ComponentKind.USB_DEVICE,
        name,
        vendor=attribute.name(host, f"{base}/manufacturer") or vendor,
        model=attribute.name(host, f"{base}/product") or product,
        serial=attribute.name(host, f"{base}/serial"),
        firmware=attribute.text(host, f"{base}/bcdDevice"),
        properties=properties(
            id=f"{vendor}:{product}" if vendor and product else None,
            **{"class": attribute.text(host, f"{base}/bDeviceClass")},
        ),
    )
