"""A host in a few lines, for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from probes.inventory import Component, ComponentKind, Inventory

GIBI, GIGA = 1 << 30, 10**9
SEPARATOR = "; "


def describe(inventory: Inventory, tpm: str) -> list[tuple[str, str]]:
    """Label and text of each line, what matters most first.

    :param tpm: what the agent says of its root of trust, which no inventory knows.
    """
    of = inventory.of
    memory = next((c.get("memory_bytes") for c in of(ComponentKind.SYSTEM)), "")
    processors = [_processor(c) for c in of(ComponentKind.PROCESSOR)]
    if memory:
        processors.append(f"memory {int(memory) / GIBI:.1f} GiB")
    rows = [
        ("processor", processors),
        ("accelerator", [f"{c.vendor} {c.model}" for c in of(ComponentKind.ACCELERATOR)]),
        ("disk", [_disk(c) for c in of(ComponentKind.DISK)]),
        ("TPM", [tpm]),
        ("kernel", [f"{inventory.kernel_release}{_machine(inventory)}"]),
        ("network", [_network(c) for c in of(ComponentKind.NETWORK_INTERFACE)]),
        ("modules", [f"{c.vendor} {c.model}" for c in of(ComponentKind.MEMORY_MODULE)]),
        ("supply", [f"{c.vendor} {c.model}" for c in of(ComponentKind.POWER_SUPPLY)]),
    ]
    return [(label, SEPARATOR.join(_counted(texts))) for label, texts in rows if any(texts)]


def _counted(texts: list[str]) -> Iterator[str]:
    """Equal ones once, with their number."""
    for text, count in Counter(" ".join(text.split()) for text in texts).items():
        yield text if count == 1 else f"{count} x {text}"


def _processor(component: Component) -> str:
    return f"{component.model}, {component.get('cores')} cores, {component.get('threads')} threads"


def _disk(component: Component) -> str:
    size = int(component.get("size_bytes") or 0) / GIGA
    name = component.get("name") or component.locator
    return f"{name} {component.model} {size:.0f} GB {component.get('transport')}"


def _network(component: Component) -> str:
    return f"{component.get('name') or component.locator} {component.get('driver')}"


def _machine(inventory: Inventory) -> str:
    system = next(iter(inventory.of(ComponentKind.SYSTEM)), None)
    name = f"{system.vendor} {system.model}".strip() if system is not None else ""
    virtual = inventory.virtualization not in ("", "none")
    return f" on {name or inventory.virtualization}" if name or virtual else ""
