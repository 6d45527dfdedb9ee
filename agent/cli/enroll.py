"""`hearth enroll`: introduce this host to an exchange."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agent.cli.options import DEFAULT_PATH, ConfigFile
from agent.cli.out import echo

if TYPE_CHECKING:
    from agent.config import Config

ENROL_DEADLINE_S = 120.0
STANDARD_INPUT = "-"
UNIT_GROUPS = ("tss", "dialout")  # SupplementaryGroups= in systemd/hearth-agent.service


def enroll(
    url: Annotated[str, typer.Argument(help="Enrolment address: HOST:PORT or https://HOST:PORT.")],
    token: Annotated[
        str,
        typer.Option(
            help="Join token of the exchange; - reads it from standard input, out of sight of ps.",
            envvar="HEARTH_JOIN_TOKEN",
        ),
    ],
    ca: Annotated[
        Path | None, typer.Option(help="CA file of the enrolment address; default: the system's.")
    ] = None,
    config: ConfigFile = DEFAULT_PATH,
) -> None:
    """Enrol with an exchange through this host's TPM.

    A running daemon does it and starts the session at once; without one it is done here, for the
    daemon's next start.
    """
    from agent.cli.owner import as_owner
    from agent.config_file import load
    from agent.node import held

    pem = _roots(ca) if ca else b""
    settings = load(config)
    if token == STANDARD_INPUT:
        token = typer.get_text_stream("stdin").readline().strip()
    state = Path(settings.state_dir)

    def enrol() -> tuple[str, str, str]:
        return (_by_daemon if held(state) else _by_hand)(settings, url, token, pem)

    name, exchange_id, assurance = as_owner(state, enrol, UNIT_GROUPS)
    echo(f"enrolled with {name} ({exchange_id[:16]}) as {assurance}")


def _roots(file: Path) -> bytes:
    """The certificates of a PEM or DER file, as PEM.

    :raises ConfigError: when it holds none.
    """
    from agent.errors import ConfigError
    from agent.exchange.link import pem
    from attest.errors import AttestError
    from attest.verify import load_roots

    try:
        return pem(load_roots(file.read_bytes()))
    except OSError as error:
        raise ConfigError(f"--ca {file}: {error.strerror}; give the exchange's CA file") from None
    except AttestError as error:
        raise ConfigError(f"--ca {file}: {error}; give the exchange's CA certificate") from None


def _by_daemon(settings: Config, url: str, token: str, pem: bytes) -> tuple[str, str, str]:
    from hearth.admin.v1 import admin_pb2

    from agent.cli.socket import ask
    from agent.wire.readable import assurance_name

    request = admin_pb2.EnrollRequest(endpoint=url, token=token, ca_pem=pem)
    answer = ask(
        Path(settings.admin_socket), lambda stub: stub.Enroll(request, timeout=ENROL_DEADLINE_S)
    )
    return answer.display_name, answer.exchange_id, assurance_name(answer.assurance)


def _by_hand(settings: Config, url: str, token: str, pem: bytes) -> tuple[str, str, str]:
    import asyncio

    from agent import log
    from agent.exchange.enroll import enroll
    from agent.node import Node
    from agent.wire.readable import assurance_name
    from probes.host import Host

    log.configure("warning", json=False)

    async def work() -> tuple[str, str, str]:
        node = await Node.open(settings, Host())
        try:
            done = await enroll(node, url, token, pem or None)
        finally:
            node.close()
        return done.display_name, done.exchange_id, assurance_name(done.assurance)

    return asyncio.run(work())
