"""The outage that a demo stages: begun once, ended in any case."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hearth.admin.v1 import admin_pb2

from agent.core.lease import LeaseKey
from agent.sandbox.outage import BEGINS_S, LASTS_S, Outage


class Agent:
    """Has one lease, with a cgroup where there is a place for it."""

    def __init__(self, cgroup: Path | None) -> None:
        self.cgroup = cgroup

    def status(self) -> admin_pb2.StatusResponse:
        lease = admin_pb2.LeaseStatus(exchange_id="e", lease_id="l", state="ACTIVE")
        lease.cgroup = str(self.cgroup or "")
        return admin_pb2.StatusResponse(leases=[lease])


@pytest.fixture
def said() -> list[str]:
    return []


def outage(cgroup: Path | None, said: list[str]) -> Outage:
    agent: Any = Agent(cgroup)
    return Outage(agent, said.append)


def test_it_comes_and_goes_once(tmp_path: Path, said: list[str]) -> None:
    freezer = tmp_path / "cgroup.freeze"
    freezer.write_text("0")
    staged = outage(tmp_path, said)
    seen = []
    for second in range(30):
        staged.advance(float(second))
        seen.append(freezer.read_text())
        assert (staged.lease is not None) is (seen[-1] == "1")
        if staged.lease is not None:
            assert staged.lease == LeaseKey("e", "l")
    assert seen.count("1") == LASTS_S
    assert seen.index("1") == BEGINS_S
    assert staged.lasted
    assert [text.split(":")[0] for text in said] == ["STAGED OUTAGE", "staged outage over"]


def test_begun_late_it_lasts_as_long(tmp_path: Path, said: list[str]) -> None:
    (tmp_path / "cgroup.freeze").write_text("0")
    staged = outage(tmp_path, said)
    late = BEGINS_S + LASTS_S - 1
    for elapsed, frozen in ((late, "1"), (late + LASTS_S - 1, "1"), (late + LASTS_S, "0")):
        staged.advance(elapsed)
        assert (tmp_path / "cgroup.freeze").read_text() == frozen


def test_one_that_is_cut_short_promises_no_rebate(tmp_path: Path, said: list[str]) -> None:
    (tmp_path / "cgroup.freeze").write_text("0")
    staged = outage(tmp_path, said)
    staged.advance(BEGINS_S)
    staged.end()
    staged.end()
    staged.advance(BEGINS_S + 1)
    assert ((tmp_path / "cgroup.freeze").read_text(), staged.lasted) == ("0", False)
    assert len(said) == 2


def test_where_nothing_can_be_frozen_there_is_none(tmp_path: Path, said: list[str]) -> None:
    for cgroup in (None, tmp_path / "gone"):
        staged = outage(cgroup, said)
        for second in range(20):
            staged.advance(float(second))
        assert (staged.lease, staged.lasted) == (None, False)
    assert len(said) == 1
    assert "no staged outage" in said[0]
