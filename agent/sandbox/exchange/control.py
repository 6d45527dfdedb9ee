"""Commands on standard input: one JSON object a line, one JSON object back on standard output.

    {"cmd": "token"}                       {"cmd": "stats"}
    {"cmd": "place", "units": {"VCPU": 1}} {"cmd": "release", "lease_id": "..."}
    {"cmd": "challenge"}                   {"cmd": "approve", "ek": "<hex SHA-256 of its SPKI>"}
    {"cmd": "fault", "kind": "drop"}       {"cmd": "cashier", "paying": false, "asking": true}
    {"cmd": "contest", "lease_id": "...", "msat": 5}    {"cmd": "withdraw", "lease_id": "..."}

`node_id` narrows place, release, challenge and fault to one node; "id" is echoed. The end of
standard input ends the process.
"""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import sys
import threading
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import grpc
from hearth.v1.lease_pb2 import WorkloadBinding

from agent.sandbox.exchange import ca, disputes, market, stats, trust
from agent.sandbox.exchange.cashier import Cashier
from agent.sandbox.exchange.faults import Fault, Faults, Kind
from agent.sandbox.exchange.identity import Exchange
from agent.sandbox.exchange.service import ExchangeService
from agent.sandbox.exchange.session import Ended
from agent.sandbox.exchange.store import Store

_DROPPED = grpc.StatusCode.UNAVAILABLE

Answer = dict[str, Any]


class CommandRefused(Exception):
    """A command that is none, or cannot be carried out."""


class Control:
    """Carries out commands."""

    def __init__(
        self,
        exchange: Exchange,
        store: Store,
        service: ExchangeService,
        faults: Faults,
        cashier: Cashier,
    ) -> None:
        self._exchange = exchange
        self._store = store
        self._service = service
        self._faults = faults
        self._cashier = cashier
        self._commands: dict[str, Callable[[Mapping[str, Any]], Awaitable[Answer]]] = {
            "token": self._token,
            "approve": self._approve,
            "place": self._place,
            "release": self._release,
            "challenge": self._challenge,
            "fault": self._fault,
            "cashier": self._settle,
            "contest": self._contest,
            "withdraw": self._withdraw,
            "stats": self._stats,
        }

    async def answer(self, line: bytes) -> Answer:
        """Carry out one command line and return the reply, which has `ok`."""
        try:
            command = parse_command(line)
        except ValueError as error:
            return {"ok": False, "error": str(error)}
        echo = {"id": command["id"]} if "id" in command else {}
        act = self._commands.get(str(command.get("cmd")))
        if act is None:
            return {**echo, "ok": False, "error": f"cmd is one of {', '.join(self._commands)}"}
        try:
            return {**echo, "ok": True, **await act(command)}
        except (CommandRefused, market.NotPlaced, ValueError, TypeError, KeyError) as error:
            return {**echo, "ok": False, "error": f"{type(error).__name__}: {error}"}

    async def _token(self, _command: Mapping[str, Any]) -> Answer:
        return {"token": await self._store.run(make_token, self._exchange.exchange_id)}

    async def _approve(self, command: Mapping[str, Any]) -> Answer:
        await self._store.run(trust.approve, bytes.fromhex(command["ek"]))
        return {}

    async def _place(self, command: Mapping[str, Any]) -> Answer:
        node_id = command.get("node_id") or await self._only_node()
        units = {str(name): int(count) for name, count in command["units"].items()}
        binding = WorkloadBinding(**command.get("workload", {}))
        lease_id = await self._store.run(
            market.place,
            self._exchange,
            node_id,
            units,
            duration_s=float(command.get("duration", self._exchange.options.lease_duration)),
            job_id=str(command.get("job_id", "")),
            offer_id=str(command.get("offer_id", "")),
            workload=binding.SerializeToString(),
        )
        self._wake([node_id])
        return {"lease_id": lease_id, "node_id": node_id}

    async def _release(self, command: Mapping[str, Any]) -> Answer:
        asked = await self._store.run(
            market.release,
            self._exchange,
            str(command.get("lease_id") or ""),
            str(command.get("node_id") or ""),
        )
        self._wake([node_id for node_id, _ in asked])
        return {"released": [lease_id for _, lease_id in asked]}

    async def _challenge(self, command: Mapping[str, Any]) -> Answer:
        sessions = [
            session
            for node_id, session in self._service.sessions.items()
            if command.get("node_id") in (None, node_id)
        ]
        return {"challenged": sum(session.challenge() for session in sessions)}

    async def _fault(self, command: Mapping[str, Any]) -> Answer:
        fault = Fault(
            Kind(command["kind"]),
            str(command.get("node_id") or ""),
            int(command.get("count", 1)),
            float(command.get("seconds", 0)),
        )
        if fault.kind is not Kind.DROP:
            self._faults.arm(fault)
            return {}
        dropped = [
            session
            for node_id, session in self._service.sessions.items()
            if fault.node_id in ("", node_id)
        ]
        for session in dropped:
            session.end(Ended("injected fault: dropped", _DROPPED))
        return {"dropped": len(dropped)}

    async def _settle(self, command: Mapping[str, Any]) -> Answer:
        """Pay and ask, or stop doing so."""
        self._cashier.paying = bool(command.get("paying", self._cashier.paying))
        self._cashier.asking = bool(command.get("asking", self._cashier.asking))
        return {"paying": self._cashier.paying, "asking": self._cashier.asking}

    async def _contest(self, command: Mapping[str, Any]) -> Answer:
        lease_id, msat = str(command["lease_id"]), int(command["msat"])
        self._wake([await self._store.run(disputes.contest, self._exchange, lease_id, msat)])
        return {}

    async def _withdraw(self, command: Mapping[str, Any]) -> Answer:
        lease_id = str(command["lease_id"])
        self._wake([await self._store.run(disputes.withdraw, self._exchange, lease_id)])
        return {}

    async def _stats(self, _command: Mapping[str, Any]) -> Answer:
        nodes = await self._store.run(stats.stats)
        for node_id, figures in nodes.items():
            figures["connected"] = node_id in self._service.sessions
        return {"exchange_id": self._exchange.exchange_id, "nodes": nodes}

    async def _only_node(self) -> str:
        nodes = list(await self._store.run(stats.stats))
        if len(nodes) != 1:
            raise CommandRefused(f"there are {len(nodes)} nodes: name one with node_id")
        return nodes[0]

    def _wake(self, node_ids: list[str]) -> None:
        for node_id in node_ids:
            self._service.wake(node_id)


def parse_command(line: bytes) -> dict[str, Any]:
    """Parse one line.

    :raises ValueError: not a JSON object.
    """
    command = json.loads(line)
    if not isinstance(command, dict):
        raise ValueError("a command is a JSON object")  # noqa: TRY004 - a value on the wire
    return command


def make_token(db: sqlite3.Connection, exchange_id: str) -> str:
    """Make a join token and keep its digest. An act of the store."""
    token = ca.new_token(exchange_id)
    db.execute("INSERT INTO token (digest) VALUES (?)", (ca.token_digest(token),))
    return token


async def read_lines(lines: asyncio.Queue[bytes | None]) -> None:
    """Fill the queue with the lines of standard input; None at its end.

    A thread of its own reads, since standard input may be anything: a pipe, a file, a terminal.
    """
    loop = asyncio.get_running_loop()
    ended = loop.create_future()

    def read() -> None:
        rest = b""
        while chunk := os.read(sys.stdin.fileno(), 65536):
            *whole, rest = (rest + chunk).split(b"\n")
            for line in filter(bytes.strip, whole):
                asyncio.run_coroutine_threadsafe(lines.put(line), loop).result()
        loop.call_soon_threadsafe(ended.set_result, None)

    threading.Thread(target=read, name="stdin", daemon=True).start()
    await ended
    await lines.put(None)


def say(reply: Answer) -> None:
    """Write one JSON line on standard output."""
    sys.stdout.write(json.dumps(reply, separators=(",", ":")) + "\n")
    sys.stdout.flush()
