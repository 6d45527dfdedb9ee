"""A client certificate is renewed over the running session, with a new key, before it ends."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.sandbox import bed
from agent.sandbox.bed import Bed


@pytest.fixture
def world() -> Iterator[Bed]:
    directory = Path(tempfile.mkdtemp(prefix="hearth-renew-"))
    made = bed.make(
        directory,
        "",
        exchange_names=("only",),
        exchange_options=("--certificate-lifetime", "9", "--heartbeat", "1"),
    )
    try:
        yield made
    finally:
        made.close()
        shutil.rmtree(directory)


def until(world: Bed, expire: int, seconds: float) -> int:
    """Wait for a certificate that ends later than `expire`; returns its end."""
    deadline = time.monotonic() + seconds
    while True:
        (exchange,) = world.agent.status().exchanges
        if exchange.certificate_expire_time.seconds > expire:
            return exchange.certificate_expire_time.seconds
        assert time.monotonic() < deadline, exchange
        time.sleep(0.2)


def keys(world: Bed) -> set[str]:
    return {file.name for file in (world.directory / "state").glob("tls-*.pem")}


def test_renewed_before_it_ends_and_used_from_then_on(world: Bed) -> None:
    world.agent.start()
    world.agent.wait()
    world.agent.enroll(world.exchanges[0])
    first = until(world, 0, 5)
    before = keys(world)
    second = until(world, first, 10)
    deadline = time.monotonic() + 10
    while len(keys(world)) > 1:  # the old one goes once the new one is recorded
        assert time.monotonic() < deadline, keys(world)
        time.sleep(0.05)
    assert keys(world).isdisjoint(before)
    assert all((world.directory / "state" / key).stat().st_mode & 0o077 == 0 for key in keys(world))
    # The first certificate has ended; a new session stands on a later one, after a restart too.
    time.sleep(max(0.0, first + 1 - time.time()))
    world.agent.kill()
    world.agent.start()
    world.agent.wait()
    until(world, second, 10)
    deadline = time.monotonic() + 10
    while not world.agent.status().exchanges[0].connected:
        assert time.monotonic() < deadline, world.agent.status().exchanges
        time.sleep(0.1)
