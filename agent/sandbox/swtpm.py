"""A software TPM with a manufactured EK certificate, for `hearth demo` and the tests.

The same commands as a chip's, and no trust at all: whoever runs it can read its keys.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from agent.errors import HearthError

_START_SECONDS = 10.0
_SETUP_SECONDS = 120.0
_END_SECONDS = 5.0
_CMD_GET_CAPABILITY = (1).to_bytes(4, "big")

# sockaddr_un holds 107 characters (unix(7)), and libtss2 adds ".ctrl" to the name of a socket.
_SOCKET = "tpm.sock"
_DIRECTORY_MOST = 107 - len(f"/{_SOCKET}.ctrl")

# The shell prints swtpm's process id and then waits for the end of its standard input, which is a
# pipe from us: it ends with us, however we end. (PR_SET_PDEATHSIG would bind swtpm to the thread
# that started it.) `wait` outlasts swtpm's storing of its state. $0 is the socket's path.
_GUARDIAN = (
    '"$@" & pid=$!; echo "$pid"; read -r _; kill "$pid" 2>/dev/null; wait "$pid"; '
    'rm -f "$0" "$0.ctrl"'
)


class SwtpmError(HearthError):
    """swtpm is missing, or does not do what it should."""

    exit_code = 5


class Swtpm:
    """A running swtpm, in a session of its own, that ends with this process.

    It listens on Unix sockets in its directory, so that no port can be taken from it and a
    restarted one is found where it was. It serves one client at a time; a second one waits until
    the first disconnects or dies.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._socket = directory / _SOCKET
        self._guardian: subprocess.Popen[bytes] | None = None
        self._pid = 0

    @classmethod
    def start(cls, directory: Path) -> Swtpm:
        """Run the TPM whose state lies in this directory; manufacture it if there is none.

        A started TPM is a TPM after power-on: PCRs are reset, keys and NV are as they were.

        :raises SwtpmError: swtpm is not installed, fails, or runs there already; or the
            directory's path is too long for a socket in it.
        """
        directory = directory.absolute()
        if len(os.fsencode(directory)) > _DIRECTORY_MOST:
            raise SwtpmError(
                f"{directory}: a path for sockets has at most {_DIRECTORY_MOST} characters"
            )
        if _answers(directory / f"{_SOCKET}.ctrl"):
            raise SwtpmError(f"{directory}: swtpm runs there already")
        if not (directory / "state" / "tpm2-00.permall").exists():
            manufacture(directory)
        swtpm = cls(directory)
        try:
            swtpm._run()
        except SwtpmError:
            swtpm.kill()
            raise
        return swtpm

    @property
    def tcti(self) -> str:
        """Where it answers, as tpm2-tools and libtss2 write it."""
        return f"swtpm:path={self._socket}"

    @property
    def ca_certificates(self) -> tuple[bytes, ...]:
        """PEM of the CA that signed the EK certificates: issuer, then root."""
        names = ("issuercert.pem", "swtpm-localca-rootca-cert.pem")
        return tuple((self._directory / "ca" / name).read_bytes() for name in names)

    @property
    def pid(self) -> int:
        """Process id of swtpm itself."""
        return self._pid

    def stop(self) -> None:
        """End it in good order (its state is stored) and wait until it has."""
        self._end()

    def kill(self) -> None:
        """Kill it as a power failure would, and wait until it is gone."""
        if self._pid and self._guardian is not None and self._guardian.poll() is None:
            self._signal_kill()
        self._end()

    def _run(self) -> None:
        control = self._directory / f"{_SOCKET}.ctrl"
        for stale in (self._socket, control):
            stale.unlink(missing_ok=True)
        command = [
            _tool("swtpm"),
            *("socket", "--tpm2"),
            *("--tpmstate", f"dir={self._directory / 'state'}"),
            *("--server", f"type=unixio,path={self._socket}"),
            *("--ctrl", f"type=unixio,path={control}"),
            *("--flags", "not-need-init,startup-clear"),
            *("--log", f"file={self._directory / 'swtpm.log'},truncate"),
        ]
        self._guardian = subprocess.Popen(
            ["sh", "-c", _GUARDIAN, str(self._socket), *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        stdout = self._guardian.stdout
        self._pid = int(stdout.readline() or 0) if stdout is not None else 0
        deadline = time.monotonic() + _START_SECONDS
        while not _answers(control):
            if not _runs(self._pid) or time.monotonic() > deadline:
                raise SwtpmError(f"swtpm does not start: {self._log()}")
            time.sleep(0.01)

    def _signal_kill(self) -> None:
        with suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)

    def _log(self) -> str:
        log = self._directory / "swtpm.log"
        return log.read_text(errors="replace").strip() if log.exists() else "no log"

    def _end(self) -> None:
        if self._guardian is not None:
            if self._guardian.stdin is not None:
                self._guardian.stdin.close()
            try:
                self._guardian.wait(_END_SECONDS)
            except subprocess.TimeoutExpired:
                self._signal_kill()
                self._guardian.wait()
            if self._guardian.stdout is not None:
                self._guardian.stdout.close()
            self._guardian = None


def manufacture(directory: Path) -> None:
    """Make a TPM with EK certificates (RSA-2048 L-1, P-384 H-3) and the CA that signs them.

    Everything lies in `directory`: `state/` and `ca/`.

    :raises SwtpmError: swtpm-tools is not installed, or fails.
    """
    ca, state = directory / "ca", directory / "state"
    # Before it is complete it must not look complete.
    making = directory / "state.making"
    shutil.rmtree(making, ignore_errors=True)
    for folder in (ca, making):
        folder.mkdir(parents=True, exist_ok=True)
    (ca / "localca.conf").write_text(
        f"statedir = {ca}\n"
        f"signingkey = {ca / 'signkey.pem'}\n"
        f"issuercert = {ca / 'issuercert.pem'}\n"
        f"certserial = {ca / 'certserial'}\n"
    )
    (ca / "localca.options").write_text(
        "--platform-manufacturer Hearth\n--platform-version 1\n--platform-model sandbox\n"
    )
    (ca / "setup.conf").write_text(
        f"create_certs_tool = {_tool('swtpm_localca')}\n"
        f"create_certs_tool_config = {ca / 'localca.conf'}\n"
        f"create_certs_tool_options = {ca / 'localca.options'}\n"
        "active_pcr_banks = sha256\n"
    )
    log = ca / "setup.log"
    try:
        subprocess.run(
            [
                _tool("swtpm_setup"),
                "--tpm2",
                *("--tpmstate", str(making)),
                *("--config", str(ca / "setup.conf")),
                *("--logfile", str(log)),
                "--create-ek-cert",
                "--lock-nvram",
                "--overwrite",
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=_SETUP_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        said = log.read_text(errors="replace") if log.exists() else "no log"
        raise SwtpmError(f"swtpm_setup failed ({error}): {said}") from error
    shutil.rmtree(state, ignore_errors=True)
    making.rename(state)


def _tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise SwtpmError(f"{name} is not installed (Debian: swtpm, swtpm-tools)")
    return found


def _answers(control: Path) -> bool:
    """Whether swtpm works: it answers CMD_GET_CAPABILITY (swtpm_ioctls(3)).

    On the control socket, because the data socket would be occupied by the attempt.
    """
    with socket.socket(socket.AF_UNIX) as attempt:
        attempt.settimeout(1.0)
        try:
            attempt.connect(str(control))
            attempt.sendall(_CMD_GET_CAPABILITY)
            return attempt.recv(64) != b""
        except OSError:
            return False


def _runs(pid: int) -> bool:
    """Whether this process does anything still; proc(5): the state follows the name in brackets."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return False
    return stat.rpartition(b") ")[2][:1] != b"Z"
