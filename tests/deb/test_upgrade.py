"""Another version takes over while a tenant works; an older one must not read a newer journal."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .conftest import Exchange, System

pytestmark = pytest.mark.long

WAIT_S = 40.0
CONFIGURATION = "[offer]\nreceipt_seconds = 1\n[log]\ncheckpoint_seconds = 2\n"
UNITS = {"VCPU": 1, "MEMORY_MB": 64}
JOURNAL = "/var/lib/hearth/journal.sqlite"
# Says, and with a word sets, the journal's version.
SCHEMA = f"""
import sqlite3, sys
journal = sqlite3.connect("{JOURNAL}")
for version in sys.argv[1:]:
    journal.execute(f"PRAGMA user_version = {{version}}")
print(journal.execute("PRAGMA user_version").fetchone()[0])
"""


@pytest.fixture
def exchange(system: System, package: Path) -> Iterator[Exchange]:
    """A system that has the package, enrolled with an exchange that accepts software keys."""
    conf_d = system.root / "etc/hearth/conf.d"
    conf_d.mkdir(parents=True)
    (conf_d / "fast.toml").write_text(CONFIGURATION)
    system.install(package)
    running = Exchange(system, ("--allow-software", "--heartbeat", "2"))
    running.start()
    try:
        address = f"127.0.0.1:{running.ready['enrol_port']}"
        token, authority = running.ready["token"], running.ready["ca_file"]
        system.run("hearth", "enroll", address, "--token", token, "--ca", authority)
        yield running
    finally:
        running.stop()


def until(what: str, holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        time.sleep(0.3)


def place(exchange: Exchange) -> str:
    """A lease, once the exchange has an offer; its id when it is active."""
    system = exchange.system
    until("a lease is placed", lambda: bool(exchange.command(cmd="place", units=UNITS)["ok"]))

    def active() -> list[str]:
        return [x["lease_id"] for x in system.status()["leases"] if x["state"] == "ACTIVE"]

    until("the lease is active", lambda: len(active()) == 1)
    return active()[0]


def tenant(system: System, lease: str) -> str:
    """Let a tenant work in the lease; returns where its process is, see `whereabouts`."""
    system.run("systemd-run", "--quiet", "hearth", "lease", "run", lease, "--", "sleep", "1000")
    until("the tenant works", lambda: system.run("pgrep", "-x", "sleep", code=None).returncode == 0)
    return whereabouts(system)


def whereabouts(system: System) -> str:
    """The process of the tenant as the kernel knows it: pid, start, cgroup."""
    pid = system.says("pgrep", "-x", "sleep")
    started = system.says("cat", f"/proc/{pid}/stat").split()[21]
    return f"{pid} {started} {system.says('cat', f'/proc/{pid}/cgroup')}"


def receipts(exchange: Exchange, lease: str) -> int:
    """The last sequence that the exchange stored; it has counted no gap and rejected nothing."""
    figures = exchange.figures()
    wrong = ("gaps", "regressions", "receipts_rejected", "others_rejected", "log_breaks")
    assert {name: figures[name] for name in wrong if figures[name]} == {}
    receipt = figures["lease"][lease]["receipt"]
    return int(receipt["sequence"]) if receipt else 0


def test_an_upgrade_leaves_tenants_and_their_receipts_alone(
    system: System, package: Path, newer_package: Path, exchange: Exchange
) -> None:
    lease = place(exchange)
    before = tenant(system, lease)
    assert "hearth-" in before
    until("receipts", lambda: receipts(exchange, lease) >= 2)
    daemon = system.unit("MainPID")

    system.install(newer_package)
    assert system.says("hearth", "--version") == "hearth 9.9.9"
    assert system.status()["agent_version"] == "9.9.9"
    assert system.unit("MainPID") != daemon
    assert whereabouts(system) == before
    reached = receipts(exchange, lease)
    until("receipts go on", lambda: receipts(exchange, lease) >= reached + 3)
    assert ": fine; " in system.says("hearth", "journal", "check")

    # A version that knows no less of the journal may come back.
    system.install(package, options=("--allow-downgrades",))
    assert whereabouts(system) == before
    until("receipts go on", lambda: receipts(exchange, lease) >= reached + 6)

    # Removed in the middle of a lease: the tenant is left alone.
    system.apt("remove", "hearth-agent")
    assert system.unit("ActiveState") == ["inactive"]
    assert whereabouts(system) == before

    # And in the middle of an upgrade, where dpkg asks nobody before it removes.
    system.install(package)
    system.put(newer_package)
    system.run("dpkg", "--unpack", f"/root/{newer_package.name}")
    assert system.unit("ActiveState") == ["active"]
    system.run("dpkg", "--remove", "hearth-agent")
    assert system.unit("ActiveState") == ["inactive"]
    assert whereabouts(system) == before


def test_an_older_version_is_refused_before_anything_changes(
    system: System, package: Path, newer_package: Path
) -> None:
    system.install(newer_package)
    system.run("systemctl", "stop", "hearth-agent")
    known = int(system.says("python3", "-c", SCHEMA))
    system.run("python3", "-c", SCHEMA, str(known + 1))

    said = system.install(package, options=("--allow-downgrades",), code=100)
    assert f"(schema {known + 1}; this version knows up to {known})" in said
    assert "Nothing was changed" in said
    state = system.says("dpkg-query", "-W", "-f", "${Version} ${db:Status-Abbrev}", "hearth-agent")
    assert state == "9.9.9 ii"
    assert system.says("hearth", "--version") == "hearth 9.9.9"
    owners = system.says("find", "/var/lib/hearth", "-not", "-user", "hearth")
    assert owners == ""

    # Nor does it come back through the side door of a removal.
    system.apt("remove", "hearth-agent")
    system.install(package, options=("--allow-downgrades",), code=100)
    assert (system.root / JOURNAL[1:]).exists()


def test_a_purge_keeps_what_is_not_settled_and_says_where(
    system: System, exchange: Exchange
) -> None:
    lease = place(exchange)
    until("a receipt", lambda: receipts(exchange, lease) >= 1)
    # Without room for the archive nothing is dropped.
    system.run("mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", "/var/backups")
    assert "Remedy: make room there" in system.apt("purge", "hearth-agent", code=100)
    assert list((system.root / "var/backups").iterdir()) == []
    system.run("umount", "/var/backups")

    said = system.apt("purge", "hearth-agent")
    (archive,) = (system.root / "var/backups").glob("hearth-*")
    assert f"/var/backups/{archive.name}" in said
    assert "1 lease(s) not settled" in said
    facts = archive.stat()
    assert (facts.st_mode & 0o777, facts.st_uid) == (0o600, 0)
    held = system.says("tar", "-tzf", f"/var/backups/{archive.name}").splitlines()
    assert {"hearth/journal.sqlite", "hearth/node.pem"} <= set(held)
    for gone in ("var/lib/hearth", "etc/hearth", "usr/lib/hearth-agent"):
        assert not (system.root / gone).exists()

    # The archive is the whole of it: laid back, the node goes on.
    (newest,) = (system.root / "root").glob("hearth-agent_*.deb")
    system.run("tar", "-C", "/var/lib", "-xzf", f"/var/backups/{archive.name}")
    system.apt("install", f"/root/{newest.name}")
    assert lease in {item["lease_id"] for item in system.status()["leases"]}
