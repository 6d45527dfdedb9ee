"""What a demo makes of the exchanges' books, without running one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hearth.admin.v1 import admin_pb2
from hearth.v1 import common_pb2
from hypothesis import given
from hypothesis import strategies as st

from agent.sandbox.books import held_until, oversold
from agent.sandbox.moment import Moment, MoneyMoment, moment
from agent.sandbox.outcome import CpuCheck, MoneyCheck, Outcome, Proof, cpu_checks, money_checks

CAPACITY = {"VCPU": 2}
NOW = 1_000


def booked(
    start: int, end: int | None, units: dict[str, int] | None, stage: str = "ACTIVE"
) -> dict[str, Any]:
    """A lease as an exchange has it; `end`: a final receipt up to there."""
    receipt = None if end is None else {"final": True, "end_unix_ns": end}
    return {
        "stage": stage,
        "stage_unix_ns": 500,
        "units": units,
        "start_unix_ns": start,
        "receipt": receipt,
    }


def test_two_exchanges_may_hold_what_there_is() -> None:
    books = [{"a": booked(0, None, {"VCPU": 1})}, {"b": booked(5, None, {"VCPU": 1})}]
    assert oversold(CAPACITY, books, NOW) == 0


def test_a_unit_sold_by_both_exchanges_is_found() -> None:
    books = [{"a": booked(0, None, {"VCPU": 2})}, {"b": booked(5, None, {"VCPU": 1})}]
    assert oversold(CAPACITY, books, NOW) == 1


def test_a_unit_sold_again_after_its_final_receipt_is_not() -> None:
    books = [{"a": booked(0, 5, {"VCPU": 2}, "CLOSED")}, {"b": booked(5, None, {"VCPU": 2})}]
    assert oversold(CAPACITY, books, NOW) == 0


def test_an_overlap_in_the_past_is_found_though_both_have_ended() -> None:
    books = [
        {"a": booked(0, 60, {"VCPU": 2}, "CLOSED")},
        {"b": booked(50, 90, {"VCPU": 2}, "CLOSED")},
    ]
    assert oversold(CAPACITY, books, NOW) == 2


def test_what_was_never_agreed_holds_nothing() -> None:
    books = [{"a": booked(0, None, {"VCPU": 2}), "b": booked(0, None, None, "REFUSED")}]
    assert oversold(CAPACITY, books, NOW) == 0


def test_a_class_that_is_not_for_sale_counts_from_the_first_unit() -> None:
    assert oversold(CAPACITY, [{"a": booked(0, None, {"PGPU": 1})}], NOW) == 1


@pytest.mark.parametrize(
    ("lease", "until"),
    [
        (booked(0, 70, {"VCPU": 1}, "CLOSED"), 70),
        (booked(0, None, {"VCPU": 1}, "EXPIRED"), 0),
        (booked(0, None, {"VCPU": 1}, "ACTIVE"), NOW),
    ],
)
def test_when_a_lease_ended(lease: dict[str, Any], until: int) -> None:
    assert held_until(lease, NOW) == until


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 30), st.integers(1, 3)), max_size=8))
def test_oversold_agrees_with_looking_at_every_instant(leases: list[tuple[int, int, int]]) -> None:
    book = {
        str(number): booked(start, start + length, {"VCPU": count}, "CLOSED")
        for number, (start, length, count) in enumerate(leases)
    }
    every = [
        sum(count for start, length, count in leases if start <= instant < start + length)
        for instant in range(61)
    ]
    assert oversold(CAPACITY, [book], NOW) == max(0, max(every) - CAPACITY["VCPU"])


# --- the outcome -------------------------------------------------------------------------------


def figures(**changed: Any) -> dict[str, Any]:
    receipt = {
        "final": True,
        "end_unix_ns": 900,
        "gross_msat": 70,
        "energy_mj": 5,
        "heat_mj": None,
        "totals": {"VCPU": {"used_unit_ms": 1234}},
    }
    money = {
        "paid_msat": 60,
        "returned_msat": 4,
        "invoices": [
            {"label": "a", "through": 1, "msat": 60, "state": "PAID"},
            {"label": "b", "through": 2, "msat": 7, "state": "ACCEPTED"},
        ],
        "payouts": [
            {"kind": "REBATE", "msat": 4, "state": "PAID", "detail": ""},
            {"kind": "REBATE", "msat": 10, "state": "NETTED", "detail": ""},
            {"kind": "REBATE", "msat": 1, "state": "WANTED", "detail": ""},
        ],
    }
    lease = {**booked(100, None, {"VCPU": 1}, "CLOSED"), "receipt": receipt, "money": money}
    return {
        "assurance": "virtual-tpm",
        "offers_accepted": 2,
        "receipts_verified": 3,
        "receipts_rejected": 0,
        "checkpoints_verified": 2,
        "challenges_passed": 1,
        "challenges_failed": 0,
        "challenges_refused": 0,
        "lease": {"lease-1": lease},
        **changed,
    }


def status() -> admin_pb2.StatusResponse:
    return admin_pb2.StatusResponse(
        node_id="ab" * 32,
        tpm="swtpm",
        inventory_digest=b"\x01" * 32,
        inventory_generation=1,
        capacity=[common_pb2.ResourceUnits(resource_class="VCPU", units=2)],
        available=[common_pb2.ResourceUnits(resource_class="VCPU", units=2)],
        energy_millijoules=1000,
        heat_millijoules=900,
        resident_kibibytes_peak=70 * 1024 + 1,
        cpu_milliseconds=1500,
        exchanges=[
            admin_pb2.ExchangeStatus(
                exchange_id="e", display_name="northern", receipts_issued=3, receipts_acked=3
            )
        ],
        leases=[
            admin_pb2.LeaseStatus(
                exchange_id="e", lease_id="lease-1", state="CLOSED", receipt_sequence=3
            )
        ],
        sensors=[
            admin_pb2.SensorStatus(sensor="modbus:main:power", value=200_000, unit="mW"),
            admin_pb2.SensorStatus(sensor="mbus:pool:power", fault="timeout: no answer"),
        ],
    )


def last(**changed: Any) -> Moment:
    return moment(30_000, NOW, status(), [("northern", figures(**changed))])


def outcome(now: Moment | None = None) -> Outcome:
    return Outcome(
        last=now or last(),
        first_offer_ms=1200,
        cpu=(CpuCheck("northern", "lease-1", 1000, 1000),),
        money=(MoneyCheck("northern", "lease-1", 70, 10, 60, 60, 4, 4),),
        outage=True,
        proof=Proof(Path("/f"), Path("/r"), 0, "TRUE"),
        agent_exit_code=0,
    )


def test_a_closed_lease_stands_as_its_last_receipt_says() -> None:
    lease = last().leases[0]
    assert (lease.used_cpu_ms, lease.energy_mj, lease.heat_mj) == (1234, 5, 0)
    assert (lease.exchange, lease.amount_due_msat) == ("northern", 70)


def test_a_meter_that_does_not_answer_is_no_power() -> None:
    assert (last().power_mw, last().heat_mw) == (200_000, None)


def test_all_well_is_no_problem() -> None:
    assert outcome().problems() == []
    told = outcome().as_json()
    assert told["ok"] is True
    assert (told["amount_due_msat"], told["peak_rss_mib"]) == (70, 71)
    assert told["offers_accepted"] == {"northern": 2}


def test_used_cpu_is_set_against_the_kernel_by_lease() -> None:
    checks = cpu_checks([("northern", figures()["lease"])], {"lease-1": 1240, "other": 1})
    assert checks == (CpuCheck("northern", "lease-1", 1234, 1240),)
    assert checks[0].difference_permille == 5  # 4.8, rounded up


def test_invoices_and_rebates_are_counted() -> None:
    money = last().exchanges[0].money
    assert (money.invoices_issued, money.invoices_paid) == (2, 1)
    assert (money.invoiced_msat, money.paid_msat) == (67, 60)
    assert (money.rebates_issued, money.rebates_paid, money.rebates_netted) == (3, 1, 1)
    assert (money.rebate_msat, money.returned_msat, money.netted_msat) == (15, 4, 10)
    told = outcome().as_json()
    assert told["lightning"] == "double"
    assert {name: told[name] for name in ("invoices_paid", "paid_msat", "returned_msat")} == {
        "invoices_paid": 1,
        "paid_msat": 60,
        "returned_msat": 4,
    }


def test_money_is_set_against_the_agents_own_books() -> None:
    own = {"exchange_name": "northern", "lease_id": "lease-1"}
    agents = [{**own, "received_msat": 60, "payouts_paid_msat": 4}]
    (check,) = money_checks([("northern", figures()["lease"])], agents)
    assert check == MoneyCheck("northern", "lease-1", 70, 10, 60, 60, 4, 4)
    assert check.agrees


WELL = outcome()
NO_REBATE = replace(last().exchanges[0], money=MoneyMoment())


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (outcome(last(receipts_rejected=1)), "1 receipts were rejected"),
        (outcome(last(receipts_verified=2)), "exchanges verified -1 receipts"),
        (outcome(last(challenges_failed=1)), "1 quote challenges failed"),
        (outcome(replace(last(), leases=())), "no lease ran"),
        (outcome(replace(last(), oversold_units=1)), "1 units were sold twice"),
        (
            outcome(replace(last(), exchanges=(replace(last().exchanges[0], receipts_acked=2),))),
            "3 receipts were issued and 2 acknowledged",
        ),
        (replace(WELL, cpu=(CpuCheck("n", "l", 990, 1000),)), "receipt says 990 ms"),
        (
            replace(WELL, money=(MoneyCheck("n", "l", 70, 10, 60, 59, 4, 4),)),
            "60 paid and 59 received",
        ),
        (
            replace(WELL, money=(MoneyCheck("n", "l", 70, 0, 60, 60, 4, 4),)),
            "70 msat due less 0 netted",
        ),
        (
            replace(WELL, money=(MoneyCheck("n", "l", 70, 10, 60, 60, 0, 4),)),
            "4 given back and 0 taken",
        ),
        (outcome(replace(last(), exchanges=(NO_REBATE,))), "no rebate given"),
        (replace(WELL, proof=None), "no receipt could be exported"),
        (replace(WELL, proof=Proof(Path("/f"), Path("/r"), 3, "who")), "exit 3: who"),
        (replace(WELL, agent_exit_code=1), "the agent ended with exit code 1"),
    ],
)
def test_each_thing_that_is_wrong_is_said_alone(wrong: Outcome, said: str) -> None:
    assert len(wrong.problems()) == 1
    assert said in wrong.problems()[0]
    assert wrong.as_json()["ok"] is False
