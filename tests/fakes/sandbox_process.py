"""A sandbox exchange as the process it is in production, driven through its control channel."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from pathlib import Path
from typing import Any

WAIT_S = 30.0
ROOT = Path(__file__).parents[2]


LOGGED = re.compile(r"[IWEF]\d{4} [\d:.]+ ")  # the C++ half of gRPC, of a client's handshake
TRACE = "Traceback (most recent call last):"
GONE = (
    'grpc._cython.cygrpc.ExecuteBatchError: Failed "execute_batch":'
    " (<grpc._cython.cygrpc.SendStatusFromServerOperation"
)


class SandboxProcess:
    """One run of `python -m agent.sandbox.exchange`. Start, command, kill, start again."""

    def __init__(self, directory: Path, *options: str) -> None:
        self.directory = directory
        self.options = options
        self.ready: dict[str, Any] = {}
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        paths = [str(ROOT), str(ROOT / "proto/gen/python"), os.environ.get("PYTHONPATH", "")]
        with (self.directory / "log.jsonl").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "agent.sandbox.exchange",
                "--dir",
                str(self.directory),
                *self.options,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
            )
        self.ready = await self._line()

    async def command(self, cmd: str, **arguments: Any) -> dict[str, Any]:
        """Send one command; its reply, whatever it says."""
        process = self._running()
        assert process.stdin is not None
        process.stdin.write(json.dumps({"cmd": cmd, **arguments}).encode() + b"\n")
        await process.stdin.drain()
        return await self._line()

    async def node(self, node_id: str) -> dict[str, Any]:
        """What it says of one node."""
        reply = await self.command("stats")
        figures: dict[str, Any] = reply["nodes"][node_id]
        return figures

    @property
    def ca(self) -> bytes:
        return Path(self.ready["ca_file"]).read_bytes()

    def log(self) -> list[dict[str, Any]]:
        """What it wrote on standard error, of all runs."""
        lines = (self.directory / "log.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def tracebacks(self) -> list[str]:
        """What fell through to standard error: there must be nothing of ours.

        grpc.aio prints a trace of its own when a client is gone before it got its status; that is
        the client's affair, and nothing that a server could keep it from.
        """
        found: list[str] = []
        for line in (self.directory / "log.jsonl").read_text().splitlines():
            if not line.startswith("{") and not LOGGED.match(line):
                found.append(line)
            if line.startswith(GONE):
                del found[-1 - found[::-1].index(TRACE) :]
        return found

    async def kill(self) -> None:
        """SIGKILL."""
        process = self._running()
        process.kill()
        await self._gone(process)

    async def stop(self) -> int:
        """End its standard input; the exit status."""
        process = self._running()
        assert process.stdin is not None
        process.stdin.close()
        return await self._gone(process)

    async def terminate(self) -> int:
        """SIGTERM; the exit status."""
        process = self._running()
        process.terminate()
        return await self._gone(process)

    @property
    def is_running(self) -> bool:
        return self._process is not None

    async def _line(self) -> dict[str, Any]:
        process = self._running()
        assert process.stdout is not None
        async with asyncio.timeout(WAIT_S):
            line = await process.stdout.readline()
        assert line, "the exchange ended: " + (self.directory / "log.jsonl").read_text()[-2000:]
        reply: dict[str, Any] = json.loads(line)
        return reply

    def _running(self) -> asyncio.subprocess.Process:
        assert self._process is not None, "not running"
        return self._process

    async def _gone(self, process: asyncio.subprocess.Process) -> int:
        async with asyncio.timeout(WAIT_S):
            await process.communicate()
        self._process = None
        assert process.returncode is not None
        return process.returncode
