"""The whole way to money, over processes: leased, metered, invoiced, paid, given back, proven."""

from __future__ import annotations

import asyncio
import json
import secrets
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from agent.sandbox import bed
from agent.sandbox.bed import Bed
from agent.sandbox.exchange.purse import Purse
from probes.cgroup import find_root
from probes.host import Host

PATIENCE_S = 60.0
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


@pytest.fixture
def world() -> Iterator[Bed]:
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
        yield made
    finally:
        made.close()
        for inner in sorted(root.rglob("*"), reverse=True):
            with suppress(OSError):
                inner.rmdir()
        with suppress(OSError):
            root.rmdir()
        shutil.rmtree(directory, ignore_errors=True)


def until(what: str, holds: Callable[[], Any]) -> Any:
    """Wait for it."""
    deadline = time.monotonic() + PATIENCE_S
    while not (found := holds()):
        assert time.monotonic() < deadline, what
        time.sleep(0.2)
    return found


def lease(world: Bed) -> dict[str, Any]:
    found: dict[str, Any] = next(iter(world.exchanges[0].figures()["lease"].values()), {})
    return found


def hearth(world: Bed, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "agent.cli.app", *words, "--config", str(world.agent.config_file)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout


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
    until("an offer", lambda: exchange.figures().get("offers_accepted"))
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
