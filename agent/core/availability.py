"""How much of a window a lease was delivered. Published: both sides compute it. Pure.

Times are nanoseconds of the exchange's time since 1970, spans are half-open. Windows are aligned to
the lease's start and the last one ends with the lease. Nothing is rounded but where it is said, and
then down. Golden vectors: proto/vectors/availability.json.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

PPM = 1_000_000
MILLISECOND_NS = 1_000_000


class Span(NamedTuple):
    """A half-open stretch of time; empty unless it ends after it starts."""

    start_ns: int
    end_ns: int


class Exclusion(IntEnum):
    """hearth.v1.Exclusion: time that a service level may leave out."""

    DECLARED_MAINTENANCE = 1
    TENANT_SUSPENDED = 2
    EXCHANGE_UNREACHABLE = 3


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a lease stood at the end of one receipt: cumulative, so neither figure ever falls."""

    span: Span  # the receipt's interval
    delivered_ms: int  # lease-milliseconds: of the least delivered class, per unit
    gross_msat: int
    sha256: bytes  # of the receipt's payload


@dataclass(frozen=True, slots=True)
class Inputs:
    """All that the availability and the rebate of one window rest on."""

    window: Span
    before_delivered_ms: int  # at the receipt before the first of `standings`; 0: there is none
    before_gross_msat: int
    standings: tuple[Standing, ...]  # every receipt that touches the window, in order
    outages: tuple[Span, ...]  # of these receipts: time in which nothing was delivered
    excluded: tuple[Span, ...]  # what the service level leaves out


def window(lease: Span, length_ns: int, index: int) -> Span:
    """Return the window `index` (0, 1, ...) of a lease; a length of 0 makes it all one window.

    Empty when the lease has no such window.
    """
    if length_ns == 0:
        return lease if index == 0 else Span(lease.end_ns, lease.end_ns)
    start = lease.start_ns + index * length_ns
    return Span(min(start, lease.end_ns), min(start + length_ns, lease.end_ns))


def lease_milliseconds(units: Iterable[tuple[int, int]]) -> int:
    """Return the lease-milliseconds of (units, delivered unit-milliseconds) of every class.

    The least delivered class decides, floored; as `amount.quantity` of a lease-second.
    """
    return min((delivered // count for count, delivered in units if count), default=0)


def gather(
    window: Span,
    standings: Sequence[Standing],
    outages: Iterable[Span],
    excluded: Iterable[Span],
) -> Inputs:
    """Pick out of a lease's receipts (in order, from the first) what concerns a window.

    Outages and exclusions are cut to the window's receipts, sorted and joined, so that both sides
    have the same bytes to digest however they kept them.
    """
    touching = [
        place
        for place, item in enumerate(standings)
        if item.span.end_ns > window.start_ns and item.span.start_ns < window.end_ns
    ]
    first, last = (touching[0], touching[-1] + 1) if touching else (0, 0)
    chosen = tuple(standings[first:last])
    before = standings[first - 1] if first else None
    seen = Span(chosen[0].span.start_ns, chosen[-1].span.end_ns) if chosen else Span(0, 0)
    return Inputs(
        window,
        before.delivered_ms if before else 0,
        before.gross_msat if before else 0,
        chosen,
        joined(outages, seen),
        joined(excluded, window),
    )


def joined(spans: Iterable[Span], within: Span) -> tuple[Span, ...]:
    """Cut spans to `within`, sort them, and join those that touch."""
    found: list[Span] = []
    cut = (Span(max(one[0], within[0]), min(one[1], within[1])) for one in spans)
    for span in sorted(one for one in cut if one.start_ns < one.end_ns):
        if found and span.start_ns <= found[-1].end_ns:
            found[-1] = Span(found[-1].start_ns, max(found[-1].end_ns, span.end_ns))
        else:
            found.append(span)
    return tuple(found)


def availability_ppm(inputs: Inputs) -> int:
    """Return delivered time over counted time of a window in ppm, floored, at most 1,000,000.

    Counted is the window less what is excluded. No receipt means not delivered. With nothing to
    count, all of it was delivered.
    """
    counted = _outside(inputs.window, inputs.excluded)
    counted_ns = sum(span.end_ns - span.start_ns for span in counted)
    if counted_ns <= 0:
        return PPM
    at = _line(inputs, inputs.before_delivered_ms, lambda item: item.delivered_ms)
    delivered_ms = sum(at(span.end_ns) - at(span.start_ns) for span in counted)
    return min(PPM, delivered_ms * MILLISECOND_NS * PPM // counted_ns)


def gross_msat(inputs: Inputs) -> int:
    """Return what was billed in a window, in msat; excluded time belongs to it."""
    at = _line(inputs, inputs.before_gross_msat, lambda item: item.gross_msat)
    return at(inputs.window.end_ns) - at(inputs.window.start_ns)


def _outside(window: Span, excluded: Sequence[Span]) -> list[Span]:
    """What is left of the window; `excluded` is sorted and joined."""
    left, start = [], window.start_ns
    for span in excluded:
        if span.start_ns > start:
            left.append(Span(start, span.start_ns))
        start = max(start, span.end_ns)
    if start < window.end_ns:
        left.append(Span(start, window.end_ns))
    return left


def _line(inputs: Inputs, before: int, register: Callable[[Standing], int]) -> Callable[[int], int]:
    """Return the register at any time: straight within a receipt, level in its outages, floored.

    What a receipt adds is spread evenly over its interval less the outages (over all of it where
    they leave nothing), because a receipt does not say more.
    """

    def at(time_ns: int) -> int:
        value = before
        for item in inputs.standings:
            if time_ns <= item.span.start_ns:
                break
            if time_ns >= item.span.end_ns:
                value = register(item)
                continue
            whole = _live(item.span, inputs.outages)
            part = _live(Span(item.span.start_ns, time_ns), inputs.outages)
            if whole == 0:
                whole = item.span.end_ns - item.span.start_ns
                part = time_ns - item.span.start_ns
            value += (register(item) - value) * part // whole
        return value

    return at


def _live(span: Span, outages: Sequence[Span]) -> int:
    dead = sum(end - start for start, end in joined(outages, span))
    return span.end_ns - span.start_ns - dead
