"""The package's whole life on a host: installed, run, upgraded, removed, back again, purged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .conftest import System

pytestmark = pytest.mark.long

# What changes on any host that something is installed on, and whatever is: logs, apt's own books.
CHANGES_ANYWAY = (
    "/root",
    "/tmp",
    "/var/backups",
    "/var/cache",
    "/var/lib/apt",
    "/var/lib/dpkg",
    "/var/lib/systemd",
    "/var/log",
    "/var/tmp",
)
# The user stays when its package goes: a later user must not inherit what it owned.
OF_USERS = {
    f"/etc/{name}{copy}" for name in ("passwd", "shadow", "group", "gshadow") for copy in ("", "-")
}

PRIVATE = "import sys; sys.path.insert(0, '/usr/lib/hearth-agent/site'); "
# Where the bytecode of all that the daemon imports from the package is looked for.
IMPORTED = f"""
{PRIVATE}
import agent.daemon
for module in list(sys.modules.values()):
    cached = getattr(module, "__cached__", None)
    if cached and cached.startswith("/usr/lib/hearth-agent/"):
        print(cached)
"""


MANAGER = (
    "org.freedesktop.systemd1",
    "/org/freedesktop/systemd1",
    "org.freedesktop.systemd1.Manager",
)
LEASE = "0123456789ab_01234567_89ab_7cde_8f01_23456789abcd"
PLANTED = "1 ExecStart a(sasb) 1 /bin/touch 2 touch /root/planted false 0"
# What the agent's user asks of systemd and must not get: method, signature, arguments.
FORBIDDEN = (
    "StartUnit ss hearth-lease@.service replace",
    f"StartUnit ss hearth-lease@stop-{LEASE}.service replace",
    f"StartUnit ss hearth-lease@kill-{LEASE}.service isolate",
    "StartUnit ss poweroff.target replace",
    f"StopUnit ss hearth-{LEASE}.slice replace",
    f"RestartUnit ss hearth-lease@kill-{LEASE}.service replace",
    f"SetUnitProperties sba(sv) hearth-{LEASE}.slice true 1 TasksMax t 1",
    f"StartTransientUnit ssa(sv)a(sa(sv)) planted.service replace {PLANTED}",
    # systemd 257 puts this to polkit as a plain start; it then refuses what a template's file is.
    f"StartTransientUnit ssa(sv)a(sa(sv)) hearth-lease@kill-{LEASE}.service replace {PLANTED}",
)


def listing(system: System) -> dict[str, str]:
    """Every path of the system with type, mode, owner, size and link target."""
    prune = [word for path in CHANGES_ANYWAY for word in ("-path", path, "-o")][:-1]
    found = system.says(
        "find", "/", "-xdev", "(", *prune, ")", "-prune", "-o",
        "(", "-type", "d", "-printf", r"%p\t%M %u:%g\n", ")", "-o",
        "-printf", r"%p\t%M %u:%g %s %l\n",
    )  # fmt: skip
    lines = (line.partition("\t") for line in found.splitlines())
    return {path: facts for path, _, facts in lines if path not in OF_USERS}


def node_of(system: System) -> str:
    return str(system.status()["node_id"])


def test_the_whole_life(system: System, package: Path) -> None:
    before = listing(system)

    # Installed: it runs, unenrolled, and says what to do next.
    said = system.install(package)
    assert "hearth" in said
    assert system.unit("ActiveState", "SubState", "UnitFileState") == [
        "active",
        "running",
        "enabled",
    ]
    assert "hearth enroll" in system.status()["next_steps"][0]
    assert system.says("hearth", "status").startswith("next: enrol with an exchange")
    assert ": fine; " in system.says("hearth", "config", "check")
    assert system.status()["capacity"]
    node = node_of(system)

    # Nothing is compiled when it starts: what it imports lies there compiled, for this Python.
    imported = system.says("/usr/bin/python3", "-BISc", IMPORTED).splitlines()
    assert len(imported) > 200
    assert [path for path in imported if not (system.root / path[1:]).exists()] == []

    # Its completions, without what the package leaves out of rich.
    asked = ("_HEARTH_COMPLETE=complete_zsh", "_TYPER_COMPLETE_ARGS=hearth st")
    assert '"status":"Show' in system.says("env", *asked, "hearth")

    # What it holds at rest (the bar of the issue).
    pid = system.unit("MainPID")[0]
    (resident,) = (
        int(line.split()[1])
        for line in system.says("cat", f"/proc/{pid}/status").splitlines()
        if line.startswith("VmRSS")
    )
    assert resident <= 72 * 1024

    # Restarted: the same node.
    system.run("systemctl", "restart", "hearth-agent")
    assert node_of(system) == node
    assert system.unit("MainPID")[0] != pid

    # An edited configuration is kept.
    configuration = system.root / "etc/hearth/hearth.toml"
    edited = configuration.read_text() + '\n[site]\nid = "bakery"\n'
    configuration.write_text(edited)

    # Removed: what it holds stays; back again it is the same node.
    system.apt("remove", "hearth-agent")
    assert not (system.root / "usr/lib/hearth-agent").exists()
    assert (system.root / "var/lib/hearth/journal.sqlite").exists()
    assert system.unit("ActiveState") == ["inactive"]
    system.install(package)
    assert node_of(system) == node
    assert configuration.read_text() == edited

    # Purged: nothing is owed, so nothing is kept.
    assert "are kept in" not in system.apt("purge", "hearth-agent")
    assert list((system.root / "var/backups").glob("hearth-*")) == []
    after = listing(system)
    assert {path: facts for path, facts in after.items() if before.get(path) != facts} == {}
    assert set(before) - set(after) == set()
    assert "hearth" not in system.says("find", "/var/lib/systemd", "/var/lib/dpkg/info", "/run")
    assert system.says("getent", "passwd", "hearth")


def asks(system: System, call: str) -> int:
    """Let the agent's user call systemd's manager; the exit code."""
    user = ("setpriv", "--reuid=hearth", "--regid=hearth", "--init-groups")
    return system.run(*user, "busctl", "call", *MANAGER, *call.split(), code=None).returncode


def slices(system: System) -> str:
    return system.says("find", "/sys/fs/cgroup", "-name", "hearth-*.slice")


def test_it_keeps_to_what_is_its_own(system: System, package: Path) -> None:
    # An account that somebody logs in to is not taken for the agent's.
    system.run("useradd", "--shell", "/bin/bash", "hearth")
    assert "rename that account" in system.install(package, code=100)
    assert not (system.root / "usr/lib/hearth-agent").exists()
    system.run("userdel", "hearth")

    # The state is on a disk of its own.
    system.run("mkdir", "/var/lib/hearth")
    system.run("mount", "-t", "tmpfs", "tmpfs", "/var/lib/hearth")
    system.install(package)
    assert system.status()["node_id"]

    # An agent that was taken over may order a lease's slice, and nothing else.
    system.run("systemctl", "stop", "hearth-agent")
    for call in FORBIDDEN:
        assert asks(system, call) == 1, call
    assert not (system.root / "root/planted").exists()
    assert slices(system) == ""
    order = f"hearth-lease@create-{LEASE}-1000-64.service"
    assert asks(system, f"StartUnit ss {order} replace") == 0
    system.run("systemctl", "start", order)  # waits for it
    assert slices(system).endswith(f"/hearth-{LEASE}.slice")

    # Purged, the disk stays where it was mounted.
    system.apt("purge", "hearth-agent")
    assert system.says("find", "/var/lib/hearth") == "/var/lib/hearth"
    system.run("mountpoint", "--quiet", "/var/lib/hearth")


def test_the_lightning_half_comes_and_goes_alone(
    system: System, package: Path, lightning_package: Path
) -> None:
    pyln = f"{PRIVATE}import pyln.client"
    system.install(package, lightning_package)
    system.run("/usr/bin/python3", "-BISc", pyln)
    # The whole way, from what the packages brought.
    assert json.loads(system.says("hearth", "demo", "--for", "20s", "--json"))["ok"]
    # The bar for what both take, with the bytecode for this host's Python.
    taken = system.says("du", "-s", "--block-size=1000000", "/usr/lib/hearth-agent")
    assert int(taken.split()[0]) <= 130
    system.apt("remove", "hearth-agent-lightning")
    system.run("/usr/bin/python3", "-BISc", pyln, code=1)
    said = system.run("hearth", "demo", "--for", "20s", code=1).stderr
    assert "install the package hearth-agent-lightning" in said
    assert system.says("find", "/usr/lib/hearth-agent", "-path", "*pyln*") == ""
    assert system.status()["node_id"]
