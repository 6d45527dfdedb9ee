"""Memory: what the kernel has to give, and the modules it sits on.

Modules come from SMBIOS type 17; where its table may not be read, from EDAC, which sees them only
on machines with ECC (kernel: Documentation/admin-guide/RAS/main.rst).
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from probes import attribute
from probes.component import Component, ComponentKind, properties
from probes.errors import Malformed

if TYPE_CHECKING:
    from probes.host import Host
    from probes.smbios import Module, Tables

EDAC = "/sys/devices/system/edac/mc"


def parse_total(meminfo: str) -> int:
    """Return MemTotal of /proc/meminfo in bytes.

    Of its values only this one is taken: it stands still while the machine runs.

    :raises Malformed: when it is not there, or not in kB.
    """
    for line in meminfo.splitlines():
        name, _, value = line.partition(":")
        if name == "MemTotal":
            number, _, unit = value.strip().partition(" ")
            if number.isascii() and number.isdigit() and unit == "kB" and len(number) < 16:
                return int(number) << 10
            raise Malformed(f"/proc/meminfo: MemTotal is {value.strip()[:40]!r}")
    raise Malformed("/proc/meminfo: no MemTotal")


def read_total(host: Host) -> int:
    """Return the memory that the kernel manages, in bytes."""
    return parse_total(host.text("/proc/meminfo", 1 << 16))


def slots(tables: Tables) -> dict[str, str | int | None]:
    """Return `memory_slots` (sockets for modules) and `memory_ecc` (none if any array has none)."""
    counts = [array.slots for array in tables.arrays if array.slots is not None]
    corrections = sorted({array.correction for array in tables.arrays if array.correction})
    return {
        "memory_slots": sum(counts) or None,
        "memory_ecc": ("none" if "none" in corrections else ",".join(corrections)) or None,
    }


def modules(tables: Tables) -> tuple[Component, ...]:
    """Return the populated modules.

    The locator is the board's designation, with the bank's where two modules share one, and with
    the SMBIOS handle where they share both. Properties: `size_bytes`, `type`, `form_factor`,
    `rank`, `speed_mts` and `configured_mts` (MT/s), `data_bits`, `ecc_bits` (check bits a word).
    """
    names = Counter(m.locator for m in tables.modules)
    pairs = Counter((m.bank, m.locator) for m in tables.modules)

    def locator(m: Module) -> str:
        if m.locator and names[m.locator] == 1:
            return m.locator
        if pairs[m.bank, m.locator] == 1:
            return f"{m.bank} {m.locator}".strip()
        return f"{m.bank} {m.locator} 0x{m.handle:04X}".strip()

    return tuple(
        Component(
            ComponentKind.MEMORY_MODULE,
            locator(m),
            vendor=m.vendor,
            model=m.part,
            serial=m.serial,
            properties=properties(
                size_bytes=m.size_bytes,
                type=m.technology,
                form_factor=m.form_factor,
                rank=m.rank,
                speed_mts=m.speed_mts,
                configured_mts=m.configured_mts,
                data_bits=m.data_bits,
                ecc_bits=m.total_bits - m.data_bits
                if m.total_bits and m.data_bits and m.total_bits >= m.data_bits
                else None,
            ),
        )
        for m in tables.modules
    )


def read_controllers(host: Host) -> tuple[str, ...]:
    """Return the names of the memory controllers that watch for ECC errors, as EDAC has them.

    :raises Absent: where no EDAC driver is loaded.
    """
    return tuple(
        attribute.name(host, f"{EDAC}/{name}/mc_name") or name
        for name in host.names(EDAC)
        if name.startswith("mc") and name[2:].isdigit()
    )


def read_edac_modules(host: Host) -> tuple[Component, ...]:
    """Return the modules that EDAC sees. Properties: `size_bytes`, `type`, `ecc`, `location`.

    :raises Absent: where no EDAC driver is loaded.
    """
    found = []
    for controller in host.names(EDAC):
        if not (controller.startswith("mc") and controller[2:].isdigit()):
            continue
        for name in host.names(f"{EDAC}/{controller}"):
            if not (name.startswith(("dimm", "rank")) and name[4:].isdigit()):
                continue
            base = f"{EDAC}/{controller}/{name}"
            size = attribute.name(host, f"{base}/size")
            if not size.isdigit() or int(size) == 0:
                continue
            found.append(
                Component(
                    ComponentKind.MEMORY_MODULE,
                    f"{controller}/{name}",
                    properties=properties(
                        size_bytes=int(size) << 20,  # the attribute is in MiB
                        type=attribute.name(host, f"{base}/dimm_mem_type"),
                        ecc=attribute.name(host, f"{base}/dimm_edac_mode"),
                        label=attribute.name(host, f"{base}/dimm_label"),
                        location=attribute.name(host, f"{base}/dimm_location"),
                    ),
                )
            )
    return tuple(found)
