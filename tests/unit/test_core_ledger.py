"""The rules by which units are granted: one test for each way to be refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core import ledger
from agent.core.amount import Price, PriceUnit
from agent.core.bounds import MOST_MSAT
from agent.core.lease import (
    HOLDING,
    Agreement,
    CloseReason,
    Lease,
    LeaseKey,
    LeaseState,
    Outcome,
    Release,
    ReserveRequest,
)
from agent.core.ledger import OfferTerms
from probes.reading import Instant

SECOND = 1_000_000_000
WALL = 1_800_000_000 * SECOND
NOW = Instant(1000 * SECOND, 1000 * SECOND, WALL, "boot-1")
PRICES = (Price(15, 1, PriceUnit.DELIVERED_UNIT_SECOND, "VCPU"),)
TOKEN = b"t" * 16
OFFER = OfferTerms(
    log_index=5,
    sha256=b"o" * 32,
    expire_ns=WALL + 600 * SECOND,
    newest=True,
    available_until_ns=WALL + 86_400 * SECOND,
    steps={"MEMORY_MB": (256, 128), "VCPU": (1, 1)},
    prices=PRICES,
    terms=b"terms",
    receipt_interval_ns=900 * SECOND,
)
REQUEST = ReserveRequest("id", "offer", 3, {"MEMORY_MB": 512, "VCPU": 2}, 30 * SECOND)
FREE = {"MEMORY_MB": 1024, "VCPU": 4}
HELD = Lease(
    key=LeaseKey("exchange", "id"),
    state=LeaseState.RESERVED,
    units={"MEMORY_MB": 512, "VCPU": 2},
    fencing_token=TOKEN,
    request_sha256=b"",
    offer_index=5,
    hold_until_ns=1030 * SECOND,
    hold_boot_id="boot-1",
)
AGREEMENT = Agreement(
    exchange_id="exchange",
    node_id="node",
    lease_id="id",
    offer_sha256=b"o" * 32,
    units={"MEMORY_MB": 512, "VCPU": 2},
    prices=PRICES,
    terms=b"terms",
    receipt_interval_ns=900 * SECOND,
    start_ns=WALL,
    end_ns=WALL + 3600 * SECOND,
    fencing_token=TOKEN,
    job_id="job",
    binds_workload=False,
)


def reserve(offer: OfferTerms | None = OFFER, draining: bool = False, **request: Any) -> Outcome:
    asked = replace(REQUEST, **request)
    return ledger.decide_reserve(asked, offer, FREE, WALL, draining=draining).outcome


def test_what_is_free_and_offered_is_granted() -> None:
    assert reserve() is Outcome.ACCEPTED
    assert reserve(units=dict(FREE)) is Outcome.ACCEPTED


@pytest.mark.parametrize(
    ("outcome", "parts"),
    [
        (Outcome.DRAINING, {"draining": True}),
        (Outcome.INVALID, {"offer": None}),
        (Outcome.OFFER_SUPERSEDED, {"offer": replace(OFFER, newest=False)}),
        (Outcome.OFFER_SUPERSEDED, {"offer": replace(OFFER, expire_ns=WALL)}),
        (Outcome.INVALID, {"units": {}}),
        (Outcome.INVALID, {"units": {"PGPU": 1}}),
        (Outcome.INVALID, {"units": {"MEMORY_MB": 128}}),
        (Outcome.INVALID, {"units": {"MEMORY_MB": 257}}),
        (Outcome.NO_CAPACITY, {"units": {"VCPU": 5}}),
        (Outcome.NO_CAPACITY, {"units": {"MEMORY_MB": 512, "VCPU": 5}}),
    ],
)
def test_each_way_to_be_refused_a_hold(outcome: Outcome, parts: dict[str, Any]) -> None:
    assert reserve(**parts) is outcome


@pytest.mark.parametrize(("megabytes", "granted"), [(100, True), (160, True), (200, False)])
def test_steps_are_counted_from_the_least(megabytes: int, granted: bool) -> None:
    offer = replace(OFFER, steps={"MEMORY_MB": (100, 60), "VCPU": (1, 1)})
    outcome = reserve(offer, units={"MEMORY_MB": megabytes, "VCPU": 1})
    assert outcome is (Outcome.ACCEPTED if granted else Outcome.INVALID)


def test_a_lease_that_could_owe_more_than_a_receipt_can_say_is_not_held() -> None:
    dear = (Price(1 << 62, 1, PriceUnit.DELIVERED_UNIT_SECOND, "VCPU"),)
    offer = replace(OFFER, prices=dear)
    decision = ledger.decide_reserve(REQUEST, offer, FREE, WALL, draining=False)
    assert decision.outcome is Outcome.INVALID
    assert "ask for fewer units" in decision.detail
    # 2 VCPU x 86,520 s (the offer's day and a late start) x price = all the bitcoin there are
    most = (Price(MOST_MSAT // (2 * 86_520), 1, PriceUnit.DELIVERED_UNIT_SECOND, "VCPU"),)
    assert reserve(replace(OFFER, prices=most)) is Outcome.ACCEPTED
    more = (replace(most[0], numerator=most[0].numerator + 1),)
    assert reserve(replace(OFFER, prices=more)) is Outcome.INVALID


def test_a_lease_whose_energy_could_owe_more_than_a_receipt_can_say_is_not_held() -> None:
    # 16 meters x 1 MW x 86,520 s x price = all the bitcoin there are
    most = (Price(MOST_MSAT // (16_000_000 * 86_520), 1, PriceUnit.JOULE),)
    assert reserve(replace(OFFER, prices=most)) is Outcome.ACCEPTED
    more = (replace(most[0], numerator=most[0].numerator + 1),)
    assert reserve(replace(OFFER, prices=more)) is Outcome.INVALID


def test_a_lease_longer_than_a_receipt_can_count_is_not_held() -> None:
    offer = replace(OFFER, steps={"MEMORY_MB": (1, 1)}, prices=())
    free = {"MEMORY_MB": 1 << 50}
    request = replace(REQUEST, units={"MEMORY_MB": 1 << 50})
    decision = ledger.decide_reserve(request, offer, free, WALL, draining=False)
    assert decision.outcome is Outcome.INVALID


@pytest.mark.parametrize(("asked", "granted"), [(0, 5), (5, 5), (30, 30), (60, 60), (3600, 60)])
def test_a_hold_lasts_5_to_60_seconds(asked: int, granted: int) -> None:
    assert ledger.bounded_hold(asked * SECOND) == granted * SECOND


def test_a_hold_ends_with_its_time_or_its_boot() -> None:
    assert not ledger.hold_expired(HELD, NOW)
    assert ledger.hold_expired(HELD, replace(NOW, boottime_ns=1030 * SECOND))
    assert ledger.hold_expired(HELD, replace(NOW, boot_id="boot-2", boottime_ns=0))


@pytest.mark.parametrize("state", list(LeaseState))
def test_which_states_keep_units_from_others(state: LeaseState) -> None:
    lease = replace(HELD, state=state)
    assert ledger.holds(lease, NOW) is (state in HOLDING)
    over = replace(NOW, boottime_ns=2000 * SECOND)
    assert ledger.holds(lease, over) is (state in HOLDING and state is not LeaseState.RESERVED)


def commit(
    lease: Lease | None = HELD,
    offer: OfferTerms | None = OFFER,
    node: str = "node",
    now: Instant = NOW,
    **agreement: Any,
) -> ledger.Decision:
    return ledger.decide_commit(lease, replace(AGREEMENT, **agreement), offer, node, now, WALL)


def test_what_was_held_and_offered_is_agreed() -> None:
    assert commit().outcome is Outcome.ACCEPTED


def test_an_offer_that_was_superseded_meanwhile_still_binds() -> None:
    assert commit(offer=replace(OFFER, newest=False, expire_ns=0)).accepted


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("exchange_id", "another"),
        ("node_id", "another"),
        ("offer_sha256", b"x" * 32),
        ("units", {"MEMORY_MB": 512, "VCPU": 1}),
        ("units", {"MEMORY_MB": 512, "PGPU": 1, "VCPU": 2}),
        ("units", {"VCPU": 2}),
        ("prices", ()),
        ("prices", (Price(14, 1, PriceUnit.DELIVERED_UNIT_SECOND, "VCPU"),)),
        ("prices", (*PRICES, *PRICES)),
        ("terms", b"others"),
        ("start_ns", WALL + 3600 * SECOND),
        ("start_ns", WALL - 121 * SECOND),
        ("end_ns", WALL),
        ("end_ns", WALL + 86_401 * SECOND),
        ("binds_workload", True),
    ],
)
def test_an_agreement_that_differs_in_one_field_is_refused(field: str, value: Any) -> None:
    decision = commit(**{field: value})
    assert decision.outcome is Outcome.INVALID
    assert "not as offered or held" in decision.detail


def test_an_exchange_whose_clock_went_back_gets_no_longer_lease() -> None:
    price = (Price(MOST_MSAT // (2 * 86_520), 1, PriceUnit.DELIVERED_UNIT_SECOND, "VCPU"),)
    offer = replace(OFFER, prices=price)
    agreement = replace(AGREEMENT, prices=price, start_ns=0, end_ns=WALL)
    decision = ledger.decide_commit(HELD, agreement, offer, "node", NOW, exchange_ns=0)
    assert decision.outcome is Outcome.INVALID
    assert "receipt" in decision.detail


@pytest.mark.parametrize(
    ("outcome", "parts"),
    [
        (Outcome.INVALID, {"lease": None}),
        (Outcome.INVALID, {"offer": None}),
        (Outcome.FENCED, {"fencing_token": b"x" * 16}),
        (Outcome.FENCED, {"fencing_token": b""}),
        (Outcome.HOLD_EXPIRED, {"now": replace(NOW, boottime_ns=1030 * SECOND)}),
        (Outcome.HOLD_EXPIRED, {"now": replace(NOW, boot_id="boot-2")}),
        *[
            (Outcome.INVALID, {"lease": replace(HELD, state=state)})
            for state in LeaseState
            if state is not LeaseState.RESERVED
        ],
    ],
)
def test_each_way_to_be_refused_a_lease(outcome: Outcome, parts: dict[str, Any]) -> None:
    assert commit(**parts).outcome is outcome


def test_only_the_token_of_a_lease_ends_it() -> None:
    release = Release("id", TOKEN, CloseReason.TENANT_DONE)
    assert ledger.decide_release(HELD, release).accepted
    assert ledger.decide_release(replace(HELD, state=LeaseState.CLOSED), release).accepted
    assert ledger.decide_release(None, release).outcome is Outcome.INVALID
    fenced = replace(release, fencing_token=b"x" * 16)
    assert ledger.decide_release(HELD, fenced).outcome is Outcome.FENCED


def test_what_is_sold_at_all() -> None:
    capacity = {"VCPU": 8, "MEMORY_MB": 1000, "PGPU": 1}
    reserve = {"VCPU": 2, "MEMORY_MB": 2000, "DISK_GB": 5}
    assert ledger.sellable(capacity, reserve) == {"PGPU": 1, "VCPU": 6}


UNITS = st.dictionaries(st.sampled_from(["MEMORY_MB", "PGPU", "VCPU"]), st.integers(1, 100))


@given(UNITS, st.lists(UNITS))
def test_available_is_never_negative_and_never_more_than_there_is(
    total: dict[str, int], held: list[dict[str, int]]
) -> None:
    left = ledger.available(total, held)
    assert set(left) == set(total)
    for name, count in left.items():
        taken = sum(units.get(name, 0) for units in held)
        assert count == max(0, total[name] - taken) <= total[name]


@given(UNITS, UNITS)
def test_sellable_is_within_the_capacity(
    capacity: dict[str, int], reserved: dict[str, int]
) -> None:
    left = ledger.sellable(capacity, reserved)
    assert all(0 < left[name] <= capacity[name] for name in left)
    assert list(left) == sorted(left)


@given(UNITS, st.lists(UNITS, max_size=30))
def test_whoever_is_granted_leaves_no_less_than_nothing(
    total: dict[str, int], asked: list[dict[str, int]]
) -> None:
    held: list[dict[str, int]] = []
    offer = replace(OFFER, steps=dict.fromkeys(total, (1, 1)))
    for units in asked:
        free = ledger.available(total, held)
        request = replace(REQUEST, units=units)
        if ledger.decide_reserve(request, offer, free, WALL, draining=False).accepted:
            held.append(units)
    for name, count in total.items():
        assert sum(units.get(name, 0) for units in held) <= count
