"""A lease's place: against the kernel's own cgroups, and against a systemctl that only listens."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path

import pytest

from agent import leases
from agent.core.lease import LeaseKey
from agent.errors import CgroupError, ConfigError
from agent.lease_sampler import LeaseSampler
from agent.leases import (
    Directories,
    Slices,
    attach,
    enforceable,
    limits_of,
    missing_controllers,
)
from probes.cgroup import find_root
from probes.errors import Absent
from probes.host import Host

KEY = LeaseKey("ab" * 32, "0190c1d2-0000-7000-8000-000000000001")
UNITS = {"MEMORY_MB": 512, "VCPU": 2}
HOST = Host()
SPIN = "while :; do :; done"


@pytest.fixture
def places() -> Iterator[Directories]:
    """A parent of our own in this machine's unified hierarchy; all of it is taken away again."""
    try:
        root = find_root(HOST) / f"hearth-test-{os.getpid()}"
        root.mkdir()
    except (Absent, OSError) as error:
        pytest.skip(f"no cgroup v2 hierarchy that this user may write: {error}")
    made = Directories(root)
    yield made
    (root / "cgroup.kill").write_text("1")
    for _ in range(200):
        for inner in sorted(root.rglob("*"), reverse=True):
            if inner.is_dir():
                with contextlib.suppress(OSError):
                    inner.rmdir()
        with contextlib.suppress(OSError):
            root.rmdir()
        if not root.exists():
            return
        time.sleep(0.01)
    raise AssertionError(f"{root} stays")


def run_in(directory: Path, script: str) -> subprocess.Popen[bytes]:
    """Run a shell script inside a cgroup."""

    def enter() -> None:
        (directory / "cgroup.procs").write_text(str(os.getpid()))

    return subprocess.Popen(["sh", "-c", script], preexec_fn=enter)  # noqa: PLW1509 - no threads here


def sampler(places: Directories) -> LeaseSampler:
    return LeaseSampler(HOST, places.directory(KEY), enforceable(places, UNITS))


# --- the kernel's ---


def test_a_place_is_made_once_and_found_again(places: Directories) -> None:
    directory = places.create(KEY, UNITS)
    assert directory == places.directory(KEY)
    assert directory.parent == places.root
    inode = directory.stat().st_ino
    assert places.create(KEY, UNITS).stat().st_ino == inode


def test_the_limits_that_this_host_can_set_are_in_force(places: Directories) -> None:
    """On a hybrid host it can set none, and says so."""
    directory = places.create(KEY, UNITS)
    missing = missing_controllers(places)
    for file, content in limits_of(UNITS).items():
        controller = file.partition(".")[0]
        assert (directory / file).exists() is (controller not in missing)
        if controller not in missing:
            assert (directory / file).read_text().strip() == content
    assert sampler(places).limits_in_force()


def test_what_runs_in_it_is_counted(places: Directories) -> None:
    directory = places.create(KEY, UNITS)
    cgroup = sampler(places)
    first = cgroup.read(limits_in_force=True)
    assert first is not None
    assert first.cgroup_id == directory.stat().st_ino
    busy = run_in(directory, SPIN)
    time.sleep(0.3)
    busy.kill()
    busy.wait()
    second = cgroup.read(limits_in_force=False)
    assert second is not None
    assert second.usage_us - first.usage_us > 50_000
    assert (first.limits_in_force, second.limits_in_force) == (True, False)
    cgroup.close()


def test_all_that_runs_in_it_is_ended_and_its_counters_stay(places: Directories) -> None:
    """Children in cgroups of their own, and those that would not hear a signal."""
    directory = places.create(KEY, UNITS)
    inner = directory / "container"
    inner.mkdir()
    outer = run_in(directory, f"trap '' TERM INT HUP; ({SPIN}) & ({SPIN}) & {SPIN}")
    nested = run_in(inner, SPIN)
    cgroup = sampler(places)
    time.sleep(0.2)
    places.empty(KEY)
    assert "populated 0" in (directory / "cgroup.events").read_text()
    last = cgroup.read(limits_in_force=True)
    assert last is not None
    assert last.usage_us > 50_000
    assert outer.wait() < 0
    assert nested.wait() < 0
    places.remove(KEY)
    assert not directory.exists()
    assert cgroup.read(limits_in_force=True) is None


def test_what_is_frozen_is_seen_and_still_ended(places: Directories) -> None:
    directory = places.create(KEY, UNITS)
    busy = run_in(directory, SPIN)
    cgroup = sampler(places)
    (directory / "cgroup.freeze").write_text("1")
    for _ in range(100):
        sample = cgroup.read(limits_in_force=True)
        assert sample is not None
        if sample.frozen:
            break
        time.sleep(0.01)
    assert sample.frozen
    places.empty(KEY)
    assert busy.wait() < 0


def test_gone_already_is_fine(places: Directories) -> None:
    places.empty(KEY)
    places.remove(KEY)
    places.create(KEY, UNITS)
    places.remove(KEY)
    places.remove(KEY)
    places.empty(KEY)


def test_what_still_runs_is_not_removed(
    places: Directories, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "KILL_DEADLINE_S", 0.05)
    directory = places.create(KEY, UNITS)
    busy = run_in(directory, SPIN)
    with pytest.raises(CgroupError, match=f"{directory}.*does not end"):
        places.remove(KEY)
    assert directory.exists()
    monkeypatch.undo()
    places.empty(KEY)
    busy.wait()


def test_another_cgroup_of_the_same_name_has_another_identity(places: Directories) -> None:
    places.create(KEY, UNITS)
    cgroup = sampler(places)
    first = cgroup.read(limits_in_force=True)
    places.remove(KEY)
    assert cgroup.read(limits_in_force=True) is None
    places.create(KEY, UNITS)
    second = cgroup.read(limits_in_force=True)
    assert first is not None
    assert second is not None
    assert first.cgroup_id != second.cgroup_id


def test_a_meter_may_be_there_before_its_cgroup(places: Directories) -> None:
    cgroup = sampler(places)
    assert cgroup.read(limits_in_force=True) is None
    places.create(KEY, UNITS)
    assert cgroup.read(limits_in_force=True) is not None


def test_a_process_moves_in_or_it_is_said_why_not(places: Directories) -> None:
    directory = places.create(KEY, UNITS)
    sleeper = subprocess.Popen(["sleep", "60"])
    attach(directory, sleeper.pid)
    assert str(sleeper.pid) in (directory / "cgroup.procs").read_text().split()
    places.empty(KEY)
    sleeper.wait()
    with pytest.raises(CgroupError, match="No such process"):
        attach(directory, sleeper.pid)
    with pytest.raises(CgroupError, match="No such file"):
        attach(directory / "absent", os.getpid())


@pytest.mark.parametrize("root", ["/proc/hearth", "/etc/hostname/x", "/sys/kernel/hearth"])
def test_where_nothing_can_be_made_the_remedy_is_named(root: str) -> None:
    with pytest.raises(CgroupError, match=r"lease\.cgroup_root") as caught:
        Directories(Path(root)).create(KEY, UNITS)
    assert root.split("/")[1] in str(caught.value)
    assert caught.value.retryable


# --- a hierarchy with the cpu and memory controllers, as files ---


@pytest.fixture
def unified(tmp_path: Path) -> Directories:
    """What the kernel shows in a directory of cgroup v2, without the kernel."""
    root = tmp_path / "hearth.slice"
    directory = Directories(root).directory(KEY)
    directory.mkdir(parents=True)
    (tmp_path / "cgroup.controllers").write_text("cpu io memory pids\n")
    (root / "cgroup.controllers").write_text("cpu io memory pids\n")
    (directory / "cpu.max").write_text("max 100000\n")
    (directory / "memory.max").write_text("max\n")
    (directory / "cpu.stat").write_text("usage_usec 5\nuser_usec 3\nsystem_usec 2\n")
    return Directories(root)


def test_what_is_sold_is_what_is_limited(unified: Directories) -> None:
    assert missing_controllers(unified) == ()
    cgroup = sampler(unified)
    assert not cgroup.limits_in_force()
    directory = unified.create(KEY, UNITS)
    assert (directory / "cpu.max").read_text() == "200000 100000"
    assert (directory / "memory.max").read_text() == str(512 << 20)
    assert cgroup.limits_in_force()


@pytest.mark.parametrize(
    ("file", "content"), [("cpu.max", "max 100000\n"), ("memory.max", "1048576\n")]
)
def test_a_limit_that_somebody_changed_is_not_in_force(
    unified: Directories, file: str, content: str
) -> None:
    directory = unified.create(KEY, UNITS)
    cgroup = sampler(unified)
    (directory / file).write_text(content)
    assert not cgroup.limits_in_force()
    unified.create(KEY, UNITS)
    assert cgroup.limits_in_force()


def test_a_limit_that_went_away_is_not_in_force(unified: Directories) -> None:
    directory = unified.create(KEY, UNITS)
    (directory / "memory.max").unlink()
    assert not sampler(unified).limits_in_force()


def test_a_hierarchy_without_controllers_says_which(unified: Directories) -> None:
    (unified.root / "cgroup.controllers").write_text("cpu\n")
    assert missing_controllers(unified) == ("memory",)
    assert missing_controllers(Directories(Path("/"))) == ("cpu", "memory")


def test_a_kernel_that_cannot_end_it_says_so_and_does_not_pretend(unified: Directories) -> None:
    events = unified.directory(KEY) / "cgroup.events"
    events.write_text("populated 1\nfrozen 0\n")
    with pytest.raises(CgroupError, match=r"Linux 5\.14"):
        unified.empty(KEY)


def test_counters_that_do_not_read_are_no_sample(unified: Directories) -> None:
    cgroup = sampler(unified)
    assert cgroup.read(limits_in_force=True) is not None
    (unified.directory(KEY) / "cpu.stat").write_text("nonsense")
    assert cgroup.read(limits_in_force=True) is None


# --- systemd's ---


class Systemctl:
    """A systemctl on PATH that writes down what it is asked, and fails when told to."""

    def __init__(self, directory: Path) -> None:
        self.calls = directory / "calls"
        self.says = directory / "says"
        self.binary = directory / "systemctl"
        self.binary.write_text(
            f'#!/bin/sh\necho "$@" >> {self.calls}\n'
            f"if [ -e {self.says} ]; then cat {self.says} >&2; exit 1; fi\n"
        )
        self.binary.chmod(0o755)

    def asked(self) -> list[list[str]]:
        return [line.split() for line in self.calls.read_text().splitlines()]


@pytest.fixture
def systemctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Systemctl:
    directory = tmp_path / "bin"
    directory.mkdir()
    monkeypatch.setenv("PATH", f"{directory}:{os.environ['PATH']}")
    return Systemctl(directory)


def orders(systemctl: Systemctl) -> list[str]:
    found = []
    for call in systemctl.asked():
        assert call[:3] == ["--quiet", "--no-ask-password", "start"]
        [unit] = call[3:]
        found.append(unit.removeprefix("hearth-lease@").removesuffix(".service"))
    return found


def test_a_slice_is_ordered_made_and_ended(tmp_path: Path, systemctl: Systemctl) -> None:
    slices = Slices(tmp_path / "hearth.slice")
    directory = slices.create(KEY, UNITS)
    assert directory == tmp_path / "hearth.slice" / leases.name_of(KEY)
    stem = "abababababab_0190c1d2_0000_7000_8000_000000000001"
    assert orders(systemctl) == [f"create-{stem}-2000-512"]
    directory.mkdir(parents=True)
    (directory / "cgroup.events").write_text("populated 1\nfrozen 0\n")
    slices.empty(KEY)
    slices.remove(KEY)
    assert orders(systemctl)[1:] == [f"kill-{stem}", f"remove-{stem}"]


def test_what_is_gone_or_empty_is_not_ordered(tmp_path: Path, systemctl: Systemctl) -> None:
    slices = Slices(tmp_path / "hearth.slice")
    slices.empty(KEY)
    slices.remove(KEY)
    assert not systemctl.calls.exists()


def test_an_order_is_one_that_the_root_part_reads(tmp_path: Path, systemctl: Systemctl) -> None:
    """Both sides of the one channel between the agent and root."""
    file = Path(__file__).parents[2] / "systemd" / "lease-slice"
    loader = SourceFileLoader("lease_slice", str(file))
    spec = spec_from_loader("lease_slice", loader)
    assert spec is not None
    module = module_from_spec(spec)
    loader.exec_module(module)
    slices = Slices(tmp_path / "hearth.slice")
    for units in (UNITS, {"VCPU": 1}, {"MEMORY_MB": 65536}, {"PGPU": 1}):
        slices.create(KEY, units)
    slices.directory(KEY).mkdir(parents=True)
    (slices.directory(KEY) / "cgroup.events").write_text("populated 1\n")
    slices.empty(KEY)
    slices.remove(KEY)
    *creates, kill, remove = orders(systemctl)
    assert all(module.CREATE.fullmatch(order) for order in creates)
    assert module.END.fullmatch(kill)
    assert module.END.fullmatch(remove)


def test_what_systemctl_says_is_in_the_error(tmp_path: Path, systemctl: Systemctl) -> None:
    systemctl.says.write_text("Access denied\nas the requested operation\n")
    with pytest.raises(CgroupError, match="Access denied as the requested operation"):
        Slices(tmp_path).create(KEY, UNITS)


def test_no_systemctl_is_an_error_with_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CgroupError, match="systemctl"):
        Slices(tmp_path).create(KEY, UNITS)


def test_a_systemctl_that_hangs_is_given_up(
    tmp_path: Path, systemctl: Systemctl, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "SYSTEMCTL_DEADLINE_S", 0.1)
    systemctl.binary.write_text("#!/bin/sh\nexec sleep 30\n")
    with pytest.raises(CgroupError, match="timed out"):
        Slices(tmp_path).create(KEY, UNITS)


def test_where_leases_go() -> None:
    below = find_root(HOST) / "hearth-test-not-there" / "leases"
    assert leases.places(str(below), HOST) == Directories(below)
    assert not below.parent.exists()
    with pytest.raises(ConfigError, match=r"lease\.cgroup_root: /somewhere: not in a cgroup v2"):
        leases.places("/somewhere", HOST)
    auto = leases.places("auto", HOST)
    assert auto.root == find_root(HOST) / "hearth.slice"
