"""Processors: /proc/cpuinfo for what they are, /sys/devices/system/cpu for how they hang together.

Kernel: Documentation/admin-guide/cputopology.rst, ABI/testing/sysfs-devices-system-cpu. Clock
rates of the moment are left out: an inventory holds nothing that moves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from probes import attribute
from probes.component import Component, ComponentKind, clean, properties
from probes.errors import Absent, Malformed, ProbeError

if TYPE_CHECKING:
    from probes.host import Host
    from probes.smbios import Tables

CPU = "/sys/devices/system/cpu"
MAX_CPUINFO = 16 << 20  # some 1.7 KiB a thread
MAX_CPUS = 8192  # CONFIG_NR_CPUS with MAXSMP

# MIDR_EL1 implementer codes (kernel: arch/arm64/include/asm/cputype.h).
# fmt: off
IMPLEMENTERS = {
    0x41: "ARM", 0x42: "Broadcom", 0x43: "Cavium", 0x46: "Fujitsu", 0x48: "HiSilicon",
    0x4E: "NVIDIA", 0x50: "APM", 0x51: "Qualcomm", 0x53: "Samsung", 0x56: "Marvell",
    0x61: "Apple", 0x69: "Intel", 0x6D: "Microsoft", 0x70: "Phytium", 0xC0: "Ampere",
}
# fmt: on


@dataclass(frozen=True, slots=True)
class Processor:
    """One hardware thread as /proc/cpuinfo has it. Empty strings mean not told."""

    vendor: str
    model: str
    microcode: str
    identity: tuple[tuple[str, str], ...]  # family, model, stepping; on ARM variant, part, revision
    flags: frozenset[str]
    package: str = ""
    core: str = ""


@dataclass(frozen=True, slots=True)
class Topology:
    """How many of what, and the caches."""

    packages: Mapping[str, tuple[int, ...]]  # physical package id -> hardware threads online
    cores: Mapping[str, int]
    caches: Mapping[str, tuple[tuple[str, int], ...]]  # package -> (l1d, bytes in all), ...
    numa_nodes: int


def parse_list(text: str) -> tuple[int, ...]:
    """Return the numbers of a cpulist such as `0-3,8` (kernel: bitmap_parselist).

    :raises Malformed: when it is anything else, or names more than `MAX_CPUS`.
    """
    numbers: list[int] = []
    for part in filter(None, text.strip().split(",")):
        first, _, last = part.partition("-")
        last = last or first
        if not (first.isascii() and first.isdigit() and last.isascii() and last.isdigit()):
            raise Malformed(f"cpulist: {text[:40]!r}")
        if len(first) > 6 or len(last) > 6 or not int(first) <= int(last) < MAX_CPUS:
            raise Malformed(f"cpulist: {text[:40]!r}")
        numbers += range(int(first), int(last) + 1)
    return tuple(sorted(set(numbers)))


def parse_cpuinfo(raw: bytes) -> dict[int, Processor]:
    """Return the processors of /proc/cpuinfo by number, x86 or ARM.

    Other architectures are told by number only, with what they call `cpu`, `uarch` or `isa`.

    :raises Malformed: when no processor is in it, or two with one number.
    """
    processors: dict[int, Processor] = {}
    for block in raw.decode("utf-8", "replace").split("\n\n"):
        fields = {}
        for line in block.splitlines():
            name, colon, value = line.partition(":")
            if colon:
                fields[name.strip()] = value.strip()
        number = fields.get("processor", "")
        if not (number.isascii() and number.isdigit() and len(number) < 7):
            continue  # ARM ends with Hardware and Serial, PowerPC with platform and machine
        if int(number) in processors:
            raise Malformed(f"/proc/cpuinfo: two processors {number}")
        processors[int(number)] = _processor(fields)
    if not processors:
        raise Malformed("/proc/cpuinfo: no processor")
    return processors


def _processor(fields: Mapping[str, str]) -> Processor:
    implementer = fields.get("CPU implementer", "")
    if implementer:
        names = {"variant": "CPU variant", "part": "CPU part", "revision": "CPU revision"}
    else:
        names = {"family": "cpu family", "model_number": "model", "stepping": "stepping"}
    model = next(
        (fields[name] for name in ("model name", "cpu", "uarch", "isa") if name in fields), ""
    )
    return Processor(
        vendor=_implementer(implementer) if implementer else clean(fields.get("vendor_id", "")),
        model=clean(model),
        microcode=clean(fields.get("microcode", "")),
        identity=tuple(
            (key, fields[name]) for key, name in sorted(names.items()) if name in fields
        ),
        flags=frozenset((fields.get("flags") or fields.get("Features") or "").split()),
        package=fields.get("physical id", ""),
        core=fields.get("core id", ""),
    )


def _implementer(code: str) -> str:
    try:
        return IMPLEMENTERS.get(int(code, 16), code)
    except ValueError:
        return clean(code)


def read_processors(host: Host) -> dict[int, Processor]:
    """Return what /proc/cpuinfo says."""
    return parse_cpuinfo(host.read("/proc/cpuinfo", MAX_CPUINFO))


def read_topology(host: Host, processors: Mapping[int, Processor]) -> Topology:
    """Return packages, cores and caches of the threads that are online.

    What sysfs does not tell is taken from `processors`; a thread of which nobody knows where it
    sits is a core of its own in package 0.

    :raises Absent: when neither names a thread.
    """
    try:
        online = parse_list(host.text(f"{CPU}/online"))
    except Absent:
        online = tuple(
            int(n[3:])
            for n in attribute.names(host, CPU)
            if n.startswith("cpu") and n[3:].isdigit()
        )
    online = online or tuple(sorted(processors))
    if not online:
        raise Absent(f"{CPU}: no processor")
    packages: dict[str, list[int]] = {}
    cores: dict[str, set[str]] = {}
    for number in online:
        told = processors.get(number)
        package = _topology(host, number, "physical_package_id") or (told.package if told else "")
        package = package if package not in ("", "-1") else "0"
        core = _topology(host, number, "core_cpus_list") or _topology(
            host, number, "thread_siblings_list"
        )
        core = core or f"core {(told.core if told else '') or f'of thread {number}'}"
        packages.setdefault(package, []).append(number)
        cores.setdefault(package, set()).add(core)
    return Topology(
        packages={package: tuple(threads) for package, threads in packages.items()},
        cores={package: len(found) for package, found in cores.items()},
        caches={package: _caches(host, threads) for package, threads in packages.items()},
        numa_nodes=_numa_nodes(host),
    )


def _topology(host: Host, number: int, name: str) -> str:
    return attribute.text(host, f"{CPU}/cpu{number}/topology/{name}")


def _numa_nodes(host: Host) -> int:
    try:
        return len(parse_list(host.text("/sys/devices/system/node/online")))
    except ProbeError:  # without CONFIG_NUMA there is one node and no such file
        return 1


def _caches(host: Host, threads: list[int]) -> tuple[tuple[str, int], ...]:
    """Return the bytes of each kind of cache in one package, every cache counted once."""
    totals: dict[str, int] = {}
    covered: dict[str, set[int]] = {}
    for thread in threads:
        base = f"{CPU}/cpu{thread}/cache"
        for index in attribute.names(host, base):
            if not index.startswith("index") or thread in covered.get(index, ()):
                continue
            try:
                shared = parse_list(host.text(f"{base}/{index}/shared_cpu_list"))
                size = host.text(f"{base}/{index}/size")
                kind = host.text(f"{base}/{index}/type")
                level = host.integer(f"{base}/{index}/level")
            except ProbeError:  # some firmware tells of a cache and not of its size
                continue
            covered.setdefault(index, set()).update(shared, (thread,))
            if size.endswith("K") and size[:-1].isdigit():
                name = f"l{level}{ {'Data': 'd', 'Instruction': 'i'}.get(kind, '') }"
                totals[name] = totals.get(name, 0) + (int(size[:-1]) << 10)
    return tuple(sorted(totals.items()))


def components(
    topology: Topology, processors: Mapping[int, Processor], tables: Tables | None
) -> tuple[Component, ...]:
    """Return one component a package.

    Properties: `cores`, `threads` (online), `family`, `model_number`, `stepping` or on ARM
    `variant`, `part`, `revision`; `cache_l1d_bytes` and so on for the whole package; `socket`,
    `part_number`, `max_mhz` from SMBIOS where it tells of as many processors as the kernel does.
    """
    packages = sorted(topology.packages, key=lambda name: (len(name), name))
    sockets = tables.sockets if tables and len(tables.sockets) == len(packages) else ()
    found = []
    for position, package in enumerate(packages):
        threads = topology.packages[package]
        told = next((processors[n] for n in threads if n in processors), None)
        socket = sockets[position] if sockets else None
        caches = {f"cache_{name}_bytes": size for name, size in topology.caches.get(package, ())}
        found.append(
            Component(
                ComponentKind.PROCESSOR,
                f"package{package}",
                vendor=(told.vendor if told else "") or (socket.vendor if socket else ""),
                model=(told.model if told else "") or (socket.version if socket else ""),
                serial=socket.serial if socket else "",
                firmware=told.microcode if told else "",
                properties=properties(
                    cores=topology.cores[package],
                    threads=len(threads),
                    socket=socket.designation if socket else None,
                    part_number=socket.part if socket else None,
                    max_mhz=socket.max_mhz if socket else None,
                    **caches,
                    **dict(told.identity if told else ()),
                ),
            )
        )
    return tuple(found)
