"""The admin socket takes the place of what a killed daemon left, and of nothing else."""

from __future__ import annotations

import socket
import stat
from pathlib import Path
from typing import cast

import pytest
from hearth.admin.v1.admin_pb2_grpc import AdminServiceServicer

from agent.admin import SOCKET_MODE, Admin, serve
from agent.errors import ConfigError

NOBODY_ASKS = cast("Admin", AdminServiceServicer())


def left_behind(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))


async def test_a_socket_that_a_killed_daemon_left_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "run" / "a.sock"
    path.parent.mkdir()
    left_behind(path)
    server = await serve(NOBODY_ASKS, path)
    with socket.socket(socket.AF_UNIX) as asker:
        asker.connect(str(path))
    assert stat.S_IMODE(path.stat().st_mode) == SOCKET_MODE
    await server.stop(grace=0)


async def test_a_file_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    path.write_text("the operator's")
    with pytest.raises(ConfigError, match=r"a\.sock: .*no socket is there"):
        await serve(NOBODY_ASKS, path)
    assert path.read_text() == "the operator's"


@pytest.mark.parametrize("waiting", [0, 3])
async def test_another_daemon_goes_on_answering(tmp_path: Path, waiting: int) -> None:
    path = tmp_path / "a.sock"
    askers = [socket.socket(socket.AF_UNIX) for _ in range(waiting)]
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen(0)
        for asker in askers:
            asker.setblocking(False)
            asker.connect_ex(str(path))
        inode = path.stat().st_ino
        with pytest.raises(ConfigError, match="another daemon listens"):
            await serve(NOBODY_ASKS, path)
        assert path.stat().st_ino == inode
    for asker in askers:
        asker.close()
