"""The main job, shown: the bed, a lease from each exchange, work in them, the books at the end.

The run without any screen. Host, probes, kernel counters, gRPC, signatures and log are real; the
TPM is swtpm, the meters are the simulated site's, the exchanges are the reference exchange.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from agent.errors import ConfigError, HearthError
from agent.interpreter import python
from agent.leases import places
from agent.sandbox import bed
from agent.sandbox.books import ENDED
from agent.sandbox.moment import Moment, moment
from agent.sandbox.outage import LEAST_RUN_S, SERVICE_LEVEL, Outage
from agent.sandbox.outcome import Outcome, Proof, cpu_checks, money_checks
from agent.sandbox.plant import Plant
from agent.sandbox.purses import real_nodes
from agent.sandbox.tenants import UNITS, Tenants
from probes.cgroup import find_root
from probes.errors import Absent
from probes.host import Host

CONFIGURATION = f"""\
[offer]
receipt_seconds = 5
least_invoice_msat = 1
{SERVICE_LEVEL}
[log]
checkpoint_seconds = 10
[site]
id = "demo"
heat_sink = "pool"
[energy]
idle_milliwatts = {Plant(0).base_mw}
"""
EXCHANGE_NAMES = ("northern", "harbour")
EXCHANGE_OPTIONS = ("--heartbeat", "5")
CHALLENGES_EVERY_S = 10.0  # by command, so that even a short run has some of each exchange
METERS_EVERY_S = (5, 5)  # heat, energy

TICK_S = 1.0
OFFERED_S = 10.0
SETTLED_S = 30.0
COMMAND_S = 60.0
LONGEST_PATH = 80  # sockets lie in the folder, and their paths have at most 107 bytes (unix(7))


class DemoError(HearthError):
    """The demo cannot go on."""


class Stop:
    """The wish to end, as a signal handler may express it at any moment."""

    def __init__(self) -> None:
        self.asked = False

    def wait(self, seconds: float) -> bool:
        """Wait that long or until asked; return whether it was."""
        # Not an Event: set in a handler, it may meet its own lock.
        until = time.monotonic() + seconds
        while not self.asked and (left := until - time.monotonic()) > 0:
            time.sleep(min(0.05, left))
        return self.asked


class Watcher(Protocol):
    """Who looks on."""

    def event(self, text: str) -> None:
        """Something happened, once."""
        ...

    def moment(self, now: Moment) -> None:
        """Take how things stand; once a second."""
        ...


@dataclass(slots=True)
class Demo:
    """One run in one folder, which outlives it."""

    directory: Path
    watcher: Watcher
    stop: Stop
    lightning: str = ""  # lightning-rpc sockets, see `real_nodes`; empty: doubles
    _network: str = ""
    _outage: Outage | None = None
    _bed: bed.Bed | None = None
    _tenants: Tenants | None = None
    _cgroup_root: str = "auto"

    def run(self, seconds: float | None) -> Outcome:
        """Show leases at work for that long (None: until asked to stop) and give an account.

        :raises HearthError: naming what went wrong; everything is stopped then.
        :raises KeyboardInterrupt: as a signal handler raised it; everything was killed then.
        """
        try:
            with_tpm = self._has_swtpm()
            self._cgroup_root = cgroup_root(self.directory.name)
            nodes = real_nodes(self.lightning, EXCHANGE_NAMES) if self.lightning else None
            self._network = nodes.network if nodes else ""
            self.watcher.event("starts the TPM, Lightning, two exchanges and the site's meters")
            world = self._bed = bed.make(
                self.directory,
                CONFIGURATION + f'[lease]\ncgroup_root = "{self._cgroup_root}"\n',
                exchange_names=EXCHANGE_NAMES,
                exchange_options=EXCHANGE_OPTIONS,
                with_site=METERS_EVERY_S,
                with_tpm=with_tpm,
                with_lightning=True,
                sockets=nodes.sockets if nodes else None,
                network=nodes.network if nodes else "regtest",
            )
            self._go_on()
            tenants = self._tenants = Tenants(world.agent, self.watcher.event)
            self._enrol(world)
            self._lease(world, tenants)
            if seconds is None or seconds >= LEAST_RUN_S:
                self._outage = Outage(world.agent, self.watcher.event)
            self._watch(world, None if seconds is None else time.monotonic() + seconds)
            return self._end(world, tenants)
        except KeyboardInterrupt:
            self._abort()
            raise
        finally:
            self._close()

    # --- beginning -----------------------------------------------------------------------------

    def _go_on(self) -> None:
        if self.stop.asked:
            raise DemoError("stopped before it had begun")

    def _has_swtpm(self) -> bool:
        missing = [
            tool for tool in ("swtpm", "swtpm_setup", "swtpm_localca") if shutil.which(tool) is None
        ]
        if missing:
            self.watcher.event(
                f"{', '.join(missing)} not installed: the root of trust is a key in a file"
            )
        return not missing

    def _enrol(self, world: bed.Bed) -> None:
        """Start the agent and introduce it to both exchanges, until they have its offers."""
        world.agent.start()
        status = world.agent.wait()
        self.watcher.event(f"agent {status.agent_version} is node {status.node_id[:16]}")
        for exchange in world.exchanges:
            self._go_on()
            world.agent.enroll(exchange)
            assurance = exchange.figures().get("assurance", "nothing")
            self.watcher.event(f"enrolled with {exchange.name} as {assurance}")
        deadline = time.monotonic() + OFFERED_S
        while not all(exchange.figures()["offers_accepted"] for exchange in world.exchanges):
            if time.monotonic() > deadline:
                raise DemoError(f"no offer after {OFFERED_S:.0f} s; see {world.agent.log}")
            time.sleep(0.05)

    def _lease(self, world: bed.Bed, tenants: Tenants) -> None:
        """Both ask at the same moment, as exchanges do; then each for what cannot fit."""
        asked = [(exchange, tenants.ask(exchange, UNITS)) for exchange in world.exchanges]
        for exchange, lease_id in asked:
            tenants.place(exchange, lease_id)
            self._go_on()
        for exchange in world.exchanges:
            tenants.ask_too_much(exchange)
        tenants.start_work()

    # --- looking on ----------------------------------------------------------------------------

    def _watch(self, world: bed.Bed, until: float | None) -> None:
        due = start = time.monotonic()
        while until is None or time.monotonic() < until:
            began = time.monotonic()
            if self._outage is not None:
                self._outage.advance(began - start)
            if began >= due:
                due += CHALLENGES_EVERY_S
                for exchange in world.exchanges:
                    exchange.command(cmd="challenge")
            self.watcher.moment(self._look(world))
            rest = began + TICK_S - time.monotonic()
            if until is not None:
                rest = min(rest, until - time.monotonic())
            if self.stop.wait(rest):
                return

    def _look(self, world: bed.Bed) -> Moment:
        now_ns = time.time_ns()
        return moment(
            (now_ns - world.agent.started_ns) // 1_000_000,
            now_ns,
            world.agent.status(),
            [(exchange.name, exchange.figures()) for exchange in world.exchanges],
            network=self._network,
            outage=self._outage.lease if self._outage is not None else None,
        )

    # --- end -----------------------------------------------------------------------------------

    def _end(self, world: bed.Bed, tenants: Tenants) -> Outcome:
        if self._outage is not None:
            self._outage.end()
        self.watcher.event("the work stops, the exchanges release their leases")
        tenants.stop_work()
        kernel = tenants.kernel_cpu_ms()
        for exchange in world.exchanges:
            exchange.command(cmd="release")
        last = self._settle(world)
        figures = [(exchange.name, exchange.figures()) for exchange in world.exchanges]
        books = [(name, counted["lease"]) for name, counted in figures]
        first = min(counted["first_offer_unix_ns"] for _, counted in figures)
        proof = self._prove(world, last)
        return Outcome(
            last=last,
            first_offer_ms=(first - world.agent.started_ns) // 1_000_000,
            cpu=cpu_checks(books, kernel),
            money=money_checks(books, self._agents_books(world)),
            outage=self._outage is not None and self._outage.lasted,
            proof=proof,
            agent_exit_code=world.agent.stop(),
        )

    def _settle(self, world: bed.Bed) -> Moment:
        """Wait until every receipt is acknowledged and all that is due was paid, for a while."""
        deadline = time.monotonic() + SETTLED_S
        while True:
            now = self._look(world)
            self.watcher.moment(now)
            settled = all(
                item.state in ENDED and (item.state == "SETTLED" or not item.receipts)
                for item in now.leases
            ) and all(
                item.receipts_issued == item.receipts_acked == item.receipts_verified
                for item in now.exchanges
            )
            if settled or time.monotonic() > deadline:
                return now
            time.sleep(0.2)

    def _agents_books(self, world: bed.Bed) -> list[dict[str, Any]]:
        """What the agent itself has of each lease's money, as its operator would ask."""
        code, said = hearth(
            "settlement", "status", "--json", "--config", str(world.agent.config_file)
        )
        if code:
            raise DemoError(f"hearth settlement status: exit {code}: {said}")
        leases: list[dict[str, Any]] = json.loads(said)["leases"]
        return leases

    def _prove(self, world: bed.Bed, last: Moment) -> Proof | None:
        """Export one receipt and verify it, each as its user would."""
        lease = next((item for item in last.leases if item.receipts), None)
        if lease is None:
            return None
        roots = self.directory / "roots"
        roots.mkdir(exist_ok=True)
        for exchange in world.exchanges:
            shutil.copy(exchange.ready["ca_file"], roots / f"{exchange.name}.pem")
        file = self.directory / "receipt-proof.json"
        config = ("--config", str(world.agent.config_file))
        code, said = hearth("receipts", "export-proof", lease.lease_id, "--out", str(file), *config)
        if code:
            self.watcher.event(f"hearth receipts export-proof: exit {code}: {said}")
            return None
        code, said = hearth("verify", str(file), "--roots", str(roots))
        self.watcher.event(f"hearth verify of one receipt: exit {code}")
        return Proof(file, roots, code, said)

    def _close(self) -> None:
        """Stop everything that was started, whatever state it is in."""
        try:
            if self._outage is not None:
                self._outage.end()
            if self._tenants is not None:
                self._tenants.stop_work()
            if self._bed is not None:
                self._bed.close()
        except KeyboardInterrupt:
            self._abort()
            raise
        finally:
            self._sweep()

    def _abort(self) -> None:
        """Kill it all at once."""
        world = self._bed
        if self._outage is not None:
            self._outage.end()  # what is frozen dies only when it goes on (before Linux 5.14)
        if world is None:
            return  # what was starting has its standard input from us, and ends with it
        world.agent.kill()
        for exchange in world.exchanges:
            exchange.kill()
        if world.lightning is not None:
            world.lightning.stop(kill=True)
        if world.tpm is not None:
            world.tpm.kill()

    def _sweep(self) -> None:
        with contextlib.suppress(Absent):
            where = places(self._cgroup_root, Host())
            if self._tenants is not None:
                self._tenants.sweep(where)
            if self._cgroup_root != "auto":
                with contextlib.suppress(OSError):
                    where.root.rmdir()


def prepare(directory: Path) -> Path:
    """Make the demo's folder, or take an empty one.

    :raises ConfigError: when it holds something, or sockets in it would have too long a path.
    """
    directory = directory.absolute()
    if len(os.fsencode(directory)) > LONGEST_PATH:
        raise ConfigError(f"{directory}: longer than {LONGEST_PATH} bytes; name a shorter --dir")
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(directory.iterdir()):
            raise ConfigError(f"{directory}: not empty; name a new folder with --dir")
    except OSError as error:
        raise ConfigError(f"{directory}: {error.strerror}; name another --dir") from None
    return directory


def cgroup_root(name: str) -> str:
    """Where this demo's leases go, as `lease.cgroup_root` of a configuration.

    Where cgroups are plain directories it is one of the demo's own, removed at the end; a user
    without rights to the root has it below the cgroup that was delegated to them, if any
    (cgroups(7)). Otherwise it is the agent's choice, which says itself what is missing.
    """
    try:
        unified = find_root(Host())
    except Absent:
        return "auto"
    if os.access(unified, os.W_OK):
        return "auto" if Path("/run/systemd/system").is_dir() else str(unified / name)
    lines = Path("/proc/self/cgroup").read_text().splitlines()
    own = next((line[3:] for line in lines if line.startswith("0::")), "/")
    delegated = unified / own.lstrip("/")
    return str(delegated / name) if os.access(delegated, os.W_OK) else "auto"


def hearth(*words: str) -> tuple[int, str]:
    """Run one command of ours as its user would; return its exit code and what it said."""
    done = subprocess.run(
        [*python(), "-m", "agent.cli.app", *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=COMMAND_S,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
    return done.returncode, (done.stdout + done.stderr).strip()
