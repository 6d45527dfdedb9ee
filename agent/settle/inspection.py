"""What the configured access could do to the node, and what to do about it. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from agent.settle.access import Access, RuneAccess, SocketAccess
from agent.settle.audit import Finding, Purpose, audit, restrictions, unusable
from agent.settle.runes import parse

FULL_CONTROL = (
    "lightning-rpc is full control of the node: whoever takes over the agent can empty it; "
    "`hearth settlement setup` shows a safer way"
)
NO_PAYMENTS_RUNE = (
    "there is a pay rune and no payments rune: earlier attempts cannot be seen, so nothing is paid"
)


@dataclass(frozen=True, slots=True)
class Inspected:
    """One rune, judged."""

    purpose: Purpose
    findings: tuple[Finding, ...]
    missing: tuple[str, ...]  # what the agent needs and the rune refuses

    @property
    def drains(self) -> bool:
        """Whether it can move the node's money away."""
        return any(finding.drains for finding in self.findings)


@dataclass(frozen=True, slots=True)
class Limits:
    """What a pay rune may do."""

    most_msat: int
    every: str


def known_node(access: Access) -> bytes | None:
    """The node's id, where the access says it."""
    return bytes.fromhex(access.node_id) if isinstance(access, RuneAccess) else None


def runes_of(access: Access) -> Mapping[Purpose, str]:
    """The runes that are there, by purpose."""
    if isinstance(access, SocketAccess):
        return {}
    texts = {
        Purpose.INVOICE: access.invoice_rune,
        Purpose.PAY: access.pay_rune,
        Purpose.PAYMENTS: access.payments_rune,
    }
    return {purpose: text for purpose, text in texts.items() if text}


def inspect(text: str, purpose: Purpose, most_msat: int | None = None) -> Inspected:
    """Judge a rune by what stands in it.

    :param most_msat: see `audit`.
    :raises NotARune: when it is none.
    """
    rune = parse(text)
    return Inspected(purpose, audit(rune, purpose, most_msat), unusable(rune, purpose))


def warnings(access: Access) -> tuple[str, ...]:
    """What an operator should know about this access, one line each."""
    if isinstance(access, SocketAccess):
        return (FULL_CONTROL,)
    lines = []
    for purpose, text in runes_of(access).items():
        judged = inspect(text, purpose)
        for finding in judged.findings:
            risk = "the node's money is at risk: " if finding.drains else ""
            lines.append(f"{purpose} rune: {risk}{finding.text}")
        lines += [f"{purpose} rune: it refuses {method}" for method in judged.missing]
    if access.pay_rune and not access.payments_rune:
        lines.append(NO_PAYMENTS_RUNE)
    return tuple(lines)


def commands(limits: Limits, node_id: str = "") -> Mapping[Purpose, str]:
    """The commands that make the runes, to be typed where the node runs."""
    made = {}
    for purpose in Purpose:
        wanted = restrictions(
            purpose, most_msat=limits.most_msat, every=limits.every, node_id=node_id
        )
        text = json.dumps(wanted, separators=(",", ":"))
        made[purpose] = f"lightning-cli createrune -k restrictions='{text}'"
    return made
