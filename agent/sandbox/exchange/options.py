"""The command line of the exchange."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Options:
    """How this exchange runs. Times are in seconds."""

    directory: Path
    name: str = "exchange"
    enrol_port: int = 0  # 0: as last time in this directory, else any free one
    session_port: int = 0
    tpm_roots: tuple[Path, ...] = ()
    virtual_tpm_roots: tuple[Path, ...] = ()
    tpm_intermediates: tuple[Path, ...] = ()
    allow_software: bool = False
    approve_ek: tuple[str, ...] = ()
    tokens: int = 1  # made at start; the first one is in the ready line
    heartbeat: float = 20.0
    receipt_interval: float = 3600.0  # offers with a longer one are refused
    certificate_lifetime: float = 30 * 86400.0
    challenge_interval: float = 0.0  # mean; 0: none
    challenge_answer_period: float = 30.0
    auto_place: Mapping[str, int] | None = None
    lease_duration: float = 3600.0
    credit: int = 4096  # envelopes an agent may have undelivered
    lightning: Path | None = None  # lightning-rpc of our own node; None: nothing is paid
    network: str = "regtest"
    rebate_silence: float = 60.0  # after a window, until we state its rebate ourselves


def parse_units(text: str) -> dict[str, int]:
    """Parse "VCPU=1,MEMORY_MB=256".

    :raises ValueError: anything else, and units below one.
    """
    units: dict[str, int] = {}
    for part in text.split(","):
        name, equals, count = part.partition("=")
        if not name or not equals or name in units or not count.isdecimal() or int(count) < 1:
            raise ValueError(f"{part!r} is not CLASS=UNITS with units of at least one")
        units[name] = int(count)
    return units


def parse(arguments: Sequence[str]) -> Options:
    """Read the command line; ends the process with a usage message when it is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m agent.sandbox.exchange",
        description="A reference exchange on 127.0.0.1. Commands are JSON lines on standard input; "
        "the end of standard input ends it.",
    )
    option = parser.add_argument
    defaults = Options(directory=Path())
    option("--dir", dest="directory", type=Path, required=True, help="where keys and database are")
    option("--name", default=defaults.name, help="display name")
    option("--enrol-port", type=int, default=0, help="default: as last time, else any free one")
    option("--session-port", type=int, default=0, help="default: as last time, else any free one")
    option("--tpm-roots", type=Path, action="append", default=[], help="PEM: TPM vendors' roots")
    option("--virtual-tpm-roots", type=Path, action="append", default=[], help="PEM: vTPM roots")
    option(
        "--tpm-intermediates",
        type=Path,
        action="append",
        default=[],
        help="PEM: certificates between an EK and its root that nodes do not carry",
    )
    option("--allow-software", action="store_true", help="take nodes without a TPM")
    option("--approve-ek", action="append", default=[], metavar="HEX", help="SHA-256 of an EK SPKI")
    option("--tokens", type=int, default=defaults.tokens, help="join tokens to make at start")
    option("--heartbeat", type=float, default=defaults.heartbeat, metavar="SECONDS")
    option(
        "--receipt-interval",
        type=float,
        default=defaults.receipt_interval,
        metavar="SECONDS",
        help="refuse offers with a longer one",
    )
    option("--certificate-lifetime", type=float, default=defaults.certificate_lifetime)
    option(
        "--challenge-interval",
        type=float,
        default=defaults.challenge_interval,
        metavar="SECONDS",
        help="mean of random quote challenges; 0: none",
    )
    option("--challenge-answer-period", type=float, default=defaults.challenge_answer_period)
    option("--auto-place", type=parse_units, metavar="UNITS", help="one lease a node: VCPU=1,...")
    option("--lease-duration", type=float, default=defaults.lease_duration, metavar="SECONDS")
    option("--credit", type=int, default=defaults.credit, help="undelivered envelopes allowed")
    option("--lightning", type=Path, metavar="SOCKET", help="lightning-rpc of our own node")
    option("--network", default=defaults.network, help="the node's: bitcoin, regtest, ...")
    option("--rebate-silence", type=float, default=defaults.rebate_silence, metavar="SECONDS")
    parsed: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in vars(parser.parse_args(arguments)).items()
    }
    return Options(**parsed)
