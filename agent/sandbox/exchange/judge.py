"""Judge one receipt: bytes in, new registers out, or the one reason why not. Pure.

A receipt is cumulative and chained to its predecessor, so judging needs three things only: the
contract, where the lease's registers stood after the last good receipt, and the exchange's clock.
The envelope's signature and the log are judged elsewhere (inbox.py, witness.py).

Repeated fields are read as slices: iterating over one ends with an exception inside protobuf, which
takes longer than the rest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from operator import lt
from typing import TYPE_CHECKING, NamedTuple

from google.protobuf.message import DecodeError
from hearth.v1.lease_pb2 import MeterTotal, Receipt

from agent.core import amount

if TYPE_CHECKING:
    from google.protobuf.timestamp_pb2 import Timestamp

MAX_QUANTITY = (1 << 63) - 1  # what SQLite and most languages hold; 92,000 bitcoin in msat
TOLERANCE_MS = 30_000  # two clocks that differ by more are marked, not believed
ABSENT = -1  # not counted there; below every count, so that what was counted before has fallen

_NS_PER_MS = 1_000_000
_NS_PER_S = 1_000_000_000
_MOST_SECONDS = MAX_QUANTITY // _NS_PER_S


class Wrong(StrEnum):
    """One way for a receipt to be wrong."""

    MALFORMED = "malformed"
    NODE = "another node"
    EXCHANGE = "another exchange"
    LEASE = "another lease"
    JOB = "another job"
    LOG = "another log"
    REPEATED = "sequence repeated"
    GAP = "sequence gap"
    CHAIN = "previous receipt's digest"
    AGREEMENT = "agreement's digest"
    AFTER_FINAL = "after the final receipt"
    INTERVAL = "interval"
    FUTURE = "interval ends in the future"
    CLASSES = "resource classes"
    TOTAL_FELL = "total fell"
    DELIVERED_ABOVE_RESERVED = "delivered above reserved"
    RESERVED_ABOVE_CONTRACT = "reserved above contract"
    ENERGY_FELL = "energy fell"
    HEAT_FELL = "heat register fell"
    AMOUNT = "amount"
    GROSS_FELL = "gross fell"


_NAMES = (Wrong.NODE, Wrong.EXCHANGE, Wrong.LEASE, Wrong.JOB, Wrong.LOG)


class ReceiptRefused(Exception):
    """A receipt that is not taken; the registers stay where they stood."""

    def __init__(self, wrong: Wrong, detail: str) -> None:
        super().__init__(f"{wrong.value}: {detail}")
        self.wrong = wrong


@dataclass(frozen=True, slots=True)
class Contract:
    """What both sides signed for one lease, as far as receipts are judged by it."""

    node_id: str
    exchange_id: str
    lease_id: str
    job_id: str
    agreement_sha256: bytes
    units: Mapping[str, int]
    prices: tuple[amount.Price, ...]
    start_ns: int  # Unix time, exchange's clock
    end_ns: int


class Total(NamedTuple):
    """Cumulative milliseconds of one resource class; none ever falls."""

    resource_class: str
    reserved: int  # unit-milliseconds
    delivered: int  # unit-milliseconds
    used: int  # unit-milliseconds, or ABSENT
    throttled: int  # or ABSENT
    stalled: int  # or ABSENT
    missing: int


class Registers(NamedTuple):
    """Where a lease stands after a good receipt. Energy and heat are ABSENT until read."""

    sequence: int
    sha256: bytes
    start_ns: int
    end_ns: int
    totals: tuple[Total, ...]
    energy_mj: int
    heat_mj: int
    reverse_mj: int
    gross_msat: int
    final: bool


def judge(
    payload: bytes, contract: Contract, previous: Registers | None, log_id: str, now_ns: int
) -> Registers:
    """Return the registers after this receipt.

    :param payload: the exact bytes under the envelope's signature.
    :param previous: after the last good receipt of this lease; None before the first.
    :param log_id: of the log that this receipt's leaf is in.
    :param now_ns: Unix time of the exchange when the receipt arrived.
    :raises ReceiptRefused: naming the first thing that is wrong.
    """
    return judge_parsed(parse(payload), payload, contract, previous, log_id, now_ns)


def parse(payload: bytes) -> Receipt:
    """Parse a receipt's payload.

    :raises ReceiptRefused: (MALFORMED).
    """
    try:
        return Receipt.FromString(payload)
    except DecodeError as error:
        raise ReceiptRefused(Wrong.MALFORMED, str(error)) from error


def judge_parsed(
    receipt: Receipt,
    payload: bytes,
    contract: Contract,
    previous: Registers | None,
    log_id: str,
    now_ns: int,
) -> Registers:
    """As `judge`, of a receipt that was parsed from exactly this payload.

    :raises ReceiptRefused: as there.
    """
    _check_names(receipt, contract, log_id)
    _check_chain(receipt, contract, previous)
    after = _registers(receipt, payload)
    _check_interval(after, contract, previous, now_ns)
    _check_totals(after, contract)
    if previous is not None:
        _check_no_fall(after, previous)
    _check_amount(receipt, after, contract)
    return after


def registers(payload: bytes) -> Registers:
    """Read the registers off a receipt that was judged good before.

    :raises ReceiptRefused: (MALFORMED) when these bytes cannot have been.
    """
    return _registers(parse(payload), payload)


def nanoseconds(time: Timestamp) -> int:
    """Return Unix time in nanoseconds.

    :raises ValueError: before 1970, after 2262, or not a valid Timestamp.
    """
    seconds, nanos = time.seconds, time.nanos
    if not 0 <= nanos < _NS_PER_S or not 0 <= seconds < _MOST_SECONDS:
        raise ValueError(f"time {seconds}.{nanos:09d} is out of range")
    return seconds * _NS_PER_S + nanos


def _check_names(receipt: Receipt, contract: Contract, log_id: str) -> None:
    stated = (
        receipt.node_id,
        receipt.exchange_id,
        receipt.lease_id,
        receipt.job_id,
        receipt.log_id,
    )
    agreed = (
        contract.node_id,
        contract.exchange_id,
        contract.lease_id,
        contract.job_id,
        log_id,
    )
    if stated != agreed:
        each = zip(_NAMES, stated, agreed, strict=True)
        wrong, said, expected = next(named for named in each if named[1] != named[2])
        raise ReceiptRefused(wrong, f"{said!r} where {expected!r} was agreed")
    if receipt.agreement_sha256 != contract.agreement_sha256:
        raise ReceiptRefused(Wrong.AGREEMENT, receipt.agreement_sha256.hex())


def _check_chain(receipt: Receipt, contract: Contract, previous: Registers | None) -> None:
    last = previous.sequence if previous is not None else 0
    if receipt.sequence <= last:
        raise ReceiptRefused(Wrong.REPEATED, f"{receipt.sequence} after {last}")
    if previous is not None and previous.final:
        raise ReceiptRefused(Wrong.AFTER_FINAL, f"{receipt.sequence} after final {last}")
    if receipt.sequence != last + 1:
        raise ReceiptRefused(Wrong.GAP, f"{receipt.sequence} after {last}")
    if receipt.previous_sha256 != (previous.sha256 if previous is not None else b""):
        raise ReceiptRefused(Wrong.CHAIN, receipt.previous_sha256.hex())


def _registers(receipt: Receipt, payload: bytes) -> Registers:
    interval = receipt.interval
    energy_mj = receipt.energy.millijoules if receipt.HasField("energy") else ABSENT
    heat_mj = reverse_mj = ABSENT
    if receipt.HasField("heat"):
        heat_mj, reverse_mj = receipt.heat.reused_millijoules, receipt.heat.reverse_millijoules
    try:
        start_ns, end_ns = nanoseconds(interval.start_time), nanoseconds(interval.end_time)
    except ValueError as error:
        raise ReceiptRefused(Wrong.INTERVAL, str(error)) from error
    return Registers(
        receipt.sequence,
        hashlib.sha256(payload).digest(),
        start_ns,
        end_ns,
        tuple([_total(total) for total in receipt.totals[:]]),
        energy_mj,
        heat_mj,
        reverse_mj,
        receipt.gross_msat_total,
        receipt.final,
    )


def _total(total: MeterTotal) -> Total:
    has = total.HasField
    return Total(
        total.resource_class,
        total.reserved_unit_milliseconds,
        total.delivered_unit_milliseconds,
        total.used_unit_milliseconds if has("used_unit_milliseconds") else ABSENT,
        total.throttled_milliseconds if has("throttled_milliseconds") else ABSENT,
        total.stalled_milliseconds if has("stalled_milliseconds") else ABSENT,
        total.missing_milliseconds,
    )


def _check_interval(
    after: Registers, contract: Contract, previous: Registers | None, now_ns: int
) -> None:
    if after.end_ns < after.start_ns:
        raise ReceiptRefused(Wrong.INTERVAL, "ends before it starts")
    if previous is not None and after.start_ns != previous.end_ns:
        raise ReceiptRefused(
            Wrong.INTERVAL, f"starts at {after.start_ns} ns, the last ended at {previous.end_ns} ns"
        )
    tolerance_ns = TOLERANCE_MS * _NS_PER_MS
    if after.start_ns < contract.start_ns - tolerance_ns:
        raise ReceiptRefused(Wrong.INTERVAL, "starts before the lease")
    if after.end_ns > now_ns + tolerance_ns:
        raise ReceiptRefused(Wrong.FUTURE, f"{after.end_ns} ns, it is {now_ns} ns")


def _check_totals(after: Registers, contract: Contract) -> None:
    classes = [total.resource_class for total in after.totals]
    if classes != sorted(contract.units):
        raise ReceiptRefused(Wrong.CLASSES, f"{classes} where {sorted(contract.units)} was agreed")
    # Reserved is units x time, and no later than the agreed end: otherwise a node could invent
    # hours that it then "delivers".
    lease_ns = min(after.end_ns, contract.end_ns) - contract.start_ns
    longest_ms = max(0, lease_ns) // _NS_PER_MS + TOLERANCE_MS
    for name, reserved, delivered, *_ in after.totals:
        if delivered > reserved:
            raise ReceiptRefused(
                Wrong.DELIVERED_ABOVE_RESERVED, f"{name}: {delivered} > {reserved}"
            )
        if reserved > contract.units[name] * longest_ms:
            raise ReceiptRefused(
                Wrong.RESERVED_ABOVE_CONTRACT,
                f"{name}: {reserved} > {contract.units[name]} x {longest_ms}",
            )


def _check_no_fall(after: Registers, previous: Registers) -> None:
    for before, total in zip(previous.totals, after.totals, strict=True):
        if any(map(lt, total[1:], before[1:])):
            name = total.resource_class
            raise ReceiptRefused(Wrong.TOTAL_FELL, f"{name}: {before[1:]} -> {total[1:]}")
    if after.energy_mj < previous.energy_mj:
        raise ReceiptRefused(Wrong.ENERGY_FELL, f"{previous.energy_mj} -> {after.energy_mj} mJ")
    if after.heat_mj < previous.heat_mj:
        raise ReceiptRefused(Wrong.HEAT_FELL, f"{previous.heat_mj} -> {after.heat_mj} mJ")
    if after.reverse_mj < previous.reverse_mj:
        raise ReceiptRefused(Wrong.HEAT_FELL, f"{previous.reverse_mj} -> {after.reverse_mj} mJ")
    if after.gross_msat < previous.gross_msat:
        raise ReceiptRefused(Wrong.GROSS_FELL, f"{previous.gross_msat} -> {after.gross_msat} msat")


def _check_amount(receipt: Receipt, after: Registers, contract: Contract) -> None:
    """Compute what the node should have computed, with the functions both sides publish."""
    delivered = amount.Delivered(
        contract.units,
        {total.resource_class: total.delivered for total in after.totals},
        max(0, after.energy_mj),
    )
    stated = receipt.lines[:]
    if len(stated) != len(contract.prices):
        raise ReceiptRefused(
            Wrong.AMOUNT, f"{len(stated)} lines for {len(contract.prices)} agreed prices"
        )
    gross = 0
    for index, (line, price) in enumerate(zip(stated, contract.prices, strict=True)):
        quantity = amount.quantity(price, delivered)
        msat = amount.msat(price, quantity)
        if line.price_index != index or line.quantity != quantity or line.msat != msat:
            said, due = (line.price_index, line.quantity, line.msat), (index, quantity, msat)
            raise ReceiptRefused(Wrong.AMOUNT, f"line {said}, computed {due}")
        gross += msat
    if after.gross_msat != gross:
        raise ReceiptRefused(Wrong.AMOUNT, f"gross {after.gross_msat}, computed {gross} msat")
    if gross > MAX_QUANTITY:
        raise ReceiptRefused(Wrong.AMOUNT, f"gross {gross} msat is out of range")
