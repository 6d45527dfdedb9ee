"""What a missed service level gives back. Published: both sides compute it. Pure.

`state` is the one function that either side calls for a closed window; where both have the same
receipts they get the same figures and the same digest. Golden vectors: proto/vectors/rebate.json.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from agent.core import availability
from agent.core.availability import Exclusion, Inputs, Span, Standing

PERMILLE = 1000
DOMAIN = b"hearth/v1/rebate-inputs"


class Tier(NamedTuple):
    """Below this availability that share of the window's gross amount is given back."""

    below_ppm: int
    rebate_permille: int


@dataclass(frozen=True, slots=True)
class Level:
    """What a lease promises, frozen with its agreement."""

    window_ns: int = 0  # 0: the whole lease is one window
    tiers: tuple[Tier, ...] = ()
    exclusions: frozenset[Exclusion] = frozenset()


@dataclass(frozen=True, slots=True)
class Rebate:
    """hearth.v1.RebateStatement of one window, but for its lease."""

    window: Span
    inputs_sha256: bytes
    availability_ppm: int
    msat: int


def rebate_msat(level: Level, availability_ppm: int, gross_msat: int) -> int:
    """Return the rebate of a window in msat, floored.

    Of the tiers whose bound lies above the availability the most generous one holds.
    """
    permille = max(
        (tier.rebate_permille for tier in level.tiers if availability_ppm < tier.below_ppm),
        default=0,
    )
    return gross_msat * min(permille, PERMILLE) // PERMILLE


def encode_inputs(inputs: Inputs) -> bytes:
    """Encode as RebateStatement.inputs_sha256 is documented: big-endian, every list counted."""
    parts = [
        DOMAIN,
        _u64(inputs.window.start_ns),
        _u64(inputs.window.end_ns),
        _u64(inputs.before_delivered_ms),
        _u64(inputs.before_gross_msat),
        _u32(len(inputs.standings)),
    ]
    for item in inputs.standings:
        parts += [
            item.sha256,
            _u64(item.span.start_ns),
            _u64(item.span.end_ns),
            _u64(item.delivered_ms),
            _u64(item.gross_msat),
        ]
    for spans in (inputs.outages, inputs.excluded):
        parts.append(_u32(len(spans)))
        parts += [_u64(span.start_ns) + _u64(span.end_ns) for span in spans]
    return b"".join(parts)


def state(
    level: Level,
    lease: Span,
    index: int,
    standings: Sequence[Standing],
    outages: Iterable[Span] = (),
    excluded: Iterable[tuple[Exclusion, Span]] = (),
) -> Rebate:
    """Compute the rebate of window `index` of a lease.

    :param lease: from its agreed start to its end: of the final receipt where tenant or exchange
        ended it, else as agreed.
    :param standings: all its receipts, in order.
    :param outages: clock events of kind OUTAGE and SUSPEND in them.
    :param excluded: time that both sides know to be of such a kind; counted only where the service
        level names the kind.
    """
    inputs = availability.gather(
        availability.window(lease, level.window_ns, index),
        standings,
        outages,
        (span for kind, span in excluded if kind in level.exclusions),
    )
    ppm = availability.availability_ppm(inputs)
    msat = rebate_msat(level, ppm, availability.gross_msat(inputs))
    return Rebate(inputs.window, hashlib.sha256(encode_inputs(inputs)).digest(), ppm, msat)


def _u64(value: int) -> bytes:
    return value.to_bytes(8, "big")


def _u32(value: int) -> bytes:
    return value.to_bytes(4, "big")
