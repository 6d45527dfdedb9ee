"""`hearth verify`: check a proof file, offline."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agent.cli.options import DEFAULT_PATH, AsJson, ConfigFile
from agent.cli.out import echo

if TYPE_CHECKING:
    from agent.journal.store import View
    from attest.verify import ProofResult

MOST_BYTES = 16 << 20


def verify(
    file: Annotated[Path, typer.Argument(help="Proof file.")],
    roots: Annotated[
        Path | None,
        typer.Option(help="Directory (or file) of CA certificates to trust, PEM or DER."),
    ] = None,
    config: ConfigFile = DEFAULT_PATH,
    as_json: AsJson = False,
) -> None:
    """Check a proof file to its last byte; nothing but the file and the roots is asked.

    Exit 0: all holds under a root of --roots, or of an exchange this host is enrolled with.
    Exit 3: consistent, but no pinned root vouches for it. Exit 1: something in it is false.
    Exit 2: there is no such file, or --roots holds no certificates.
    """
    import json

    from agent.errors import ConfigError
    from attest.errors import AttestError
    from attest.verify import verify_proof

    try:
        content = _read(file)
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}; name a proof file") from None
    pinned = pinned_roots(roots, config)
    try:
        result = verify_proof(content, pinned)
    except AttestError as error:
        reason = str(error)
        if as_json:
            echo(json.dumps({"verdict": "false", "reason": reason}))
        echo(f"FALSE: {reason}", err=True)
        raise typer.Exit(1) from None
    if as_json:
        echo(json.dumps(summary(result)))
    else:
        for line in describe(result):
            echo(line)
    raise typer.Exit(0 if result.pinned_by else 3)


def _read(file: Path) -> bytes:
    with file.open("rb") as opened:
        return opened.read(MOST_BYTES + 1)


def pinned_roots(roots: Path | None, config: Path) -> tuple[bytes, ...]:
    """Roots given, else the CAs of the exchanges that this host is enrolled with; DER.

    :raises ConfigError: when the given place holds no certificate.
    """
    from agent.errors import ConfigError
    from attest.errors import AttestError
    from attest.verify import load_roots

    if roots is None:
        return _enrolled(config)
    found: list[bytes] = []
    try:
        for file in sorted(roots.iterdir()) if roots.is_dir() else [roots]:
            try:
                found += load_roots(file.read_bytes())
            except AttestError as error:
                raise ConfigError(f"{file}: {error}; --roots takes CA certificates only") from None
    except OSError as error:
        raise ConfigError(
            f"{error.filename}: {error.strerror}; name CA certificates, or a folder of them, with"
            " --roots"
        ) from None
    if not found:
        raise ConfigError(f"{roots}: no certificate in it")
    return tuple(found)


def _enrolled(config: Path) -> tuple[bytes, ...]:
    """CAs of this host's enrolments; none for whoever may not read them."""
    from agent.cli.owner import read_journal
    from agent.config import DEFAULT_PATH
    from agent.config_file import load
    from agent.errors import HearthError
    from agent.exchange.enrolment import known

    def authorities(view: View) -> list[str]:
        return [item.ak_chain[-1].hex() for _, item in known(view)]

    try:
        return tuple(bytes.fromhex(each) for each in read_journal(load(config), authorities))
    except HearthError:
        if config != DEFAULT_PATH:
            raise
        return ()


def summary(result: ProofResult) -> dict[str, object]:
    """What a proof shows, for programs."""
    receipt = result.receipt
    return {
        "verdict": "true" if result.pinned_by else "unpinned",
        "node_id": result.node_id,
        "log_id": result.log_id,
        "leaf_index": result.leaf_index,
        "size": result.size,
        "statement": result.statement.payload_type,
        "assurance": result.assurance.name.lower().replace("_", "-"),
        "certified_by": list(result.certified_by),
        "pinned_by": list(result.pinned_by),
        "receipt": None
        if receipt is None
        else {
            "exchange_id": receipt.exchange_id,
            "lease_id": receipt.lease_id,
            "sequence": receipt.sequence,
            "final": receipt.final,
            "gross_msat_total": receipt.gross_msat_total,
        },
    }


def describe(result: ProofResult) -> list[str]:
    """What a proof shows, for people."""
    lines = []
    receipt = result.receipt
    if receipt is not None:
        final = ", final" if receipt.final else ""
        lines.append(
            f"receipt {receipt.sequence}{final} of lease {receipt.lease_id}:"
            f" {receipt.gross_msat_total} msat due since the lease's start"
        )
    else:
        lines.append(f"statement {result.statement.payload_type}")
    lines += [
        f"signed by node {result.node_id}, boot {result.boot_id}",
        f"leaf {result.leaf_index} of {result.size} under a checkpoint that its AK signed",
        f"assurance: {result.assurance.name.lower().replace('_', ' ')}",
    ]
    if result.pinned_by:
        lines.append(f"TRUE: vouched for by {', '.join(pin[:16] for pin in result.pinned_by)}")
    else:
        lines.append(
            "CONSISTENT, but no root that you pinned vouches for it; name one with --roots"
            f" (certified by {', '.join(pin[:16] for pin in result.certified_by)})"
        )
    return lines
