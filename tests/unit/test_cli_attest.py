"""`hearth attest quote`, judged by tpm2_checkquote."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from agent.cli.attest import app
from agent.errors import HearthError
from agent.sandbox.swtpm import Swtpm
from attest.errors import AttestError

NONCE = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["quote", *arguments])


def said(done: Result) -> tuple[int, str]:
    """Exit code and text, also of what `hearth` makes of an error."""
    if isinstance(done.exception, HearthError | AttestError):
        return done.exception.exit_code, str(done.exception)
    return done.exit_code, done.stderr


def checkquote(directory: Path, nonce: str) -> bool:
    if shutil.which("tpm2_checkquote") is None:
        pytest.skip("tpm2-tools is not installed")
    files = {
        "-u": "ak.pem",
        "-m": "quote.msg",
        "-s": "quote.sig",
        "-f": "quote.pcrs",
    }
    command = [part for option, name in files.items() for part in (option, str(directory / name))]
    judged = subprocess.run(
        ["tpm2_checkquote", *command, "-g", "sha256", "-q", nonce],
        capture_output=True,
        check=False,
        timeout=30,
    )
    return judged.returncode == 0


@pytest.mark.parametrize("pcrs", ["0,2,4,7", "7", "0,1,2,3,4,5,6,7,8,9,10,14,16,23"])
def test_tpm2_checkquote_accepts_it_and_nothing_else(
    swtpm: Swtpm, tmp_path: Path, pcrs: str
) -> None:
    out = tmp_path / "new" / "quote"
    done = run("--tcti", swtpm.tcti, "--nonce", NONCE, "--out", str(out), "--pcrs", pcrs)
    assert done.exit_code == 0, done.output
    written = sorted(path.name for path in out.iterdir())
    assert written == ["ak.pem", "quote.msg", "quote.pcrs", "quote.sig"]
    assert [Path(line).name for line in done.stdout.split()] == [
        "quote.msg",
        "quote.sig",
        "quote.pcrs",
        "ak.pem",
    ]
    assert checkquote(out, NONCE)
    assert not checkquote(out, NONCE[:-2] + "00")
    values = bytearray((out / "quote.pcrs").read_bytes())
    values[132 + 4 + 4 + 2] ^= 1  # first byte of the first digest
    (out / "quote.pcrs").write_bytes(values)
    assert not checkquote(out, NONCE)


def test_five_pcrs_take_668_bytes(swtpm: Swtpm, tmp_path: Path) -> None:
    nonce = ("--nonce", NONCE, "--pcrs", "0,2,4,7,11")
    assert run("--tcti", swtpm.tcti, "--out", str(tmp_path), *nonce).exit_code == 0
    assert (tmp_path / "quote.pcrs").stat().st_size == 668


@pytest.mark.parametrize(
    ("options", "code", "why"),
    [
        (("--nonce", "xy"), 2, "not hexadecimal"),
        (("--nonce", "abc"), 2, "not hexadecimal"),
        (("--nonce", ""), 2, "1 to 64 bytes"),
        (("--nonce", "ab" * 65), 2, "1 to 64 bytes, this has 65"),
        (("--nonce", "ab", "--pcrs", "0,24"), 2, "numbers 0 to 23"),
        (("--nonce", "ab", "--pcrs", "sha1:0"), 2, "numbers 0 to 23"),
        (("--nonce", "ab", "--pcrs", ""), 2, "numbers 0 to 23"),
        (("--nonce", "ab", "--tcti", "swtpm:path=/nowhere"), 5, "TPM at swtpm:path=/nowhere"),
    ],
)
def test_what_is_wrong_is_named(
    tmp_path: Path, options: tuple[str, ...], code: int, why: str
) -> None:
    done = run("--out", str(tmp_path / "out"), *options)
    assert said(done)[0] == code
    assert why in said(done)[1]
    assert not (tmp_path / "out").exists()


def test_a_place_that_cannot_be_written_is_named(swtpm: Swtpm, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    out = str(tmp_path / "file" / "out")
    code, why = said(run("--tcti", swtpm.tcti, "--nonce", NONCE, "--out", out))
    assert code == 2
    assert why == f"{out}: Not a directory; name another place with --out"


def test_help_loads_neither_the_tpm_library_nor_cryptography() -> None:
    code = (
        "import sys, agent.cli.attest;"
        "print([m for m in ('tpm2_pytss', 'cryptography', 'grpc') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"
