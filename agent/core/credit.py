"""How far an exchange is trusted: unpaid exposure and what follows past the limit. Pure.

Past the credit limit of the lease's terms the agent warns at once, renews nothing after the payment
timeout, and ends the lease after twice that, or at once at twice the limit. A payment that brings
the exposure back within the limit undoes the first two steps; a lease that ended stays ended.
"""

from __future__ import annotations

from enum import IntEnum

import msgspec


class CreditLevel(IntEnum):
    """hearth.v1.CreditLevel, in the order of escalation."""

    WITHIN = 1
    WARNED = 2
    NOT_RENEWED = 3
    STOPPED = 4


class Credit(msgspec.Struct, frozen=True):
    """How far the escalation of one lease has gone."""

    level: CreditLevel = CreditLevel.WITHIN
    over_since_ns: int = 0  # exchange time; meant only above WITHIN


def escalate(
    credit: Credit, exposure_msat: int, limit_msat: int, timeout_ns: int, now_ns: int
) -> tuple[Credit, tuple[CreditLevel, ...]]:
    """Return where the escalation stands now, and every step that was taken, in order."""
    if credit.level is CreditLevel.STOPPED:
        return credit, ()
    if exposure_msat <= limit_msat:
        if credit.level is CreditLevel.WITHIN:
            return credit, ()
        return Credit(), (CreditLevel.WITHIN,)
    since = now_ns if credit.level is CreditLevel.WITHIN else credit.over_since_ns
    over_ns = now_ns - since
    if over_ns >= 2 * timeout_ns or exposure_msat > 2 * limit_msat:
        reached = CreditLevel.STOPPED
    elif over_ns >= timeout_ns:
        reached = CreditLevel.NOT_RENEWED
    else:
        reached = CreditLevel.WARNED
    steps = tuple(level for level in CreditLevel if credit.level < level <= reached)
    return Credit(max(credit.level, reached), since), steps
