"""A full disk: nothing new is taken on, what there is is finished, and it goes on afterwards."""

from __future__ import annotations

import pytest

from agent.sandbox.child import BedError

from .conftest import UNITS, World, until

pytestmark = pytest.mark.long

RESERVE = "/var/lib/hearth/reserve"
# Nearly all of it in one stroke, the rest byte by byte.
FILL = (
    "fallocate -l $(($(df --output=avail -B1 / | tail -1) - 4000000)) /filler;"
    "! cat /dev/zero 2>/dev/null >> /filler; sync /filler"
)


def free(world: World) -> int:
    """VCPUs that are offered."""
    (found,) = [item for item in world.status().available if item.resource_class == "VCPU"]
    return int(found.units)


def process(world: World) -> str:
    return world.machine.run("systemctl show --value -p MainPID -p NRestarts hearth-agent")


def test_a_full_disk_is_waited_out(world: World) -> None:
    first = world.place()
    tenant = world.work(first)
    daemon = process(world)
    world.receipts_go_on(first)
    assert world.machine.run(f"stat -c %U {RESERVE}") == "hearth"
    assert free(world) > 0

    world.machine.run(FILL)
    until("it offers nothing", lambda: free(world) == 0)
    until("what was set aside is given up", lambda: not world.machine.run(f"ls {RESERVE} || :"))
    assert "make room on the disk of /var/lib/hearth" in world.status().next_steps[0]
    with pytest.raises(BedError):
        world.exchange.command(cmd="place", units=UNITS)
    assert world.tenant() == tenant

    # What was given up is for this: the lease ends, and is billed to its end.
    world.close_lease(first)
    assert process(world) == daemon

    world.machine.run("rm /filler")
    until("it offers again", lambda: free(world) > 0)
    until("room is set aside again", lambda: world.machine.run(f"ls {RESERVE} || :") == RESERVE)
    second = world.place()
    world.receipts_go_on(second)
    world.receipt(first)
    assert process(world) == daemon
    assert ": fine; " in world.machine.run("hearth journal check")
