"""What the host is: every source asked once, one value out.

Two takes of an unchanged machine are equal, byte for byte once encoded: nothing in here moves
while the machine runs (no clocks, free memory, temperatures, link states or negotiated speeds), and
nothing depends on what else is installed (PCI names stay numbers, see `ids.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import os_resource_classes as orc

from probes import block, cpu, dmi, memory, nic, nvml, pci, tpmdev, traits, usb, virt
from probes.component import Component, ComponentKind, Health
from probes.errors import ProbeError

if TYPE_CHECKING:
    from probes.host import Host
    from probes.smbios import Tables

__all__ = ["Component", "ComponentKind", "Health", "Inventory", "resources", "take"]

T = TypeVar("T")
Notice = Callable[[str, ProbeError], None]


@dataclass(frozen=True, slots=True)
class Inventory:
    """What the host is. Components are sorted by (kind, locator), each pair once; traits sorted."""

    components: tuple[Component, ...]
    traits: tuple[str, ...]
    kernel_release: str
    virtualization: str  # none, or the hypervisor as systemd-detect-virt names it

    def of(self, kind: ComponentKind) -> tuple[Component, ...]:
        """Return the components of one kind, by locator."""
        return tuple(c for c in self.components if c.kind is kind)


def resources(inventory: Inventory) -> tuple[tuple[str, int], ...]:
    """Return what could be sold, before any reserve: (resource class, units), sorted by class.

    Published: an exchange computes it from the same inventory. Classes are os-resource-classes'.

    - VCPU: hardware threads online.
    - MEMORY_MB: memory that the kernel manages, in MiB, rounded down.
    - PGPU: accelerators whose health is OK and that are not divided (MIG off).
    - VGPU: MIG devices of boards whose health is OK.

    A class of which there is nothing is left out. Accelerators of which no library says that they
    work are not for sale; on doubt withhold. Disks are not units: no lease is limited on them.
    """
    counts = {orc.VCPU: 0, orc.MEMORY_MB: 0, orc.PGPU: 0, orc.VGPU: 0}
    for component in inventory.components:
        match component.kind:
            case ComponentKind.PROCESSOR:
                counts[orc.VCPU] += int(component.get("threads") or 0)
            case ComponentKind.SYSTEM:
                counts[orc.MEMORY_MB] += int(component.get("memory_bytes") or 0) >> 20
            case ComponentKind.ACCELERATOR if component.health is Health.OK:
                if component.get("parent"):
                    counts[orc.VGPU] += 1
                elif component.get("mig") != "1":
                    counts[orc.PGPU] += 1
            case _:
                pass
    return tuple(sorted((name, units) for name, units in counts.items() if units))


class _Survey:
    """Asks sources; one that fails is told of and leaves the others standing."""

    def __init__(self, host: Host, notice: Notice) -> None:
        self.host = host
        self.notice = notice

    def ask(self, source: str, read: Callable[[Host], T]) -> T | None:
        try:
            return read(self.host)
        except ProbeError as error:
            self.notice(source, error)
            return None


def take(host: Host, notice: Notice = lambda source, error: None) -> Inventory:
    """Ask every source once. A source that is not there leaves its components out.

    :param notice: is told of each source that gave nothing, with its typed error (`Absent` is
        usual, and most often all there is to say).
    """
    survey = _Survey(host, notice)
    attributes = survey.ask("dmi", dmi.read_attributes) or {}
    tables = survey.ask("smbios", dmi.read_tables)
    processors = survey.ask("cpuinfo", cpu.read_processors) or {}
    topology = survey.ask("cpu", lambda host: cpu.read_topology(host, processors))
    known = (dmi.attributes_of(tables) if tables else {}) | attributes
    controllers = survey.ask("edac", memory.read_controllers) or ()
    components = [
        *dmi.components(
            attributes,
            tables,
            {
                "memory_bytes": survey.ask("meminfo", memory.read_total),
                "memory_controllers": ",".join(sorted(controllers)),
                **(memory.slots(tables) if tables else {}),
                "numa_nodes": topology.numa_nodes if topology else None,
                "uefi": 1 if host.exists("/sys/firmware/efi/runtime") else None,
            },
        ),
        *(cpu.components(topology, processors, tables) if topology else ()),
        *_modules(survey, tables),
        *(survey.ask("block", block.read) or ()),
        *(survey.ask("net", nic.read) or ()),
        *_pci(survey),
        *(survey.ask("usb", usb.read) or ()),
        *(survey.ask("tpm", tpmdev.read) or ()),
    ]
    components.sort(key=lambda c: (c.kind, c.locator))
    every = {(p.vendor, p.flags) for p in processors.values()}
    flags = frozenset[str]().union(*(flags for _, flags in every))
    return Inventory(
        components=tuple(components),
        traits=traits.derive(components, every),
        kernel_release=survey.ask("kernel", kernel_release) or "",
        virtualization=virt.read(host, known, flags),
    )


def kernel_release(host: Host) -> str:
    """Return what uname calls the release."""
    return host.text("/proc/sys/kernel/osrelease")


def _modules(survey: _Survey, tables: Tables | None) -> tuple[Component, ...]:
    if tables and (modules := memory.modules(tables)):
        return modules
    return survey.ask("edac modules", memory.read_edac_modules) or ()


def _pci(survey: _Survey) -> tuple[Component, ...]:
    """Return PCI functions, with NVML's knowledge of those that are its boards."""
    functions = survey.ask("pci", pci.read) or ()
    boards = survey.ask("nvml", nvml.read)
    if boards is None:
        return functions
    accelerators = tuple(f for f in functions if f.kind is ComponentKind.ACCELERATOR)
    others = tuple(f for f in functions if f.kind is not ComponentKind.ACCELERATOR)
    return others + nvml.overlay(accelerators, boards)
