"""The four ways in which a source can fail to give a value."""

from __future__ import annotations

from typing import ClassVar


class ProbeError(Exception):
    """Root of every failure of a probe. None of them ever reads as zero."""

    retryable: ClassVar[bool] = True
    exit_code: ClassVar[int] = 1
    kind: ClassVar[str] = "error"


class Absent(ProbeError):
    """The source is not there: no such device, library or file."""

    retryable = False
    kind = "absent"


class Denied(ProbeError):
    """The source is there and this process may not read it."""

    retryable = False
    kind = "denied"


class Malformed(ProbeError):
    """The source answered with something that is not what it should be."""

    kind = "malformed"


class TimedOut(ProbeError):
    """The source did not answer before its deadline."""

    kind = "timed-out"
