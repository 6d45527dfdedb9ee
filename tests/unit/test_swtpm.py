"""The sandbox's software TPM: starts anywhere, ends with its parent, writes nothing elsewhere."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from agent.sandbox.swtpm import Swtpm, SwtpmError, manufacture
from attest.tpm import Tpm


def runs(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_bytes().rpartition(b") ")[2][:1] != b"Z"


def test_it_manufactures_what_is_missing_and_writes_nothing_outside(
    swtpm_state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        monkeypatch.setenv(name, str(home))
    system = Path("/var/lib/swtpm-localca")
    before = sorted(system.iterdir()) if system.exists() else []
    running = Swtpm.start(tmp_path / "tpm")
    try:
        issuer, root = running.ca_certificates
        assert issuer.startswith(b"-----BEGIN CERTIFICATE-----")
        assert root.startswith(b"-----BEGIN CERTIFICATE-----") and root != issuer
    finally:
        running.stop()
    assert list(home.iterdir()) == []
    assert (sorted(system.iterdir()) if system.exists() else []) == before
    assert (tmp_path / "tpm" / "state" / "tpm2-00.permall").exists()


def test_an_interrupted_manufacture_is_begun_again(swtpm_state: Path, tmp_path: Path) -> None:
    (tmp_path / "state.making").mkdir()
    (tmp_path / "state.making" / "tpm2-00.permall").write_bytes(b"half")
    manufacture(tmp_path)
    assert (tmp_path / "state" / "tpm2-00.permall").stat().st_size > 1000
    assert not (tmp_path / "state.making").exists()


def test_stop_and_kill_wait_until_it_is_gone(fresh_swtpm: Swtpm, tmp_path: Path) -> None:
    first = fresh_swtpm.pid
    assert runs(first)
    fresh_swtpm.stop()
    assert not runs(first)
    fresh_swtpm.stop()  # twice does no harm
    again = Swtpm.start(tmp_path / "tpm")
    assert again.tcti == fresh_swtpm.tcti
    again.kill()
    assert not runs(again.pid)
    third = Swtpm.start(tmp_path / "tpm")  # over the sockets that the killed one left
    assert runs(third.pid)
    third.stop()
    assert list((tmp_path / "tpm").glob("tpm.sock*")) == []


def test_two_on_one_directory_are_refused(fresh_swtpm: Swtpm, tmp_path: Path) -> None:
    with pytest.raises(SwtpmError, match="runs there already"):
        Swtpm.start(tmp_path / "tpm")
    assert runs(fresh_swtpm.pid)


def test_it_outlives_the_thread_that_started_it(swtpm_state: Path, tmp_path: Path) -> None:
    shutil.copytree(swtpm_state, tmp_path / "tpm")
    started: list[Swtpm] = []
    thread = threading.Thread(target=lambda: started.append(Swtpm.start(tmp_path / "tpm")))
    thread.start()
    thread.join()
    tpm = Tpm.open(started[0].tcti)
    assert tpm.identity.node_id
    tpm.close()
    started[0].stop()


def test_it_ends_with_its_parent_even_after_kill_9(swtpm_state: Path, tmp_path: Path) -> None:
    shutil.copytree(swtpm_state, tmp_path / "tpm")
    script = (
        "import sys, time; from pathlib import Path; from agent.sandbox.swtpm import Swtpm;"
        "print(Swtpm.start(Path(sys.argv[1])).pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "tpm")],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    assert runs(pid)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 10
    while runs(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not runs(pid)


def test_a_state_that_is_none_is_reported_with_its_log(tmp_path: Path, swtpm_state: Path) -> None:
    shutil.copytree(swtpm_state, tmp_path / "tpm")
    (tmp_path / "tpm" / "state" / "tpm2-00.permall").write_bytes(b"not a TPM's state")
    with pytest.raises(SwtpmError, match=r"(?s)swtpm does not start: .*Invalid magic"):
        Swtpm.start(tmp_path / "tpm")


def test_missing_tools_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SwtpmError, match="is not installed"):
        Swtpm.start(tmp_path / "tpm")


def test_a_directory_too_deep_for_a_socket_is_named(tmp_path: Path) -> None:
    with pytest.raises(SwtpmError, match="at most 93 characters"):
        Swtpm.start(tmp_path / ("x" * 100))
