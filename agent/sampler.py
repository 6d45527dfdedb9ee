"""Probes -> batches. Fast ones in the loop's own pass, slow ones in a thread of their own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import NoReturn

import structlog

from agent.clock import SECOND, Clock
from agent.supervise import every
from probes.errors import ProbeError
from probes.host import Host
from probes.probe import Probe
from probes.reading import Instant, Reading, SensorId

logger = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Fault:
    """A probe that gave no readings, and why."""

    probe: str
    kind: str
    detail: str


@dataclass(frozen=True, slots=True)
class Batch:
    """What one pass over some probes gave."""

    readings: tuple[Reading, ...]
    faults: tuple[Fault, ...]


def sample(probes: Sequence[Probe], host: Host, at: Instant) -> Batch:
    """Read each probe once; one that fails leaves the others alone."""
    readings: list[Reading] = []
    faults: list[Fault] = []
    for probe in probes:
        try:
            readings += probe.read(host, at)
        except ProbeError as error:
            faults.append(Fault(probe.name, error.kind, str(error)))
    return Batch(tuple(readings), tuple(faults))


@dataclass(slots=True)
class Latest:
    """The newest reading of each sensor, and what fails; for people, never for billing."""

    readings: dict[SensorId, Reading] = field(default_factory=dict)
    faults: dict[str, Fault] = field(default_factory=dict)

    def take(self, probe: str, batch: Batch) -> None:
        """Remember a batch; the first failure of a row and the recovery are logged."""
        for reading in batch.readings:
            self.readings[reading.sensor] = reading
        before = self.faults.pop(probe, None)
        for fault in batch.faults:
            self.faults[probe] = fault
            if before is None or before.kind != fault.kind:
                event = logger.debug if fault.kind == "absent" else logger.warning
                event("probe_failed", probe=probe, kind=fault.kind, detail=fault.detail)
        if before is not None and not batch.faults:
            logger.info("probe_recovered", probe=probe)


async def watch(
    probe: Probe, host: Host, clock: Clock, latest: Latest, take: Callable[[Batch], None]
) -> NoReturn:
    """Read one probe at its own interval, in a thread of its own if it is slow.

    A read that hangs delays only itself: the driver has a deadline of its own.
    """
    thread = ThreadPoolExecutor(1, f"probe-{probe.name}") if probe.slow else None
    loop = asyncio.get_running_loop()

    async def step() -> None:
        at = clock.now()
        if thread is None:
            batch = sample((probe,), host, at)
        else:
            batch = await loop.run_in_executor(thread, sample, (probe,), host, at)
        latest.take(probe.name, batch)
        take(batch)

    try:
        await every(clock, max(probe.interval_ns, SECOND // 10), step)
    finally:
        if thread is not None:
            thread.shutdown(wait=False, cancel_futures=True)
        probe.close()
