"""Asks a node over its socket, from another process: pyln changes its process's JSON encoder."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path


def ask(socket: Path, method: str, /, **params: object) -> dict[str, object]:
    script = (
        "import json, sys; from agent.settle.cln import SocketCaller\n"
        "print(json.dumps(SocketCaller(sys.argv[1]).call(sys.argv[2], json.loads(sys.argv[3]))))"
    )
    said = subprocess.run(
        [sys.executable, "-c", script, str(socket), method, json.dumps(params)],
        capture_output=True, text=True, check=True, timeout=30,
    )  # fmt: skip
    return dict(json.loads(said.stdout))
