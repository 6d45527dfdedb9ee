"""What packaging/bootstrap says where it cannot go on: never a silent skip, always a remedy."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

PACKAGING = Path(__file__).parents[2] / "packaging"
TOOLS = ("sh", "dirname", "sed", "xargs", "echo", "cat", "env", "id")


class Machine:
    """A folder with a clone and the only programs that are on PATH."""

    def __init__(self, root: Path) -> None:
        self.bin = root / "bin"
        self.clone = root / "clone"
        (self.clone / "packaging").mkdir(parents=True)
        self.bin.mkdir()
        for name in ("bootstrap", "debian-packages.txt"):
            shutil.copy(PACKAGING / name, self.clone / "packaging")
        for tool in TOOLS:
            where = shutil.which(tool)
            assert where
            (self.bin / tool).symlink_to(where)

    def add(self, name: str, script: str) -> None:
        program = self.bin / name
        program.unlink(missing_ok=True)
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)

    def bootstrap(self) -> str:
        done = subprocess.run(
            ["packaging/bootstrap"],
            cwd=self.clone,
            env={"PATH": str(self.bin)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )
        assert done.returncode == 1, done.stderr
        assert done.stdout == ""
        assert not (self.clone / ".venv").exists()
        return done.stderr


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_without_apt_it_names_every_package_and_the_way_round(machine: Machine) -> None:
    said = machine.bootstrap()
    assert "there is no apt on this machine" in said
    assert "HEARTH_NO_APT=1 make env" in said
    for package in ("libtss2-dev", "swtpm-tools", "umockdev"):
        assert package in said


@pytest.mark.parametrize("sudo", [None, "exit 1"])
def test_without_rights_it_names_the_command_for_an_administrator(
    machine: Machine, sudo: str | None
) -> None:
    machine.add("id", "echo 1000")
    machine.add("dpkg-query", "echo 'gcc'; echo installed; echo swtpm; echo config-files")
    machine.add("apt-get", "echo called; exit 1")
    if sudo is not None:
        machine.add("sudo", sudo)
    said = machine.bootstrap()
    command = next(line for line in said.splitlines() if "Remedy" in line)
    assert "apt-get install --no-install-recommends" in command
    assert " swtpm " in f"{command} "
    assert " gcc " not in f"{command} "
    assert "called" not in said


def test_a_failing_apt_is_not_the_end_of_the_words(machine: Machine) -> None:
    machine.add("id", "echo 0")
    machine.add("dpkg-query", "exit 1")
    machine.add("apt-get", "echo 'E: no such mirror' >&2; exit 100")
    said = machine.bootstrap()
    assert "E: no such mirror" in said
    assert "apt-get update failed" in said
