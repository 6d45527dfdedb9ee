"""Network interfaces with hardware behind them: /sys/class/net.

Kernel: Documentation/ABI/testing/sysfs-class-net. sysfs tells only the speed that was negotiated
and only while a cable is plugged: that is a reading, not what the machine is, and is left out.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from probes import attribute
from probes.component import Component, ComponentKind, properties

if TYPE_CHECKING:
    from probes.host import Host

NET = "/sys/class/net"
TYPES = {"1": "ethernet", "32": "infiniband", "801": "wireless", "803": "wireless"}  # if_arp.h


def read(host: Host) -> tuple[Component, ...]:
    """Return the interfaces that hang on a bus; bridges, bonds, tunnels and veths do not.

    The locator is the bus address, with the port where one device has several; the serial is the
    permanent MAC address as far as sysfs tells (of a bonded interface it does, elsewhere it is
    the one in use, and left out if somebody set it). Vendor and model are PCI or virtio ids, as
    four hexadecimal digits. Properties: `name`, `driver`, `type`, `virtual_functions` (SR-IOV).

    :raises Absent: where there is no such class.
    """
    found: dict[str, Component] = {}
    for name in host.names(NET):
        interface = _interface(host, name)
        if interface is None:
            continue
        if interface.locator in found:  # several ports on one function, all with dev_port 0
            interface = replace(interface, locator=f"{interface.locator}/{name}")
        found[interface.locator] = interface
    return tuple(found.values())


def _interface(host: Host, name: str) -> Component | None:
    base = f"{NET}/{name}"
    device = f"{base}/device"
    if not (address := attribute.target(host, device)):
        return None  # nothing behind it
    port = attribute.text(host, f"{base}/dev_port")
    return Component(
        ComponentKind.NETWORK_INTERFACE,
        address + (f"/{port}" if port not in ("", "0") else ""),
        vendor=attribute.hex_id(host, f"{device}/vendor"),
        model=attribute.hex_id(host, f"{device}/device"),
        serial=_mac(host, base),
        properties=properties(
            name=name,
            driver=attribute.target(host, f"{device}/driver"),
            type=TYPES.get(attribute.text(host, f"{base}/type")),
            virtual_functions=attribute.number(host, f"{device}/sriov_totalvfs") or None,
        ),
    )


def _mac(host: Host, base: str) -> str:
    if permanent := attribute.text(host, f"{base}/bonding_slave/perm_hwaddr"):
        return permanent.lower()
    if attribute.text(host, f"{base}/addr_assign_type") == "3":  # NET_ADDR_SET: somebody chose it
        return ""
    return attribute.text(host, f"{base}/address").lower()
