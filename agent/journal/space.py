"""Disk space set aside beside the journal, given up when the disk is full.

What is signed must still be finished then: a final receipt, the end of a hold, an offer of nothing.
Whoever else fills the disk may take what was given up; the larger the reserve, the longer it lasts.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

SIZE = 16 * 1024 * 1024  # bytes: some ten thousand receipts with their leaves


@dataclass(frozen=True, slots=True)
class Reserve:
    """One file of `size` bytes, with blocks behind all of them."""

    path: Path
    size: int = SIZE

    def make(self) -> bool:
        """Set the space aside, if there is that much and as much again; whether it stands."""
        if self.path.exists():
            return True
        part = self.path.with_suffix(".part")
        try:
            disk = os.statvfs(self.path.parent)
            if disk.f_bavail * disk.f_frsize < 2 * self.size:
                return False
            part.unlink(missing_ok=True)  # not what somebody linked there
            descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(descriptor, 0, self.size)
            finally:
                os.close(descriptor)
            part.rename(self.path)
        except OSError:
            part.unlink(missing_ok=True)
            return False
        return True

    def give_up(self) -> bool:
        """Give the space back to the disk; whether there was any."""
        try:
            self.path.unlink()
        except OSError:
            return False
        return True
