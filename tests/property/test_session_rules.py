"""Cursors and credit of a session, against a peer that may say anything."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.session import (
    MOST_CREDIT,
    Allowance,
    ExchangeAhead,
    Incoming,
    Outgoing,
    ProtocolBroken,
)

SECOND = 1_000_000_000
NUMBERS = st.integers(0, 200)


@given(st.integers(0, 100), NUMBERS, st.lists(st.tuples(NUMBERS, NUMBERS, st.booleans())))
def test_never_more_on_the_way_than_the_credit_and_never_what_is_not_there(
    last: int, welcomed: int, steps: list[tuple[int, int, bool]]
) -> None:
    out = Outgoing(last=last)
    if welcomed > last:
        with pytest.raises(ExchangeAhead):
            out.welcome(welcomed, 10)
        return
    out.welcome(welcomed, 10)
    for number, credit, grows in steps:
        if grows:
            out.last += number
        window = out.window()
        assert window >= 0
        assert out.sent + window <= out.last
        sends = min(window, number)
        if sends:
            assert out.sent + sends - out.delivered <= out.credit
        out.sent += sends
        before = out.delivered
        if number > out.sent:
            with pytest.raises(ProtocolBroken):
                out.acknowledge(number, credit)
            assert out.delivered == before
            continue
        moved = out.acknowledge(number, credit)
        assert moved is (out.delivered > before)
        assert before <= out.delivered <= out.sent


def test_credit_is_bounded_and_none_means_as_before() -> None:
    out = Outgoing(last=100_000)
    out.welcome(0, 1 << 31)
    assert out.window() == MOST_CREDIT
    out.acknowledge(0, 5)
    assert out.window() == 5
    out.acknowledge(0, 0)
    assert out.window() == 5


@given(st.integers(0, 100), st.lists(st.tuples(st.integers(1, 120), st.integers(0, 20))))
def test_everything_is_applied_once_and_in_order(
    start: int, batches: list[tuple[int, int]]
) -> None:
    incoming = Incoming(applied=start)
    applied: list[int] = []
    for sequence, count in batches:
        if sequence > incoming.applied + 1:
            with pytest.raises(ProtocolBroken):
                incoming.fresh(sequence, count)
            continue
        skip = incoming.fresh(sequence, count)
        assert 0 <= skip <= count
        fresh = list(range(sequence, sequence + count))[skip:]
        applied += fresh
        if fresh:
            incoming.applied = fresh[-1]
    assert applied == list(range(start + 1, start + 1 + len(applied)))


@given(st.lists(st.integers(0, 5 * SECOND)), st.integers(1, 10))
def test_an_allowance_is_never_exceeded(gaps: list[int], most: int) -> None:
    allowance = Allowance(most, SECOND)
    now, taken = 1000 * SECOND, []
    for gap in gaps:
        now += gap
        if allowance.take(now):
            taken.append(now)
    for place, since in enumerate(taken):
        for upto in taken[place:]:
            count = sum(since <= when <= upto for when in taken)
            assert count <= most + (upto - since) // SECOND + 1


@given(st.lists(st.integers(0, 3 * SECOND), min_size=1), st.integers(1, 4))
def test_whoever_waits_as_long_as_told_is_let_in(gaps: list[int], most: int) -> None:
    allowance = Allowance(most, SECOND)
    now = 1000 * SECOND
    for gap in gaps:
        now += gap
        if not allowance.take(now):
            wait = allowance.wait_ns(now)
            assert 0 < wait <= SECOND
            assert not allowance.take(now + wait - 1)
            now += wait
            assert allowance.take(now)


def test_an_allowance_comes_back() -> None:
    allowance = Allowance(2, SECOND)
    assert [allowance.take(100 * SECOND) for _ in range(3)] == [True, True, False]
    assert not allowance.take(100 * SECOND + SECOND // 2)
    assert allowance.take(101 * SECOND)
    assert not allowance.take(101 * SECOND)
    assert [allowance.take(200 * SECOND) for _ in range(3)] == [True, True, False]


def test_a_clock_of_another_boot_does_not_lock_it() -> None:
    """The enrolment outlives no boot, but a clock that went back must not lock anybody out."""
    allowance = Allowance(1, SECOND)
    assert allowance.take(1_000_000 * SECOND)
    assert not allowance.take(5 * SECOND)
    assert allowance.take(1_000_001 * SECOND)
