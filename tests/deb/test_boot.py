"""How long a host that is enrolled takes to sell again after it was switched on."""

from __future__ import annotations

import json
import sqlite3
import time
from pathlib import Path

import pytest

from .conftest import SITE, System

pytestmark = pytest.mark.long

# Its standard input must not end; what it says first is where it listens.
UNIT = """
[Service]
ExecStart=/bin/sh -c 'sleep infinity | python3 -BIS /opt/modules -m agent.sandbox.exchange \\
  --dir /opt/exchange --allow-software >/opt/ready.json'
[Install]
WantedBy=multi-user.target
"""
BAR_S = 10.0
WAIT_S = 60.0


def first_offer_ns(system: System) -> int:
    """When the exchange accepted the first offer; 0: it has none."""
    database = sqlite3.connect(system.root / "opt/exchange/exchange.sqlite", timeout=10)
    try:
        (first,) = database.execute("SELECT coalesce(max(first_offer_ns), 0) FROM node").fetchone()
        return int(first)
    finally:
        database.close()


def test_the_first_offer_is_accepted_within_ten_seconds_of_the_network(
    system: System, package: Path
) -> None:
    system.install(package)
    system.run("cp", "--archive", SITE, "/opt/modules")
    (system.root / "etc/systemd/system/exchange.service").write_text(UNIT)
    system.run("systemctl", "enable", "--now", "--quiet", "exchange")
    ready = system.root / "opt/ready.json"
    deadline = time.monotonic() + WAIT_S
    while not (ready.exists() and ready.read_text().endswith("\n")):
        assert time.monotonic() < deadline, "the exchange does not start"
        time.sleep(0.2)
    said = json.loads(ready.read_text())
    # Without a daemon, so that the first offer is one after the reboot.
    system.run("systemctl", "stop", "hearth-agent")
    address, token = f"127.0.0.1:{said['enrol_port']}", said["token"]
    system.run("hearth", "enroll", address, "--token", token, "--ca", said["ca_file"])
    assert first_offer_ns(system) == 0

    system.reboot()
    deadline = time.monotonic() + WAIT_S
    while not (first := first_offer_ns(system)):
        assert time.monotonic() < deadline, system.says("hearth", "status")
        time.sleep(0.2)
    shown = system.says(
        "systemctl", "show", "--value", "--property=ActiveEnterTimestampMonotonic", "network.target"
    )
    booted_ns = time.time_ns() - time.monotonic_ns()
    took_s = (first - booted_ns) / 1e9 - int(shown) / 1e6
    assert 0 < took_s <= BAR_S
