"""The rail's process: killed at its deadline, started again, and never in the event loop's way."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from agent.sandbox.lightningd.hosting import Hosting
from agent.sandbox.lightningd.methods import make_node
from agent.sandbox.lightningd.network import Fault, Network
from agent.settle.access import RuneAccess, SocketAccess
from agent.settle.rail import Paid, PaymentOrder, RailDown, Unknown
from agent.settle.remote import Deadlines, RemoteRail

SOON = Deadlines(command_s=3, margin_s=2)


@pytest.fixture
async def hosting(tmp_path: Path) -> AsyncIterator[Hosting]:
    network = Network()
    for name in ("operator", "exchange"):
        make_node(network, name)
    async with Hosting(network, tmp_path) as hosting:
        yield hosting


@pytest.fixture
async def rail(hosting: Hosting) -> AsyncIterator[RemoteRail]:
    made = RemoteRail("cln", SocketAccess(str(hosting.socket("operator"))), SOON)
    yield made
    await made.close()


def child(rail: RemoteRail) -> int:
    assert rail._process is not None
    return rail._process.child.pid


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110 - nothing there could ring
            await asyncio.sleep(0.02)


async def longest_stall(done: asyncio.Event) -> float:
    """The longest time in which the event loop did nothing."""
    worst, last = 0.0, time.monotonic()
    while not done.is_set():
        await asyncio.sleep(0.01)
        now = time.monotonic()
        worst, last = max(worst, now - last), now
    return worst


async def test_a_hung_node_costs_a_deadline_and_the_loop_nothing(
    hosting: Hosting, rail: RemoteRail
) -> None:
    await rail.health()
    pid, done = child(rail), asyncio.Event()
    stall = asyncio.create_task(longest_stall(done))
    hosting.network.faults.append(Fault("operator", "request", "hang", "listinvoices"))
    began = time.monotonic()
    with pytest.raises(RailDown, match="no answer in 3 s"):
        await rail.invoice_state("hearth/x")
    assert 2.9 < time.monotonic() - began < 5
    done.set()
    assert await stall < 1.0
    assert gone(pid)
    assert await rail.invoice_state("hearth/x") is None
    assert child(rail) != pid


async def test_a_node_that_is_stopped_cold_does_not_delay_closing(
    hosting: Hosting, rail: RemoteRail
) -> None:
    hosting.network.faults.append(Fault("operator", "request", "hang"))
    waiting = asyncio.create_task(rail.paid_after(0, 3600))
    await asyncio.sleep(1)
    began = time.monotonic()
    await rail.close()
    assert time.monotonic() - began < 1
    with pytest.raises(RailDown, match="closed"):
        await waiting
    with pytest.raises(RailDown, match="closed"):
        await rail.health()


async def test_waiting_for_payments_keeps_nobody_waiting(rail: RemoteRail) -> None:
    waiting = asyncio.create_task(rail.paid_after(0, 30))
    await asyncio.sleep(1)
    began = time.monotonic()
    await rail.invoice("hearth/x", 1000, "x", 60)
    assert time.monotonic() - began < 1
    assert not waiting.done()
    waiting.cancel()


async def test_a_killed_process_is_started_again(rail: RemoteRail) -> None:
    made = await rail.invoice("hearth/x", 1000, "x", 60)
    waiting = asyncio.create_task(rail.paid_after(0, 30))
    await asyncio.sleep(0.2)
    os.kill(child(rail), 9)
    with pytest.raises(RailDown, match="ended"):
        await waiting
    assert await rail.invoice("hearth/x", 1000, "x", 60) == made


async def test_a_payment_whose_process_dies_is_unknown_and_is_not_made_twice(
    hosting: Hosting,
) -> None:
    payee, payer = hosting.network.nodes["operator"], hosting.network.nodes["exchange"]
    made = payee.call("invoice", amount_msat=1000, label="x", description="x")
    order = PaymentOrder(made["bolt11"], bytes.fromhex(made["payment_hash"]), 1000, 100)
    rail = RemoteRail("cln", SocketAccess(str(hosting.socket("exchange"))), SOON)
    hosting.network.holds.everything = True
    paying = asyncio.create_task(rail.pay(order))
    await until(lambda: bool(hosting.network.htlcs))
    os.kill(child(rail), 9)
    assert isinstance(await paying, Unknown)
    assert isinstance(await rail.pay(order), Unknown)
    hosting.network.holds.everything = False
    hosting.network.advance()
    assert isinstance(await rail.pay(order), Paid)
    assert [p.status for p in payer.payments] == ["complete"]
    await rail.close()


async def test_a_lane_that_waits_in_vain_lets_a_payment_end(hosting: Hosting) -> None:
    payee = hosting.network.nodes["operator"]
    made = payee.call("invoice", amount_msat=1000, label="x", description="x")
    order = PaymentOrder(made["bolt11"], bytes.fromhex(made["payment_hash"]), 1000, 100, 10)
    deadlines = Deadlines(command_s=10, margin_s=1)
    rail = RemoteRail("cln", SocketAccess(str(hosting.socket("exchange"))), deadlines)
    await rail.health()
    hosting.network.holds.everything = True
    paying = asyncio.create_task(rail.pay(order))
    hosting.network.faults.append(Fault("exchange", "request", "hang", "waitanyinvoice"))
    waiting = asyncio.create_task(rail.paid_after(0, 1))
    await asyncio.sleep(3)  # its deadline has passed
    hosting.network.holds.everything = False
    hosting.network.advance()
    assert isinstance(await paying, Paid)
    with pytest.raises(RailDown):
        await waiting
    await rail.close()


async def test_a_process_that_talks_nonsense_is_ended(tmp_path: Path) -> None:
    liar = tmp_path / "python"
    liar.write_text("#!/bin/sh\nread -r access\nread -r request\necho nonsense\nexec sleep 60\n")
    liar.chmod(0o755)
    rail = RemoteRail("cln", SocketAccess("/nowhere"), SOON, command=[str(liar)])
    for _ in range(2):
        with pytest.raises(RailDown, match="does not make sense"):
            await rail.health()
        await until(lambda: gone(child(rail)))
    await rail.close()


async def test_a_node_that_is_not_there(tmp_path: Path) -> None:
    rail = RemoteRail("cln", SocketAccess(str(tmp_path / "nothing.sock")), SOON)
    with pytest.raises(RailDown, match="No such file"):
        await rail.health()
    await rail.close()


async def test_runes_stay_out_of_the_command_line(tmp_path: Path) -> None:
    from agent.settle.audit import Purpose, restrictions
    from agent.settle.runes import Alternative, Rune

    rows = tuple(
        tuple(Alternative.parse(text) for text in row) for row in restrictions(Purpose.INVOICE)
    )
    rune = Rune(bytes(32), "1", rows).text()
    access = RuneAccess("02" + "00" * 31 + "01", "127.0.0.1", 1, rune)
    rail = RemoteRail("cln-commando", access, SOON)
    asking = asyncio.create_task(rail.health())
    await until(lambda: rail._process is not None)
    line = await asyncio.to_thread(Path(f"/proc/{child(rail)}/cmdline").read_bytes)
    assert b"agent.settle.worker" in line
    assert rune.encode() not in line
    assert rune not in os.environ.values()
    with pytest.raises(RailDown):
        await asking
    await rail.close()


LOADED = """
import sys
{body}
print(*(name for name, module in sys.modules.items() if module is not None), sep="\\n")
"""


def loaded(body: str) -> set[str]:
    said = subprocess.run(
        [sys.executable, "-c", LOADED.format(body=body)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return {name.partition(".")[0] for name in said.stdout.split()}


def test_pyln_is_loaded_in_the_worker_only_and_only_what_is_configured() -> None:
    heavy = {"pyln", "coincurve"}
    assert not heavy & loaded("import agent.settle.registry, agent.settle.remote")
    assert not heavy & loaded("import agent.settle.worker")
    socket = loaded(
        "from agent.settle.worker import node_at; from agent.settle.access import SocketAccess\n"
        "node_at(SocketAccess('/x'))"
    )
    assert "pyln" in socket


def test_reading_an_invoice_needs_no_process_and_no_library() -> None:
    body = (
        "import asyncio, json\n"
        "from agent.settle.access import SocketAccess\n"
        "from agent.settle.remote import RemoteRail\n"
        "from tests.fakes.cln_replay import recording\n"
        "text = recording('decode_bolt11_deschash')['params']['string']\n"
        "rail = RemoteRail('cln', SocketAccess('/nowhere'))\n"
        "assert asyncio.run(rail.decode(text)).amount_msat == 123456\n"
        "assert rail._process is None"
    )
    assert "coincurve" not in loaded(body)


async def test_without_the_lightning_half_it_says_what_to_install(
    rail: RemoteRail, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as host:
        host.setitem(sys.modules, "pyln", None)  # not there, to importlib
        with pytest.raises(RailDown, match="install the package hearth-agent-lightning"):
            await rail.health()
    # Installed meanwhile, nothing has to be started again.
    assert (await rail.health()).network == "regtest"
