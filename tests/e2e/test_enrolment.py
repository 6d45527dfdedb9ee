"""Enrolling at any start, in any order, and after whatever went wrong before."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.sandbox import bed
from agent.sandbox.bed import Bed, ExchangeProcess
from agent.sandbox.child import BedError


@pytest.fixture
def world() -> Iterator[Bed]:
    directory = Path(tempfile.mkdtemp(prefix="hearth-enrol-"))
    made = bed.make(
        directory, "", exchange_options=("--heartbeat", "1", "--challenge-interval", "1")
    )
    try:
        yield made
    finally:
        made.close()
        shutil.rmtree(directory)


def until(what: Callable[[], bool], seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def trusted(exchange: ExchangeProcess) -> bool:
    """Whether the exchange has taken an offer and refused nothing."""
    figures = exchange.figures()
    return bool(figures) and figures["offers_accepted"] > 0 and figures["others_rejected"] == 0


def by_hand(world: Bed, exchange: ExchangeProcess, token: str) -> int:
    """`hearth enroll` as an operator types it; its exit code."""
    return subprocess.run(
        [
            *(sys.executable, "-m", "agent.cli.app", "enroll"),
            f"127.0.0.1:{exchange.ready['enrol_port']}",
            *("--token", token, "--ca", exchange.ready["ca_file"]),
            *("--config", str(world.agent.config_file)),
        ],
        check=False,
        capture_output=True,
        timeout=60,
    ).returncode


def test_a_second_exchange_at_a_later_start(world: Bed) -> None:
    first, second = world.exchanges
    world.agent.start()
    world.agent.wait()
    world.agent.enroll(first)
    until(lambda: trusted(first))
    world.agent.kill()
    world.agent.start()
    world.agent.wait()
    world.agent.enroll(second)
    until(lambda: trusted(second))
    until(lambda: trusted(first))


def test_by_hand_after_a_failed_attempt_and_without_a_daemon(world: Bed) -> None:
    first, second = world.exchanges
    world.agent.start()
    world.agent.wait()
    world.agent.kill()  # its socket stays behind
    assert by_hand(world, first, "x" * 20 + "." + "0" * 64) == 6
    assert by_hand(world, first, first.ready["token"]) == 0
    world.agent.start()
    world.agent.wait()
    until(lambda: trusted(first))
    assert by_hand(world, second, second.ready["token"]) == 0  # now through the daemon
    until(lambda: trusted(second))


def test_enrolling_again_keeps_the_session_honest(world: Bed) -> None:
    first = world.exchanges[0]
    world.agent.start()
    world.agent.wait()
    world.agent.enroll(first)
    until(lambda: trusted(first))
    world.agent.enroll(first)
    assert len(list((world.directory / "state").glob("tls-*.pem"))) == 1
    before = first.figures()["challenges_passed"]
    until(lambda: first.figures()["challenges_passed"] >= before + 3)
    assert first.figures()["challenges_failed"] == 0


def test_killed_while_it_enrols(world: Bed) -> None:
    first = world.exchanges[0]
    world.agent.start()
    world.agent.wait()
    attempt = subprocess.Popen(
        [
            *(sys.executable, "-m", "agent.cli.app", "enroll"),
            f"127.0.0.1:{first.ready['enrol_port']}",
            *("--token", first.ready["token"], "--ca", first.ready["ca_file"]),
            *("--config", str(world.agent.config_file)),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    time.sleep(0.6)
    world.agent.kill()
    attempt.wait(30)
    world.agent.start()
    world.agent.wait()
    try:
        world.agent.enroll(first)
    except BedError:  # the token was used up before the kill: a fresh one
        world.agent.enroll(first, first.command(cmd="token")["token"])
    until(lambda: trusted(first))
