"""One enrolment and how to reach it."""

from __future__ import annotations

import asyncio
import base64
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field

import grpc

from agent.clock import SECOND
from agent.core.session import Allowance
from agent.errors import ExchangeError
from agent.exchange.enrolment import Enrolment
from agent.wire.stream import Capability

MOST_CHALLENGES = 10  # answered at once; then one a second: a TPM signs a few times a second


@dataclass(slots=True)
class Standing:
    """How things stand with one exchange, for people."""

    connected: bool = False
    last_error: str = ""
    challenges_answered: int = 0
    requests_limited: int = 0  # refused because they came too often
    first_offer_ns: int = 0  # wall clock, when the first offer of this run was known delivered


@dataclass(slots=True)
class Link:
    """One enrolment and how to reach it."""

    row: int
    enrolment: Enrolment
    tls_key: bytes  # PEM
    tls_spki: bytes
    capabilities: tuple[Capability, ...] = ()  # that this agent offers
    standing: Standing = field(default_factory=Standing)
    bell: asyncio.Event = field(default_factory=asyncio.Event)
    challenges: Allowance = field(default_factory=lambda: Allowance(MOST_CHALLENGES, SECOND))
    welcomes: Allowance = field(default_factory=lambda: Allowance(MOST_CHALLENGES, SECOND))

    def credentials(self) -> grpc.ChannelCredentials:
        """Client certificate, and the exchange's own CA as the only root.

        :raises ExchangeError: when the certificate's key is lost.
        """
        if not self.tls_key:
            raise ExchangeError(self.standing.last_error)
        return grpc.ssl_channel_credentials(
            root_certificates=pem(self.enrolment.session_ca),
            private_key=self.tls_key,
            certificate_chain=pem(self.enrolment.tls_chain),
        )


def pem(certificates: Sequence[bytes]) -> bytes:
    """DER certificates as PEM."""
    blocks = []
    for der in certificates:
        body = "\n".join(textwrap.wrap(base64.b64encode(der).decode(), 64))
        blocks.append(f"-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n")
    return "".join(blocks).encode()
