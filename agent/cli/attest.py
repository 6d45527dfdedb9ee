"""`hearth attest`: let the TPM speak, for verifiers that are not ours."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from agent.cli.out import echo, writing

app = typer.Typer(no_args_is_help=True, help="Let this host's TPM speak, for any verifier.")

_NONCE_MOST = 64  # bytes; TPM2B_DATA holds a digest


@app.callback()
def attest() -> None:
    """Let this host's TPM speak, for any verifier."""


def _nonce(text: str) -> bytes:
    try:
        # fromhex passes over blanks, other tools do not
        nonce = bytes.fromhex(text if text.isalnum() or not text else "not hexadecimal")
    except ValueError:
        raise typer.BadParameter("not hexadecimal: two digits a byte, 0-9 and a-f") from None
    if not 1 <= len(nonce) <= _NONCE_MOST:
        raise typer.BadParameter(f"1 to {_NONCE_MOST} bytes, this has {len(nonce)}")
    return nonce


def _pcrs(text: str) -> tuple[int, ...]:
    parts = text.split(",")
    if not all(part.isascii() and part.isdigit() and int(part) < 24 for part in parts):
        raise typer.BadParameter(
            "numbers 0 to 23 with commas between them, such as 0,2,4,7", param_hint="--pcrs"
        )
    return tuple(sorted({int(part) for part in parts}))


@app.command()
def quote(
    nonce: Annotated[
        bytes,
        typer.Option(
            parser=_nonce, metavar="HEX", help="Qualifying data of the quote, up to 64 bytes."
        ),
    ],
    out: Annotated[Path, typer.Option(file_okay=False, help="Directory for the files.")],
    tcti: Annotated[
        str, typer.Option(help="Where the TPM is, as tpm2-tools write it.")
    ] = "device:/dev/tpmrm0",
    pcrs: Annotated[
        str, typer.Option(metavar="LIST", help="PCRs of the SHA-256 bank.")
    ] = "0,2,4,7",
) -> None:
    """Quote PCRs with this host's AK; write quote.msg, quote.sig, quote.pcrs and ak.pem.

    `tpm2_checkquote -u ak.pem -m quote.msg -s quote.sig -f quote.pcrs -g sha256 -q HEX`
    accepts them. Exit code 5: no TPM, or it refuses.
    """
    for path in write_quote(tcti, nonce, _pcrs(pcrs), out):
        echo(path)


def write_quote(tcti: str, nonce: bytes, pcrs: tuple[int, ...], out: Path) -> list[Path]:
    """Have the TPM quote and write the files as tpm2-tools read them.

    :raises AttestError: there is no TPM, or it refuses.
    :raises ConfigError: the directory cannot be written.
    """
    from contextlib import closing

    from attest.tpm import Tpm
    from attest.tpm2tools import quote_files

    with closing(Tpm.open(tcti)) as tpm:
        files = quote_files(tpm.quote(nonce, pcrs).result(60.0), tpm.identity.spki)
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (out / name).write_bytes(content)
    return [out / name for name in files]


if __name__ == "__main__":
    app()
