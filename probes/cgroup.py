"""What the kernel counts for one lease: the files of one cgroup v2 directory, kept open.

Source: Documentation/admin-guide/cgroup-v2.rst (names and units of every field) and
Documentation/accounting/psi.rst. This is the hot path: it runs once a second for every lease, so
each file is one `pread` and a few `bytes.find`.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from probes.errors import Absent, Denied, Malformed

if TYPE_CHECKING:
    from probes.host import Host, OpenFile

MAX_MOUNTINFO = 1 << 20
MAX_IO_STAT = 1 << 16  # one line for every disk

# What a cgroup may offer beside cpu.stat, which every cgroup v2 has.
OPTIONAL = ("memory.current", "io.stat", "cpu.pressure", "memory.pressure", "cgroup.events")


class CgroupSample(NamedTuple):
    """Totals since the cgroup was made, except `memory_bytes` and `frozen`, which are of now.

    `None` means that the kernel does not offer the file or field here; it never means zero.
    `usage_usec` is `user_usec` + `system_usec`, each rounded down. `stalled_usec` and
    `memory_stalled_usec` are the times in which *all* tasks waited for a CPU, or for memory (PSI,
    line `full`).
    """

    usage_usec: int
    user_usec: int
    system_usec: int
    nr_throttled: int | None
    throttled_usec: int | None
    memory_bytes: int | None
    io_read_bytes: int | None
    io_write_bytes: int | None
    stalled_usec: int | None
    memory_stalled_usec: int | None
    frozen: bool | None


def find_root(host: Host) -> Path:
    """Return where the unified hierarchy is mounted: a path of the machine, not below `host.root`.

    On a hybrid host that is `/sys/fs/cgroup/unified`; it may carry `cpu.stat` and pressure only.

    :raises Absent: when no cgroup2 file system is mounted.
    """
    table = host.text("/proc/self/mountinfo", MAX_MOUNTINFO)
    for line in table.splitlines():
        # proc(5): id, parent, major:minor, root, mount point, options, [tags...], "-", type, ...
        before, separator, after = line.partition(" - ")
        fields = before.split(" ")
        if separator and after.startswith("cgroup2 ") and len(fields) >= 6:
            return Path(_unescape(fields[4]))
    raise Absent("no cgroup2 file system is mounted (cgroup v1 alone cannot meter a lease)")


def _unescape(field: str) -> str:
    for octal, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        field = field.replace(octal, character)
    return field


class CgroupReader:
    """One lease's cgroup, read again and again through descriptors opened once.

    A cgroup that is removed and made again under the same name is another one (another `inode`,
    which is its cgroup id): this reader then raises `Absent` and never reads the newcomer.
    """

    __slots__ = (
        "_cpu",
        "_cpu_pressure",
        "_events",
        "_io",
        "_memory",
        "_memory_pressure",
        "inode",
        "missing",
        "path",
    )

    def __init__(self, host: Host, directory: Path, files: Collection[str] = OPTIONAL) -> None:
        """Open what there is.

        :param directory: the cgroup's directory, a path of the machine.
        :param files: which of `OPTIONAL` are of interest: each costs a system call at every read.
        :raises Absent, Denied: when there is no such cgroup, or `cpu.stat` may not be read.
        """
        self.path = directory
        itself = host.open(directory)
        self.inode: int = itself.inode
        itself.close()
        self._cpu: OpenFile = host.open(directory / "cpu.stat")
        found = {
            name: _open(host, directory / name) if name in files else None for name in OPTIONAL
        }
        self._memory = found["memory.current"]
        self._io = found["io.stat"]
        self._cpu_pressure = found["cpu.pressure"]
        self._memory_pressure = found["memory.pressure"]
        self._events = found["cgroup.events"]
        # Files that this kernel, hierarchy or set of controllers does not offer here.
        self.missing: tuple[str, ...] = tuple(name for name in files if found[name] is None)
        again = host.open(directory)
        again.close()
        if again.inode != self.inode:
            self.close()
            raise Absent(f"{directory}: replaced by another cgroup while it was opened")

    def read(self) -> CgroupSample:
        """Read every file once.

        :raises Absent: when the cgroup was removed.
        :raises Malformed: when a file does not read as documented.
        """
        usage, user, system, throttled, throttled_usec = parse_cpu_stat(self._cpu.read())
        memory = read_bytes = write_bytes = stalled = memory_stalled = frozen = None
        # A file that goes away at run time (`cgroup.pressure` set to 0, a controller taken back) is
        # a gap in its own figure. That the whole cgroup went, cpu.stat has told above.
        if self._memory is not None:
            try:
                memory = parse_integer(self._memory.read())
            except Absent:
                memory = None
        if self._io is not None:
            try:
                read_bytes, write_bytes = parse_io_stat(self._io.read(MAX_IO_STAT))
            except Absent:
                read_bytes = write_bytes = None
        if self._cpu_pressure is not None:
            try:
                stalled = parse_pressure(self._cpu_pressure.read())
            except Absent:
                stalled = None
        if self._memory_pressure is not None:
            try:
                memory_stalled = parse_pressure(self._memory_pressure.read())
            except Absent:
                memory_stalled = None
        if self._events is not None:
            try:
                frozen = parse_frozen(self._events.read())
            except Absent:
                frozen = None
        return CgroupSample(
            usage,
            user,
            system,
            throttled,
            throttled_usec,
            memory,
            read_bytes,
            write_bytes,
            stalled,
            memory_stalled,
            frozen,
        )

    def close(self) -> None:
        """Give all descriptors back."""
        for file in (
            self._cpu,
            self._memory,
            self._io,
            self._cpu_pressure,
            self._memory_pressure,
            self._events,
        ):
            if file is not None:
                file.close()


def _open(host: Host, path: Path) -> OpenFile | None:
    try:
        file = host.open(path)
        file.read()  # with PSI off (`psi=0`) the file opens, and only reading says EOPNOTSUPP
    except (Absent, Denied):
        return None
    return file


def parse_integer(raw: bytes) -> int:
    """Read a file that holds one decimal number."""
    digits = raw.rstrip()
    if not digits.isdigit() or len(digits) > 20:
        raise Malformed(f"{raw[:40]!r} is not a number")
    return int(digits)


def _after(raw: bytes, key: bytes) -> int | None:
    """Return the number behind `key`, which is followed by a blank and begins a line, or None."""
    start = 0 if raw.startswith(key) else raw.find(b"\n" + key) + 1
    if start == 0 and not raw.startswith(key):
        return None
    end = raw.find(b"\n", start)
    return parse_integer(raw[start + len(key) : end if end >= 0 else None])


def parse_cpu_stat(raw: bytes) -> tuple[int, int, int, int | None, int | None]:
    """Return usage, user, system [us], and throttled periods and time [us] where they are counted.

    The last two are there only with the cpu controller enabled in the parent.
    """
    words = raw.split(None, 6)
    if len(words) < 6 or words[0:5:2] != [b"usage_usec", b"user_usec", b"system_usec"]:
        raise Malformed(f"cpu.stat: {raw[:60]!r}")
    usage, user, system = parse_integer(words[1]), parse_integer(words[3]), parse_integer(words[5])
    if len(words) == 6:
        return usage, user, system, None, None
    return usage, user, system, _after(raw, b"nr_throttled "), _after(raw, b"throttled_usec ")


def parse_io_stat(raw: bytes) -> tuple[int, int]:
    """Return bytes read and written, summed over all devices."""
    read = written = 0
    for word in raw.split():
        if word.startswith(b"rbytes="):
            read += parse_integer(word[7:])
        elif word.startswith(b"wbytes="):
            written += parse_integer(word[7:])
    return read, written


def parse_pressure(raw: bytes) -> int | None:
    """Return the total [us] of the line `full`, None from a kernel that has none (before 5.13)."""
    full = raw.find(b"full ")
    if full < 0:
        return None
    total = raw.find(b"total=", full)
    if total < 0:
        raise Malformed(f"pressure: {raw[:80]!r}")
    return parse_integer(raw[total + 6 :])


def parse_frozen(raw: bytes) -> bool | None:
    """Return whether the cgroup is frozen, None from a kernel that does not say (before 5.2)."""
    flag = _after(raw, b"frozen ")
    return None if flag is None else flag != 0
