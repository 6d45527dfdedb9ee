"""A rail whose work is done by a process of its own, which is killed when it takes too long.

Nothing here waits for the node itself: a hung one costs its caller a deadline, and the event loop
nothing. The process is started with the first call and again after its death.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar, cast

import structlog

from agent.interpreter import python
from agent.settle.access import Access
from agent.settle.inspection import known_node, warnings
from agent.settle.invoice_text import decode_bolt11
from agent.settle.rail import (
    Attempt,
    DecodedInvoice,
    Invoice,
    InvoiceState,
    Payment,
    PaymentOrder,
    PayOutcome,
    RailDown,
    RailError,
    RailHealth,
    Unknown,
)
from agent.settle.worker_messages import (
    COMMAND,
    WAIT,
    Broken,
    Request,
    read_answer,
    write,
    write_access,
)

logger = structlog.get_logger()

_MOST_LINE = 8 << 20
_END_S = 5.0
_T = TypeVar("_T")


def absent() -> str:
    """What to do where the Lightning half, a package of its own, is missing; "" where it is not."""
    if importlib.util.find_spec("pyln") is not None:
        return ""
    return "pyln-client is not there; install the package hearth-agent-lightning"


@dataclass(frozen=True, slots=True)
class Deadlines:
    """How long a call may take, in seconds."""

    command_s: float = 30.0
    margin_s: float = 15.0  # beyond what the node itself was asked to wait


@dataclass(slots=True)
class _Process:
    """One worker and those who wait for it."""

    child: asyncio.subprocess.Process
    waiting: dict[int, asyncio.Future[object]] = field(default_factory=dict)
    reader: asyncio.Task[None] | None = None
    over: bool = False  # it answers no more, also while the system still has it

    def kill(self) -> None:
        """End it at once."""
        with contextlib.suppress(ProcessLookupError):
            self.child.kill()

    def fail_all(self, text: str) -> None:
        """Tell everybody that no answer will come."""
        self.over = True
        waiting, self.waiting = self.waiting, {}
        for future in waiting.values():
            if not future.done():
                future.set_exception(RailDown(text))
                future.exception()  # seen: its caller may have gone


class RemoteRail:
    """Implements `Rail` over a worker process.

    :param command: what starts the worker, without its arguments.
    """

    def __init__(
        self,
        name: str,
        access: Access,
        deadlines: Deadlines | None = None,
        command: Sequence[str] = (),
    ) -> None:
        self.name = name
        self._access = access
        self._deadlines = deadlines or Deadlines()
        self._argv = (*(command or python()), "-m", "agent.settle.worker")
        self._lanes = {COMMAND: asyncio.Lock(), WAIT: asyncio.Lock()}
        self._starting = asyncio.Lock()
        self._process: _Process | None = None
        self._numbers = itertools.count(1)
        self._closed = False

    # -- what settlement asks -------------------------------------------------------------

    async def health(self) -> RailHealth:
        """See `Rail.health`."""
        health = cast("RailHealth", await self._command("health"))
        known = health.node_id or known_node(self._access)
        return RailHealth(
            health.network,
            known,
            health.spendable_msat,
            health.receivable_msat,
            (*warnings(self._access), *health.warnings),
        )

    async def invoice(
        self, label: str, amount_msat: int, description: str, expiry_s: int
    ) -> Invoice:
        """See `Rail.invoice`."""
        answer = await self._command(
            "invoice",
            label=label,
            amount_msat=amount_msat,
            description=description,
            expiry_s=expiry_s,
        )
        return cast("Invoice", answer)

    async def invoice_state(self, label: str) -> InvoiceState | None:
        """See `Rail.invoice_state`."""
        return cast("InvoiceState | None", await self._command("invoice_state", label=label))

    async def paid_after(self, pay_index: int, wait_s: int) -> tuple[Payment, ...]:
        """See `Rail.paid_after`. It has a lane of its own."""
        answer = await self._ask(
            WAIT,
            wait_s + self._deadlines.margin_s,
            "paid_after",
            pay_index=pay_index,
            wait_s=wait_s,
        )
        return cast("tuple[Payment, ...]", answer)

    async def decode(self, text: str) -> DecodedInvoice:
        """See `Rail.decode`. BOLT 11 needs no node and no process."""
        if not text.startswith("lni1"):
            return decode_bolt11(text)
        return cast("DecodedInvoice", await self._command("decode", text=text))

    async def pay(self, order: PaymentOrder) -> PayOutcome:
        """See `Rail.pay`. Whatever goes wrong on the way to the node and back is `Unknown`."""
        seconds = order.patience_s + self._deadlines.margin_s + self._deadlines.command_s
        try:
            return cast("PayOutcome", await self._ask(COMMAND, seconds, "pay", order=order))
        except RailError as error:
            return Unknown(str(error))

    async def attempts(self, payment_hash: bytes) -> tuple[Attempt, ...]:
        """See `Rail.attempts`."""
        answer = await self._command("attempts", payment_hash=payment_hash)
        return cast("tuple[Attempt, ...]", answer)

    async def invoice_from_offer(self, offer: str, amount_msat: int | None, wait_s: int) -> str:
        """See `Rail.invoice_from_offer`."""
        seconds = wait_s + self._deadlines.margin_s
        answer = await self._ask(
            COMMAND,
            seconds,
            "invoice_from_offer",
            offer=offer,
            amount_msat=amount_msat,
            wait_s=wait_s,
        )
        return cast("str", answer)

    async def check_rune(self, rune: str, method: str, params: object, node_id: str) -> str:
        """Ask the node whether a rune permits a call of that peer: its refusal, or ""."""
        answer = await self._command(
            "check_rune", rune=rune, method=method, params=params, node_id=node_id
        )
        return cast("str", answer)

    async def close(self) -> None:
        """See `Rail.close`."""
        self._closed = True
        await self._kill("closed")

    # -- the process ----------------------------------------------------------------------

    async def _command(self, act: str, **args: object) -> object:
        return await self._ask(COMMAND, self._deadlines.command_s, act, **args)

    async def _ask(self, lane: str, seconds: float, act: str, **args: object) -> object:
        async with self._lanes[lane]:
            process = await self._running()
            number = next(self._numbers)
            future: asyncio.Future[object] = asyncio.get_running_loop().create_future()
            process.waiting[number] = future
            try:
                async with asyncio.timeout(seconds):
                    await self._send(process, write(Request(number, lane, act, args)))
                    answer = await future
            except TimeoutError:
                await self._give_up(process, lane, act, seconds)
                raise RailDown(f"{act}: no answer in {seconds:.0f} s") from None
            finally:
                process.waiting.pop(number, None)
        if isinstance(answer, RailError):
            raise answer
        return answer

    async def _send(self, process: _Process, line: bytes) -> None:
        stream = process.child.stdin
        try:
            if stream is None:
                raise RailDown("the rail's process has no input")
            stream.write(line)
            await stream.drain()
        except OSError as error:
            raise RailDown(f"the rail's process is gone: {error}") from None

    async def _give_up(self, process: _Process, lane: str, act: str, seconds: float) -> None:
        """Kill the process; one that only waits in vain lets a payment end first."""
        logger.warning("rail_call_timed_out", rail=self.name, act=act, seconds=seconds)
        if lane == WAIT:
            async with self._lanes[COMMAND]:
                pass
        if self._process is process:
            await self._kill(f"{act} took more than {seconds:.0f} s")

    async def _running(self) -> _Process:
        async with self._starting:
            if self._closed:
                raise RailDown("the rail is closed")
            process = self._process
            if process is not None and not process.over:
                return process
            self._process = await self._start()
            return self._process

    async def _start(self) -> _Process:
        if remedy := absent():
            raise RailDown(remedy)
        try:
            child = await asyncio.create_subprocess_exec(
                *self._argv,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                limit=_MOST_LINE,
            )
        except OSError as error:
            raise RailDown(f"the rail's process does not start: {error}") from None
        process = _Process(child)
        await self._send(process, write_access(self._access))
        process.reader = asyncio.create_task(self._read(process), name="rail answers")
        return process

    async def _read(self, process: _Process) -> None:
        stream, text = process.child.stdout, "the rail's process ended"
        try:
            while stream is not None and (line := await stream.readline()):
                number, answer = read_answer(line)
                future = process.waiting.get(number)
                if future is not None and not future.done():
                    future.set_result(answer)
        except (Broken, ValueError, OSError) as error:
            text = f"the rail's process does not make sense: {error}"
            process.kill()
        process.fail_all(text)
        # No signal to one that is ending: Popen would reap it, and asyncio miss it aloud.
        try:
            await asyncio.wait_for(process.child.wait(), _END_S)
        except TimeoutError:
            process.kill()
            await process.child.wait()

    async def _kill(self, text: str) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.fail_all(text)
        process.kill()
        if process.reader is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(process.reader), _END_S)
