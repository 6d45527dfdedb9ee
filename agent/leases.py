"""A lease's place on the host: one cgroup, with the sold limits. Create, find, limit, remove.

On a hybrid host the unified hierarchy may lack the cpu and memory controllers: then there is
nothing to set, `missing_controllers` says so, and the offer carries it as a trait.
"""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from agent.core.lease import LeaseKey, Units
from agent.core.receipt import BYTES_PER_MB, MEMORY_MB, VCPU
from agent.errors import CgroupError, ConfigError
from probes.cgroup import find_root
from probes.host import Host

PERIOD_US = 100_000  # cgroup-v2.rst: cpu.max
CONTROLLERS = ("cpu", "memory", "io", "pids")
PARENT = "hearth.slice"
LEASE_SLICE = Path("/usr/lib/hearth-agent/lease-slice")  # what hearth-lease@.service runs
KILL_DEADLINE_S = 2.0
SYSTEMCTL_DEADLINE_S = 40.0  # hearth-lease@.service has its own of 30 s


def _stem(key: LeaseKey) -> str:
    """A lease in a unit's name, where a dash has a meaning (systemd.slice(5))."""
    return f"{key.exchange_id[:12]}_{key.lease_id.replace('-', '_')}"


def name_of(key: LeaseKey) -> str:
    """Name of a lease's slice, and of its directory where there is no systemd."""
    return f"hearth-{_stem(key)}.slice"


def limits_of(units: Units) -> dict[str, str]:
    """Files and contents that enforce what is sold (cgroup-v2.rst)."""
    limits = {}
    if VCPU in units:
        limits["cpu.max"] = f"{units[VCPU] * PERIOD_US} {PERIOD_US}"
    if MEMORY_MB in units:
        limits["memory.max"] = str(units[MEMORY_MB] * BYTES_PER_MB)
    return limits


class Places(Protocol):
    """Where leases are put."""

    @property
    def root(self) -> Path:
        """The directory that holds the leases' directories."""
        ...

    def create(self, key: LeaseKey, units: Units) -> Path:
        """Make the lease's cgroup, or find the one that is there, and set its limits.

        :raises CgroupError: naming the file and the remedy.
        """
        ...

    def directory(self, key: LeaseKey) -> Path:
        """Where the lease's cgroup is or would be."""
        ...

    def empty(self, key: LeaseKey) -> None:
        """End whatever runs in it and keep its counters; gone already is fine.

        :raises CgroupError: when something does not end.
        """
        ...

    def remove(self, key: LeaseKey) -> None:
        """Remove it once it is empty; gone already is fine.

        :raises CgroupError: when something does not go away.
        """
        ...

    def command(self, key: LeaseKey, words: Sequence[str]) -> list[str]:
        """Return what to execute, as root, for `words` to run in the lease.

        Where that takes no launcher the calling process is moved, and `words` come back.

        :raises CgroupError: when it cannot be moved.
        """
        ...


@dataclass(frozen=True, slots=True)
class Directories:
    """Plain directories of the unified hierarchy, for hosts without systemd as PID 1."""

    root: Path

    def create(self, key: LeaseKey, units: Units) -> Path:
        """See `Places`."""
        directory = self.root / name_of(key)
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self._delegate()
            for file, content in limits_of(units).items():
                if (directory / file).exists():
                    (directory / file).write_text(content)
        except OSError as error:
            raise CgroupError(
                f"{error.filename or directory}: {error.strerror}; delegate a cgroup v2 directory"
                " to this user and name it in lease.cgroup_root"
            ) from error
        return directory

    def _delegate(self) -> None:
        """Hand down the controllers that there are; a controller that is in use elsewhere stays."""
        for directory in (self.root.parent, self.root):
            control = directory / "cgroup.subtree_control"
            with contextlib.suppress(OSError):
                there = (directory / "cgroup.controllers").read_text().split()
                have = control.read_text().split()
                for name in CONTROLLERS:
                    if name in there and name not in have:
                        control.write_text(f"+{name}")

    def directory(self, key: LeaseKey) -> Path:
        """See `Places`."""
        return self.root / name_of(key)

    def empty(self, key: LeaseKey) -> None:
        """See `Places`."""
        _empty(self.directory(key))

    def remove(self, key: LeaseKey) -> None:
        """See `Places`."""
        directory = self.directory(key)
        try:
            for inner in sorted(directory.rglob("*"), reverse=True):
                if inner.is_dir():
                    _remove(inner)
            _remove(directory)
        except FileNotFoundError:
            return
        except OSError as error:
            raise CgroupError(
                f"{directory}: {error.strerror}; something in it does not end"
            ) from error

    def command(self, key: LeaseKey, words: Sequence[str]) -> list[str]:
        """See `Places`."""
        attach(self.directory(key), os.getpid())
        return list(words)


@dataclass(frozen=True, slots=True)
class Slices:
    """systemd slices beside the agent's own unit: a restart of the agent never touches them.

    The agent has no right to make one. It orders single acts from `hearth-lease@.service`, whose
    instance name is the whole order (systemd/lease-slice reads it), through systemctl: see
    docs/decisions/0005-lease-slices.md.
    """

    root: Path

    def create(self, key: LeaseKey, units: Units) -> Path:
        """See `Places`."""
        millicores, megabytes = units.get(VCPU, 0) * 1000, units.get(MEMORY_MB, 0)
        _order(f"create-{_stem(key)}-{millicores}-{megabytes}")
        return self.directory(key)

    def directory(self, key: LeaseKey) -> Path:
        """See `Places`."""
        return self.root / name_of(key)

    def empty(self, key: LeaseKey) -> None:
        """See `Places`."""
        if _populated(self.directory(key)):
            _order(f"kill-{_stem(key)}")

    def remove(self, key: LeaseKey) -> None:
        """See `Places`."""
        if self.directory(key).exists():
            _order(f"remove-{_stem(key)}")

    def command(self, key: LeaseKey, words: Sequence[str]) -> list[str]:
        """See `Places`."""
        # A scope: a cgroup with children of its own must hold no processes (cgroup-v2.rst).
        return ["systemd-run", "--scope", "--quiet", f"--slice={name_of(key)}", "--", *words]


def _order(order: str) -> None:
    """Have one act done on a lease's slice, and wait until it is."""
    unit = f"hearth-lease@{order}.service"
    command = ["systemctl", "--quiet", "--no-ask-password", "start", unit]
    try:
        subprocess.run(
            command, check=True, capture_output=True, text=True, timeout=SYSTEMCTL_DEADLINE_S
        )
    except subprocess.CalledProcessError as error:
        said = " ".join(error.stderr.split())
        raise CgroupError(f"{unit}: {said} (journalctl -t lease-slice has its reason)") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CgroupError(f"{unit}: {error}") from error


def _populated(directory: Path) -> bool:
    try:
        return "populated 1" in (directory / "cgroup.events").read_text()
    except OSError:
        return False


def _remove(directory: Path) -> None:
    """Remove a cgroup. It is busy for a moment more than it is populated: tasks leave it last."""
    deadline = time.monotonic() + KILL_DEADLINE_S
    while True:
        try:
            directory.rmdir()
        except OSError as error:
            if error.errno != errno.EBUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


def _empty(directory: Path) -> None:
    """Kill all that runs below `directory` and wait until it is gone (cgroup.kill, Linux 5.14)."""
    populated = directory / "cgroup.events"
    try:
        if "populated 1" not in populated.read_text():
            return
        if not (directory / "cgroup.kill").exists() and directory.exists():
            raise CgroupError(f"{directory}: what runs in it is not ended before Linux 5.14")
        (directory / "cgroup.kill").write_text("1")
        deadline = time.monotonic() + KILL_DEADLINE_S
        while "populated 1" in populated.read_text():
            if time.monotonic() > deadline:
                raise CgroupError(f"{directory}: what runs in it does not end")
            time.sleep(0.01)
    except FileNotFoundError:
        return
    except OSError as error:
        raise CgroupError(f"{directory}: {error.strerror}") from error


def places(configured: str, host: Host) -> Places:
    """Where leases go on this host.

    :param configured: a directory of a cgroup v2 hierarchy, there or to be made, or "auto".
    :raises ConfigError: when it is none. :raises Absent: when there is no unified hierarchy.
    """
    if configured != "auto":
        root = Path(configured)
        there = next(folder for folder in (root, *root.parents) if folder.exists())
        if not (there / "cgroup.controllers").exists():  # cgroup-v2.rst: in every one of them
            raise ConfigError(
                f"lease.cgroup_root: {root}: not in a cgroup v2 hierarchy; name a directory below"
                ' one that is delegated to this user, or "auto"'
            )
        return Directories(root)
    unified = find_root(host)
    # sd_booted(3); a clone that runs without being installed has nobody to make slices for it.
    if Path("/run/systemd/system").is_dir() and LEASE_SLICE.exists():
        return Slices(unified / PARENT)
    return Directories(unified / PARENT)


def missing_controllers(where: Places) -> tuple[str, ...]:
    """Which of cpu and memory the unified hierarchy cannot limit on this host."""
    # systemd hands a controller down only while something below has a use for it: ask at the top.
    directory = where.root.parent if isinstance(where, Slices) else where.root
    while not (directory / "cgroup.controllers").exists() and directory != directory.parent:
        directory = directory.parent
    try:
        there = (directory / "cgroup.controllers").read_text().split()
    except OSError:
        there = []
    return tuple(name for name in ("cpu", "memory") if name not in there)


def enforceable(where: Places, units: Units) -> dict[str, str]:
    """`limits_of`, without those that this host has no controller for."""
    missing = missing_controllers(where)
    limits = limits_of(units)
    return {file: limits[file] for file in limits if file.partition(".")[0] not in missing}


def attach(directory: Path, pid: int) -> None:
    """Move a process into a lease's cgroup.

    :raises CgroupError: naming why not.
    """
    try:
        descriptor = os.open(directory / "cgroup.procs", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(descriptor, str(pid).encode())
        finally:
            os.close(descriptor)
    except OSError as error:
        raise CgroupError(f"{directory}: process {pid}: {error.strerror}") from error
