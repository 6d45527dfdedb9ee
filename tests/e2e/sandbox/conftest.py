"""The reference exchange as a process, and a node that has enrolled with it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.fakes.sandbox_process import SandboxProcess
from tests.fakes.scripted_agent import ScriptedAgent
from tests.fakes.scripted_lease import new_agent


@pytest.fixture
async def exchange(tmp_path: Path) -> AsyncIterator[SandboxProcess]:
    running = SandboxProcess(tmp_path / "exchange", "--allow-software", "--name", "test")
    await running.start()
    yield running
    if running.is_running:
        assert await running.stop() == 0
    assert running.tracebacks() == []


@pytest.fixture
async def agent(exchange: SandboxProcess) -> ScriptedAgent:
    """Enrolled."""
    node = new_agent()
    await node.enrol(exchange.ready["enrol_port"], exchange.ca, exchange.ready["token"])
    return node
