"""`hearth inventory`: what this host is, for people and for programs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agent.cli.out import echo

if TYPE_CHECKING:
    from collections.abc import Mapping

    from probes.errors import ProbeError
    from probes.inventory import Inventory

    Faults = list[tuple[str, ProbeError]]
    Names = Mapping[tuple[str, str], tuple[str, str]]

_MEBI, _GIBI = 1 << 20, 1 << 30
_GIGA, _TERA = 10**9, 10**12
_LABELS = {
    "MEMORY_MODULE": "memory",
    "NETWORK_INTERFACE": "nic",
    "PCI_DEVICE": "pci",
    "USB_DEVICE": "usb",
    "POWER_SUPPLY": "psu",
}


def inventory(
    as_json: Annotated[
        bool, typer.Option("--json", help="One line of canonical JSON, digest included.")
    ] = False,
    capture: Annotated[
        Path | None,
        typer.Option(help="Record the files that the inventory reads into this new folder."),
    ] = None,
    anonymise: Annotated[
        bool, typer.Option("--anonymise", help="Replace serial numbers in what --capture records.")
    ] = False,
    root: Annotated[
        Path,
        typer.Option(
            help="Look at a machine that --capture recorded, not at this one.",
            exists=True,
            file_okay=False,
        ),
    ] = Path("/"),
) -> None:
    """Show what this host is. Run as root to see serial numbers and memory modules."""
    from agent.errors import ConfigError
    from probes.capture import capture as record
    from probes.errors import ProbeError
    from probes.host import Host
    from probes.inventory import take

    faults: Faults = []
    host = Host(root)
    if anonymise and capture is None:
        raise typer.BadParameter("belongs to --capture", param_hint="--anonymise")
    try:
        if capture is not None:
            record(host, capture, anonymise)
            host = Host(capture)
        found = take(host, lambda source, error: faults.append((source, error)))
    except ProbeError as error:
        echo(f"hearth inventory: {error}", err=True)
        raise typer.Exit(1) from error
    except OSError as error:
        raise ConfigError(
            f"{capture}: {error.strerror}; name a new folder with --capture"
        ) from None
    for source, fault in faults:
        if fault.kind != "absent":
            echo(f"{source}: {fault.kind}: {fault}", err=True)
    if capture is not None:
        echo(f"recorded in {capture}", err=True)
    if as_json:
        echo(_json(found))
    else:
        _show(found)


def _digest(found: Inventory) -> str:
    import hashlib

    from agent.wire.hardware import encode_inventory

    return hashlib.sha256(encode_inventory(found)).hexdigest()


def _json(found: Inventory) -> str:
    """Return RFC 8785 JSON: keys are ASCII and the only numbers are small integers."""
    import json

    from probes.inventory import resources

    value = {
        "digest": _digest(found),
        "components": [
            {
                "kind": component.kind.name,
                "locator": component.locator,
                "vendor": component.vendor,
                "model": component.model,
                "serial": component.serial,
                "firmware": component.firmware,
                "properties": dict(component.properties),
                "health": component.health.name,
            }
            for component in found.components
        ],
        "traits": found.traits,
        "kernel_release": found.kernel_release,
        "virtualization": found.virtualization,
        "resources": dict(resources(found)),
    }
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _show(found: Inventory) -> None:
    from rich.console import Console
    from rich.table import Table

    from probes import ids
    from probes.host import Host
    from probes.inventory import ComponentKind, resources

    # Names come from a package of this machine, whichever machine is shown.
    pci = (ComponentKind.PCI_DEVICE, ComponentKind.ACCELERATOR, ComponentKind.NETWORK_INTERFACE)
    names = ids.names(
        Host("/"), [(c.vendor, c.model) for c in found.components if c.kind in pci and c.vendor]
    )
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("", "where", "what", "serial", ""):
        table.add_column(column, overflow="fold")
    last = None
    for component in found.components:
        label = _LABELS.get(component.kind.name, component.kind.name.lower())
        vendor, model = names.get(
            (component.vendor, component.model), (component.vendor, component.model)
        )
        table.add_row(
            label if component.kind is not last else "",
            component.locator,
            f"{vendor} {model}".strip() or "-",
            component.serial,
            _details(dict(component.properties), component.firmware),
        )
        last = component.kind
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=160)  # lines for a log, not for a screen
    console.print(table)
    units = "  ".join(f"{name} {count}" for name, count in resources(found))
    console.print(f"\nkernel {found.kernel_release}  virtualization {found.virtualization}")
    console.print(f"sellable before reserve: {units}")
    console.print(f"{len(found.traits)} traits  digest {_digest(found)}")


def _details(has: Mapping[str, str], firmware: str) -> str:
    """Return the two or three properties that people ask for first."""
    words = []
    if "cores" in has:
        words.append(f"{has['cores']} cores, {has['threads']} threads")
    if "memory_bytes" in has:
        words.append(f"{int(has['memory_bytes']) / _GIBI:.1f} GiB")
    if "size_bytes" in has:
        words.append(_size(int(has["size_bytes"]), decimal="transport" in has))
    words += [has[key] for key in ("type", "transport", "name", "driver") if key in has]
    if "configured_mts" in has:
        words.append(f"{has['configured_mts']} MT/s")
    if has.get("mig") == "1":
        words.append("MIG")
    if firmware:
        words.append(f"fw {firmware}")
    return ", ".join(words)


def _size(size: int, decimal: bool) -> str:
    if not decimal:
        return f"{size / _GIBI:.0f} GiB" if size >= _GIBI else f"{size / _MEBI:.0f} MiB"
    return f"{size / _TERA:.1f} TB" if size >= _TERA else f"{size / _GIGA:.0f} GB"
