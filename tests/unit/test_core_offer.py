"""When a new revision of an offer is due."""

from __future__ import annotations

import pytest

from agent.core.offer import Shown, due

SECOND = 1_000_000_000
LIFE = 600 * SECOND
BOOT = 50_000 * SECOND
WALL = 1_800_000_000 * SECOND
AVAILABLE = {"MEMORY_MB": 1024, "VCPU": 4}


def shown(cut_s: float, left_s: int, available: dict[str, int] | None = None) -> Shown:
    """A revision cut so many seconds ago, with so many seconds to live."""
    cut = BOOT - int(cut_s * SECOND)
    return Shown("id", 1, cut, WALL + left_s * SECOND, available or AVAILABLE)


@pytest.mark.parametrize(
    ("revision", "expected"),
    [
        (None, True),
        (shown(10, 590), False),
        (shown(10, 590, {"MEMORY_MB": 1024, "VCPU": 3}), True),
        (shown(10, 590, {"VCPU": 4}), True),
        (shown(0.5, 599, {"VCPU": 3}), False),  # not twice within a second
        (shown(1, 599, {"VCPU": 3}), True),
        (shown(300, 300), True),  # half of its life is over
        (shown(299, 301), False),
        (shown(3600, -3000), True),
        (shown(-5, 590), False),  # of a clock that cannot be: waits, and at most for its life
    ],
)
def test_due(revision: Shown | None, expected: bool) -> None:
    assert due(revision, AVAILABLE, BOOT, WALL, LIFE) is expected


def test_one_of_an_earlier_run_is_judged_by_its_life_alone() -> None:
    revision = Shown("id", 1, 0, WALL + 590 * SECOND, AVAILABLE)
    assert not due(revision, AVAILABLE, 0, WALL, LIFE)
    assert due(revision, {"VCPU": 1}, 0, WALL, LIFE)
