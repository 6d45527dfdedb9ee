"""Hours of timers in a moment: what repeats, what is tried again, what must not end."""

from __future__ import annotations

import asyncio
import contextlib
import itertools

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from agent.supervise import Backoff, TaskEnded, every, forever, retrying
from tests.fakes.clock import VirtualClock

SECOND = 1_000_000_000
HOUR = 3600 * SECOND


async def end(task: asyncio.Task[object]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_a_day_of_minutes() -> None:
    clock = VirtualClock()
    began = clock.now().boottime_ns
    ran: list[int] = []

    async def step() -> None:
        ran.append(clock.now().boottime_ns - began)

    task = asyncio.create_task(every(clock, 60 * SECOND, step))
    await clock.run(24 * HOUR)
    assert ran == [60 * SECOND * minute for minute in range(24 * 60 + 1)]
    await end(task)


async def test_a_step_that_takes_its_time_moves_no_other() -> None:
    """Multiples of the interval are kept; what was missed is not caught up with."""
    clock = VirtualClock()
    began = clock.now().boottime_ns
    ran: list[int] = []

    async def step() -> None:
        ran.append((clock.now().boottime_ns - began) // SECOND)
        if len(ran) == 3:
            await clock.sleep(25 * SECOND)
        else:
            await clock.sleep(SECOND)

    task = asyncio.create_task(every(clock, 10 * SECOND, step))
    await clock.run(100 * SECOND)
    assert ran == [0, 10, 20, 50, 60, 70, 80, 90, 100]
    await end(task)


async def test_a_suspend_is_one_late_step_and_no_burst() -> None:
    clock = VirtualClock()
    ran: list[int] = []

    async def step() -> None:
        ran.append(clock.now().boottime_ns)

    task = asyncio.create_task(every(clock, 10 * SECOND, step))
    await clock.run(20 * SECOND)
    clock.suspend(8 * HOUR)
    await clock.run(20 * SECOND)
    assert len(ran) == 5
    await end(task)


@given(st.integers(1, 10**9), st.integers(1, 10**12), st.integers(1, 60))
def test_back_off_grows_to_its_bound_and_never_beyond(first: int, more: int, tries: int) -> None:
    backoff = Backoff(first, first + more)
    for place in range(tries):
        wait = backoff.next()
        assert first // 2 <= wait <= min(first * 2**place, first + more)
    backoff.reset()
    assert first // 2 <= backoff.next() <= first


class NotNow(Exception):
    """Expected."""


async def test_what_fails_is_tried_again_for_as_long_as_it_takes() -> None:
    clock = VirtualClock()
    began = clock.now().boottime_ns
    at: list[int] = []

    async def attempt(backoff: Backoff) -> None:
        at.append(clock.now().boottime_ns - began)
        raise NotNow

    with structlog.testing.capture_logs() as logs:
        task = asyncio.create_task(retrying("it", clock, attempt, (NotNow,)))
        await clock.run(2 * HOUR)
    gaps = [after - before for before, after in itertools.pairwise(at)]
    assert max(gaps) <= 60 * SECOND
    assert len(at) >= 120
    assert [entry["event"] for entry in logs] == ["task_failed"]
    await end(task)


async def test_a_recovery_is_told_and_resets_the_back_off() -> None:
    clock = VirtualClock()
    outcomes = iter([False] * 20 + [True] + [False] * 2)
    at: list[int] = []

    async def attempt(backoff: Backoff) -> None:
        at.append(clock.now().boottime_ns)
        good = next(outcomes, None)
        if good:
            backoff.reset()
        elif good is None:
            await asyncio.Event().wait()
        else:
            raise NotNow

    with structlog.testing.capture_logs() as logs:
        task = asyncio.create_task(retrying("it", clock, attempt, (NotNow,)))
        await clock.run(2 * HOUR)
    assert [entry["event"] for entry in logs] == [
        "task_failed",
        "task_recovered",
        "task_failed",
    ]
    assert at[21] - at[20] <= SECOND // 4
    await end(task)


async def test_each_failure_of_what_never_returns_is_told() -> None:
    """A session that stood for hours ends by failing: its next failure is no news of the last."""
    clock = VirtualClock()
    failing = iter([True, True, False, False, True])

    async def attempt(backoff: Backoff) -> None:
        if next(failing, False):
            raise NotNow
        backoff.reset()
        await clock.sleep(HOUR)
        raise NotNow

    with structlog.testing.capture_logs() as logs:
        task = asyncio.create_task(retrying("it", clock, attempt, (NotNow,)))
        await clock.run(2 * HOUR + 60 * SECOND)
    words = [entry["event"].removeprefix("task_") for entry in logs]
    assert words == ["failed", "recovered", "failed", "recovered", "failed", "recovered"]
    await end(task)


async def test_what_is_not_expected_is_not_swallowed() -> None:
    async def attempt(backoff: Backoff) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await retrying("it", VirtualClock(), attempt, (NotNow,))


async def test_a_task_that_must_live_and_ends_is_a_fault() -> None:
    async def work() -> None:
        return

    with pytest.raises(TaskEnded, match="it"):
        await asyncio.create_task(forever("it", work()))


async def test_a_task_has_its_name() -> None:
    names: list[str] = []

    async def work() -> None:
        task = asyncio.current_task()
        names.append(task.get_name() if task else "")

    with pytest.raises(TaskEnded):
        await asyncio.create_task(forever("exchange-12", work()))
    assert names == ["exchange-12"]
