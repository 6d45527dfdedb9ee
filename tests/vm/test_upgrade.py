"""Another version takes over while a tenant works under limits that are enforced."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.deb.repack import repack

from .conftest import World, until

pytestmark = pytest.mark.long


def test_an_upgrade_leaves_the_tenant_alone(world: World, package: Path, tmp_path: Path) -> None:
    newer = repack(package, "9.9.9", tmp_path)
    lease = world.place()
    tenant = world.work(lease)
    world.receipts_go_on(lease)

    world.machine.does("push", str(newer), "/root/newer.deb")
    world.machine.run("DEBIAN_FRONTEND=noninteractive dpkg --install /root/newer.deb", seconds=580)
    world.back()
    assert world.status().agent_version == "9.9.9"
    assert world.tenant() == tenant
    assert world.lease(lease).limits_in_force
    world.receipts_go_on(lease)
    used = world.receipt(lease)["totals"]["VCPU"]["used_unit_ms"]
    until("it goes on being metered", lambda: _used(world, lease) > used)
    world.close_lease(lease)
    assert ": fine; " in world.machine.run("hearth journal check")


def _used(world: World, lease: str) -> int:
    return int(world.receipt(lease)["totals"]["VCPU"]["used_unit_ms"])
