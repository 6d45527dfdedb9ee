"""`hearth status`: for people, for programs, and without a daemon."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from hearth.admin.v1 import admin_pb2
from hearth.v1 import common_pb2

from agent.cli.status import describe, summary


def answer() -> admin_pb2.StatusResponse:
    return admin_pb2.StatusResponse(
        agent_version="0.1.0",
        node_id="ab" * 32,
        tpm="IBM SW TPM",
        uptime=Duration(seconds=90_061),
        inventory_generation=3,
        inventory_digest=b"\xcd" * 32,
        capacity=[common_pb2.ResourceUnits(resource_class="VCPU", units=2)],
        available=[common_pb2.ResourceUnits(resource_class="VCPU", units=1)],
        log_size=20,
        checkpoint=admin_pb2.Checkpoint(sequence=4, size=16, time=Timestamp(seconds=1_800_000_000)),
        exchanges=[
            admin_pb2.ExchangeStatus(
                exchange_id="e1",
                display_name="northern",
                endpoint="127.0.0.1:1",
                connected=True,
                assurance=common_pb2.ASSURANCE_CLASS_VIRTUAL_TPM,
                offers_delivered=2,
                receipts_issued=3,
                receipts_acked=2,
                undelivered=1,
                certificate_expire_time=Timestamp(seconds=1_800_000_000),
            ),
            admin_pb2.ExchangeStatus(
                exchange_id="e2",
                display_name="harbour",
                last_error="UNAVAILABLE: refused",
                receipts_rejected=1,
                requests_limited=7,
            ),
        ],
        leases=[
            admin_pb2.LeaseStatus(
                exchange_id="e1",
                lease_id="lease-1",
                state="ACTIVE",
                units=[common_pb2.ResourceUnits(resource_class="VCPU", units=1)],
                cgroup="/sys/fs/cgroup/x",
                limits_in_force=False,
                receipt_sequence=3,
                used_cpu_milliseconds=12_345,
                amount_due_msat=1_234_567,
            )
        ],
        sensors=[
            admin_pb2.SensorStatus(
                sensor="modbus:main:power", value=-5, unit="mW", age=Duration(nanos=337_000_000)
            ),
            admin_pb2.SensorStatus(sensor="rapl", fault="absent: no powercap"),
            admin_pb2.SensorStatus(sensor="mbus:pool", fault="timeout: no answer"),
        ],
        next_steps=["harbour: UNAVAILABLE: refused"],
    )


def test_what_needs_doing_comes_first() -> None:
    lines = list(describe(answer()))
    assert lines[:2] == ["next: harbour: UNAVAILABLE: refused", ""]


def test_people_read_the_rest() -> None:
    text = "\n".join(describe(answer()))
    for wanted in (
        f"node       {'ab' * 32}",
        "agent      0.1.0, up 1 day 1:01:01",
        "inventory  cdcdcdcdcdcdcdcd, generation 3",
        "free       1 of 2 VCPU",
        "log        20 leaves, checkpoint 4 over 16 at 2027-01-15T08:00:00Z",
        "northern  127.0.0.1:1  virtual-tpm  connected",
        "3 receipts issued, 2 acknowledged; 1 waiting; certificate until 2027-01-15",
        "lease-1  active; 1 VCPU; 3 receipts, 12.3 s of CPU, 1 234 567 msat due; LIMITS NOT IN",
        "NOT connected: UNAVAILABLE: refused",
        "0 acknowledged, 1 REJECTED",
        "0 waiting; 7 requests came TOO OFTEN; certificate",
        "no reading of mbus:pool: timeout: no answer",
        "not on this host: rapl",
    ):
        assert wanted in text, wanted


def test_without_anything_to_do_it_begins_with_the_node() -> None:
    calm = answer()
    del calm.next_steps[:]
    calm.ClearField("checkpoint")
    lines = list(describe(calm))
    assert lines[0].startswith("node ")
    assert "log        20 leaves, no checkpoint yet" in lines


def test_programs_get_integers_and_nulls() -> None:
    told = json.loads(json.dumps(summary(answer())))
    assert told["inventory_digest"] == "cd" * 32
    assert told["capacity"] == {"VCPU": 2}
    assert told["checkpoint"] == {"sequence": 4, "size": 16, "time": "2027-01-15T08:00:00Z"}
    assert told["exchanges"][0]["assurance"] == "virtual-tpm"
    assert told["exchanges"][1]["certificate_expire_time"] is None
    assert told["leases"][0]["used_cpu_milliseconds"] == 12_345
    assert told["sensors"][0]["value"] == -5
    assert told["sensors"][0]["age_milliseconds"] == 337
    assert told["sensors"][1] == {
        "sensor": "rapl",
        "value": None,
        "unit": "",
        "age_milliseconds": None,
        "fault": "absent: no powercap",
    }


def test_energy_is_said_with_its_source_and_what_is_not_measured_is_not_zero() -> None:
    told = summary(answer())
    assert (told["energy_millijoules"], told["energy_source"]) == (None, None)
    assert (told["leases"][0]["energy_millijoules"], told["leases"][0]["heat_millijoules"]) == (
        None,
        None,
    )
    assert "energy     not measured yet" in "\n".join(describe(answer()))

    measured = answer()
    measured.energy_millijoules = 4_980_000
    measured.energy_source = common_pb2.MEASUREMENT_SOURCE_RAPL_NVML
    measured.leases[0].energy_millijoules = 0
    told = summary(measured)
    assert (told["energy_millijoules"], told["energy_source"]) == (4_980_000, "rapl-nvml")
    assert told["leases"][0]["energy_millijoules"] == 0
    assert "energy     4.98 kJ used since the start (rapl-nvml)" in "\n".join(describe(measured))


@pytest.mark.parametrize("options", [(), ("--json",), ("--watch",)])
def test_without_a_daemon_it_exits_4_and_names_the_remedy(
    tmp_path: Path, options: tuple[str, ...]
) -> None:
    config = tmp_path / "hearth.toml"
    config.write_text(f'admin_socket = "{tmp_path / "admin.sock"}"\n')
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "agent.cli.app", "status", "--config", str(config), *options],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert done.returncode == 4
    assert "no daemon answers; start it with `hearth run`" in done.stderr
    assert done.stdout == ""
    assert time.monotonic() - began < 20
