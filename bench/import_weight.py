"""What each dependency adds to the resident memory of a process, for docs/dependencies.md.

Imported one after the other in one fresh process, in the order in which the daemon meets them: what
a package shares with one before it is not counted twice, so the order is part of the figures.
"""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path

# Distribution and what the agent imports of it. The second half never enters an idle daemon.
DAEMON = (
    ("Python itself", ("asyncio", "ssl", "sqlite3", "tomllib", "dataclasses", "json")),
    ("psutil", ("psutil",)),
    ("pyudev", ("pyudev",)),
    ("nvidia-ml-py", ("pynvml",)),
    ("os-traits", ("os_traits",)),
    ("os-resource-classes", ("os_resource_classes",)),
    ("msgspec", ("msgspec",)),
    ("structlog", ("structlog",)),
    ("cryptography", ("cryptography.x509", "cryptography.hazmat.primitives.asymmetric.ec")),
    ("protobuf", ("google.protobuf.message", "hearth.v1.session_pb2")),
    ("grpcio", ("grpc.aio", "hearth.v1.session_pb2_grpc")),
    ("tpm2-pytss", ("tpm2_pytss",)),
)
ELSEWHERE = (
    ("pymodbus", ("pymodbus.client",)),
    ("pyMeterBus", ("meterbus",)),
    ("typer", ("typer",)),
    ("rich", ("rich.live", "rich.table")),
    ("pyln-client", ("pyln.client",)),
)


def resident_kib() -> int:
    found = re.search(r"^VmRSS:\s*(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found
    return int(found[1])


def weigh() -> None:
    """Print one line a dependency: name, what it added, the sum so far; MiB."""
    before = 0
    for name, modules in DAEMON + ELSEWHERE:
        if name == "structlog":
            sys.modules["rich"] = None  # type: ignore[assignment]  # as the daemon keeps it out
        if name == "typer":
            del sys.modules["rich"]
        for module in modules:
            importlib.import_module(module)
        now = resident_kib()
        print(f"{name:22}{(now - before) / 1024:8.1f}{now / 1024:8.1f}")
        before = now


if __name__ == "__main__":
    if sys.argv[1:] == ["--here"]:
        weigh()
    else:
        subprocess.run([sys.executable, "-m", "bench.import_weight", "--here"], check=True)
