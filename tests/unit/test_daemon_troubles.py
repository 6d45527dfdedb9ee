"""What goes wrong beside the daemon: told once, told to the operator, and over when it is over."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from concurrent.futures import Future
from pathlib import Path
from typing import cast

import pytest
import structlog
from cryptography.hazmat.primitives.asymmetric import ec

from agent.admin import Admin
from agent.daemon import Daemon, link_of, watchdog
from agent.errors import ExchangeError
from agent.exchange import tls_keys
from agent.sampler import Latest
from agent.settle.engine import Settlement
from attest.errors import TpmError
from attest.root import Root
from attest.software import SoftwareRoot
from tests.fakes.clock import SECOND
from tests.fakes.world import World


class Moody:
    """A root of trust that signs notes when it likes."""

    def __init__(self, root: Root) -> None:
        self._root = root
        self.signs = True

    def __getattr__(self, name: str) -> object:
        return getattr(self._root, name)

    def sign_note(self, text: bytes) -> Future[bytes]:
        if self.signs:
            return self._root.sign_note(text)
        refused: Future[bytes] = Future()
        refused.set_exception(TpmError("TPM at swtpm: gone"))
        return refused


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    world = await World.open(tmp_path / "state")
    yield world
    world.node.close()


def daemon(world: World) -> Daemon:
    return Daemon(
        world.node,
        world.market,
        world.offering,
        world.metering,
        world.delivery,
        Latest(),
        cast("Settlement", None),  # nobody settles here
        None,
        links=world.links,
    )


async def next_steps(world: World) -> list[str]:
    async def unasked(*words: object) -> None:
        raise AssertionError(words)

    desk = Admin(world.node, world.metering, Latest(), world.links, unasked, unasked)  # type: ignore[arg-type]
    return list((await desk._status()).next_steps)


async def test_a_tpm_that_goes_away_and_comes_back(world: World) -> None:
    moody = Moody(world.node.root)
    world.node.root = cast("SoftwareRoot", moody)
    running = daemon(world)
    await running.cut()
    moody.signs = False
    await world.lease()
    with structlog.testing.capture_logs() as logs:
        for _ in range(3):
            await running.cut()
        (step,) = await next_steps(world)
        moody.signs = True
        await running.cut()
        await running.cut()
    assert step == "no checkpoint is signed, so no receipt is final: TPM at swtpm: gone"
    told = [line["event"] for line in logs if line["event"].startswith("checkpoint_")]
    assert told == ["checkpoint_failed", "checkpoint_recovered"]
    assert await next_steps(world) == []
    assert world.findings() == []


async def test_the_watchdog_is_fed_by_samples_and_by_nothing_else(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "60000000")

        async def feeds(seconds: int, *, sampled: bool) -> int:
            """How often it is fed in that time."""
            world.metering.progress += sampled
            await world.clock.run(seconds * SECOND)
            heard = []
            with contextlib.suppress(BlockingIOError):
                while True:
                    heard.append(systemd.recv(100))
            assert set(heard) <= {b"WATCHDOG=1"}
            return len(heard)

        feeding = asyncio.create_task(watchdog(daemon(world)))
        await feeds(1, sampled=False)
        assert await feeds(3600, sampled=False) == 0
        for _ in range(10):
            assert await feeds(20, sampled=True) == 1
        feeding.cancel()


@pytest.mark.parametrize("content", [None, b"", b"rubbish"])
async def test_a_lost_tls_key_costs_its_own_exchange_only(
    world: World, content: bytes | None
) -> None:
    enrolment = world.pens[0].enrolment(tls_chain=(b"tls",))
    tls_keys.keep(world.state, enrolment, ec.generate_private_key(ec.SECP256R1()))
    file = tls_keys.key_file(world.state, enrolment)
    assert link_of(world.node, 1, enrolment).tls_spki
    file.unlink()
    if content is not None:
        file.write_bytes(content)
    link = link_of(world.node, 1, enrolment)
    world.links = [link]
    with pytest.raises(ExchangeError, match="enrol with this exchange again"):
        link.credentials()
    (step,) = await next_steps(world)
    assert str(file) in step
