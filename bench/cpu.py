"""Steady CPU of the agent with 20 and 100 leases, against prometheus-node-exporter.

Both run at the same time on the same machine: the agent samples every lease and the host once a
second, holds two sessions and cuts receipts and checkpoints; the exporter, with its collectors as
Debian starts it, is scraped once a second. Ticks of /proc/PID/stat, user and system.
"""

from __future__ import annotations

import functools
import json
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.world import cpu_seconds, pid_of, place, until, world

PACKAGE = "prometheus-node-exporter"
WINDOW_S = 60.0
SETTLE_S = 5.0
STEADY = "[offer]\nreceipt_seconds = 900\n"
LEASES = ((20, 0.5), (100, 1.0))  # how many, and how much of the exporter's they may take
UNITS = {"MEMORY_MB": 16}


@contextmanager
def exporter() -> Iterator[tuple[int, str] | None]:
    """The exporter on a free port: its process id and address; None where there is none to be had.

    Debian's package is unpacked, not installed: installing it would start a service.
    """
    with tempfile.TemporaryDirectory(prefix="hearth-bench-") as name:
        binary = shutil.which(PACKAGE) or unpacked(Path(name))
        if binary is None:
            yield None
            return
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{free.getsockname()[1]}"
        process = subprocess.Popen(
            [binary, f"--web.listen-address={address}", "--log.level=error"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            until(lambda: _answers(address))
            yield process.pid, address
        finally:
            process.kill()
            process.wait()


def unpacked(directory: Path) -> str | None:
    """The exporter's binary out of the package, where a mirror has it."""
    run = functools.partial(subprocess.run, cwd=directory, check=True, capture_output=True)
    try:
        run(["apt-get", "download", PACKAGE])
        run(["dpkg-deb", "-x", *(str(file) for file in directory.glob("*.deb")), "."])
    except (OSError, subprocess.CalledProcessError):
        return None
    return str(directory / "usr" / "bin" / PACKAGE)


def scrape(address: str) -> None:
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=5) as answer:
        answer.read()


def _answers(address: str) -> bool:
    try:
        scrape(address)
    except OSError:
        return False
    return True


def spent(agent: int, peer: tuple[int, str] | None) -> tuple[float, float | None]:
    """Milliseconds of CPU a second over one window, the agent's and the peer's."""
    before = cpu_seconds(agent), cpu_seconds(peer[0]) if peer else 0.0
    begin = turn = time.monotonic()
    while turn - begin < WINDOW_S:
        if peer:
            scrape(peer[1])
        turn += 1
        time.sleep(max(0.0, turn - time.monotonic()))
    seconds = time.monotonic() - begin
    ours = (cpu_seconds(agent) - before[0]) / seconds * 1000
    return ours, (cpu_seconds(peer[0]) - before[1]) / seconds * 1000 if peer else None


def rows() -> list[dict[str, object]]:
    """One row a number of leases; without the exporter there is no bar."""
    found: list[dict[str, object]] = []
    with exporter() as peer, world(STEADY) as there:
        placed = 0
        for leases, share in LEASES:
            for exchange in there.exchanges:
                place(exchange, (leases - placed) // len(there.exchanges), UNITS)
            placed = leases
            time.sleep(SETTLE_S)
            ours, theirs = spent(pid_of(there.agent), peer)
            found.append(
                {
                    "name": f"cpu-{leases}",
                    "value": round(ours, 2),
                    "unit": "ms/s",
                    "bar": None if theirs is None else f"<= {share * theirs:.2f}",
                    "peer": None if theirs is None else f"{PACKAGE} scraped once a second",
                    "peer_value": None if theirs is None else round(theirs, 2),
                    "ratio": None if theirs is None else round(ours / theirs, 2),
                }
            )
    return found


if __name__ == "__main__":
    for row in rows():
        print(json.dumps(row))
