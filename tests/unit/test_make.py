"""The Makefile's promises that nothing else would notice to be broken."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_the_parts_of_check_long_are_the_folders_of_long_tests() -> None:
    (parts,) = re.findall(r"^LONG_PARTS := (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    collected = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "--long", "-m", "long"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert collected.returncode == 0, collected.stdout
    folders = set(re.findall(r"^tests/([^/]+)/\S+::", collected.stdout, re.MULTILINE))
    assert folders == set(parts.split())


@pytest.mark.parametrize("systems", ["deb", "vm"])
def test_every_file_of_tests_on_whole_systems_is_a_part_of_its_own(systems: str) -> None:
    text = (ROOT / "Makefile").read_text()
    (parts,) = re.findall(rf"^{systems.upper()}_PARTS := (.+)$", text, re.MULTILINE)
    files = {file.stem for file in (ROOT / "tests" / systems).glob("test_*.py")}
    assert files == {f"test_{part}" for part in parts.split()}


@pytest.mark.parametrize(
    "target", ["deb", "demo", "check", "check-long", "proto", "bench", "fmt", "lock"]
)
def test_every_target_makes_the_environment_first(target: str) -> None:
    make = shutil.which("make")
    assert make
    plan = subprocess.run(
        [make, "--dry-run", "--always-make", target],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
        # Run by `make check` this make would be a sub-make, and say so.
        env={name: value for name, value in os.environ.items() if not name.startswith("MAKE")},
    ).stdout.splitlines()
    assert plan[0] == "packaging/bootstrap"
    assert len(plan) > 1
