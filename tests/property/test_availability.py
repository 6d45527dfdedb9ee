"""Availability and rebate over any receipts: bounded, additive, blind to how receipts are cut."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agent.core import availability, rebate
from agent.core.availability import PPM, Exclusion, Span, Standing
from agent.core.rebate import Level, Tier

SECOND = 10**9
START = 1_800_000_000 * SECOND
LEVEL = Level(600 * SECOND, (Tier(999_000, 100), Tier(900_000, 1000)), frozenset(Exclusion))


@st.composite
def lives(draw: st.DrawFn) -> tuple[Standing, ...]:
    """A lease's receipts: they join, and neither register falls."""
    found: list[Standing] = []
    at, delivered, gross = START, 0, 0
    for place in range(draw(st.integers(0, 12))):
        seconds = draw(st.integers(1, 400))
        end = at + seconds * SECOND
        delivered += draw(st.integers(0, seconds * 1000))
        gross += draw(st.integers(0, 10**6))
        found.append(Standing(Span(at, end), delivered, gross, bytes([place]) * 32))
        at = end
    return tuple(found)


spans = st.lists(
    st.tuples(st.integers(-100, 3000), st.integers(0, 900)).map(
        lambda pair: Span(START + pair[0] * SECOND, START + (pair[0] + pair[1]) * SECOND)
    ),
    max_size=4,
)
kinds = st.sampled_from(list(Exclusion))


@given(lives(), spans, st.lists(st.tuples(kinds, spans), max_size=2), st.integers(60, 3000))
def test_a_rebate_is_within_what_its_window_billed(
    receipts: tuple[Standing, ...],
    outages: list[Span],
    excluded: list[tuple[Exclusion, list[Span]]],
    seconds: int,
) -> None:
    lease = Span(START, START + seconds * SECOND)
    left_out = [(kind, span) for kind, many in excluded for span in many]
    for index in range(6):
        found = rebate.state(LEVEL, lease, index, receipts, outages, left_out)
        gross = availability.gross_msat(
            availability.gather(found.window, receipts, outages, (span for _, span in left_out))
        )
        assert 0 <= found.availability_ppm <= PPM
        assert 0 <= found.msat <= gross


@given(lives(), spans)
def test_windows_share_out_all_that_was_billed_and_delivered(
    receipts: tuple[Standing, ...], outages: list[Span]
) -> None:
    if not receipts:
        return
    lease = Span(START, receipts[-1].span.end_ns)
    gross = 0
    for index in range(20):
        window = availability.window(lease, LEVEL.window_ns, index)
        gross += availability.gross_msat(availability.gather(window, receipts, outages, ()))
    assert gross == receipts[-1].gross_msat


@given(lives(), spans, spans)
def test_spans_in_any_order_and_pieces_give_the_same_digest(
    receipts: tuple[Standing, ...], outages: list[Span], excluded: list[Span]
) -> None:
    window = Span(START, START + 900 * SECOND)

    def halved(whole: list[Span]) -> list[Span]:
        middle = [(start + end) // 2 for start, end in whole]
        first = [Span(span.start_ns, at) for span, at in zip(whole, middle, strict=True)]
        second = [Span(at, span.end_ns) for span, at in zip(whole, middle, strict=True)]
        return [*reversed(second), *first]

    one = availability.gather(window, receipts, outages, excluded)
    other = availability.gather(window, receipts, halved(outages), halved(excluded))
    assert rebate.encode_inputs(one) == rebate.encode_inputs(other)


@given(lives(), st.integers(0, 4))
def test_more_delivery_never_earns_more_rebate(receipts: tuple[Standing, ...], index: int) -> None:
    lease = Span(START, START + 3000 * SECOND)
    fuller = tuple(
        Standing(item.span, (item.span.end_ns - START) // 10**6, item.gross_msat, item.sha256)
        for item in receipts
    )
    before = rebate.state(LEVEL, lease, index, receipts)
    after = rebate.state(LEVEL, lease, index, fuller)
    assert after.availability_ppm >= before.availability_ppm
    assert after.msat <= before.msat
