"""The whole way to money, over processes: leased, metered, invoiced, paid, given back, proven."""

from __future__ import annotations

import json
import secrets
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
