"""Power that was sampled, as energy. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from probes.reading import Counter, Instant, Unit

MOST_INTERVALS = 3  # between two samples; beyond that nobody knows what was drawn meanwhile
SUSPEND_NS = 100_000_000  # less is the distance of two clock reads and a slewed clock
MILLIJOULE = 1_000_000_000  # in mW x ns


@dataclass(slots=True)
class Integral:
    """A counter made of power readings: the trapezoids between them, on CLOCK_BOOTTIME.

    Where a reading comes too late, after a suspend or another boot, or not after the one before,
    the counter starts anew under another epoch: whoever bills from it sees a gap, never a guess.
    """

    interval_ns: int
    _before: tuple[Instant, int] | None = None
    _area: int = 0  # mW x ns, twice
    _epoch: str = ""

    def add(self, at: Instant, milliwatts: int) -> Counter:
        """Take a reading [mW] and return the energy [mJ] since this epoch began."""
        before, self._before = self._before, (at, milliwatts)
        if before is not None and before[0].boot_id == at.boot_id:
            elapsed = at.boottime_ns - before[0].boottime_ns
            asleep = elapsed - (at.monotonic_ns - before[0].monotonic_ns)
            if 0 < elapsed <= MOST_INTERVALS * self.interval_ns and asleep <= SUSPEND_NS:
                self._area += (before[1] + milliwatts) * elapsed
                return self._counter()
        self._area = 0
        self._epoch = f"{at.boot_id}/{at.boottime_ns}"
        return self._counter()

    def _counter(self) -> Counter:
        return Counter(self._area // (2 * MILLIJOULE), Unit.MILLIJOULE, epoch=self._epoch)
