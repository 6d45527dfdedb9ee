"""A process of the bed: how it starts, takes orders, answers and ends."""

from __future__ import annotations

import contextlib
import json
import select
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.errors import HearthError
from agent.interpreter import python

START_S = 20.0
ANSWER_S = 15.0
STOP_S = 15.0


class BedError(HearthError):
    """Part of the sandbox does not start or answer; its log says why."""


@dataclass(slots=True)
class Child:
    """One that answers each line on its standard input with a JSON object on a line.

    It ends with its standard input, so with whoever started it.
    """

    name: str
    log: Path
    _process: subprocess.Popen[str] | None = None

    @property
    def pid(self) -> int:
        """Its process id; 0 while it is down."""
        return self._process.pid if self._process is not None else 0

    def start(self, module: str, *options: str) -> dict[str, Any]:
        """Run a module, and return what it says once it is ready.

        :raises BedError: when it does not become ready.
        """
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*python(), "-m", module, *options],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,  # Ctrl-C in a terminal is for us to pass on
            )
        return self._line(self._process, START_S)

    def command(self, **words: object) -> dict[str, Any]:
        """Give it one order and return its answer.

        :raises BedError: when it is down or refuses.
        """
        process = self._process
        if process is None or process.stdin is None:
            raise BedError(f"{self.name} is down")
        try:
            process.stdin.write(json.dumps(words) + "\n")
            process.stdin.flush()
        except OSError as error:
            raise BedError(f"{self.name} is down: {tail(self.log)}") from error
        answer = self._line(process, ANSWER_S)
        if not answer.get("ok"):
            raise BedError(f"{self.name} refuses {words}: {answer.get('error')}")
        return answer

    def end(self, *, kill: bool = False) -> None:
        """End it in good order, or with kill -9; nothing where it is down."""
        process, self._process = self._process, None
        if process is not None:
            end(process, kill=kill)

    def _line(self, process: subprocess.Popen[str], seconds: float) -> dict[str, Any]:
        if process.stdout is None or not select.select([process.stdout], [], [], seconds)[0]:
            raise BedError(f"{self.name} does not answer: {tail(self.log)}")
        line = process.stdout.readline()
        if not line:
            raise BedError(f"{self.name} ended: {tail(self.log)}")
        answer: dict[str, Any] = json.loads(line)
        return answer


def end(process: subprocess.Popen[Any], *, kill: bool = False) -> None:
    """End a process, by force where it does not go in time, and wait until it is gone."""
    if process.stdin is not None:
        with contextlib.suppress(OSError):
            process.stdin.close()
    if process.poll() is None:
        process.send_signal(signal.SIGKILL if kill else signal.SIGTERM)
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()


def tail(log: Path) -> str:
    """The last lines of a log, for an error message."""
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    return " | ".join(lines[-5:]) or "no log"
