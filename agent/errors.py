"""The agent's errors and what the command line makes of them.

Exit codes: 0 done, 1 refused or found false, 2 usage or configuration, 3 consistent but no root is
pinned (`hearth verify`), 4 the daemon does not answer, 5 the TPM, 6 an exchange, 7 the journal,
8 the settlement rail, 9 what a command prints has no room where it goes.
"""

from __future__ import annotations

from typing import ClassVar


class HearthError(Exception):
    """Root of this package's errors; the text names the thing and the remedy."""

    retryable: ClassVar[bool] = False
    exit_code: int = 1


class ConfigError(HearthError):
    """A configuration that cannot be meant: file, key and what would be accepted."""

    exit_code = 2


class DaemonError(HearthError):
    """The daemon does not answer on its socket, or another one holds the state directory."""

    retryable = True
    exit_code = 4


class ExchangeError(HearthError):
    """An exchange refused, broke the protocol or cannot be reached."""

    retryable = True
    exit_code = 6


class ExchangeRefused(ExchangeError):
    """The exchange said no: trying the same again will not help."""

    retryable = False


class JournalError(HearthError):
    """The journal cannot be read or written."""

    exit_code = 7


class Overloaded(JournalError):
    """The disk is full or too slow: stop offering, keep what is signed, try again."""

    retryable = True


class CgroupError(HearthError):
    """A lease's cgroup cannot be made, limited or removed."""

    retryable = True


class SettlementError(HearthError):
    """Something about money that cannot be done as it is asked."""


class RateLimited(HearthError):
    """More was asked than is answered at once; nothing of it is kept."""

    retryable = True

    def __init__(self, text: str, retry_ns: int) -> None:
        super().__init__(text)
        self.retry_ns = retry_ns  # until one more is answered


class MalformedMessage(HearthError):
    """A message from outside that does not decode or breaks its own rules."""


class UnknownKind(MalformedMessage):
    """A message from outside of a kind that this agent does not know."""


class Refused(HearthError):
    """What another process of ours would not do: its words and its exit code."""

    def __init__(self, text: str, exit_code: int) -> None:
        super().__init__(text)
        self.exit_code = exit_code
