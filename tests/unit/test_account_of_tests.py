"""The suite says which tests could not run, and why; nothing is skipped in silence."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

CONFTEST = Path(__file__).parents[1] / "conftest.py"
SUITE = """
import pytest

def test_runs(): pass

@pytest.mark.long
def test_long(): pass

@pytest.mark.hardware("/dev/no-such-device")
def test_hardware(): pass

@pytest.mark.hardware("/dev/null")
def test_hardware_that_is_here(): pass

def test_tool(): pytest.skip("no such tool")

@pytest.mark.parametrize("n", [1, 2])
def test_tools(n): pytest.skip("no such tool")
"""


def run(directory: Path, *options: str) -> str:
    (directory / "conftest.py").write_bytes(CONFTEST.read_bytes())
    (directory / "test_suite.py").write_text(SUITE)
    markers = ("-o", "markers=long\nhardware")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:asyncio", *markers, *options]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_each_test_that_could_not_run_is_named_and_counted(tmp_path: Path) -> None:
    said = run(tmp_path)
    assert "test_suite.py::test_hardware: no /dev/no-such-device here" in said
    assert "test_suite.py::test_tools[2]: no such tool" in said
    assert "not run: 4 (3 x no such tool; 1 x no /dev/no-such-device here)" in said
    assert "2 passed, 4 skipped, 1 deselected" in said


def test_long_ones_run_on_demand(tmp_path: Path) -> None:
    assert "3 passed, 4 skipped" in run(tmp_path, "--long")


def test_nothing_is_said_where_all_ran(tmp_path: Path) -> None:
    assert "not run" not in run(tmp_path, "-k", "test_runs")
