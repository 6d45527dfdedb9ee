"""This host as a signer: what it says of its hardware, and when."""

from __future__ import annotations

from pathlib import Path

from probes.host import Host
from tests.fakes import spine


async def test_only_other_hardware_is_another_generation(tmp_path: Path) -> None:
    node, _ = await spine.open_node(tmp_path / "state")
    first = node.inventory_generation
    leaves = await node.journal.read(lambda view: view.size())
    assert not await node.look_again()
    assert await node.journal.read(lambda view: view.size()) == leaves
    assert node.inventory_generation == first
    (tmp_path / "bare").mkdir()
    node.host = Host(tmp_path / "bare")  # everything was pulled out
    assert await node.look_again()
    assert await node.journal.read(lambda view: view.size()) == leaves + 1
    assert node.inventory_generation == first + 1
    assert node.capacity == {}
    node.close()
