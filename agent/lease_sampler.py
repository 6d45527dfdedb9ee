"""A lease's cgroup -> LeaseSample: descriptors kept open, limits looked at when asked."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from agent.core.meter import LeaseSample
from probes.cgroup import CgroupReader
from probes.errors import Absent, ProbeError
from probes.host import Host

METERED_FILES = (
    "memory.current",
    "cpu.pressure",
    "cgroup.events",
)  # beside cpu.stat; see LeaseSample


class LeaseSampler:
    """Reads one lease's cgroup, again and again; one that is made anew is opened anew."""

    __slots__ = ("_host", "_limits", "_reader", "directory")

    def __init__(self, host: Host, directory: Path, limits: Mapping[str, str]) -> None:
        """Open nothing yet: the cgroup may come later than whoever reads it.

        :param directory: the cgroup's, a path of the machine.
        :param limits: file -> what it holds while the sold limits are in force.
        """
        self._host = host
        self.directory = directory
        self._limits = {directory / file: content for file, content in limits.items()}
        self._reader: CgroupReader | None = None

    def limits_in_force(self) -> bool:
        """Whether every limit stands as it was sold, as the kernel says."""
        try:
            return all(file.read_text().strip() == want for file, want in self._limits.items())
        except OSError:
            return False

    def read(self, *, limits_in_force: bool) -> LeaseSample | None:
        """Read once; None when the cgroup is gone or does not read as it should."""
        try:
            if self._reader is None:
                self._reader = CgroupReader(self._host, self.directory, METERED_FILES)
            sample = self._reader.read()
        except Absent:
            self.close()
            return None
        except ProbeError:
            return None
        return LeaseSample(
            self._reader.inode,
            sample.usage_usec,
            sample.memory_bytes,
            sample.throttled_usec,
            sample.stalled_usec,
            bool(sample.frozen),
            limits_in_force,
        )

    def close(self) -> None:
        """Give the descriptors back."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None
