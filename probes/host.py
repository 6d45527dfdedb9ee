"""The only access to files. Everything below a root, so that a recorded machine is a folder."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

from probes.errors import Absent, Denied, Malformed, ProbeError, TimedOut
from probes.reading import Instant

MAX_ATTRIBUTE = 4096  # one sysfs attribute is at most a page (kernel: filesystems/sysfs.rst)
MAX_FILE = 1 << 20


def translate(error: OSError, what: str) -> ProbeError:
    """Give an OSError its place among the four failures of a probe."""
    match error.errno:
        case errno.ENOENT | errno.ENOTDIR | errno.ENODEV | errno.ENXIO | errno.EOPNOTSUPP:
            return Absent(f"{what}: {error.strerror}")
        case errno.EACCES | errno.EPERM:
            return Denied(f"{what}: {error.strerror}")
        case errno.ETIMEDOUT | errno.EAGAIN | errno.EBUSY:
            return TimedOut(f"{what}: {error.strerror}")
        case _:
            return Malformed(f"{what}: {error.strerror}")


class OpenFile:
    """One file kept open and read by `pread` from its start.

    sysfs, proc and cgroup files are made anew at each read, so a kept descriptor saves the path
    walk and stays with the very object it was opened on: a cgroup that is removed and made again
    under the same name is another object, and reads here then raise `Absent`.
    """

    __slots__ = ("_fd", "inode", "path")

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd = -1
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            self.inode = os.fstat(self._fd).st_ino
        except OSError as error:
            raise translate(error, str(path)) from error

    def read(self, limit: int = MAX_ATTRIBUTE) -> bytes:
        """Return at most `limit` bytes as they stand now."""
        try:
            return os.pread(self._fd, limit, 0)
        except OSError as error:
            raise translate(error, str(self.path)) from error

    def close(self) -> None:
        """Give the descriptor back. Closing twice is harmless."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __del__(self) -> None:
        self.close()


class Host:
    """A machine as files below `root` (`/` for this one) and a clock.

    Paths are given absolute, as on a real machine, and looked up below the root. What a symbolic
    link in a recorded machine points to is followed only inside it.
    """

    def __init__(self, root: str | Path = "/") -> None:
        self.root = Path(root)
        self._live = self.root == Path("/")
        self._boot_id: str | None = None

    def path(self, path: str | Path) -> Path:
        """Where `path` of the machine lies for us."""
        return Path(path) if self._live else self.root / str(path).lstrip("/")

    def read(self, path: str | Path, limit: int = MAX_ATTRIBUTE) -> bytes:
        """Return the file's bytes, at most `limit`; a longer file is `Malformed`.

        :raises Absent, Denied, Malformed, TimedOut: as the file system answers.
        """
        where = self.path(path)
        try:
            with where.open("rb", buffering=0) as file:
                chunks = []
                left = limit + 1
                while left > 0 and (chunk := file.read(left)):
                    chunks.append(chunk)
                    left -= len(chunk)
        except OSError as error:
            raise translate(error, str(where)) from error
        content = b"".join(chunks)
        if len(content) > limit:
            raise Malformed(f"{where}: longer than {limit} bytes")
        return content

    def text(self, path: str | Path, limit: int = MAX_ATTRIBUTE) -> str:
        """Return the file as text, stripped; undecodable bytes show as U+FFFD."""
        return self.read(path, limit).decode("utf-8", "replace").strip("\n\t \0")

    def integer(self, path: str | Path) -> int:
        """Return the decimal integer that the file holds.

        :raises Malformed: when it holds anything else.
        """
        text = self.text(path)
        try:
            return int(text, 10)
        except ValueError:
            raise Malformed(f"{self.path(path)}: {text[:40]!r} is not an integer") from None

    def names(self, path: str | Path) -> tuple[str, ...]:
        """Return the names in a directory, sorted.

        :raises Absent, Denied: when there is no such directory, or it may not be listed.
        """
        where = self.path(path)
        try:
            return tuple(sorted(entry.name for entry in where.iterdir()))
        except OSError as error:
            raise translate(error, str(where)) from error

    def exists(self, path: str | Path) -> bool:
        """Whether there is a file or directory of this name."""
        try:
            return self.path(path).exists()
        except OSError:
            return False

    def link(self, path: str | Path) -> str:
        """Return the last component of what a symbolic link points to (`driver`, `subsystem`).

        :raises Absent, Denied: when there is no such link.
        """
        where = self.path(path)
        try:
            return where.readlink().name
        except OSError as error:
            raise translate(error, str(where)) from error

    def open(self, path: str | Path) -> OpenFile:
        """Open a file to be read again and again."""
        return OpenFile(self.path(path))

    @property
    def boot_id(self) -> str:
        """The kernel's random id of this boot (admin-guide/sysctl/kernel.rst, random)."""
        if self._boot_id is None:
            self._boot_id = self.text("/proc/sys/kernel/random/boot_id")
        return self._boot_id

    def now(self) -> Instant:
        """Read the clocks, one after the other within a microsecond."""
        return Instant(
            boottime_ns=time.clock_gettime_ns(time.CLOCK_BOOTTIME),
            monotonic_ns=time.monotonic_ns(),
            wall_ns=time.time_ns(),
            boot_id=self.boot_id,
        )
