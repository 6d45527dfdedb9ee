"""Which agent this is."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

import agent
import attest
import probes

# pyproject.toml reads it from here. Asking importlib.metadata would load the email package, 1 MiB.
VERSION = "0.1.0"


def version() -> str:
    """Return this agent's version."""
    return VERSION


@cache
def code_sha256() -> bytes:
    """Return the digest over this agent's own Python files: name, size and content, sorted by name.

    An IMA log shows which files were run; this says which files there are.
    """
    digest = hashlib.sha256()
    for package in (agent, attest, probes):
        top = Path(package.__file__ or "").parent
        for file in sorted(top.rglob("*.py")):
            content = file.read_bytes()
            name = f"{top.name}/{file.relative_to(top)}"
            digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return digest.digest()
