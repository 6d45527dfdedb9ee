"""Busy and stolen CPU time of the whole host.

Sources: the root cgroup's `cpu.stat` (Documentation/admin-guide/cgroup-v2.rst), in microseconds,
and `/proc/stat` (proc(5)), in ticks of USER_HZ.

The kernel may account the root by ticks and cgroups exactly (without
CONFIG_VIRT_CPU_ACCOUNTING_GEN), so a sum over leases can pass the host's figure by a little:
whoever divides one by the other must clamp.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from probes.cgroup import find_root, parse_cpu_stat
from probes.errors import Absent, Denied, Malformed
from probes.reading import Counter, Reading, SensorId, Unit

if TYPE_CHECKING:
    from probes.host import Host, OpenFile
    from probes.reading import Instant

BUSY = SensorId("hostcpu", "host", "busy")
STEAL = SensorId("hostcpu", "host", "steal")

MICROSECONDS_PER_TICK = 1_000_000 // os.sysconf("SC_CLK_TCK")


class HostCpu:
    """Two counters in microseconds of CPU time: `busy` (user + system) and `steal`.

    `steal` is what a hypervisor gave to others while this machine wanted to run; it is never part
    of `busy`. The epoch names the boot and the source, so that figures of the two sources, which
    differ by the ticks, are never subtracted from each other.
    """

    name = "hostcpu"
    interval_ns = 1_000_000_000
    slow = False

    def __init__(self) -> None:
        self._stat: OpenFile | None = None
        self._root: OpenFile | None = None

    def read(self, host: Host, at: Instant) -> tuple[Reading, ...]:
        """Read both counters.

        :raises Absent, Denied, Malformed: as `/proc/stat` answers.
        """
        if self._stat is None:
            self._root = _root_cpu_stat(host)
            self._stat = host.open("/proc/stat")
        busy, steal = parse_proc_stat(self._stat.read())
        origin = "stat"
        if self._root is not None:
            # The root's usage_usec has counted steal in some kernels; user + system never did.
            _, user, system, _, _ = parse_cpu_stat(self._root.read())
            busy, origin = user + system, "cgroup"
        epoch = f"{at.boot_id}/{origin}"
        return (
            Reading(BUSY, at, Counter(busy, Unit.MICROSECOND, epoch=epoch)),
            Reading(STEAL, at, Counter(steal, Unit.MICROSECOND, epoch=epoch)),
        )

    def close(self) -> None:
        """Close both files."""
        for file in (self._stat, self._root):
            if file is not None:
                file.close()
        self._stat = self._root = None


def _root_cpu_stat(host: Host) -> OpenFile | None:
    """Open the `cpu.stat` of the true root cgroup, or nothing."""
    try:
        root = find_root(host)
        # Only a cgroup that is not the root has this file: in a cgroup namespace the mount shows
        # the container's own cgroup, which is not the host.
        if host.exists(root / "cgroup.events"):
            return None
        return host.open(root / "cpu.stat")
    except (Absent, Denied):
        return None


def parse_proc_stat(raw: bytes) -> tuple[int, int]:
    """Return busy and stolen time of all CPUs together, in microseconds.

    :param raw: `/proc/stat`, of which the first line is used. Guest time is part of user time, and
        idle and iowait are no work.
    """
    words = raw.partition(b"\n")[0].split()
    if len(words) < 9 or words[0] != b"cpu" or not all(map(bytes.isdigit, words[1:9])):
        raise Malformed(f"/proc/stat: {raw[:80]!r}")
    user, nice, system, _idle, _iowait, irq, softirq, steal = (int(word) for word in words[1:9])
    busy = user + nice + system + irq + softirq
    return busy * MICROSECONDS_PER_TICK, steal * MICROSECONDS_PER_TICK
