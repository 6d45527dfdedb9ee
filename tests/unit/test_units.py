"""The units, the polkit rule, the lease helper: how exposed they are, what they let through."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.lease import LeaseKey
from agent.leases import Slices, name_of

ROOT = Path(__file__).parents[2]
SYSTEMD = ROOT / "systemd"
KEY = LeaseKey("0123456789ab" + "c" * 52, "01234567-89ab-7cde-8f01-23456789abcd")
LEASE = "0123456789ab_01234567_89ab_7cde_8f01_23456789abcd"
DAEMON_MOST = 1.3
HELPER_MOST = 5.0


def units() -> list[Path]:
    return sorted(SYSTEMD.glob("*.service"))


@pytest.fixture(scope="module")
def helper() -> ModuleType:
    loader = importlib.machinery.SourceFileLoader("lease_slice", str(SYSTEMD / "lease-slice"))
    spec = importlib.util.spec_from_loader("lease_slice", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = before
    return module


def polkit_pattern() -> re.Pattern[str]:
    """The pattern of the rule, put together from its JavaScript."""
    rule = (SYSTEMD / "hearth-agent.rules").read_text()
    lease = re.search(r'var lease = "([^"]+)";', rule)
    order = re.search(r"var order = new RegExp\((.+)\);", rule)
    assert lease is not None
    assert order is not None
    parts = [part.strip() for part in order[1].split(" + ")]
    text = "".join(lease[1] if part == "lease" else part.strip('"') for part in parts)
    return re.compile(text.replace("\\\\", "\\"))


@pytest.mark.parametrize("unit", units(), ids=lambda unit: unit.stem)
def test_the_exposure_of_each_unit_is_bounded(unit: Path, tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    # The tool wants an instance of a template.
    name = unit.name.replace("@", "@x")
    shutil.copy(unit, tmp_path / name)
    said = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", str(tmp_path / name)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    score = re.search(r"Overall exposure level for \S+: (\d+\.\d)", said)
    assert score is not None, said
    most = DAEMON_MOST if unit.stem == "hearth-agent" else HELPER_MOST
    assert float(score[1]) <= most, said


def test_the_daemon_has_no_capability_and_a_static_user() -> None:
    lines = (SYSTEMD / "hearth-agent.service").read_text().splitlines()
    for line in (
        "Type=notify",
        "User=hearth",
        "CapabilityBoundingSet=",
        "NoNewPrivileges=yes",
        "LimitNOFILE=16384",
        "ProtectControlGroups=yes",
    ):
        assert line in lines
    assert not any(line.startswith(("Delegate", "AmbientCapabilities=CAP")) for line in lines)
    assert "u hearth " in (SYSTEMD / "hearth-agent.sysusers").read_text()


def test_no_unit_has_a_directive_that_systemd_does_not_know(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    for unit in [*units(), SYSTEMD / "hearth.slice", SYSTEMD / "hearth-ipmi.socket"]:
        shutil.copy(unit, tmp_path)
    said = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *map(str, sorted(tmp_path.iterdir()))],
        capture_output=True,
        text=True,
        check=False,  # the commands it would run are not installed here
    ).stderr
    own = [line for line in said.splitlines() if "is not executable" not in line]
    assert not [line for line in own if any(p.name in line for p in tmp_path.iterdir())], said


ROOT_ONLY = (
    ("sys/kernel/security/tpm0/binary_bios_measurements", "tss", 0o440),
    ("sys/firmware/dmi/tables/DMI", "hearth", 0o440),
    ("sys/firmware/dmi/tables/smbios_entry_point", "hearth", 0o440),
    ("sys/devices/virtual/powercap/intel-rapl/intel-rapl:0/energy_uj", "hearth", 0o440),
    (
        "sys/devices/virtual/powercap/intel-rapl/intel-rapl:0/intel-rapl:0:0/energy_uj",
        "hearth",
        0o440,
    ),
    ("dev/ipmi0", "hearth-ipmi", 0o660),
)
GROUPS = {"root": 0, "hearth": 901, "tss": 902, "hearth-ipmi": 903}


def tmpfiles(root: Path, *words: str) -> None:
    subprocess.run(["systemd-tmpfiles", f"--root={root}", *words], check=True, timeout=60)


@pytest.fixture
def root_only(tmp_path: Path) -> Path:
    """A host with every file that only root may read, as the kernel makes them."""
    if os.geteuid() != 0 or shutil.which("systemd-tmpfiles") is None:
        pytest.skip("needs root and systemd-tmpfiles")
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text("root:x:0:0::/:/bin/sh\n")
    (tmp_path / "etc/group").write_text("".join(f"{n}:x:{gid}:\n" for n, gid in GROUPS.items()))
    folder = tmp_path / "usr/lib/tmpfiles.d"
    folder.mkdir(parents=True)
    shutil.copy(SYSTEMD / "hearth-agent.tmpfiles", folder / "hearth-agent.conf")
    for name, _, _ in ROOT_ONLY:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
        file.chmod(0o400)
    return tmp_path


def opened(root: Path) -> set[str]:
    """Those that are open to their group, as they should be, and to nobody else."""
    found = set()
    for name, group, mode in ROOT_ONLY:
        facts = (root / name).stat()
        if (facts.st_uid, facts.st_gid, facts.st_mode & 0o777) == (0, GROUPS[group], mode):
            found.add(name)
    return found


def test_what_only_root_may_read_is_opened_to_the_agents_groups(root_only: Path) -> None:
    assert opened(root_only) == set()
    tmpfiles(root_only, "--create", "hearth-agent.conf")
    assert opened(root_only) == {name for name, _, _ in ROOT_ONLY}


@pytest.mark.parametrize(
    ("subsystem", "below"), [("powercap", "sys/devices/virtual/powercap"), ("tpm", "sys/kernel")]
)
def test_udev_does_the_same_for_a_driver_that_comes_later(
    root_only: Path, subsystem: str, below: str
) -> None:
    rules = (SYSTEMD / "hearth-agent.udev").read_text()
    [order] = re.findall(rf'^ACTION=="add", SUBSYSTEM=="{subsystem}", RUN\+="(.+)"$', rules, re.M)
    program, *words = shlex.split(order)
    assert program == "/usr/bin/systemd-tmpfiles"
    tmpfiles(root_only, *words)
    assert opened(root_only) == {name for name, _, _ in ROOT_ONLY if name.startswith(below)}


@pytest.mark.parametrize(
    "order",
    [f"create-{LEASE}-2000-4096", f"create-{LEASE}-0-0", f"kill-{LEASE}", f"remove-{LEASE}"],
)
def test_polkit_and_the_helper_agree_on_what_is_an_order(helper: ModuleType, order: str) -> None:
    assert helper.CREATE.fullmatch(order) or helper.END.fullmatch(order)
    assert polkit_pattern().search(f"hearth-lease@{order}.service")


@pytest.mark.parametrize(
    "order",
    [
        "",
        "create",
        f"create-{LEASE}",
        f"create-{LEASE}-1000",
        f"create-{LEASE}-1000-256-",
        f"create-{LEASE}-1000-256\n",
        f"create-{LEASE}--1-256",
        f"create-{LEASE}-01-256",
        f"create-{LEASE}-1000-256 MemoryMax=infinity",
        f"create-{LEASE.upper()}-1000-256",
        f"stop-{LEASE}",
        f"kill-{LEASE}.service",
        "kill-../../system.slice",
        f"kill-{LEASE}/../../system.slice",
        f"remove-{LEASE[:-1]}",
        f"remove-{LEASE}٣",
    ],
)
def test_what_is_no_order_is_refused(order: str) -> None:
    done = subprocess.run(
        [sys.executable, "-IS", str(SYSTEMD / "lease-slice"), order],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "is no order" in done.stderr
    assert not polkit_pattern().search(f"hearth-lease@{order}.service")


def test_more_than_the_machine_has_is_refused() -> None:
    for order, what in (
        (f"create-{LEASE}-999999999-0", "processors"),
        (f"create-{LEASE}-0-9999999999", "memory"),
    ):
        done = subprocess.run(
            [sys.executable, "-IS", str(SYSTEMD / "lease-slice"), order],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 1
        assert what in done.stderr


@given(st.text(max_size=120))
def test_no_other_text_is_an_order(text: str) -> None:
    pattern = polkit_pattern()
    assert not pattern.search(f"hearth-lease@{text}.service")
    assert not pattern.search(text)


def test_the_slice_is_named_as_the_helper_names_it(helper: ModuleType) -> None:
    assert name_of(KEY) == f"hearth-{LEASE}.slice"
    assert Slices(Path("/x/hearth.slice")).directory(KEY).name == name_of(KEY)
    assert Slices(Path("/x")).command(KEY, ["true"])[-2:] == ["--", "true"]
    assert helper.END.fullmatch(f"kill-{LEASE}")[2] == LEASE
