"""The books of a lease, step by step: what comes late, twice or from elsewhere changes nothing."""

from __future__ import annotations

import dataclasses

from msgspec.structs import replace

from agent.core.availability import Span
from agent.core.bill import Account, Bill, BillState, Policy, Sum, Terms
from agent.core.credit import Credit, CreditLevel, escalate
from agent.core.lease import LeaseKey
from agent.core.payout import (
    QUIET_NS,
    RETRY_NS,
    Caps,
    Payout,
    PayoutKind,
    PayoutState,
    Trace,
    may_try,
)
from agent.core.rebate import Level, Rebate
from agent.core.settlement import open_account, outstanding, step
from agent.core.settling import (
    Acked,
    Clashed,
    Event,
    Inspect,
    Judged,
    Ordered,
    Seen,
    Settled,
    Status,
    Stopped,
    Tick,
    Traced,
)

NOW = 1_800_000_000 * 10**9
HASH, OTHER = b"h" * 32, b"o" * 32
TERMS = Terms(credit_limit_msat=10**6, payment_timeout_ns=10**9)
CAPS = Caps(10**6, 10**6, 10**6)
POLICY = Policy(
    collects=True,
    pays=True,
    pays_named=True,
    network="regtest",
    least_msat=1,
    age_ns=1,
    invoice_life_ns=1,
    net_after_ns=1,
    caps=CAPS,
)
BOOKS = open_account(LeaseKey("ab" * 32, "0190c1d2-0000-7000-8000-000000000001"), TERMS, Level())
PAYING = Payout(
    "rebate/0",
    PayoutKind.REBATE,
    1000,
    PayoutState.PAYING,
    NOW,
    (b"s" * 32,),
    "ln",
    HASH,
    expire_ns=NOW + 10 * QUIET_NS,
)


def after(books: Account, event: Event, now_ns: int = NOW) -> Account:
    return step(books, event, POLICY, now_ns)[0]


def test_a_trace_of_an_earlier_invoice_says_nothing_of_this_one() -> None:
    books = replace(BOOKS, payouts=(PAYING,))
    for trace in Trace:
        assert after(books, Traced("rebate/0", OTHER, trace, NOW + 99 * QUIET_NS)) == books
    paid = after(books, Traced("rebate/0", HASH, Trace.COMPLETE, NOW))
    assert paid.payouts[0].state is PayoutState.PAID


def test_a_word_on_an_earlier_invoice_is_not_about_this_one() -> None:
    books = replace(BOOKS, payouts=(PAYING,))
    for event in (Ordered("rebate/0", OTHER, NOW), Stopped("rebate/0", OTHER)):
        assert after(books, event) == books
    assert after(books, Ordered("rebate/0", HASH, NOW)).payouts[0].ordered_ns == NOW
    assert after(books, Stopped("rebate/0", HASH)).payouts[0].stopped


def test_a_window_is_judged_once_and_none_is_left_out() -> None:
    rebate = Rebate(Span(0, 1), b"i" * 32, 500_000, 70)
    once = after(BOOKS, Judged(0, rebate))
    assert [(item.key, item.msat) for item in once.payouts] == [("rebate/0", 70)]
    for index in (0, 2):
        assert after(once, Judged(index, rebate)) == once


def test_the_last_invoice_waits_for_nothing() -> None:
    patient = dataclasses.replace(POLICY, least_msat=10_000, age_ns=10**18)
    acked = Acked(1, b"r" * 32, gross_msat=500, uncontested_msat=500, final=False)
    waiting, _ = step(BOOKS, acked, patient, NOW)
    assert waiting.open_bill is None
    ended, _ = step(waiting, dataclasses.replace(acked, final=True), patient, NOW)
    assert ended.open_bill is not None


def test_an_invoice_is_asked_about_from_its_end_on() -> None:
    bill = Bill("l", 1, b"", Sum(5, 0, 0, 0, 0, 0), BillState.INVOICED, NOW, "ln", HASH, NOW)
    books = replace(BOOKS, bills=(bill,))
    assert outstanding(books, NOW - 1) == ()
    assert outstanding(books, NOW) == (Inspect("l"),)
    over = replace(BOOKS, bills=(replace(bill, state=BillState.EXPIRED),))
    assert outstanding(over, NOW) == (), "its end is known"


def test_what_came_and_went_is_counted_with_its_sign() -> None:
    books = replace(BOOKS, gross=1000, uncontested=900, adjusted=-30, netted=200)
    assert (books.exposure, books.owed) == (770, 670)
    paid = replace(books, received=800, returned=7)
    assert (paid.exposure, paid.owed) == (-23, -123)


def test_an_invoice_that_is_found_again_does_not_stand_beside_another() -> None:
    made_of = Sum(5, 0, 0, 0, 0, 0)
    lost = Bill("l", 1, b"", made_of, BillState.LOST, NOW, "ln", HASH, NOW)
    other = Bill("m", 2, b"", made_of, BillState.INVOICED, NOW, "ln", OTHER, NOW)
    found = Seen("l", Status.UNPAID)
    both = replace(BOOKS, bills=(lost, other))
    assert after(both, found) == both
    assert after(both, Seen("m", Status.UNPAID)) == both
    (alone,) = after(replace(BOOKS, bills=(lost,)), found).bills
    assert alone.state is BillState.INVOICED


def test_what_the_node_will_not_pay_is_not_tried_again() -> None:
    assert may_try(PAYING, Trace.NOTHING, NOW)
    for changed in (
        replace(PAYING, stopped=True),
        replace(PAYING, expire_ns=NOW),
        replace(PAYING, state=PayoutState.FAILED_SAFE),
        replace(PAYING, ordered_ns=NOW - RETRY_NS + 1),
    ):
        assert not may_try(changed, Trace.NOTHING, NOW)
    assert may_try(replace(PAYING, ordered_ns=NOW - RETRY_NS), Trace.FAILED, NOW)
    assert not may_try(PAYING, Trace.PENDING, NOW)


def test_a_label_that_clashed_is_given_up_only_while_it_is_nobody_s_invoice() -> None:
    made_of = Sum(500, 0, 0, 0, 0, 0)
    bill = Bill("hearth/a/b/1", 1, b"", made_of, BillState.INVOICED, NOW, "ln", HASH, NOW + 10)
    books = replace(BOOKS, uncontested=500, gross=500, through=1, bills=(bill,))
    books = replace(books, last_through=1, last_round=1)
    assert after(books, Clashed(bill.label)) == books
    assert after(books, Clashed("hearth/a/b/7")) == books
    due = replace(books, bills=(replace(bill, state=BillState.DUE),))
    (again,) = after(due, Clashed(bill.label)).bills
    assert (again.state, again.msat) == (BillState.DUE, 500)
    assert again.label.endswith("/1-r2")


def test_the_limit_itself_is_within() -> None:
    week = 7 * 86_400 * 10**9
    for exposure, limit, steps in (
        (20, 20, ()),
        (21, 20, (2,)),
        (40, 20, (2,)),
        (41, 20, (2, 3, 4)),
    ):
        assert escalate(Credit(), exposure, limit, week, NOW)[1] == steps
    over, _ = escalate(Credit(), 21, 20, week, NOW)
    for passed, steps in ((week - 1, ()), (week, (3,)), (2 * week - 1, (3,)), (2 * week, (3, 4))):
        assert escalate(over, 21, 20, week, NOW + passed)[1] == steps
    assert escalate(over, 20, 20, week, NOW + week) == (Credit(), (CreditLevel.WITHIN,))
    stopped = Credit(CreditLevel.STOPPED, NOW)
    assert escalate(stopped, 0, 20, week, NOW) == (stopped, ())


def test_books_stay_open_while_anything_is_contested() -> None:
    acked = Acked(1, b"r" * 32, gross_msat=500, uncontested_msat=400, final=True)
    books = replace(BOOKS, received=400)
    contested, effects = step(books, acked, POLICY, NOW)
    assert (contested.closed, effects, contested.contested) == (False, (), 100)
    agreed = Acked(1, b"r" * 32, gross_msat=400, uncontested_msat=400, final=True)
    assert step(books, agreed, POLICY, NOW)[1] == (Settled(),)
    assert step(after(books, agreed), Tick(), POLICY, NOW)[1] == ()


def test_books_stay_open_while_an_invoice_may_be_paid() -> None:
    """What was corrected away after it was invoiced may still come, and goes back then."""
    lost = Bill("l", 1, b"", Sum(5, 0, 0, 0, 0, 0), BillState.LOST, NOW, "ln", HASH, NOW)
    books = replace(BOOKS, final=True, gross=5, uncontested=5, adjusted=-5, bills=(lost,))
    assert (books.owed, step(books, Tick(), POLICY, NOW)) == (0, (books, ()))
    assert after(replace(books, bills=()), Tick()).closed
