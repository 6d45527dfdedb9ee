"""Tasks that must live: named, repeated, retried with jittered back-off."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import NoReturn

import structlog

from agent.clock import SECOND, Clock

logger = structlog.get_logger()


class TaskEnded(Exception):
    """A task that must live forever returned: a fault of ours."""


async def every(clock: Clock, interval_ns: int, step: Callable[[], Awaitable[None]]) -> NoReturn:
    """Run `step` at multiples of `interval_ns`; a late one is run once, not caught up with."""
    due = clock.now().boottime_ns
    while True:
        await step()
        now = clock.now().boottime_ns
        due += interval_ns
        if due <= now:
            due = now + interval_ns - (now - due) % interval_ns
        await clock.sleep(due - now)


class Backoff:
    """Full-jitter exponential back-off between two bounds, in nanoseconds."""

    def __init__(
        self,
        first_ns: int = SECOND // 4,
        most_ns: int = 60 * SECOND,
        through: Callable[[], object] = lambda: None,
    ) -> None:
        """`through` is called at each reset."""
        self._through = through
        self._first = first_ns
        self._most = most_ns
        self._bound = first_ns

    def reset(self) -> None:
        """Start again from the first bound: the thing works, though it may fail later."""
        self._bound = self._first
        self._through()

    def next(self) -> int:
        """Return how long to wait, and double the bound."""
        wait = random.randint(self._first // 2, self._bound)  # noqa: S311 - spreads load, guards nothing
        self._bound = min(self._bound * 2, self._most)
        return wait


async def retrying(
    name: str,
    clock: Clock,
    attempt: Callable[[Backoff], Awaitable[None]],
    expected: tuple[type[Exception], ...],
) -> NoReturn:
    """Run `attempt` again and again; an expected failure is logged once and waited out.

    The attempt resets the back-off when it got through; it need not return for that. The first
    failure of a row and the recovery are logged, nothing in between.
    """
    failing = False

    def through() -> None:
        nonlocal failing
        if failing:
            logger.info("task_recovered", task=name)
        failing = False

    backoff = Backoff(through=through)
    while True:
        try:
            await attempt(backoff)
        except expected as error:
            if not failing:
                logger.warning(
                    "task_failed", task=name, error=str(error), kind=type(error).__name__
                )
            failing = True
        else:
            through()
        await clock.sleep(backoff.next())


async def forever(name: str, work: Awaitable[object]) -> NoReturn:
    """Run `work`, which must not return.

    :raises TaskEnded: when it does.
    """
    asyncio.current_task().set_name(name)  # type: ignore[union-attr]  # always inside a task
    await work
    raise TaskEnded(name)
