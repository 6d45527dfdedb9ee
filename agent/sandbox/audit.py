"""Was anything billed twice, lost or sold twice? Judged over all that was really stored. Pure.

An auditor has the books of every exchange, the agent's journal and the kernel's own count, and
believes none of them: of each lease only what both sides signed and the receipts as they were
stored count, and everything else is computed anew. What one exchange checks when a receipt arrives
(agent/sandbox/exchange/judge.py) is not relied on: it sees its own leases only, and has tolerances.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import NamedTuple

from google.protobuf.message import Message
from hearth.v1.lease_pb2 import Receipt

from agent.core import amount
from agent.sandbox.books import Claim, excess
from agent.sandbox.exchange.judge import Contract
from agent.sandbox.exchange.market import contract

NS_PER_MS = 1_000_000
SAMPLE_MS = 1000  # of CPU time: one thread, from one sample of a lease to the next


class Rule(StrEnum):
    """What must hold."""

    NAMES = "names this exchange, this lease and the agreement both signed"
    SEQUENCE = "sequences are 1, 2, 3, ... without a gap"
    CHAIN = "each names the digest of the one before it"
    FELL = "no cumulative figure falls"
    SEAM = "each interval starts where the one before ended, the first with the lease"
    END = "nothing is after the agreed end, or in the future"
    FINAL = "the last one, and no other, is final"
    RESERVED = "reserved is units x time since the lease's start, exactly"
    DELIVERED = "delivered and missing together are no more than reserved"
    AMOUNT = "amounts are what the agreed prices make of the quantities"
    SOLD_TWICE = "no unit is sold twice at any instant, over all exchanges"
    JOURNAL = "the agent's journal and the exchange have the same, byte for byte"
    KERNEL = "used CPU is what the kernel counted, but for one sample"


class Finding(NamedTuple):
    """A rule that does not hold, and where."""

    rule: Rule
    where: str
    detail: str


@dataclass(frozen=True, slots=True)
class Page:
    """One lease as somebody has stored it: payloads, just as they were signed."""

    agreement: bytes  # hearth.v1.LeaseAgreement, signed by both sides
    receipts: tuple[bytes, ...] = ()  # hearth.v1.Receipt, in the order in which they came


Book = Mapping[str, Page]  # by lease id


def audit(
    books: Mapping[str, Book],
    journal: Mapping[str, Book],
    capacity: Mapping[str, int],
    kernel_ms: int,
    now_ns: int,
) -> list[Finding]:
    """Return everything that does not hold; of leases that are over.

    :param books: by exchange id, what that exchange has stored.
    :param journal: by exchange id, what the agent has stored for it.
    :param capacity: what the host has to sell, by resource class.
    :param kernel_ms: CPU time of all leases together, as the kernel counted it.
    :param now_ns: Unix time.
    """
    found = [
        finding
        for exchange_id, book in books.items()
        for lease_id, page in book.items()
        for finding in _page(exchange_id, lease_id, page, now_ns)
    ]
    found += _journal(books, journal)
    claims = [_claim(page) for book in books.values() for page in book.values()]
    for name, units in excess(capacity, claims).items():
        found.append(Finding(Rule.SOLD_TWICE, name, f"{units} more than there are"))
    found += _kernel([page for book in books.values() for page in book.values()], kernel_ms)
    return found


# --- one lease at one exchange -------------------------------------------------------------------


def _page(exchange_id: str, lease_id: str, page: Page, now_ns: int) -> Iterator[Finding]:
    agreed = contract(page.agreement)
    last_ns = min(agreed.end_ns, now_ns)
    receipts = [Receipt.FromString(payload) for payload in page.receipts]
    where = f"{exchange_id[:12]}/{lease_id}"
    if (agreed.exchange_id, agreed.lease_id) != (exchange_id, lease_id):
        yield Finding(Rule.NAMES, where, f"the agreement is of {agreed.lease_id}")
    for place, receipt in enumerate(receipts, 1):
        for rule, detail in _receipt(receipt, agreed, last_ns):
            yield Finding(rule, f"{where} receipt {place}", detail)
        if receipt.sequence != place:
            yield Finding(Rule.SEQUENCE, where, f"{receipt.sequence} in place {place}")
        if receipt.final is not (place == len(receipts)):
            yield Finding(Rule.FINAL, where, f"{place} of {len(receipts)}: {receipt.final}")
    yield from _links(where, agreed, page.receipts, receipts)


def _links(
    where: str, agreed: Contract, payloads: Sequence[bytes], receipts: Sequence[Receipt]
) -> Iterator[Finding]:
    """Hold each receipt against the one before it."""
    digests = [b"", *(hashlib.sha256(payload).digest() for payload in payloads)]
    end_ns = agreed.start_ns
    for receipt, digest in zip(receipts, digests, strict=False):
        at = f"{where} receipt {receipt.sequence}"
        if receipt.previous_sha256 != digest:
            yield Finding(Rule.CHAIN, at, receipt.previous_sha256.hex())
        start_ns = receipt.interval.start_time.ToNanoseconds()
        if start_ns != end_ns:
            yield Finding(Rule.SEAM, at, f"starts {start_ns - end_ns:+} ns off")
        end_ns = receipt.interval.end_time.ToNanoseconds()
    for before, after in pairwise(receipts):
        now = _figures(after)
        for name, then in _figures(before).items():
            if now.get(name, -1) < then:
                at = f"{where} receipt {after.sequence}"
                yield Finding(Rule.FELL, at, f"{name}: {then} -> {now.get(name)}")


def _receipt(receipt: Receipt, agreed: Contract, last_ns: int) -> Iterator[tuple[Rule, str]]:
    """Hold one receipt against what both sides signed."""
    names = (receipt.exchange_id, receipt.lease_id, receipt.node_id, receipt.job_id)
    if names != (agreed.exchange_id, agreed.lease_id, agreed.node_id, agreed.job_id):
        yield Rule.NAMES, f"is of {names}"
    if receipt.agreement_sha256 != agreed.agreement_sha256:
        yield Rule.NAMES, f"is of agreement {receipt.agreement_sha256.hex()}"
    start_ns = receipt.interval.start_time.ToNanoseconds()
    end_ns = receipt.interval.end_time.ToNanoseconds()
    if not start_ns <= end_ns <= last_ns:
        yield Rule.END, f"from {start_ns} to {end_ns}, the last there can be is {last_ns} ns"
    lasted_ns = end_ns - agreed.start_ns
    totals = {total.resource_class: total for total in receipt.totals}
    if len(totals) != len(receipt.totals) or totals.keys() != agreed.units.keys():
        yield Rule.NAMES, f"has {[total.resource_class for total in receipt.totals]}"
        return
    for name, units in agreed.units.items():
        total = totals[name]
        reserved, delivered = total.reserved_unit_milliseconds, total.delivered_unit_milliseconds
        missing = units * total.missing_milliseconds
        if reserved != units * lasted_ns // NS_PER_MS:
            yield Rule.RESERVED, f"{name}: {reserved}, {units} x {lasted_ns} ns"
        if delivered + missing > reserved:
            yield Rule.DELIVERED, f"{name}: {delivered} + {missing} > {reserved}"
    quantities = amount.Delivered(
        units=agreed.units,
        unit_milliseconds={
            name: total.delivered_unit_milliseconds for name, total in totals.items()
        },
        energy_millijoules=receipt.energy.millijoules,
    )
    due = amount.lines(agreed.prices, quantities)
    stated = [(line.price_index, line.quantity, line.msat) for line in receipt.lines]
    if stated != [(line.price_index, line.quantity, line.msat) for line in due]:
        yield Rule.AMOUNT, f"lines {stated}, computed {due}"
    if receipt.gross_msat_total != amount.gross(due):
        yield Rule.AMOUNT, f"gross {receipt.gross_msat_total}, computed {amount.gross(due)} msat"


def _figures(receipt: Receipt) -> dict[str, int]:
    """Everything of a receipt that counts from the lease's start; what is unknown is not there."""
    figures = {"gross": receipt.gross_msat_total}
    parts: list[tuple[str, Message]] = [(total.resource_class, total) for total in receipt.totals]
    parts += [(f"line {line.price_index}", line) for line in receipt.lines]
    parts += [(name, getattr(receipt, name)) for name in ("energy", "heat")]
    for name, part in parts:
        for descriptor, value in part.ListFields():
            cumulative = descriptor.name.endswith(("milliseconds", "millijoules", "msat"))
            if cumulative or descriptor.name == "quantity":
                figures[f"{name} {descriptor.name}"] = value
    return figures


# --- all of them together ------------------------------------------------------------------------


def _claim(page: Page) -> Claim:
    """What a lease held and when; one that never began has no receipt, and held nothing."""
    agreed = contract(page.agreement)
    ends = [Receipt.FromString(payload).interval.end_time for payload in page.receipts]
    return Claim(
        agreed.start_ns,
        max((end.ToNanoseconds() for end in ends), default=agreed.start_ns),
        agreed.units,
    )


def _journal(books: Mapping[str, Book], journal: Mapping[str, Book]) -> Iterator[Finding]:
    for exchange_id in sorted({*books, *journal}):
        theirs, ours = books.get(exchange_id, {}), journal.get(exchange_id, {})
        for lease_id in sorted({*theirs, *ours}):
            if theirs.get(lease_id) != ours.get(lease_id):
                there, here = (
                    "nothing" if page is None else f"{len(page.receipts)} receipts"
                    for page in (theirs.get(lease_id), ours.get(lease_id))
                )
                where = f"{exchange_id[:12]}/{lease_id}"
                yield Finding(Rule.JOURNAL, where, f"journal: {here}, exchange: {there}")


def _kernel(pages: Sequence[Page], kernel_ms: int) -> Iterator[Finding]:
    """Hold used CPU against the kernel: no more than it counted, and nothing of it lost."""
    used = 0
    for page in pages:
        if page.receipts:
            totals = Receipt.FromString(page.receipts[-1]).totals
            used += sum(
                total.used_unit_milliseconds for total in totals if total.resource_class == "VCPU"
            )
    if used > kernel_ms + SAMPLE_MS:
        yield Finding(Rule.KERNEL, "all leases", f"{used} ms billed, {kernel_ms} ms counted")
    if used < kernel_ms - SAMPLE_MS:
        yield Finding(Rule.KERNEL, "all leases", f"{used} ms of {kernel_ms} ms: some was lost")
