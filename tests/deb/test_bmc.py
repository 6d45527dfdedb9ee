"""The BMC's helper as the service manager starts it, without a BMC."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from .conftest import System

pytestmark = pytest.mark.long

INSTANCES = ("systemctl", "--plain", "--no-legend", "list-units", "hearth-ipmi@*")
# Connects, says so and what comes back; then waits for the other end.
HOLD = """
import socket, sys
link = socket.socket(socket.AF_UNIX)
link.connect("/run/hearth-ipmi.sock")
link.sendall(sys.argv[1].encode())
print("connected", flush=True)
while link.recv(999):
    pass
"""


def hold(system: System, words: str) -> subprocess.Popen[str]:
    """A connection that asks and is then kept, as the agent keeps its own."""
    holder = system.start("python3", "-c", HOLD, words)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "connected\n"
    return holder


def test_masking_the_socket_ends_what_was_accepted(system: System, package: Path) -> None:
    system.install(package)
    with hold(system, "power\n") as holder:
        assert len(system.says(*INSTANCES).splitlines()) == 1
        system.run("systemctl", "mask", "--now", "hearth-ipmi.socket")
        assert holder.wait(30) in (0, 1)  # reset, where an answer was on its way
    assert system.says(*INSTANCES) == ""

    # Through a removal as well, after which nothing of it is left.
    system.apt("install", "--reinstall", f"/root/{package.name}")
    assert system.says("systemctl", "show", "--value", "-pActiveState", "hearth-ipmi.socket") == (
        "inactive"
    )
    system.apt("purge", "hearth-agent")
    system.run("test", "!", "-e", "/run/hearth-ipmi.sock")


def test_another_word_ends_the_connection_and_is_in_the_journal(
    system: System, package: Path
) -> None:
    system.install(package)
    with hold(system, "power on\n") as holder:
        assert holder.wait(30) in (0, 1)
    system.run("journalctl", "--sync")
    said = system.says("journalctl", "--output=cat", "-u", "hearth-ipmi@*")
    assert "ipmi-ask: no such question" in said.splitlines()


def test_a_bmc_that_was_there_before_the_package_gets_its_device(
    system: System, package: Path
) -> None:
    """Without a reboot: what loads the device's driver is a rule of the package's."""
    asked = system.root / "root/asked"
    trigger = system.root / "usr/local/bin/udevadm"
    trigger.write_text(
        '#!/bin/sh\necho "$*" >>/root/asked\ngetent group hearth-ipmi >>/root/asked\n'
    )
    trigger.chmod(0o755)
    system.run("mkdir", "-p", "/run/udev")
    system.run("touch", "/run/udev/control")
    system.install(package, options=("-o", "DPkg::Path="))  # apt's own knows no /usr/local
    said = asked.read_text().splitlines()
    order = "trigger --action=add --subsystem-match=platform --sysname-match=ipmi_bmc*"
    assert order in said
    assert said[said.index(order) + 1].startswith("hearth-ipmi:")
