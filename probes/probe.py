"""What a probe is: one source of readings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from probes.host import Host
    from probes.reading import Instant, Reading


class Probe(Protocol):
    """One source of readings.

    `read` returns all readings of one pass, or raises a `ProbeError`. A probe that talks to a wire
    is `slow`: it runs in a thread of its own and is due every `interval_ns`.
    """

    @property
    def name(self) -> str:
        """Short constant name, the `source` of its sensors."""
        ...

    @property
    def interval_ns(self) -> int:
        """Nominal distance of two reads, in nanoseconds of CLOCK_BOOTTIME."""
        ...

    @property
    def slow(self) -> bool:
        """Whether a read may block longer than a file read does."""
        ...

    def read(self, host: Host, at: Instant) -> tuple[Reading, ...]:
        """Read every sensor of this source once.

        Slow probes take `at` as the start of the read and stamp their own instants from
        `host.now()` when the device answered.
        """
        ...

    def close(self) -> None:
        """Give back descriptors and connections; reading again opens them anew."""
        ...
