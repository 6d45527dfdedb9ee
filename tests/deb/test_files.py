"""The packages as files: their size, what lintian says, and that they are built the same again."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest

from .conftest import ROOT

pytestmark = pytest.mark.long

MEGABYTE = 1_000_000


def field(package: Path, name: str) -> str:
    """One field of the control file."""
    done = subprocess.run(
        ["dpkg-deb", "--field", package, name], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def contents(package: Path) -> list[str]:
    done = subprocess.run(
        ["dpkg-deb", "--contents", package], capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()


def test_sizes(package: Path, lightning_package: Path) -> None:
    """The bars of issue 3: both releases' Pythons are in the one file."""
    assert package.stat().st_size <= 30 * MEGABYTE
    assert (package.stat().st_size + lightning_package.stat().st_size) <= 30 * MEGABYTE
    installed = int(field(package, "Installed-Size")) + int(
        field(lightning_package, "Installed-Size")
    )
    assert installed * 1024 <= 130 * MEGABYTE


def test_everything_belongs_to_root_and_only_root_writes_it(package: Path) -> None:
    for line in contents(package):
        mode, owner = line.split()[:2]
        assert owner == "root/root", line
        assert mode[5] != "w", line
        assert mode[8] != "w", line
        assert "s" not in mode.lower(), line


def test_an_extension_for_each_python_and_no_bytecode(package: Path) -> None:
    paths = [line.split()[5] for line in contents(package)]
    for python in ("311", "312", "313"):
        name = f"cygrpc.cpython-{python}-x86_64-linux-gnu.so"
        assert any(path.endswith(name) for path in paths)
    assert [path for path in paths if path.endswith((".pyc", "RECORD", "direct_url.json"))] == []


def test_lintian_has_no_errors_and_each_override_its_reason(
    package: Path, lightning_package: Path
) -> None:
    # Not --show-overrides: what is overridden would then count for --fail-on.
    command = ["lintian", "--profile", "debian", "--fail-on", "error,warning", "--display-info"]
    done = subprocess.run(
        [*command, package, lightning_package],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "unused-override" not in done.stdout
    for overrides in (ROOT / "packaging" / "debian").glob("*.lintian-overrides"):
        lines = overrides.read_text().splitlines()
        for above, line in zip(["", *lines], lines, strict=False):
            assert line.startswith("#") or above.startswith("#"), f"{overrides}: {line}: why?"


def test_two_builds_are_the_same_to_the_last_byte(
    package: Path, lightning_package: Path, second_build: tuple[subprocess.Popen[bytes], Path]
) -> None:
    build, folder = second_build
    assert build.wait(540) == 0
    for first in (package, lightning_package):
        again = folder / first.name
        digests = [hashlib.sha256(file.read_bytes()).hexdigest() for file in (first, again)]
        assert digests[0] == digests[1], f"compare with diffoscope: {first} and a second build"
