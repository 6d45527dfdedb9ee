"""Probes of all kinds of health beside each other."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from dataclasses import dataclass, field

import pytest
import structlog

from agent.sampler import Batch, Fault, Latest, sample, watch
from probes.errors import Absent, Malformed, ProbeError, TimedOut
from probes.host import Host
from probes.reading import Gauge, Instant, Reading, SensorId, Unit
from tests.fakes.clock import VirtualClock

SECOND = 1_000_000_000
HOST = Host()


@dataclass
class FakeProbe:
    """Gives a number, or what it is told to raise; counts how often it was asked."""

    name: str
    interval_ns: int = SECOND
    slow: bool = False
    fails: ProbeError | None = None
    gate: threading.Event | None = None
    reads: int = 0
    closed: bool = False
    threads: set[str] = field(default_factory=set)

    def read(self, host: Host, at: Instant) -> tuple[Reading, ...]:
        self.reads += 1
        self.threads.add(threading.current_thread().name)
        if self.gate is not None:
            self.gate.wait(10)
        if self.fails is not None:
            raise self.fails
        sensor = SensorId(self.name, "here", "power")
        return (Reading(sensor, at, Gauge(self.reads, Unit.MILLIWATT)),)

    def close(self) -> None:
        self.closed = True


def test_one_that_fails_leaves_the_others_alone() -> None:
    probes = [FakeProbe("a"), FakeProbe("b", fails=Malformed("rubbish")), FakeProbe("c")]
    batch = sample(probes, HOST, VirtualClock().now())
    assert [reading.sensor.source for reading in batch.readings] == ["a", "c"]
    assert batch.faults == (Fault("b", "malformed", "rubbish"),)


def test_a_fault_of_ours_is_not_hidden() -> None:
    class Broken(FakeProbe):
        def read(self, host: Host, at: Instant) -> tuple[Reading, ...]:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        sample([Broken("x")], HOST, VirtualClock().now())


async def test_a_slow_probe_that_hangs_delays_nobody_but_itself() -> None:
    clock, latest = VirtualClock(), Latest()
    gate = threading.Event()
    hanging = FakeProbe("hanging", slow=True, gate=gate)
    quick = FakeProbe("quick")
    other = FakeProbe("other", slow=True)
    taken: list[Batch] = []
    tasks = [
        asyncio.create_task(watch(probe, HOST, clock, latest, taken.append))
        for probe in (hanging, quick, other)
    ]
    for _ in range(60):
        await clock.run(SECOND)
        await asyncio.sleep(0.002)  # real time, for real threads
    assert quick.reads == 61
    assert other.reads >= 50
    assert hanging.reads == 1
    assert SensorId("hanging", "here", "power") not in latest.readings
    gate.set()
    for _ in range(5):
        await asyncio.sleep(0.01)
        await clock.run(SECOND)
    assert hanging.reads > 1
    for task in tasks:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    assert hanging.closed
    assert quick.closed
    assert quick.threads == {threading.current_thread().name}
    assert other.threads.isdisjoint(hanging.threads)


async def test_a_probe_is_read_at_its_own_interval() -> None:
    clock, latest = VirtualClock(), Latest()
    probes = [FakeProbe("second"), FakeProbe("minute", 60 * SECOND), FakeProbe("never", 0)]
    tasks = [
        asyncio.create_task(watch(probe, HOST, clock, latest, lambda batch: None))
        for probe in probes
    ]
    await clock.run(600 * SECOND)
    assert [probe.reads for probe in probes] == [601, 11, 6001]  # never more than ten a second
    for task in tasks:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def test_the_first_failure_and_the_recovery_are_logged_and_nothing_between() -> None:
    latest = Latest()
    good = Batch((), ())
    timed_out = Batch((), (Fault("p", "timed-out", "no answer"),))
    malformed = Batch((), (Fault("p", "malformed", "rubbish"),))
    with structlog.testing.capture_logs() as logs:
        for batch in (good, timed_out, timed_out, timed_out, malformed, malformed, good, good):
            latest.take("p", batch)
    assert [(entry["event"], entry.get("kind")) for entry in logs] == [
        ("probe_failed", "timed-out"),
        ("probe_failed", "malformed"),
        ("probe_recovered", None),
    ]
    assert latest.faults == {}


def test_what_is_not_there_is_no_warning() -> None:
    latest = Latest()
    with structlog.testing.capture_logs() as logs:
        latest.take("p", Batch((), (Fault("p", "absent", "no such device"),)))
    assert [entry["log_level"] for entry in logs] == ["debug"]
    assert latest.faults["p"].detail == "no such device"


def test_the_failure_of_one_is_not_the_recovery_of_another() -> None:
    latest = Latest()
    with structlog.testing.capture_logs() as logs:
        latest.take("modbus:a", Batch((), (Fault("modbus:a", "timed-out", ""),)))
        latest.take("modbus:b", Batch((), ()))
        latest.take("modbus:a", Batch((), (Fault("modbus:a", "timed-out", ""),)))
    assert [entry["event"] for entry in logs] == ["probe_failed"]


def test_the_last_reading_is_kept_through_a_failure() -> None:
    latest = Latest()
    probe = FakeProbe("p")
    latest.take("p", sample([probe], HOST, VirtualClock().now()))
    probe.fails = TimedOut("no answer")
    latest.take("p", sample([probe], HOST, VirtualClock().now()))
    assert latest.readings[SensorId("p", "here", "power")].value == Gauge(1, Unit.MILLIWATT)
    probe.fails = Absent("unplugged")
    latest.take("p", sample([probe], HOST, VirtualClock().now()))
    assert latest.faults["p"].kind == "absent"
