"""The audit of the crash tests can fail: each of its rules, and each on its own."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hearth.v1 import lease_pb2, offer_pb2

from agent.core import amount
from agent.sandbox.audit import SAMPLE_MS, Book, Page, Rule, audit

MS = 1_000_000
START_NS = 1_700_000_000 * 1000 * MS
UNITS = {"MEMORY_MB": 64, "VCPU": 2}
PRICES = (
    amount.Price(15, 1, amount.PriceUnit.DELIVERED_UNIT_SECOND, "VCPU"),
    amount.Price(7, 3, amount.PriceUnit.JOULE),
    amount.Price(1, 1, amount.PriceUnit.DELIVERED_LEASE_SECOND),
)
USED_MS = 300  # of each lease, at the end
Receipts = list[lease_pb2.Receipt]


def agreement(exchange_id: str, lease_id: str, start_ms: int, agreed_ms: int) -> bytes:
    message = lease_pb2.LeaseAgreement(
        exchange_id=exchange_id,
        node_id="n",
        lease_id=lease_id,
        job_id="job",
        units=[{"resource_class": name, "units": count} for name, count in UNITS.items()],
        prices=[
            offer_pb2.Price(
                msat_numerator=price.numerator,
                unit_denominator=price.denominator,
                unit=price.unit,
                resource_class=price.resource_class,
            )
            for price in PRICES
        ],
    )
    message.start_time.FromNanoseconds(START_NS + start_ms * MS)
    message.end_time.FromNanoseconds(START_NS + (start_ms + agreed_ms) * MS)
    return message.SerializeToString()


def receipt(agreed: bytes, sequence: int) -> lease_pb2.Receipt:
    """One a second; a tenth of each is missing."""
    of = lease_pb2.LeaseAgreement.FromString(agreed)
    begun, delivered_ms = sequence * 1000, sequence * 900
    quantities = amount.Delivered(
        UNITS, {name: units * delivered_ms for name, units in UNITS.items()}, 5000 * sequence
    )
    due = amount.lines(PRICES, quantities)
    message = lease_pb2.Receipt(
        node_id=of.node_id,
        exchange_id=of.exchange_id,
        lease_id=of.lease_id,
        job_id=of.job_id,
        sequence=sequence,
        agreement_sha256=hashlib.sha256(agreed).digest(),
        totals=[
            lease_pb2.MeterTotal(
                resource_class=name,
                reserved_unit_milliseconds=units * begun,
                delivered_unit_milliseconds=units * delivered_ms,
                used_unit_milliseconds=USED_MS * sequence // 3,
                throttled_milliseconds=5 * sequence,
                stalled_milliseconds=6 * sequence,
                missing_milliseconds=100 * sequence,
            )
            for name, units in UNITS.items()
        ],
        lines=[
            lease_pb2.AmountLine(
                price_index=line.price_index, quantity=line.quantity, msat=line.msat
            )
            for line in due
        ],
        gross_msat_total=amount.gross(due),
        final=sequence == 3,
    )
    message.energy.millijoules = 5000 * sequence
    message.energy.missing_milliseconds = sequence
    message.heat.reused_millijoules = 4000 * sequence
    message.heat.reverse_millijoules = sequence
    start_ns = of.start_time.ToNanoseconds()
    message.interval.start_time.FromNanoseconds(start_ns + (begun - 1000) * MS)
    message.interval.end_time.FromNanoseconds(start_ns + begun * MS)
    return message


def chained(receipts: Receipts) -> tuple[bytes, ...]:
    """Link what is there, and serialise it."""
    payloads: list[bytes] = []
    for item in receipts:
        item.previous_sha256 = hashlib.sha256(payloads[-1]).digest() if payloads else b""
        payloads.append(item.SerializeToString())
    return tuple(payloads)


def page(exchange_id: str, lease_id: str, start_ms: int = 0, agreed_ms: int = 9000) -> Page:
    agreed = agreement(exchange_id, lease_id, start_ms, agreed_ms)
    return Page(agreed, chained([receipt(agreed, sequence) for sequence in (1, 2, 3)]))


@dataclass
class World:
    """Two exchanges; one lease of each at a time, and one that never began."""

    books: dict[str, Book] = field(
        default_factory=lambda: {
            "x": {"a": page("x", "a"), "b": page("x", "b", 3000)},
            "y": {"a": page("y", "a"), "c": Page(agreement("y", "c", 0, 9000))},
        }
    )
    journal: Mapping[str, Book] | None = None  # None: the same
    capacity: Mapping[str, int] = field(
        default_factory=lambda: {name: 2 * count for name, count in UNITS.items()}
    )
    kernel_ms: int = 3 * USED_MS
    now_ns: int = START_NS + 6000 * MS

    def broken(self) -> set[Rule]:
        journal = self.books if self.journal is None else self.journal
        found = audit(self.books, journal, self.capacity, self.kernel_ms, self.now_ns)
        return {finding.rule for finding in found}

    def doctored(self, doctor: Callable[[Receipts], Any]) -> set[Rule]:
        """What is found when the agent itself wrote lease b like that, and all have it so."""
        whole = self.books["x"]["b"]
        receipts = [lease_pb2.Receipt.FromString(payload) for payload in whole.receipts]
        doctor(receipts)
        self.books["x"] = {**self.books["x"], "b": replace(whole, receipts=chained(receipts))}
        return self.broken()


def total(item: lease_pb2.Receipt, name: str = "VCPU") -> lease_pb2.MeterTotal:
    return next(total for total in item.totals if total.resource_class == name)


def test_books_that_are_in_order_are_found_so() -> None:
    assert World().broken() == set()


# --- one lease -----------------------------------------------------------------------------------


def of_another_lease(receipts: Receipts) -> None:
    receipts[1].lease_id = "a"


def of_another_exchange(receipts: Receipts) -> None:
    receipts[1].exchange_id = "y"


def of_another_agreement(receipts: Receipts) -> None:
    receipts[2].agreement_sha256 = bytes(32)


def of_other_classes(receipts: Receipts) -> None:
    total(receipts[0]).resource_class = "PGPU"


def numbered_twice(receipts: Receipts) -> None:
    receipts[1].sequence = 1


def begins_early(receipts: Receipts) -> None:
    start = receipts[1].interval.start_time
    start.FromNanoseconds(start.ToNanoseconds() - 1)


def begins_late(receipts: Receipts) -> None:
    receipts[2].interval.start_time.nanos += 1


def begins_before_the_lease(receipts: Receipts) -> None:
    receipts[0].interval.start_time.seconds -= 1


def never_final(receipts: Receipts) -> None:
    receipts[2].final = False


def final_too_early(receipts: Receipts) -> None:
    receipts[0].final = True


def reserved_too_much(receipts: Receipts) -> None:
    total(receipts[2]).reserved_unit_milliseconds += 1


def reserved_too_little(receipts: Receipts) -> None:
    total(receipts[2], "MEMORY_MB").reserved_unit_milliseconds -= 1
    total(receipts[2], "MEMORY_MB").missing_milliseconds -= 1


def missing_and_delivered(receipts: Receipts) -> None:
    total(receipts[2]).missing_milliseconds += 1


def gross_too_much(receipts: Receipts) -> None:
    receipts[2].gross_msat_total += 1


def a_line_too_much(receipts: Receipts) -> None:
    receipts[1].lines[0].msat += 1


def a_quantity_too_much(receipts: Receipts) -> None:
    receipts[2].lines[1].quantity += 1


def a_price_too_much(receipts: Receipts) -> None:
    receipts[0].lines.add(price_index=3)


ALONE: dict[Callable[[Receipts], None], Rule] = {
    of_another_lease: Rule.NAMES,
    of_another_exchange: Rule.NAMES,
    of_another_agreement: Rule.NAMES,
    numbered_twice: Rule.SEQUENCE,
    begins_early: Rule.SEAM,
    begins_late: Rule.SEAM,
    begins_before_the_lease: Rule.SEAM,
    never_final: Rule.FINAL,
    final_too_early: Rule.FINAL,
    reserved_too_much: Rule.RESERVED,
    reserved_too_little: Rule.RESERVED,
    missing_and_delivered: Rule.DELIVERED,
    gross_too_much: Rule.AMOUNT,
    a_line_too_much: Rule.AMOUNT,
    a_quantity_too_much: Rule.AMOUNT,
    a_price_too_much: Rule.AMOUNT,
}


@pytest.mark.parametrize("doctor", ALONE, ids=lambda doctor: doctor.__name__)
def test_a_receipt_that_is_wrong_is_found_for_what_is_wrong(
    doctor: Callable[[Receipts], None],
) -> None:
    assert World().doctored(doctor) == {ALONE[doctor]}


def test_other_classes_than_agreed_are_found() -> None:
    assert Rule.NAMES in World().doctored(of_other_classes)


FIGURES: dict[str, Callable[[lease_pb2.Receipt], Any]] = {
    "used_unit_milliseconds": total,
    "throttled_milliseconds": total,
    "stalled_milliseconds": total,
    "missing_milliseconds": total,
    "reused_millijoules": lambda item: item.heat,
    "reverse_millijoules": lambda item: item.heat,
}


@pytest.mark.parametrize("name", FIGURES)
@pytest.mark.parametrize("gone", [False, True])
def test_a_figure_that_falls_is_found(name: str, gone: bool) -> None:
    def fall(receipts: Receipts) -> None:
        before, after = (FIGURES[name](item) for item in receipts[1:])
        setattr(after, name, getattr(before, name) - 1)
        if gone:
            after.ClearField(name)

    assert World().doctored(fall) == {Rule.FELL}


def test_energy_and_what_is_owed_for_it_falls() -> None:
    """All figures of the last receipt are those of the first: priced, chained and in order."""

    def fall(receipts: Receipts) -> None:
        receipts[2].energy.CopyFrom(receipts[0].energy)
        delivered = amount.Delivered(
            UNITS, {name: 2700 * units for name, units in UNITS.items()}, 5000
        )
        due = amount.lines(PRICES, delivered)
        for line, computed in zip(receipts[2].lines, due, strict=True):
            line.quantity, line.msat = computed.quantity, computed.msat
        receipts[2].gross_msat_total = amount.gross(due)

    assert World().doctored(fall) == {Rule.FELL}


def test_a_chain_that_is_cut_is_found() -> None:
    world = World()
    whole = world.books["x"]["b"]
    last = lease_pb2.Receipt.FromString(whole.receipts[2])
    last.previous_sha256 = hashlib.sha256(whole.receipts[0]).digest()
    cut = replace(whole, receipts=(*whole.receipts[:2], last.SerializeToString()))
    world.books["x"] = {**world.books["x"], "b": cut}
    assert world.broken() == {Rule.CHAIN}


def test_a_receipt_that_is_not_there_is_found() -> None:
    assert World().doctored(lambda receipts: receipts.pop(1)) >= {Rule.SEQUENCE, Rule.SEAM}
    assert World().doctored(lambda receipts: receipts.pop()) >= {Rule.FINAL}


def test_a_receipt_that_is_stored_twice_is_found() -> None:
    found = World().doctored(lambda receipts: receipts.insert(1, receipts[0]))
    assert found >= {Rule.SEQUENCE, Rule.SEAM}


def test_an_interval_that_is_billed_again_after_a_kill_is_found() -> None:
    """As if the second interval had been metered twice, and all else were computed from that."""

    def again(receipts: Receipts) -> None:
        for item in receipts[1:]:
            for of in item.totals:
                of.reserved_unit_milliseconds += UNITS[of.resource_class] * 1000

    assert World().doctored(again) == {Rule.RESERVED}


def test_what_lasts_beyond_the_agreed_end_is_found() -> None:
    world = World()
    world.books["x"] = {"b": page("x", "b", 3000, agreed_ms=2999)}
    assert world.broken() == {Rule.END}


def test_what_lasts_into_the_future_is_found() -> None:
    assert World(now_ns=START_NS + 5999 * MS).broken() == {Rule.END}


def test_an_agreement_of_another_lease_is_found() -> None:
    world = World()
    world.books["y"] = {"d": world.books["y"]["a"]}
    assert world.broken() == {Rule.NAMES}


# --- all of them together ------------------------------------------------------------------------


def test_a_unit_that_both_sold_is_found() -> None:
    capacity = {"VCPU": 4, "MEMORY_MB": 127}
    assert World(capacity=capacity).broken() == {Rule.SOLD_TWICE}


def test_a_unit_that_one_sold_again_too_early_is_found() -> None:
    world = World()
    world.books["x"] = {"a": page("x", "a"), "b": page("x", "b", 2999)}
    assert world.broken() == {Rule.SOLD_TWICE}


def test_a_journal_that_says_another_thing_is_found() -> None:
    world = World()
    whole = world.books["y"]["a"]
    for other in (
        {},
        {"x": world.books["x"]},
        {**world.books, "y": {"a": whole}},
        {**world.books, "y": {**world.books["y"], "a": Page(whole.agreement)}},
        {**world.books, "y": {**world.books["y"], "d": whole}},
        {**world.books, "z": {"a": whole}},
    ):
        world.journal = other
        assert world.broken() == {Rule.JOURNAL}


@pytest.mark.parametrize("off_ms", [-SAMPLE_MS - 1, SAMPLE_MS + 1])
def test_used_that_the_kernel_did_not_count_or_counted_more_of_is_found(off_ms: int) -> None:
    assert World(kernel_ms=3 * USED_MS + off_ms).broken() == {Rule.KERNEL}


@pytest.mark.parametrize("off_ms", [-SAMPLE_MS, SAMPLE_MS])
def test_one_sample_is_no_difference(off_ms: int) -> None:
    assert World(kernel_ms=3 * USED_MS + off_ms).broken() == set()
