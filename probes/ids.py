"""Names of PCI vendors and devices, for people: pci.ids (format: https://pci-ids.ucw.cz).

The file comes with a package and changes with it; inventories keep the numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from probes.errors import Absent

if TYPE_CHECKING:
    from probes.host import Host

FILES = ("/usr/share/misc/pci.ids", "/usr/share/hwdata/pci.ids")
MAX_IDS = 8 << 20  # 1.5 MiB in 2026


def parse(raw: bytes, wanted: Iterable[tuple[str, str]]) -> dict[tuple[str, str], tuple[str, str]]:
    """Return (vendor id, device id) -> names for those of `wanted` that the file has.

    A device that it does not have, of a vendor that it does, is named by its id.
    """
    of: dict[str, set[str]] = {}
    for vendor, device in wanted:
        of.setdefault(vendor, set()).add(device)
    found: dict[tuple[str, str], tuple[str, str]] = {}
    current, maker = "", ""
    for line in raw.decode("utf-8", "replace").splitlines():
        if line.startswith("C "):  # classes follow the vendors
            break
        if not line or line[0] == "#" or line.startswith("\t\t"):
            continue
        number, _, name = line.strip().partition("  ")
        if line[0] != "\t":
            current, maker = number.lower(), name
            found |= {(current, device): (maker, device) for device in of.get(current, ())}
        elif number.lower() in of.get(current, ()):
            found[current, number.lower()] = (maker, name)
    return found


def names(
    host: Host, wanted: Iterable[tuple[str, str]]
) -> Mapping[tuple[str, str], tuple[str, str]]:
    """Return the names of `wanted`; none where no such file is installed.

    :raises ProbeError: when the file is there and cannot be read.
    """
    wanted = tuple(wanted)
    for path in FILES:
        try:
            return parse(host.read(path, MAX_IDS), wanted)
        except Absent:
            continue
    return {}
