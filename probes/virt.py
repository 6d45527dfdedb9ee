"""Whether the host is a virtual machine, and under which hypervisor, from files alone.

Names are systemd-detect-virt's. Containers are not looked for: the agent inventories a host.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from probes import attribute

if TYPE_CHECKING:
    from probes.host import Host

# Beginning of a DMI string -> hypervisor, as in systemd's src/basic/virt.c (detect_vm_dmi_vendor).
DMI_FIELDS = ("product_name", "sys_vendor", "board_vendor", "bios_vendor", "product_version")
DMI = (
    ("KVM", "kvm"),
    ("OpenStack", "kvm"),
    ("KubeVirt", "kvm"),
    ("Amazon EC2", "amazon"),
    ("QEMU", "qemu"),
    ("VMware", "vmware"),
    ("VMW", "vmware"),
    ("innotek GmbH", "oracle"),
    ("VirtualBox", "oracle"),
    ("Xen", "xen"),
    ("Bochs", "bochs"),
    ("Parallels", "parallels"),
    ("BHYVE", "bhyve"),
    ("Hyper-V", "microsoft"),
    ("Apple Virtualization", "apple"),
    ("Google Compute Engine", "google"),
)
# Clocks that only a guest has -> hypervisor (kernel: drivers of the clocksource).
CLOCKS = {
    "kvm-clock": "kvm",
    "xen": "xen",
    "hyperv_clocksource_tsc_page": "microsoft",
    "vmware-clock": "vmware",
}
CLOCKSOURCES = "/sys/devices/system/clocksource/clocksource0/available_clocksource"


def detect(
    dmi: Mapping[str, str], hypervisor: str, flag: bool, clocks: str, device_tree: str
) -> str:
    """Return `none`, a hypervisor's name, or `vm-other`. Pure.

    :param dmi: attributes of /sys/class/dmi/id.
    :param hypervisor: /sys/hypervisor/type, empty where absent or where this is dom0.
    :param flag: whether /proc/cpuinfo has the flag `hypervisor` (CPUID leaf 1, ECX bit 31).
    :param clocks: the available clock sources.
    :param device_tree: /proc/device-tree/hypervisor/compatible.
    """
    by_dmi = next(
        (
            name
            for field in DMI_FIELDS
            for start, name in DMI
            if dmi.get(field, "").startswith(start)
        ),
        "",
    )
    by_clock = next((name for clock, name in CLOCKS.items() if clock in clocks.split()), "")
    if dmi.get("sys_vendor") == "Amazon EC2" and dmi.get("product_name", "").endswith(".metal"):
        return "none"  # sold as bare metal, under the vendor name of the virtual ones
    if by_dmi == "qemu" and by_clock == "kvm":
        return "kvm"  # QEMU with hardware virtualisation, not emulating
    if by_dmi or hypervisor or by_clock:
        return by_dmi or hypervisor or by_clock
    if device_tree:
        return next((name for name in ("kvm", "xen") if name in device_tree), "vm-other")
    return "vm-other" if flag else "none"


def read(host: Host, dmi: Mapping[str, str], flags: frozenset[str]) -> str:
    """Return what `detect` makes of this host's files."""
    hypervisor = attribute.text(host, "/sys/hypervisor/type")
    if hypervisor == "xen" and "control_d" in attribute.text(host, "/proc/xen/capabilities"):
        hypervisor = ""  # dom0 has the hardware
    device_tree = attribute.text(host, "/proc/device-tree/hypervisor/compatible")
    return detect(
        dmi, hypervisor, "hypervisor" in flags, attribute.text(host, CLOCKSOURCES), device_tree
    )
