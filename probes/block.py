"""Disks: /sys/block (kernel: Documentation/ABI/stable/sysfs-block and testing/sysfs-block-device).

A disk is a block device with a device behind it; loop, zram, md, device-mapper and network block
devices have none. Removable ones are listed without their size, which is the medium's.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from probes import attribute
from probes.component import Component, ComponentKind, clean, properties
from probes.errors import Malformed, ProbeError

if TYPE_CHECKING:
    from probes.host import Host

BLOCK = "/sys/block"
SECTOR = 512  # `size` counts these, whatever the disk's own sectors are
OPTICAL = "5"  # SCSI peripheral device type (SPC-4 table 138)
# An eMMC's boot and RPMB areas are devices of their own on the same chip.
PART_OF_CHIP = re.compile(r"mmcblk[0-9]+(boot[0-9]+|rpmb|gp[0-9]+)")


def parse_serial_page(page: bytes) -> str:
    """Return the serial number of a SCSI Unit Serial Number VPD page (SPC-4 7.8.15).

    :raises Malformed: when it is another page or longer than it is.
    """
    if len(page) < 4 or page[1] != 0x80:
        raise Malformed("VPD page: not 80h")
    length = int.from_bytes(page[2:4], "big")
    if 4 + length > len(page):
        raise Malformed(f"VPD page: {length} bytes told, {len(page) - 4} there")
    return clean(page[4 : 4 + length].decode("ascii", "replace"))


def read(host: Host) -> tuple[Component, ...]:
    """Return the disks.

    The locator is the WWN, EUI-64 or NGUID; without one the kernel's name, as for virtio disks.
    Properties: `name`, `size_bytes`, `rotational` (0 or 1), `logical_block_bytes`,
    `physical_block_bytes`, `transport` (nvme, scsi, virtio, mmc, ...), `removable`.

    :raises Absent: where there is no such class.
    """
    found: dict[str, Component] = {}
    for name in host.names(BLOCK):
        if PART_OF_CHIP.fullmatch(name) or _is(host, f"{BLOCK}/{name}/hidden"):
            continue  # hidden: one path of an NVMe namespace that is listed itself
        if (disk := _disk(host, name)) is not None:
            # Two paths to one disk (SAS, Fibre Channel) show it twice under one WWN.
            found.setdefault(disk.locator, disk)
    return tuple(found.values())


def _disk(host: Host, name: str) -> Component | None:
    base = f"{BLOCK}/{name}"
    device = f"{base}/device"
    if not (transport := attribute.target(host, f"{device}/subsystem")):
        return None  # nothing behind it
    if transport == "scsi" and attribute.text(host, f"{device}/type") == OPTICAL:
        return None
    sectors = attribute.number(host, f"{base}/size")
    removable = _is(host, f"{base}/removable")
    wwid = attribute.name(host, f"{base}/wwid") or attribute.name(host, f"{device}/wwid")
    return Component(
        ComponentKind.DISK,
        wwid or name,
        vendor=attribute.name(host, f"{device}/vendor").removeprefix("0x"),
        model=attribute.name(host, f"{device}/model") or attribute.name(host, f"{device}/name"),
        serial=_serial(host, base),
        firmware=next(
            filter(
                None,
                (attribute.name(host, f"{device}/{n}") for n in ("firmware_rev", "rev", "fwrev")),
            ),
            "",
        ),
        properties=properties(
            name=name,
            size_bytes=None if removable or sectors is None else sectors * SECTOR,
            rotational=attribute.text(host, f"{base}/queue/rotational"),
            logical_block_bytes=attribute.text(host, f"{base}/queue/logical_block_size"),
            physical_block_bytes=attribute.text(host, f"{base}/queue/physical_block_size"),
            transport=transport,
            removable=1 if removable else None,
        ),
    )


def _serial(host: Host, base: str) -> str:
    for path in (f"{base}/device/serial", f"{base}/serial"):  # NVMe and MMC; virtio
        if serial := attribute.name(host, path):
            return serial
    try:
        return parse_serial_page(host.read(f"{base}/device/vpd_pg80"))
    except ProbeError:  # no SCSI disk, or one that has no such page
        return ""


def _is(host: Host, path: str) -> bool:
    return attribute.text(host, path) == "1"
