"""A call that runs: answered at once, or when something happens, or never."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from agent.sandbox.lightningd.refusal import Refusal

Answer = dict[str, Any]


class Interrupted(Exception):
    """The node died, or the call was cut off, at this point."""


class Command:
    """One running call. `lost`: its connection is gone; `silent`: no answer will come."""

    pays: ClassVar[bool] = False

    def __init__(self) -> None:
        self.result: Answer | None = None
        self.refusal: Refusal | None = None
        self.lost = False
        self.silent = False
        self.messages: list[tuple[str, str]] = []  # level and text of its notifications

    @property
    def done(self) -> bool:
        """Whether there is an answer."""
        return self.result is not None or self.refusal is not None

    @property
    def wake_at(self) -> float | None:
        """When time alone may bring it on, in seconds since 1970."""
        return None

    def step(self) -> None:
        """Go on as far as possible; raise `Refusal` to answer with an error."""

    def run(self) -> None:
        """Go on, and keep what comes of it."""
        if self.done or self.lost:
            return
        try:
            self.step()
        except Refusal as refusal:
            self.refusal = refusal

    def answer(self) -> Answer:
        """Return the result.

        :raises Refusal: when that is the answer.
        """
        if self.refusal is not None:
            raise self.refusal
        assert self.result is not None, "not done"  # noqa: S101 - a bug of the caller
        return self.result


class Done(Command):
    """Answered when it was asked."""

    def __init__(self, result: Answer | None = None, refusal: Refusal | None = None) -> None:
        super().__init__()
        self.result, self.refusal = result, refusal


class Waiting(Command):
    """Looks again whenever something changed, until its time is up."""

    def __init__(
        self,
        look: Callable[[], Answer | None],
        now: Callable[[], float],
        deadline: float | None,
        timed_out: Refusal | None = None,
    ) -> None:
        super().__init__()
        self._look, self._now, self._deadline, self._timed_out = look, now, deadline, timed_out

    @property
    def wake_at(self) -> float | None:
        """When its time is up."""
        return self._deadline

    def step(self) -> None:
        """Look; give up at the deadline."""
        self.result = self._look()
        over = self._deadline is not None and self._now() >= self._deadline
        if self.result is None and over and self._timed_out is not None:
            raise self._timed_out
