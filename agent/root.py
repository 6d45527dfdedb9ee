"""This host's root of trust: where its TPM is, what it measured at boot; a key file without one."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from pathlib import Path

import structlog

from agent.config import Config
from agent.errors import JournalError, Overloaded
from attest.errors import Malformed, TpmError
from attest.eventlog import MAX_LOG
from attest.formats import MAX_INLINE, Blob
from attest.keys import SoftwareKey
from attest.root import Root
from attest.software import SoftwareRoot
from probes.errors import ProbeError
from probes.host import Host

logger = structlog.get_logger()

TPM_DEVICE = "/dev/tpmrm0"
TPM_TABLE = "/sys/firmware/acpi/tables/TPM2"  # TCG ACPI Specification 1.4, 7.3
# In a container the table is the host's: systemd's container interface, Docker, Podman.
CONTAINERS = ("/run/host/container-manager", "/.dockerenv", "/run/.containerenv")
BOOT_LOG = "binary_bios_measurements"


def open_root(config: Config, host: Host, state: Path) -> Root:
    """Open the TPM, or make or read the node key where there is none or none is wanted.

    :raises TpmError: when a TPM is configured and does not answer.
    :raises JournalError: when the node key does not read.
    """
    tcti = find_tpm(config, host)
    if tcti != "none":
        from attest.tpm import Tpm  # noqa: PLC0415 - a host without a TPM needs no libtss2

        return Tpm.open(tcti)
    file = state / "node.pem"
    if not file.exists():
        write_secret(file, SoftwareKey.generate().to_pem())
    try:
        return SoftwareRoot(SoftwareKey.from_pem(file.read_bytes()))
    except (OSError, Malformed) as error:
        raise JournalError(
            f"{file}: {error}; put the node key back, or move the state directory away to start a"
            " new node"
        ) from None


def find_tpm(config: Config, host: Host) -> str:
    """Return the TCTI to use, or "none".

    :raises TpmError: when the firmware announces a TPM that has no device yet: a host must not
        become a node without a TPM because its driver was late.
    """
    tcti = config.tpm.tcti
    if tcti != "auto":
        return tcti
    if host.exists(TPM_DEVICE):
        return f"device:{TPM_DEVICE}"
    if host.exists(TPM_TABLE) and not any(map(host.exists, CONTAINERS)):
        raise TpmError(
            f"{TPM_DEVICE} is not there, though the firmware announces a TPM ({TPM_TABLE});"
            ' look for its driver in the kernel\'s log, or set tpm.tcti = "none" to do without it'
        )
    return "none"


def boot_log(tcti: str, host: Host) -> Blob | None:
    """The firmware's log of what this TPM measured at boot; None where it cannot be read.

    It stands still once the kernel runs (securityfs, Documentation/security/tpm/tpm_event_log.rst),
    so it fits any quote of this boot. One that is too long to be carried is named only.
    """
    device = re.fullmatch(r"device:/dev/tpm(?:rm)?([0-9]+)", tcti)
    if device is None:  # a simulator: this host's log is not about it
        return None
    try:
        content = host.read(f"/sys/kernel/security/tpm{device[1]}/{BOOT_LOG}", MAX_LOG)
    except ProbeError as error:
        logger.debug("boot_log_unread", kind=error.kind, detail=str(error))
        return None
    inline = content if len(content) <= MAX_INLINE else b""
    return Blob(hashlib.sha256(content).digest(), len(content), inline)


def _sync_directory(directory: Path) -> None:
    """Make the names in a directory durable (fsync(2): a file's own fsync is not enough)."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_secret(file: Path, content: bytes) -> None:
    """Write a file that only this user may read: whole or not at all, and durable on return.

    :raises Overloaded: when the disk does not take it.
    """
    part = file.with_suffix(".part")
    try:
        # Made anew: `hearth enroll` is root in another user's directory, who may have a link here.
        part.unlink(missing_ok=True)
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        part.rename(file)
        _sync_directory(file.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink()
        raise Overloaded(f"{file}: {error.strerror}") from error
