"""PCI functions: /sys/bus/pci/devices (kernel: Documentation/PCI/sysfs-pci.rst).

Vendor and model are numbers, not names: names come out of a file that a package upgrade changes
(`ids.py`), and a digest that moves with it would say that the hardware had.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from probes import attribute
from probes.component import Component, ComponentKind, properties

if TYPE_CHECKING:
    from probes.host import Host

PCI = "/sys/bus/pci/devices"
NVIDIA = "10de"
AMD = "1002"


def read(host: Host) -> tuple[Component, ...]:
    """Return the PCI functions; accelerators among them as such.

    The locator is domain:bus:device.function, vendor and model are four hexadecimal digits.
    Properties: `class` (six digits), `subsystem` (vendor:device), `revision`, `driver`,
    `numa_node`, `max_link_speed` and `max_link_width` (what both ends could do, not what they
    negotiated), and of AMD's accelerators `memory_bytes`.

    :raises Absent: where there is no such bus.
    """
    return tuple(_function(host, address) for address in host.names(PCI))


def _function(host: Host, address: str) -> Component:
    base = f"{PCI}/{address}"
    vendor, code = attribute.hex_id(host, f"{base}/vendor"), attribute.hex_id(host, f"{base}/class")
    accelerator = is_accelerator(vendor, code)
    subsystem = (
        attribute.hex_id(host, f"{base}/subsystem_vendor"),
        attribute.hex_id(host, f"{base}/subsystem_device"),
    )
    numa = attribute.text(host, f"{base}/numa_node")
    width = attribute.text(host, f"{base}/max_link_width")
    speed = attribute.text(host, f"{base}/max_link_speed")
    return Component(
        ComponentKind.ACCELERATOR if accelerator else ComponentKind.PCI_DEVICE,
        address,
        vendor=vendor,
        model=attribute.hex_id(host, f"{base}/device"),
        serial=attribute.text(host, f"{base}/unique_id") if accelerator else "",
        firmware=attribute.text(host, f"{base}/vbios_version") if accelerator else "",
        properties=properties(
            **{"class": code},
            subsystem=":".join(subsystem) if all(subsystem) else None,
            revision=attribute.hex_id(host, f"{base}/revision"),
            driver=attribute.target(host, f"{base}/driver"),
            numa_node=None if numa == "-1" else numa,
            # 0 or 255 lanes and an unknown speed mean that the function is no express one
            max_link_speed=None if speed.startswith("Unknown") else speed,
            max_link_width=None if width in ("0", "255") else width,
            memory_bytes=attribute.text(host, f"{base}/mem_info_vram_total")
            if accelerator
            else None,
        ),
    )


def is_accelerator(vendor: str, code: str) -> bool:
    """Whether a function computes, by vendor and class (PCI Code and ID Assignment 1.11).

    12: processing accelerators; 0302: 3D controllers; NVIDIA's display controllers of any kind;
    AMD's 0380, the class of its Instinct boards. The VGA of a management controller is none.
    """
    return (
        code.startswith(("12", "0302"))
        or (vendor == NVIDIA and code.startswith("03"))
        or (vendor == AMD and code.startswith("0380"))
    )
