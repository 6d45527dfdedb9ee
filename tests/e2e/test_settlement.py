"""The whole way to money, over processes: leased, metered, invoiced, paid, given back, proven."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.sandbox.bed import Bed
from agent.sandbox.exchange.purse import Purse
from tests.fakes.money_bed import hearth, lease, opened, until


@pytest.fixture
def world() -> Iterator[Bed]:
    with opened() as made:
        yield made


def test_delivered_capacity_becomes_money(world: Bed) -> None:
    """With the socket: full control of the node."""
    money_flows(world)


def test_the_least_access_is_set_up_as_the_documentation_says(world: Bed) -> None:
    """docs/settlement.md, "Ten minutes", step by step; then money flows both ways."""
    assert world.lightning is not None
    folder, before = world.directory, world.agent.configuration
    node = world.lightning.nodes["operator"]
    world.agent.stop()
    key, rest = folder / "lightning.key", before[: before.index("[settlement]")]
    assert "its id is" in hearth(world, "settlement", "setup", "--new-key", str(key))  # 1
    _configure(world, rest, key_file=str(key))  # 2
    said = hearth(world, "settlement", "setup", "--most-msat", "1000000", "--every", "1sec")
    commands = [line for line in said.splitlines() if line.startswith("lightning-cli ")]
    runes = {}
    for name, command in zip(("invoice", "pay", "payments"), commands, strict=True):  # 3
        cli, method, _, given = shlex.split(command)
        assert (cli, method) == ("lightning-cli", "createrune")
        restrictions = json.loads(given.removeprefix("restrictions="))
        made = asyncio.run(Purse(Path(node["socket"])).call(method, restrictions=restrictions))
        runes[f"{name}_rune_file"] = str(folder / f"{name}.rune")
        (folder / f"{name}.rune").write_text(f"{made['rune']}\n")
    _configure(  # 4
        world,
        rest,
        rail="cln-commando",
        node=f"{node['id']}@127.0.0.1:{node['port']}",
        key_file=str(key),
        network="regtest",
        **runes,
    )
    said = hearth(world, "settlement", "setup", "--socket", str(node["socket"]))  # 5
    assert [line for line in said.splitlines() if " rune: " in line] == [
        "invoice rune: fine",
        "pay rune: fine",
        "payments rune: fine",
    ]
    world.agent.start()
    world.agent.wait()
    money_flows(world)


def _configure(world: Bed, rest: str, **settlement: str) -> None:
    lines = [f'{name} = "{value}"' for name, value in settlement.items()]
    numbers = "least_msat = 1\nage_seconds = 5\ninvoice_life_seconds = 3600\n"
    world.agent.configuration = rest + "\n".join(["[settlement]", *lines, numbers])
    world.agent.write_configuration()


def money_flows(world: Bed) -> None:
    """Everything that is delivered is paid, what was missed is given back, all of it is proven."""
    exchange = world.exchanges[0]
    placed = exchange.command(cmd="place", units={"VCPU": 1, "MEMORY_MB": 64})["lease_id"]
    until("an invoice paid", lambda: lease(world)["money"]["paid_msat"])
    cgroup = Path(until("a cgroup", lambda: world.agent.status().leases[0].cgroup))
    (cgroup / "cgroup.freeze").write_text("1")
    until(
        "a rebate paid",
        lambda: [item for item in lease(world)["money"]["payouts"] if item["state"] == "PAID"],
    )
    (cgroup / "cgroup.freeze").write_text("0")
    world.agent.kill()
    world.agent.start()
    world.agent.wait()
    exchange.command(cmd="cashier", asking=False)  # what is left is netted
    exchange.command(cmd="release")
    until("everything settled", lambda: lease(world)["stage"] == "SETTLED")
    money = lease(world)["money"]
    netted = sum(item["msat"] for item in money["payouts"] if item["state"] == "NETTED")
    assert money["paid_msat"] == lease(world)["receipt"]["gross_msat"] - netted
    assert exchange.figures()["others_rejected"] == 0
    shown = json.loads(hearth(world, "settlement", "status", "--json"))
    (books,) = shown["leases"]
    assert (books["received_msat"], books["exposure_msat"]) == (money["paid_msat"], 0)
    assert books["payouts_paid_msat"] == money["returned_msat"]
    proof = world.directory / "payment.json"
    hearth(world, "settlement", "proof", placed, "1", "--out", str(proof))
    said = subprocess.run(
        [
            *(sys.executable, "-m", "agent.cli.app", "verify", str(proof)),
            *("--roots", exchange.ready["ca_file"]),
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout
    assert "PaymentNotice" in said
    assert "fine" in hearth(world, "journal", "check")


def test_a_node_that_hangs_delays_money_and_nothing_else(world: Bed) -> None:
    """Metering, receipts, acknowledgements and an orderly end go on; nothing is lost by it."""
    assert world.lightning is not None
    exchange = world.exchanges[0]
    exchange.command(cmd="place", units={"VCPU": 1, "MEMORY_MB": 64})
    until("an invoice paid", lambda: lease(world)["money"]["paid_msat"])
    os.kill(world.lightning.pid, signal.SIGSTOP)
    try:
        # Longer than a call takes, so that some call hangs for sure.
        so_far = lease(world)["acked_through"]
        until("receipts go on", lambda: lease(world)["acked_through"] >= so_far + 5)
        assert world.agent.stop() == 0, "it had to be killed"
    finally:
        os.kill(world.lightning.pid, signal.SIGCONT)
    world.agent.start()
    world.agent.wait()
    exchange.command(cmd="release")
    until("everything settled", lambda: lease(world)["stage"] == "SETTLED")
    assert lease(world)["money"]["paid_msat"] == lease(world)["receipt"]["gross_msat"]
