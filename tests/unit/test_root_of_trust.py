"""Where the TPM is looked for, and which boot log goes with it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from agent.config import Config, Tpm
from agent.errors import ConfigError
from agent.journal.space import Reserve
from agent.node import Lock
from agent.root import boot_log, find_tpm, open_root, write_secret
from attest.errors import TpmError
from attest.formats import MAX_INLINE
from probes.host import Host

AUTO = Config()
DEVICE = "device:/dev/tpmrm0"
LOG = "sys/kernel/security/tpm0/binary_bios_measurements"


def put(root: Path, name: str, content: bytes = b"") -> None:
    place = root / name
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(content)


def test_a_device_is_used_and_a_configured_tcti_before_it(tmp_path: Path) -> None:
    put(tmp_path, "dev/tpmrm0")
    host = Host(tmp_path)
    assert find_tpm(AUTO, host) == DEVICE
    assert find_tpm(Config(tpm=Tpm(tcti="swtpm:port=1")), host) == "swtpm:port=1"
    assert find_tpm(Config(tpm=Tpm(tcti="none")), host) == "none"


def test_a_host_without_a_tpm_has_a_key_file(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    first = open_root(AUTO, Host(tmp_path), state)
    assert open_root(AUTO, Host(tmp_path), state).identity == first.identity
    assert first.identity.ak_public == b""


def test_a_tpm_whose_driver_is_late_is_waited_for(tmp_path: Path) -> None:
    """Or its host would become another node, with a key file, for good."""
    put(tmp_path, "sys/firmware/acpi/tables/TPM2")
    state = tmp_path / "state"
    state.mkdir()
    with pytest.raises(TpmError, match="driver") as raised:
        open_root(AUTO, Host(tmp_path), state)
    assert raised.value.retryable
    assert list(state.iterdir()) == []


@pytest.mark.parametrize("mark", ["run/host/container-manager", ".dockerenv"])
def test_in_a_container_the_announced_tpm_is_the_hosts(tmp_path: Path, mark: str) -> None:
    put(tmp_path, "sys/firmware/acpi/tables/TPM2")
    put(tmp_path, mark)
    assert find_tpm(AUTO, Host(tmp_path)) == "none"


def test_the_boot_log_of_the_device_is_attached(tmp_path: Path) -> None:
    put(tmp_path, LOG, b"log")
    for tcti in (DEVICE, "device:/dev/tpm0"):
        log = boot_log(tcti, Host(tmp_path))
        assert log is not None
        assert (log.sha256, log.size_bytes, log.inline) == (
            hashlib.sha256(b"log").digest(),
            3,
            b"log",
        )


def test_no_log_of_this_host_goes_with_another_tpm(tmp_path: Path) -> None:
    put(tmp_path, LOG, b"log")
    for tcti in ("swtpm:host=127.0.0.1,port=2321", "device:/dev/tpmrm1", "device:/dev/null"):
        assert boot_log(tcti, Host(tmp_path)) is None


def test_a_long_log_is_named_and_not_carried(tmp_path: Path) -> None:
    content = bytes(MAX_INLINE)
    put(tmp_path, LOG, content)
    log = boot_log(DEVICE, Host(tmp_path))
    assert log is not None
    assert log.inline == content
    put(tmp_path, LOG, content + b"\0")
    log = boot_log(DEVICE, Host(tmp_path))
    assert log is not None
    assert (log.size_bytes, log.inline) == (MAX_INLINE + 1, b"")
    assert log.sha256 == hashlib.sha256(content + b"\0").digest()


def test_a_secret_is_for_this_user_alone(tmp_path: Path) -> None:
    file = tmp_path / "key.pem"
    write_secret(file, b"secret")
    assert file.read_bytes() == b"secret"
    assert file.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [file]


def test_a_planted_link_is_not_written_through(tmp_path: Path) -> None:
    """Root enrols in a directory of the agent's user, who may not write what root may."""
    state, victim = tmp_path / "state", tmp_path / "victim"
    state.mkdir()
    victim.write_bytes(b"as it was")
    for name in ("key.part", "reserve.part"):
        (state / name).symlink_to(victim)
    write_secret(state / "key.pem", b"secret")
    assert Reserve(state / "reserve", 1 << 20).make()
    assert (state / "key.pem").read_bytes() == b"secret"
    assert victim.read_bytes() == b"as it was"
    (state / "lock").symlink_to(tmp_path / "made")
    with pytest.raises(ConfigError, match="symbolic links"):
        Lock(state).take()
    assert not (tmp_path / "made").exists()
