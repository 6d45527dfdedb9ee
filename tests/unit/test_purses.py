"""Which Lightning nodes a demo may move money between."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.sandbox.purses import PurseError, real_nodes

NAMES = ("northern", "harbour")


@contextlib.contextmanager
def node(path: Path, network: str) -> Iterator[None]:
    """A socket that answers whatever it is asked as `getinfo` would on that network."""
    answer = json.dumps({"jsonrpc": "2.0", "id": "getinfo", "result": {"network": network}})
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()

        def serve() -> None:
            with contextlib.suppress(OSError):  # closed: the end
                while True:
                    asking, _ = listening.accept()
                    with asking:
                        asking.recv(1 << 16)
                        asking.sendall(f"{answer}\n\n".encode())

        serving = threading.Thread(target=serve)
        serving.start()
        yield
        listening.shutdown(socket.SHUT_RDWR)
        serving.join()


def test_each_exchange_has_its_node_or_all_share_one(tmp_path: Path) -> None:
    own, first, second = (tmp_path / name for name in ("own", "first", "second"))
    with node(own, "regtest"), node(first, "regtest"), node(second, "regtest"):
        shared = real_nodes(f"{own},{first}", NAMES)
        apart = real_nodes(f"{own}, {first}, {second}", NAMES)
    assert shared.network == apart.network == "regtest"
    assert shared.sockets == {"operator": own, "northern": first, "harbour": first}
    assert apart.sockets == {"operator": own, "northern": first, "harbour": second}


@pytest.mark.parametrize("others", [("bitcoin", "bitcoin"), ("regtest", "signet")])
def test_money_of_worth_is_not_played_with(tmp_path: Path, others: tuple[str, str]) -> None:
    with (
        node(tmp_path / "own", others[0]),
        node(tmp_path / "other", others[1]),
        pytest.raises(PurseError, match="name nodes of one network out of regtest"),
    ):
        real_nodes(f"{tmp_path / 'own'},{tmp_path / 'other'}", NAMES)


@pytest.mark.parametrize("text", ["one", "a,b,c,d", ","])
def test_what_names_no_pair_is_said(text: str) -> None:
    with pytest.raises(PurseError, match="OP,EX"):
        real_nodes(text, NAMES)


def test_a_socket_nobody_listens_on_is_named(tmp_path: Path) -> None:
    with pytest.raises(PurseError, match="is it a lightning-rpc that we may use"):
        real_nodes(f"{tmp_path / 'nobody'},{tmp_path / 'nobody'}", NAMES)
