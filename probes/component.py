"""The pieces of an inventory, as inventory.proto has them. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class ComponentKind(IntEnum):
    """hearth.v1.ComponentKind, number by number."""

    SYSTEM = 1
    BOARD = 2
    FIRMWARE = 3
    PROCESSOR = 4
    MEMORY_MODULE = 5
    DISK = 6
    NETWORK_INTERFACE = 7
    ACCELERATOR = 8
    PCI_DEVICE = 9
    USB_DEVICE = 10
    TPM = 11
    POWER_SUPPLY = 12
    METER = 13


class Health(IntEnum):
    """hearth.v1.Health. `UNSPECIFIED` where nothing in the machine judges the component."""

    UNSPECIFIED = 0
    OK = 1
    DEGRADED = 2
    FAILED = 3


@dataclass(frozen=True, slots=True)
class Component:
    """One piece of hardware.

    `locator` is where it sits (PCI address, DMI locator) or, where no place is stable, its WWN;
    it is unique within its kind. `serial` is whatever tells this piece from its twins: a serial
    number, a MAC address, a GPU's UUID. Empty strings mean not known.
    """

    kind: ComponentKind
    locator: str
    vendor: str = ""
    model: str = ""
    serial: str = ""
    firmware: str = ""
    properties: tuple[tuple[str, str], ...] = ()  # sorted by key; no empty values
    health: Health = Health.UNSPECIFIED

    def get(self, key: str) -> str:
        """Return one property, empty when it is not known."""
        return next((value for name, value in self.properties if name == key), "")


def properties(**values: str | int | None) -> tuple[tuple[str, str], ...]:
    """Return what is known of `values`, sorted by key: None and empty strings are left out."""
    return tuple(
        (key, str(value))
        for key, value in sorted(values.items())
        if value is not None and value != ""
    )


# What firmware holds where nobody entered anything, lower case (seen in linuxhw/DMI).
PLACEHOLDERS = frozenset(
    {
        *("--", "-", ".", "none", "null", "n/a", "na", "unknown", "undefined", "invalid", "oem"),
        *("default string", "not specified", "not available", "not applicable", "not present"),
        *("to be filled by o.e.m.", "to be filled by o.e.m", "to be filled by oem"),
        *("fill by oem", "filled by o.e.m.", "o.e.m.", "o.e.m", "empty", "no dimm", "[empty]"),
        *("system manufacturer", "system product name", "system version", "system serial number"),
        *("base board serial number", "base board version", "base board manufacturer"),
        *("chassis manufacture", "chassis version", "chassis serial number", "asset tag"),
        *(
            "asset-1234567890",
            "sku",
            "serial number",
            "product name",
            "manufacturer",
            "no enclosure",
        ),
        *(
            "0123456789",
            "1234567890",
            "0123456789abcdef",
            "123456789",
            "xxxxxxxxxx",
            "not settable",
        ),
    }
)


def clean(text: str) -> str:
    """Return a name as people read it: printable, single spaces, empty for a placeholder.

    Devices pad with spaces (SCSI), NULs and 0xFF; firmware holds "To Be Filled By O.E.M.".
    """
    text = " ".join("".join(c if c.isprintable() and c != "\ufffd" else " " for c in text).split())
    if text.lower() in PLACEHOLDERS or not text.strip("0.- "):
        return ""
    return text
