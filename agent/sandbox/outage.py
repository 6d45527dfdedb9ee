"""An outage on purpose: a lease stands still for a few seconds, and what it missed is paid back.

Without one, a demo on a sound host would have no rebate to show.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from agent.core.lease import LeaseKey
from agent.sandbox.bed import AgentProcess

# Service level of the demo's offers: half of a window back when a tenth of it was missed.
WINDOW_S = 6
SERVICE_LEVEL = f"""\
window_seconds = {WINDOW_S}
[[offer.rebates]]
below_ppm = 900000
permille = 500
"""
BEGINS_S = 6.0  # after the leases run
LASTS_S = 4.0  # wherever windows begin, some window misses a third
LEAST_RUN_S = BEGINS_S + LASTS_S + WINDOW_S


@dataclass(slots=True)
class Outage:
    """One staged outage of the newest lease."""

    agent: AgentProcess
    say: Callable[[str], None]
    lease: LeaseKey | None = None  # while it lasts
    lasted: bool = False  # as long as it should: there is a rebate for it
    _done: bool = False  # there will be no other
    _began_s: float = 0.0
    _file: Path | None = None

    def advance(self, elapsed_s: float) -> None:
        """Begin or end it when its time has come.

        :param elapsed_s: since the leases run.
        """
        if self.lease is not None and elapsed_s >= self._began_s + LASTS_S:
            self.end()
            self.lasted = True
        elif self.lease is None and not self._done and elapsed_s >= BEGINS_S:
            self._began_s = elapsed_s  # later than it should on a busy machine
            self._begin()

    def _begin(self) -> None:
        active = [lease for lease in self.agent.status().leases if lease.cgroup]
        self._done = True
        if not active:
            return
        lease = active[-1]
        self._file = Path(lease.cgroup) / "cgroup.freeze"  # cgroup-v2.rst
        try:
            self._file.write_text("1")
        except OSError as error:
            self.say(f"no staged outage: {self._file}: {error.strerror}")
            return
        self.lease = LeaseKey(lease.exchange_id, lease.lease_id)
        self.say(f"STAGED OUTAGE: lease {lease.lease_id[:13]} is frozen for {LASTS_S:.0f} s")

    def end(self) -> None:
        """Let the lease go on, if it stands still."""
        lease, file = self.lease, self._file
        if lease is None or file is None:
            return
        with contextlib.suppress(OSError):  # the lease may have ended meanwhile
            file.write_text("0")
        self.lease = None
        self.say(f"staged outage over: lease {lease.lease_id[:13]} goes on")
