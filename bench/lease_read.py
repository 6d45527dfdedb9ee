"""What one more metered lease costs: `CgroupReader.read` against bare `pread`s of its files."""

from __future__ import annotations

import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from probes.cgroup import OPTIONAL, CgroupReader, find_root
from probes.host import Host

BAR = 3.0
ROUNDS = 41
PASSES = 500


@contextmanager
def cgroup(host: Host) -> Iterator[Path]:
    """A cgroup of our own; the one that this process is in where none may be made."""
    root = find_root(host)
    try:
        directory = Path(tempfile.mkdtemp(prefix="hearth-bench-", dir=root))
    except OSError:
        own = host.text("/proc/self/cgroup").splitlines()[-1].partition("::")[2]
        yield root / own.lstrip("/")
        return
    try:
        yield directory
    finally:
        directory.rmdir()


def per_call_us(call: Callable[[], object]) -> float:
    begin = time.perf_counter_ns()
    for _ in range(PASSES):
        call()
    return (time.perf_counter_ns() - begin) / PASSES / 1000


def rows() -> list[dict[str, object]]:
    """One row; the two are timed in turns, so that a busy machine troubles both alike."""
    host = Host()
    with cgroup(host) as directory:
        reader = CgroupReader(host, directory)
        names = ("cpu.stat", *(name for name in OPTIONAL if name not in reader.missing))
        files = [os.open(directory / name, os.O_RDONLY | os.O_CLOEXEC) for name in names]

        def bare() -> None:
            for file in files:
                os.pread(file, 4096, 0)

        ours, theirs, ratios = [], [], []
        for _ in range(ROUNDS):
            theirs.append(per_call_us(bare))
            ours.append(per_call_us(reader.read))
            ratios.append(ours[-1] / theirs[-1])
        for file in files:
            os.close(file)
        reader.close()
    return [
        {
            "name": "lease",
            "value": round(statistics.median(ours), 2),
            "unit": "us",
            "bar": f"<= {BAR * statistics.median(theirs):.2f}",
            "peer": f"bare pread of {', '.join(names)}",
            "peer_value": round(statistics.median(theirs), 2),
            "ratio": round(statistics.median(ratios), 2),
        }
    ]


if __name__ == "__main__":
    for row in rows():
        print(json.dumps(row))
