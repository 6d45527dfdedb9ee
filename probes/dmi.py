"""What firmware says of the machine: /sys/class/dmi/id, and the SMBIOS table where readable.

Kernel: drivers/firmware/dmi-id.c, Documentation/ABI/testing/sysfs-firmware-dmi-tables. The serial
numbers, the UUID and the whole table are for root only; the rest is for everyone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from probes import smbios
from probes.component import Component, ComponentKind, clean, properties
from probes.errors import Absent, Denied

if TYPE_CHECKING:
    from probes.host import Host

ID = "/sys/class/dmi/id"
TABLES = "/sys/firmware/dmi/tables"
ATTRIBUTES = (
    *("sys_vendor", "product_name", "product_version", "product_serial", "product_uuid"),
    *("product_sku", "product_family"),
    *("board_vendor", "board_name", "board_version", "board_serial", "board_asset_tag"),
    *("chassis_vendor", "chassis_type", "chassis_version", "chassis_serial", "chassis_asset_tag"),
    *("bios_vendor", "bios_version", "bios_date", "bios_release"),
)


def read_attributes(host: Host) -> dict[str, str]:
    """Return the attributes that are there and may be read, cleaned; no empty ones.

    :raises Absent: where the kernel shows no DMI at all.
    """
    names = set(host.names(ID))
    attributes = {}
    for name in ATTRIBUTES:
        if name in names:
            try:
                attributes[name] = clean(host.text(f"{ID}/{name}"))
            except (Absent, Denied):
                continue
    return {name: value for name, value in attributes.items() if value}


def read_tables(host: Host) -> smbios.Tables:
    """Return the SMBIOS table, parsed.

    :raises Absent, Denied: where there is none, or this process may not read it.
    :raises Malformed: when it cannot be walked.
    """
    release = smbios.version(host.read(f"{TABLES}/smbios_entry_point", 64))
    return smbios.parse(host.read(f"{TABLES}/DMI", smbios.MAX_TABLE), release)


def attributes_of(tables: smbios.Tables) -> dict[str, str]:
    """Return what the kernel would show below /sys/class/dmi/id for these tables."""
    attributes: dict[str, str] = {}
    for system in tables.systems[:1]:
        attributes |= {
            "sys_vendor": system.vendor,
            "product_name": system.product,
            "product_version": system.version,
            "product_serial": system.serial,
            "product_uuid": system.uuid,
            "product_sku": system.sku,
            "product_family": system.family,
        }
    for board in tables.boards[:1]:
        attributes |= {
            "board_vendor": board.vendor,
            "board_name": board.product,
            "board_version": board.version,
            "board_serial": board.serial,
            "board_asset_tag": board.asset_tag,
        }
    for chassis in tables.chassis[:1]:
        attributes |= {
            "chassis_vendor": chassis.vendor,
            "chassis_type": str(chassis.kind),
            "chassis_version": chassis.version,
            "chassis_serial": chassis.serial,
            "chassis_asset_tag": chassis.asset_tag,
        }
    for bios in tables.bios[:1]:
        attributes |= {
            "bios_vendor": bios.vendor,
            "bios_version": bios.version,
            "bios_date": bios.date,
            "bios_release": bios.release,
        }
    return {name: value for name, value in attributes.items() if value}


def components(
    attributes: dict[str, str], tables: smbios.Tables | None, system: dict[str, str | int | None]
) -> tuple[Component, ...]:
    """Return the machine, its chassis, boards, firmware and power supplies.

    There is always a SYSTEM component `system`; `system` are properties that other sources know.
    Properties: `uuid`, `version`, `sku`, `family`, `asset_tag`; of the chassis `type` (DSP0134
    table 17); of firmware `date`, `release`, `rom_bytes`; of power supplies `max_watts`.
    """
    known = (attributes_of(tables) if tables else {}) | attributes
    found = [
        Component(
            ComponentKind.SYSTEM,
            "system",
            vendor=known.get("sys_vendor", ""),
            model=known.get("product_name", ""),
            serial=known.get("product_serial", ""),
            properties=properties(
                uuid=known.get("product_uuid", "").lower(),
                version=known.get("product_version"),
                sku=known.get("product_sku"),
                family=known.get("product_family"),
                **system,
            ),
        )
    ]
    chassis = _first(known, ComponentKind.SYSTEM, "chassis")
    if chassis:
        found.append(chassis)
    board = _first(known, ComponentKind.BOARD, "board")
    if board:
        found.append(board)
    if any(name.startswith("bios_") for name in known):
        found.append(
            Component(
                ComponentKind.FIRMWARE,
                "bios",
                vendor=known.get("bios_vendor", ""),
                firmware=known.get("bios_version", ""),
                properties=properties(
                    date=known.get("bios_date"),
                    release=known.get("bios_release"),
                    rom_bytes=tables.bios[0].rom_bytes if tables and tables.bios else None,
                ),
            )
        )
    if tables:
        found += _more_boards(tables.boards)
        found += _supplies(tables.supplies)
    return tuple(found)


def _first(known: dict[str, str], kind: ComponentKind, what: str) -> Component | None:
    if not any(name.startswith(f"{what}_") for name in known):
        return None
    return Component(
        kind,
        what,
        vendor=known.get(f"{what}_vendor", ""),
        model=known.get(f"{what}_name", ""),
        serial=known.get(f"{what}_serial", ""),
        properties=properties(
            version=known.get(f"{what}_version"),
            asset_tag=known.get(f"{what}_asset_tag"),
            type=known.get(f"{what}_type"),
        ),
    )


def _more_boards(boards: Sequence[smbios.Board]) -> list[Component]:
    """Return risers, mezzanines and the like: the kernel's attributes show only the first board."""
    return [
        Component(
            ComponentKind.BOARD,
            f"board{number}",
            vendor=board.vendor,
            model=board.product,
            serial=board.serial,
            properties=properties(version=board.version, asset_tag=board.asset_tag),
        )
        for number, board in enumerate(boards)
        if number and (board.vendor or board.product)
    ]


def _supplies(supplies: Sequence[smbios.PowerSupply]) -> list[Component]:
    """Return the power supplies that have a name; many boards state one that nobody entered."""
    return [
        Component(
            ComponentKind.POWER_SUPPLY,
            f"psu{number}",
            vendor=supply.vendor,
            model=supply.name or supply.part,
            serial=supply.serial,
            firmware=supply.revision,
            properties=properties(
                location=supply.location, part=supply.part, max_watts=supply.max_watts
            ),
        )
        for number, supply in enumerate(supplies)
        if supply.vendor or supply.name or supply.part
    ]
