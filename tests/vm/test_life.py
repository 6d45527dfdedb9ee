"""On a machine of its own: attested, metered within its limits, through whatever happens to it."""

from __future__ import annotations

import json

import pytest
from hearth.v1 import common_pb2

from .conftest import UNITS, World, until

pytestmark = pytest.mark.long

DISK = {"driver": "nvme", "id": "n1", "drive": "nvme", "serial": "S1", "bus": "hp0"}
PLUG = json.dumps({"execute": "device_add", "arguments": DISK})
UNPLUG = json.dumps({"execute": "device_del", "arguments": {"id": "n1"}})

ASK = (
    'import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect("/run/hearth-ipmi.sock"); '
    "s.sendall(sys.stdin.buffer.read()); s.settimeout(60); print(s.recv(999).decode())"
)


@pytest.fixture(scope="module")
def lease(world: World) -> str:
    return world.place()


@pytest.fixture(scope="module")
def tenant(world: World, lease: str) -> str:
    return world.work(lease)


def test_it_is_a_virtual_tpm_and_booted_as_its_log_says(world: World) -> None:
    figures = world.exchange.figures()
    assert figures["assurance"] == "virtual-tpm"
    claims = {claim["name"]: claim for claim in figures["claims"]}
    assert claims["instance-identity"]["tier"] == "affirming"
    configuration = claims["configuration"]
    assert "replays to the quoted PCRs 0, 2, 4, 7; Secure Boot: on" in configuration["reason"]
    assert configuration["tier"] == "affirming"


def test_the_daemon_holds_nothing_that_it_should_not(world: World) -> None:
    said = world.machine.run(
        "grep -E '^(Uid|Cap|NoNewPrivs)' "
        "/proc/$(systemctl show --value -p MainPID hearth-agent)/status"
    )
    facts = dict(line.split(":", 1) for line in said.splitlines())
    assert {int(facts[name], 16) for name in facts if name.startswith("Cap")} == {0}
    assert facts["NoNewPrivs"].strip() == "1"
    assert "0" not in facts["Uid"].split()


def test_it_takes_little_memory_with_its_tpm_and_an_exchange(world: World) -> None:
    """The bar of idle memory, where most of what the daemon loads is in use."""
    resident = world.machine.run(
        "grep VmRSS /proc/$(systemctl show --value -p MainPID hearth-agent)/status"
    )
    assert int(resident.split()[1]) <= 72 * 1024


def test_the_bmc_is_asked_by_its_helper_and_opened_by_nobody_else(world: World) -> None:
    """The device is made by the package's udev rule alone: the kernel finds the BMC only."""
    run = world.machine.run
    assert run("stat -c '%U %G %a' /dev/ipmi0") == "root hearth-ipmi 660"
    assert run("stat -c '%U %G %a' /run/hearth-ipmi.sock") == "root hearth 660"
    assert "Permission denied" in run("runuser -u hearth -- dd if=/dev/ipmi0 count=0 2>&1 || :")
    until("the board's power", lambda: world.sensor("ipmi:board:power") == 230_000)
    until("its sensors", lambda: world.sensor("ipmi-sensors:Inlet Temp:temperature") == 23_000)
    assert world.status().energy_source == common_pb2.MEASUREMENT_SOURCE_BMC
    world.machine.does("bmc", '{"watts": 250}')
    until("another power", lambda: world.sensor("ipmi:board:power") == 250_000)
    helper = run("systemctl --plain --no-legend list-units 'hearth-ipmi@*'").split()[0]
    facts = run(f"systemctl show --property=MainPID,User,Group {helper}").splitlines()
    assert set(facts) > {"User=hearth-ipmi", "Group=hearth-ipmi"}
    pid = next(line.partition("=")[2] for line in facts if line.startswith("MainPID="))
    held = run(f"grep -E '^(Cap|NoNewPrivs)' /proc/{pid}/status; ls /proc/{pid}/fd")
    assert {int(line.split()[1], 16) for line in held.splitlines() if line[:3] == "Cap"} == {0}

    # A word of its own, from the agent's own user: nothing is said and nothing done.
    assert run("echo power off | runuser -u hearth -- python3 -c '" + ASK + "'") == ""

    # What hangs is a fault and no figure; then it goes on.
    world.machine.does("bmc", '{"silent": true}')
    until("the fault", lambda: "timed-out" in world.fault("ipmi"))
    world.machine.does("bmc", "{}")
    until("power again", lambda: world.fault("ipmi") == "")


def test_a_lease_is_a_slice_with_its_limits_in_force(world: World, lease: str, tenant: str) -> None:
    status = world.lease(lease)
    directory = status.cgroup
    assert directory.startswith("/sys/fs/cgroup/hearth.slice/hearth-")
    limits = world.machine.run(f"cat {directory}/cpu.max {directory}/memory.max").splitlines()
    assert limits == [f"{UNITS['VCPU'] * 100_000} 100000", str(UNITS["MEMORY_MB"] * 1024 * 1024)]
    assert status.limits_in_force
    assert directory.removeprefix("/sys/fs/cgroup") in tenant

    # Two loops, one CPU sold.
    name = directory.rpartition("/")[2]
    before, after = world.machine.run(
        f"systemd-run --scope --quiet --slice={name} timeout 12 sh -c 'while :; do :; done' & "
        f"look() {{ cut -d' ' -f1 /proc/uptime; head -1 {directory}/cpu.stat; }}; "
        "sleep 3; echo $(look); sleep 6; echo $(look); wait"
    ).splitlines()
    (began, _, had), (ended, _, has) = before.split(), after.split()
    assert 0 < int(has) - int(had) <= 1.1 * (float(ended) - float(began)) * 1_000_000

    # Somebody takes a limit away: seen, and not delivered until it is back.
    world.machine.run(f"systemctl set-property --runtime {name} CPUQuota=")
    until("the missing limit is seen", lambda: not world.lease(lease).limits_in_force)
    world.machine.run(f"systemctl set-property --runtime {name} CPUQuota=100%")
    until("the limit is back", lambda: world.lease(lease).limits_in_force)


def test_a_restart_leaves_the_tenant_alone(world: World, lease: str, tenant: str) -> None:
    world.machine.run("systemctl restart hearth-agent")
    world.back()
    assert world.tenant() == tenant
    world.receipts_go_on(lease)


def test_kill_9(world: World, lease: str, tenant: str) -> None:
    world.machine.run("systemctl kill --signal=KILL hearth-agent")
    until("it is gone", lambda: not world.answers(), 20)
    world.back()
    assert world.tenant() == tenant
    world.receipts_go_on(lease)


def test_hardware_that_comes_and_goes_is_a_new_generation(world: World) -> None:
    before = world.status().inventory_generation
    world.machine.does("qmp", PLUG)
    until("the disk is seen", lambda: world.status().inventory_generation > before)
    with_disk = world.status().inventory_generation
    world.machine.does("qmp", UNPLUG)
    until("it is gone", lambda: world.status().inventory_generation > with_disk)


def test_the_last_receipt_says_what_the_kernel_counted(
    world: World, lease: str, tenant: str
) -> None:
    directory = world.lease(lease).cgroup
    world.machine.run(
        "systemd-run --quiet --unit=watch bash -c "
        f"'while read -r _ n < {directory}/cpu.stat; do echo $n > /root/last; sleep 0.1; done'"
    )
    until("it is watched", lambda: world.machine.run("cat /root/last || :") != "")
    final = world.close_lease(lease)
    until("the slice is gone", lambda: world.machine.run(f"ls -d {directory} || :") == "")
    assert world.tenant() == ""
    counted = int(world.machine.run("cat /root/last"))
    used = final["totals"]["VCPU"]["used_unit_ms"] * 1000
    assert abs(used - counted) * 100 <= counted
    # One of two processors, for as long as it ran, of what the board took.
    said = json.loads(world.machine.run(f"hearth receipts show {lease}"))
    assert said["energy"]["source"] == "MEASUREMENT_SOURCE_BMC"
    assert 0 < final["energy_mj"] <= 250 // 2 * final["totals"]["VCPU"]["reserved_unit_ms"]
    assert world.machine.run("ls /run/systemd/system.control") == ""
    assert ": fine; " in world.machine.run("hearth journal check")
