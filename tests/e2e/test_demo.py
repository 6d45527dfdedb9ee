"""`hearth demo` as its user runs it: the object it prints, its screen, its lines, its end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pty
import re
import select
import shutil
import subprocess
import sys
import termios
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import pytest

from agent.sandbox.demo import cgroup_root, hearth
from agent.sandbox.exchange.purse import Purse
from agent.sandbox.moment import MoneyMoment
from agent.sandbox.purses import LightningProcess
from probes.cgroup import find_root
from probes.host import Host

ROOT = Path(__file__).parents[2]
PATHS = f"{ROOT}{os.pathsep}{ROOT / 'proto/gen/python'}"
PATIENCE_S = 60.0
COLUMNS, LINES = 80, 24
MONEY = [field.name for field in fields(MoneyMoment)]


@pytest.fixture(autouse=True, scope="module")
def _possible() -> None:
    for tool in ("swtpm", "swtpm_setup", "swtpm_localca"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    if cgroup_root("hearth-demo-test") == "auto" and not os.access(find_root(Host()), os.W_OK):
        pytest.skip("no cgroup v2 directory that this user may write to")


@dataclass
class Run:
    """A demo of which every process can be found again by a mark in its environment."""

    mark: str = field(default_factory=lambda: uuid.uuid4().hex)

    @property
    def environment(self) -> dict[str, str]:
        own = {"PYTHONPATH": PATHS, "HEARTH_TEST_MARK": self.mark, "TERM": "xterm"}
        return {**os.environ, "HEARTH_CLN_SOCKETS": "", **own}

    @staticmethod
    def command(*words: str) -> list[str]:
        return [sys.executable, "-m", "agent.cli.app", "demo", *words]

    def processes(self) -> list[str]:
        """Command lines of all that this run started and that still lives."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if self.mark.encode() in (process / "environ").read_bytes():
                    found.append((process / "cmdline").read_bytes().decode().replace("\0", " "))
            except OSError:
                continue  # it has ended, or is another user's
        return found


def cgroups_of(directory: Path) -> list[Path]:
    return list(find_root(Host()).rglob(directory.name))


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    yield from _short("json")


def _short(name: str) -> Iterator[Path]:
    """A short path: sockets lie in it."""
    folder = Path(f"/tmp/hearth-demo-test-{name}-{os.getpid()}")
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def told(directory: Path) -> dict[str, Any]:
    """What one run of twenty seconds printed: long enough for the staged outage."""
    run = Run()
    done = subprocess.run(
        run.command("--for", "20s", "--json", "--dir", str(directory)),
        env=run.environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert run.processes() == []
    assert cgroups_of(directory) == []
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_all_is_well_and_says_so(told: dict[str, Any]) -> None:
    assert (told["ok"], told["problems"]) == (True, [])


def test_it_names_the_host_and_its_root_of_trust(told: dict[str, Any]) -> None:
    assert re.fullmatch("[0-9a-f]{64}", told["node_id"])
    assert told["assurance"] == "virtual-tpm"
    assert "firmware" in told["tpm"]
    code, said = hearth("inventory", "--json")
    assert code == 0
    assert told["inventory_digest"] == json.loads(said.splitlines()[-1])["digest"]


def test_both_exchanges_took_offers_and_all_receipts(told: dict[str, Any]) -> None:
    assert set(told["offers_accepted"]) == {"northern", "harbour"}
    assert min(told["offers_accepted"].values()) >= 1
    assert told["leases"] == min(2, os.cpu_count() or 1)
    # Receipts close every five seconds, and there is a final one.
    assert told["receipts_issued"] >= 2 * told["leases"]
    assert told["receipts_verified"] == told["receipts_acked"] == told["receipts_issued"]
    assert told["receipts_rejected"] == 0
    assert told["checkpoints_verified"] >= 2
    assert told["challenges_passed"] >= 2
    assert told["oversold_units"] == 0


def test_what_is_counted_is_an_integer(told: dict[str, Any]) -> None:
    for name in ("energy_mj", "heat_mj", "amount_due_msat", "peak_rss_mib"):
        assert type(told[name]) is int, name
        assert told[name] > 0, name
    assert told["heat_mj"] < told["energy_mj"]
    assert 0 < told["agent_cpu_seconds"] < 20
    assert 0 < told["seconds_to_first_offer"] < 10


def test_receipts_became_money_and_the_staged_outage_a_rebate(told: dict[str, Any]) -> None:
    assert told["lightning"] == "double"
    for name in MONEY:
        assert type(told[name]) is int, name
    assert told["invoices_paid"] == told["invoices_issued"] >= told["leases"]
    assert told["paid_msat"] == told["invoiced_msat"]
    assert told["paid_msat"] + told["netted_msat"] == told["amount_due_msat"]
    assert told["rebates_paid"] + told["rebates_netted"] == told["rebates_issued"] >= 1
    assert told["returned_msat"] + told["netted_msat"] == told["rebate_msat"] > 0


def test_used_cpu_is_what_the_kernel_counted(told: dict[str, Any]) -> None:
    assert len(told["used_cpu"]) == told["leases"]
    for lease in told["used_cpu"]:
        assert lease["kernel_cpu_ms"] > 1000, "the workload hardly ran"
        difference = abs(lease["used_cpu_ms"] - lease["kernel_cpu_ms"])
        assert difference * 100 < lease["kernel_cpu_ms"]


def test_its_proof_is_checked_by_anyone(told: dict[str, Any]) -> None:
    file, roots = told["proof_file"], told["proof_roots"]
    assert Path(file).is_absolute()
    assert Path(roots).is_absolute()
    code, said = hearth("verify", file, "--roots", roots, "--json")
    assert code == 0
    verdict = json.loads(said)
    assert (verdict["verdict"], verdict["node_id"]) == ("true", told["node_id"])
    assert verdict["receipt"]["final"] is True


def test_its_proof_is_pinned_by_no_other_roots(
    told: dict[str, Any], tmp_path: Path, swtpm_state: Path
) -> None:
    others = tmp_path / "roots"
    others.mkdir()
    shutil.copy(swtpm_state / "ca" / "swtpm-localca-rootca-cert.pem", others / "other.pem")
    code, said = hearth("verify", told["proof_file"], "--roots", str(others))
    assert code == 3, said


def test_a_flipped_byte_in_its_proof_is_found(told: dict[str, Any], tmp_path: Path) -> None:
    content = bytearray(Path(told["proof_file"]).read_bytes())
    middle = len(content) // 2
    content[middle] = ord("A") if content[middle] != ord("A") else ord("B")
    changed = tmp_path / "changed.json"
    changed.write_bytes(content)
    code, said = hearth("verify", str(changed), "--roots", told["proof_roots"])
    assert code == 1, said
    assert "FALSE" in said


def test_it_takes_no_folder_that_holds_something(tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    code, said = hearth("demo", "--for", "1s", "--dir", str(tmp_path))
    assert code == 2
    assert "not empty" in said
    assert (tmp_path / "mine").exists()


def test_without_a_terminal_it_prints_lines() -> None:
    """Each step on a line of its own, with what is real and what is not."""
    run = Run()
    for folder in _short("lines"):
        done = subprocess.run(
            run.command("--for", "1s", "--dir", str(folder)),
            env=run.environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    lines = done.stdout.splitlines()
    assert "\x1b" not in done.stdout
    for wanted in (
        r"simulated: .*swtpm.*exchanges, Lightning",
        r"enrolled with northern as virtual-tpm",
        r"enrolled with harbour as virtual-tpm",
        r"northern leases 1 VCPU, 256 MEMORY_MB .*",
        r"harbour asks for \d+ VCPU more; refused: .*",
        r"northern: acknowledged 1 receipt",
        r".*, 0 units sold twice",
        r"  TRUE: vouched for by .*",
    ):
        assert any(re.fullmatch(wanted, line) for line in lines), (wanted, lines)
    assert run.processes() == []


def test_nodes_that_are_given_are_used() -> None:
    run = Run()
    for folder in _short("nodes"):
        nodes = LightningProcess(folder / "ln", ("operator", "exchange"))
        folder.mkdir()
        nodes.start()
        try:
            sockets = f"{nodes.socket('operator')},{nodes.socket('exchange')}"
            done = subprocess.run(
                run.command("--for", "1s", "--json", "--dir", str(folder / "demo")),
                env={**run.environment, "HEARTH_CLN_SOCKETS": sockets},
                capture_output=True,
                text=True,
                timeout=PATIENCE_S,
                check=False,
            )
            paid = asyncio.run(Purse(nodes.socket("operator")).call("listinvoices"))["invoices"]
        finally:
            nodes.stop()
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["lightning"] == "regtest"
    assert told["invoices_paid"] == len(paid) >= 1
    assert told["paid_msat"] == sum(item["amount_received_msat"] for item in paid) > 0


class Terminal:
    """A demo on a terminal of its own, on which Ctrl-C is a signal."""

    def __init__(self, run: Run, *words: str) -> None:
        self.shown = ""
        self.descriptor, other = pty.openpty()
        termios.tcsetwinsize(other, (LINES, COLUMNS))
        self.process = subprocess.Popen(
            # As from a shell: what was started without job control has Ctrl-C ignored.
            ["env", "--default-signal=INT", "setsid", "--ctty", *run.command(*words)],
            env=run.environment,
            stdin=other,
            stdout=other,
            stderr=other,
        )
        os.close(other)

    def read(self, pattern: str) -> None:
        """Read until the pattern was shown."""
        deadline = time.monotonic() + PATIENCE_S
        while not re.search(pattern, self.shown):
            assert time.monotonic() < deadline, self.shown[-3000:]
            if select.select([self.descriptor], [], [], 0.2)[0]:
                try:
                    self.shown += os.read(self.descriptor, 65536).decode(errors="replace")
                except OSError:  # EIO: the other side is closed
                    assert re.search(pattern, self.shown), self.shown[-3000:]

    def press_control_c(self) -> None:
        os.write(self.descriptor, b"\x03")

    def wait(self) -> int:
        """Read what is left and return the exit code."""
        deadline = time.monotonic() + PATIENCE_S
        with contextlib.suppress(OSError):  # EIO: the other side is closed
            while True:
                assert time.monotonic() < deadline, self.shown[-3000:]
                if select.select([self.descriptor], [], [], 0.2)[0]:
                    self.shown += os.read(self.descriptor, 65536).decode(errors="replace")
        return self.process.wait(PATIENCE_S)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.descriptor)


def test_on_a_terminal_it_draws_until_control_c() -> None:
    run = Run()
    for folder in _short("screen"):
        terminal = Terminal(run, "--dir", str(folder))
        with contextlib.closing(terminal):
            terminal.read(r"of 1 VCPU")
            terminal.press_control_c()
            code = terminal.wait()
        assert code == 0, terminal.shown[-3000:]
        assert cgroups_of(folder) == []
    assert run.processes() == []
    assert "\x1b[?1049h" in terminal.shown, "no alternate screen"
    assert "\x1b[?1049l" in terminal.shown, "the terminal was not given back"
    assert "simulated:" in terminal.shown
    assert "TRUE: vouched for" in terminal.shown


def test_a_second_control_c_ends_it_at_once() -> None:
    run = Run()
    for folder in _short("abort"):
        terminal = Terminal(run, "--dir", str(folder))
        with contextlib.closing(terminal):
            terminal.read(r"enrolled with northern")
            began = time.monotonic()
            terminal.press_control_c()
            time.sleep(0.1)
            terminal.press_control_c()
            code = terminal.wait()
        assert time.monotonic() - began < 10
        assert code != 0
        assert cgroups_of(folder) == []
    deadline = time.monotonic() + 5  # what dies with its standard input may take a moment
    while run.processes() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert run.processes() == []
