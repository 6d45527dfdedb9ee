"""Root enrols a host whose daemon is another user."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agent.cli.enroll import _give_to_owner

SOMEBODY = 4242


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can leave files that others cannot open")
def test_what_root_left_is_the_daemons_and_nothing_else_is(tmp_path: Path) -> None:
    state, elsewhere = tmp_path / "state", tmp_path / "passwd"
    state.mkdir()
    elsewhere.touch(0o600)
    os.chown(state, SOMEBODY, SOMEBODY)
    (state / "tls-1.pem").touch(0o600)
    (state / "symbolic").symlink_to(elsewhere)
    (state / "hard").hardlink_to(elsewhere)
    _give_to_owner(state)
    owners = {name: (state / name).stat().st_uid for name in ("tls-1.pem", "symbolic", "hard")}
    assert owners == {"tls-1.pem": SOMEBODY, "symbolic": 0, "hard": 0}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can leave files that others cannot open")
def test_a_state_directory_of_roots_own_stays_so(tmp_path: Path) -> None:
    (tmp_path / "tls-1.pem").touch(0o600)
    _give_to_owner(tmp_path)
    assert (tmp_path / "tls-1.pem").stat().st_uid == 0
