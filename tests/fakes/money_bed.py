"""A bed with one exchange and the Lightning double, in short steps: money flows within seconds."""

from __future__ import annotations

import contextlib
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from agent.sandbox import bed
from agent.sandbox.bed import Bed
from probes.cgroup import find_root
from probes.host import Host

PATIENCE_S = 90.0
CONFIGURATION = """
[offer]
receipt_seconds = 1
window_seconds = 6
least_invoice_msat = 1
[[offer.rebates]]
below_ppm = 900000
permille = 500
[log]
checkpoint_seconds = 1
[settlement.currency]
code = "EUR"
minor_per_bitcoin = 8123456
source = "the test"
"""


@contextlib.contextmanager
def opened() -> Iterator[Bed]:
    """Start it, with the agent enrolled; all of it is gone afterwards."""
    directory = Path(tempfile.mkdtemp(prefix="hearth-money-"))
    root = find_root(Host()) / f"hearth-test-{secrets.token_hex(4)}"
    made = bed.make(
        directory,
        CONFIGURATION + f'[lease]\ncgroup_root = "{root}"\n',
        exchange_names=("northern",),
        exchange_options=("--heartbeat", "2", "--rebate-silence", "30"),
        with_tpm=False,
        with_lightning=True,
    )
    try:
        made.agent.start()
        made.agent.wait()
        made.agent.enroll(made.exchanges[0])
        until("an offer", lambda: made.exchanges[0].figures().get("offers_accepted"))
        yield made
    finally:
        made.close()
        for inner in sorted(root.rglob("*"), reverse=True):
            with contextlib.suppress(OSError):
                inner.rmdir()
        with contextlib.suppress(OSError):
            root.rmdir()
        shutil.rmtree(directory, ignore_errors=True)


def until(what: str, holds: Callable[[], Any], why: Callable[[], object] = str) -> Any:
    """Wait for it; `why` says what is wrong when it does not come."""
    deadline = time.monotonic() + PATIENCE_S
    while not (found := holds()):
        assert time.monotonic() < deadline, f"{what}: {why()}"
        time.sleep(0.2)
    return found


def lease(world: Bed) -> dict[str, Any]:
    """The only lease, as the exchange has it."""
    found: dict[str, Any] = next(iter(world.exchanges[0].figures()["lease"].values()), {})
    return found


def hearth(world: Bed, *words: str) -> str:
    """What a command of the operator's says."""
    done = subprocess.run(
        [sys.executable, "-m", "agent.cli.app", *words, "--config", str(world.agent.config_file)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout
