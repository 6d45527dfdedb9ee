"""The package as `make deb` left it, and real systems to try it on (tests/testbed)."""

from __future__ import annotations

import inspect
import json
import os
import select
import shlex
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from .repack import repack

ROOT = Path(__file__).parents[2]
TESTBED = Path(os.environ.get("TESTBED", "/var/tmp/hearth-testbed"))
SUITES = ("bookworm", "trixie")
EXEC_S = 120.0
SITE = "/usr/lib/hearth-agent/site"


@dataclass(slots=True)
class System:
    """A booted Debian system in a container; what it writes is gone when it ends."""

    suite: str
    name: str

    @property
    def root(self) -> Path:
        """Its file system, seen from here."""
        return TESTBED / self.suite / "run" / self.name / "root"

    def _bed(self, *words: str) -> list[str]:
        container = str(ROOT / "tests" / "testbed" / "container")
        return ["env", f"SUITE={self.suite}", f"NAME={self.name}", container, *words]

    def up(self) -> None:
        subprocess.run(self._bed("up"), check=True, timeout=90, stdout=subprocess.DEVNULL)

    def reboot(self) -> None:
        subprocess.run(self._bed("reboot"), check=True, timeout=90, stdout=subprocess.DEVNULL)

    def down(self) -> None:
        subprocess.run(self._bed("down"), check=False, timeout=60)

    def run(
        self, *words: str, code: int | None = 0, timeout: float = EXEC_S
    ) -> subprocess.CompletedProcess[str]:
        """Run one command as root and hold it to its exit code (None: any)."""
        done = subprocess.run(
            self._bed("exec", *words),
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
            stdin=subprocess.DEVNULL,
        )
        said = f"{shlex.join(words)}: exit {done.returncode}\n{done.stdout}{done.stderr}"
        assert code is None or done.returncode == code, said
        return done

    def says(self, *words: str) -> str:
        """What a command prints."""
        return self.run(*words).stdout.strip()

    def start(self, *words: str, stdin: int = subprocess.DEVNULL) -> subprocess.Popen[str]:
        """Start one that goes on."""
        return subprocess.Popen(
            self._bed("exec", *words), stdin=stdin, stdout=subprocess.PIPE, text=True
        )

    def put(self, *files: Path) -> None:
        """Copy files into /root."""
        for file in files:
            shutil.copy(file, self.root / "root" / file.name)

    def apt(self, *words: str, code: int | None = 0) -> str:
        """apt-get, as a script would call it; both of its outputs."""
        done = self.run("apt-get", "-qq", "--yes", *words, code=code)
        return done.stdout + done.stderr

    def install(self, *files: Path, options: Sequence[str] = (), code: int | None = 0) -> str:
        """`apt install ./FILE...`."""
        self.put(*files)
        return self.apt("install", *options, *(f"/root/{file.name}" for file in files), code=code)

    def status(self) -> dict[str, Any]:
        """`hearth status --json`."""
        answer: dict[str, Any] = json.loads(self.says("hearth", "status", "--json"))
        return answer

    def unit(self, *properties: str) -> list[str]:
        """Properties of the agent's unit."""
        words = [f"--property={name}" for name in properties]
        return self.says("systemctl", "show", "--value", *words, "hearth-agent").splitlines()


@dataclass(slots=True)
class Exchange:
    """A sandbox exchange within a system, run from a copy of the package's modules."""

    system: System
    options: tuple[str, ...] = ()
    ready: dict[str, Any] = field(default_factory=dict)
    process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        self.system.run("cp", "--archive", "--no-clobber", SITE, "/opt/exchange-modules")
        command = ["/usr/bin/python3", "-BIS", "/opt/exchange-modules"]
        command += ["-m", "agent.sandbox.exchange", "--dir", "/opt/exchange", *self.options]
        self.process = self.system.start(*command, stdin=subprocess.PIPE)
        self.ready = self._line()

    def _line(self) -> dict[str, Any]:
        assert self.process is not None
        assert self.process.stdout is not None
        assert select.select([self.process.stdout], [], [], 30)[0], "the exchange does not answer"
        line = self.process.stdout.readline()
        assert line, "the exchange ended"
        answer: dict[str, Any] = json.loads(line)
        return answer

    def command(self, **words: object) -> dict[str, Any]:
        """Give it one command; it may refuse."""
        assert self.process is not None
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(words) + "\n")
        self.process.stdin.flush()
        return self._line()

    def figures(self) -> dict[str, Any]:
        """What it knows of its only node."""
        (node,) = self.command(cmd="stats")["nodes"].values()
        figures: dict[str, Any] = node
        return figures

    def stop(self) -> None:
        if self.process is not None:
            assert self.process.stdin is not None
            assert self.process.stdout is not None
            self.process.stdin.close()
            self.process.wait(30)
            self.process.stdout.close()


@pytest.fixture(scope="session")
def package() -> Path:
    """The core package."""
    return _built("hearth-agent")


@pytest.fixture(scope="session")
def lightning_package() -> Path:
    """The package of the Lightning half."""
    return _built("hearth-agent-lightning")


@pytest.fixture(scope="session")
def newer_package(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same under a higher version."""
    return repack(package, "9.9.9", tmp_path_factory.mktemp("newer"))


@pytest.fixture(scope="session", autouse=True)
def second_build(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """Another build of the same tree, in another place, zone and environment.

    It takes minutes, so it goes on beside the tests that wait for containers.
    """
    folder = tmp_path_factory.mktemp("again")
    wanted = any(
        "second_build" in inspect.signature(item.function).parameters
        for item in request.session.items
        if isinstance(item, pytest.Function)
    )
    command = [str(ROOT / "packaging" / "make-deb"), "--out", str(folder)] if wanted else ["true"]
    build = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C", "TZ": "Asia/Tokyo"},
        start_new_session=True,
    )
    yield build, folder
    if build.poll() is None:
        os.killpg(build.pid, signal.SIGTERM)
        build.wait()


def _built(name: str) -> Path:
    found = sorted((ROOT / "dist").glob(f"{name}_*_amd64.deb"))
    assert len(found) == 1, f"dist/ has {len(found)} of {name}; run `make deb` in a clean dist/"
    return found[0]


@pytest.fixture(params=SUITES)
def system(request: pytest.FixtureRequest) -> Iterator[System]:
    """A system of each release, fresh for each test."""
    if os.geteuid() != 0:
        pytest.skip("containers are booted as root")
    assert (TESTBED / request.param / "rootfs").is_dir(), "no test bed: tests/testbed/build tree"
    booted = System(request.param, f"deb-{os.getpid()}")
    try:
        booted.up()
        yield booted
    finally:
        booted.down()
