"""probes.cgroup: parsing, hybrid hosts, what is not there, and a cgroup that goes away."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from probes.cgroup import (
    CgroupReader,
    find_root,
    parse_cpu_stat,
    parse_frozen,
    parse_io_stat,
    parse_pressure,
)
from probes.errors import Absent, Denied, Malformed
from probes.host import Host

FULL = {
    "cpu.stat": "usage_usec 8303000\nuser_usec 8000000\nsystem_usec 303000\nnice_usec 0\n"
    "core_sched.force_idle_usec 0\nnr_periods 20\nnr_throttled 7\nthrottled_usec 1234567\n"
    "nr_bursts 0\nburst_usec 0\n",
    "memory.current": "104857600\n",
    "io.stat": "8:0 rbytes=1000 wbytes=20 rios=1 wios=1 dbytes=0 dios=0\n253:1 \n"
    "8:16 rbytes=5 wbytes=7 rios=1 wios=1 dbytes=0 dios=0\n",
    "cpu.pressure": "some avg10=0.00 avg60=0.00 avg300=0.00 total=900\n"
    "full avg10=0.00 avg60=0.00 avg300=0.00 total=450\n",
    "memory.pressure": "some avg10=0.00 avg60=0.00 avg300=0.00 total=8\n"
    "full avg10=0.00 avg60=0.00 avg300=0.00 total=3\n",
    "cgroup.events": "populated 1\nfrozen 1\n",
}


def lease(root: Path, files: dict[str, str]) -> Path:
    directory = root / "sys/fs/cgroup/lease"
    directory.mkdir(parents=True)
    for name, text in files.items():
        (directory / name).write_text(text)
    return Path("/sys/fs/cgroup/lease")


def mountinfo(root: Path, *lines: str) -> Host:
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/mountinfo").write_text("".join(f"{line}\n" for line in lines))
    return Host(root)


def test_all_files(tmp_path: Path) -> None:
    reader = CgroupReader(Host(tmp_path), lease(tmp_path, FULL))
    sample = reader.read()
    assert reader.missing == ()
    assert reader.inode == (tmp_path / "sys/fs/cgroup/lease").stat().st_ino
    assert sample.usage_usec == 8303000
    assert (sample.user_usec, sample.system_usec) == (8000000, 303000)
    assert (sample.nr_throttled, sample.throttled_usec) == (7, 1234567)
    assert sample.memory_bytes == 104857600
    assert (sample.io_read_bytes, sample.io_write_bytes) == (1005, 27)
    assert (sample.stalled_usec, sample.memory_stalled_usec) == (450, 3)
    assert sample.frozen is True


def test_only_the_files_of_interest_are_opened(tmp_path: Path) -> None:
    directory = lease(tmp_path, FULL)
    for unwanted in ("io.stat", "cpu.pressure", "memory.pressure", "cgroup.events"):
        (tmp_path / "sys/fs/cgroup/lease" / unwanted).unlink()
    reader = CgroupReader(Host(tmp_path), directory, ("memory.current",))
    assert reader.missing == ()
    sample = reader.read()
    assert sample.memory_bytes == 104857600
    assert (sample.io_read_bytes, sample.stalled_usec, sample.frozen) == (None, None, None)


def test_hybrid_host_gives_none_and_never_zero(tmp_path: Path) -> None:
    files = {"cpu.stat": "usage_usec 5\nuser_usec 3\nsystem_usec 2\nnice_usec 0\n"}
    reader = CgroupReader(Host(tmp_path), lease(tmp_path, files))
    sample = reader.read()
    assert set(reader.missing) == FULL.keys() - {"cpu.stat"}
    assert sample[:3] == (5, 3, 2)
    assert all(field is None for field in sample[3:])


def test_descriptors_follow_the_files(tmp_path: Path) -> None:
    reader = CgroupReader(Host(tmp_path), lease(tmp_path, FULL))
    before = reader.read()
    with (tmp_path / "sys/fs/cgroup/lease/memory.current").open("w") as file:  # same inode
        file.write("7\n")
    after = reader.read()
    assert (before.memory_bytes, after.memory_bytes) == (104857600, 7)


def test_no_cgroup(tmp_path: Path) -> None:
    with pytest.raises(Absent):
        CgroupReader(Host(tmp_path), Path("/sys/fs/cgroup/gone"))


def test_malformed_cpu_stat(tmp_path: Path) -> None:
    reader = CgroupReader(Host(tmp_path), lease(tmp_path, {"cpu.stat": "usage_usec x\n"}))
    with pytest.raises(Malformed):
        reader.read()


@pytest.mark.parametrize("where", ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"])
def test_find_root(tmp_path: Path, where: str) -> None:
    host = mountinfo(
        tmp_path,
        "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755",
        "32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu",
        f"41 31 0:38 / {where} rw,nosuid shared:9 master:2 - cgroup2 cgroup2 rw,nsdelegate",
    )
    assert find_root(host) == Path(where)


def test_find_root_with_a_space_in_the_path(tmp_path: Path) -> None:
    host = mountinfo(tmp_path, r"41 31 0:38 / /mnt/c\040g rw - cgroup2 none rw")
    assert find_root(host) == Path("/mnt/c g")


def test_no_unified_hierarchy(tmp_path: Path) -> None:
    host = mountinfo(tmp_path, "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu")
    with pytest.raises(Absent, match="cgroup2"):
        find_root(host)


def test_old_kernels() -> None:
    assert parse_pressure(b"some avg10=0.00 avg60=0.00 avg300=0.00 total=9\n") is None
    assert parse_frozen(b"populated 0\n") is None
    assert parse_frozen(b"frozen 0\npopulated 0\n") is False
    assert parse_cpu_stat(b"usage_usec 3\nuser_usec 2\nsystem_usec 1") == (3, 2, 1, None, None)
    assert parse_io_stat(b"") == (0, 0)


@pytest.fixture
def real_cgroup() -> Iterator[Path]:
    try:
        root = find_root(Host())
        directory = Path(tempfile.mkdtemp(prefix="hearth-test-", dir=root))
    except (Absent, Denied, OSError) as error:
        pytest.skip(f"no cgroup v2 directory may be made here: {error}")
    yield directory
    if directory.exists():
        directory.rmdir()


def test_a_removed_cgroup_is_absent_even_when_its_name_returns(real_cgroup: Path) -> None:
    reader = CgroupReader(Host(), real_cgroup)
    assert reader.read().usage_usec == 0
    real_cgroup.rmdir()
    real_cgroup.mkdir()
    with pytest.raises(Absent):
        reader.read()
    assert CgroupReader(Host(), real_cgroup).inode != reader.inode


def test_counts_what_the_kernel_counts(real_cgroup: Path) -> None:
    reader = CgroupReader(Host(), real_cgroup)
    work = f"open({str(real_cgroup / 'cgroup.procs')!r}, 'w').write('0'); sum(range(3_000_000))"
    subprocess.run([sys.executable, "-c", work], check=True)
    sample = reader.read()
    told = int((real_cgroup / "cpu.stat").read_text().split()[1])
    assert sample.usage_usec == told > 0
    # The kernel rounds each of the three down from nanoseconds.
    assert 0 <= sample.usage_usec - sample.user_usec - sample.system_usec <= 1
