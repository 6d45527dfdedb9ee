"""Beds for the crash tests: everything in a short directory of its own, cgroups of its own."""

from __future__ import annotations

import contextlib
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from probes.cgroup import find_root
from probes.host import Host


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory whose path is short enough for unix sockets."""
    path = Path(tempfile.mkdtemp(prefix="hearth-crash-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def cgroup_root() -> Iterator[Path]:
    """A directory of the unified hierarchy for this test alone."""
    path = find_root(Host()) / f"hearth-test-{secrets.token_hex(4)}"
    yield path
    for inner in sorted(path.rglob("*"), reverse=True):
        if inner.is_dir():
            with contextlib.suppress(OSError):
                inner.rmdir()
    with contextlib.suppress(OSError):
        path.rmdir()
