"""Rebates and refunds: judged by the published function, asked for, stated for a silent node.

Every function is an act of the store.
"""

from __future__ import annotations

import hashlib
import sqlite3
from dataclasses import dataclass

from hearth.v1 import common_pb2, lease_pb2, session_pb2, settlement_pb2

from agent.core import availability, rebate
from agent.core.availability import Exclusion, Span, Standing
from agent.core.rebate import Level, Rebate, Tier
from agent.sandbox.exchange import billing, judge
from agent.sandbox.exchange.identity import Exchange, timestamp
from agent.sandbox.exchange.offers import parse
from agent.sandbox.exchange.refusal import Refused
from attest.envelope import payload_type

_MALFORMED = session_pb2.NACK_REASON_MALFORMED
_RECEIPT = payload_type("Receipt")
_OUTAGES = (lease_pb2.CLOCK_EVENT_KIND_OUTAGE, lease_pb2.CLOCK_EVENT_KIND_SUSPEND)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A payout that we have to ask for."""

    node_id: str
    lease_id: str
    statement_sha256: bytes
    msat: int
    round: int
    open_amount: bool  # its node pays no invoice that names an amount

    @property
    def label(self) -> str:
        """Of our own invoice for it, at our own node."""
        again = f"-r{self.round}" if self.round > 1 else ""
        return f"payout/{self.lease_id}/{self.statement_sha256.hex()[:32]}{again}"


@dataclass(frozen=True, slots=True)
class _History:
    """A lease by all receipts that were taken from its node."""

    contract: lease_pb2.LeaseAgreement
    level: Level
    span: Span
    standings: tuple[Standing, ...]
    outages: tuple[Span, ...]


def accept_statement(db: sqlite3.Connection, node_id: str, payload: bytes) -> None:
    """Take the node's statement of a rebate, if it is what we compute ourselves.

    :raises Refused: naming what is not.
    """
    stated = parse(lease_pb2.RebateStatement, payload)
    history = _history(db, node_id, stated.lease_id)
    window = Span(stated.window.start_time.ToNanoseconds(), stated.window.end_time.ToNanoseconds())
    found = _judge(history, window)
    said = (window, stated.inputs_sha256, stated.availability_ppm, stated.msat)
    due = (found.window, found.inputs_sha256, found.availability_ppm, found.msat)
    if said != due:
        raise Refused(_MALFORMED, f"rebate {said}, computed {due}")
    _keep(db, node_id, stated.lease_id, payload, "REBATE", stated.msat, window.start_ns)


def accept_refund(db: sqlite3.Connection, node_id: str, payload: bytes) -> None:
    """Take the node's statement of what we have paid too much.

    :raises Refused: when it is less than that.
    """
    stated = parse(settlement_pb2.RefundStatement, payload)
    lease = (node_id, stated.lease_id)
    owed = billing.acknowledged(db, *lease, stated.through_sequence) + billing.adjusted(db, *lease)
    netted = db.execute(
        "SELECT coalesce(sum(msat), 0) FROM payout WHERE node_id = ? AND lease_id = ?"
        " AND kind = 'REBATE' AND state = 'NETTED'",
        lease,
    ).fetchone()[0]
    too_much = billing.paid(db, *lease) - (owed - netted)
    if stated.msat < too_much:
        raise Refused(_MALFORMED, f"refund {stated.msat} msat, we paid {too_much} too much")
    _keep(db, node_id, stated.lease_id, payload, "REFUND", stated.msat, 0)


def accept_refusal(db: sqlite3.Connection, node_id: str, payload: bytes) -> None:
    """Take the node's refusal of one of our invoices: another try, later, or never."""
    refusal = parse(settlement_pb2.PayoutRefusal, payload)
    name = settlement_pb2.PayoutRefusalReason.Name(refusal.reason)
    name = name.removeprefix("PAYOUT_REFUSAL_REASON_")
    named = name == "AMOUNT_NAMED"
    again = named or name in ("FAILED", "EXPIRY")
    state = {"NETTED": "NETTED", "PAID": "PAID"}.get(name, "WANTED" if again else "REFUSED")
    db.execute(
        "UPDATE payout SET state = ?, detail = ?, round = round + ?, open = open OR ?"
        " WHERE node_id = ? AND statement_sha256 = ? AND state NOT IN ('PAID', 'NETTED')",
        (state, name, int(again), named, node_id, refusal.statement_sha256),
    )


def wanted(db: sqlite3.Connection) -> list[Wanted]:
    """Payouts without an invoice of ours."""
    rows = db.execute("SELECT * FROM payout WHERE state = 'WANTED' ORDER BY rowid").fetchall()
    return [
        Wanted(
            row["node_id"],
            row["lease_id"],
            row["statement_sha256"],
            row["msat"],
            row["round"],
            bool(row["open"]),
        )
        for row in rows
    ]


def ask(
    db: sqlite3.Connection, exchange: Exchange, payout: Wanted, bolt11: str, payment_hash: bytes
) -> None:
    """Send our invoice for a payout."""
    db.execute(
        "UPDATE payout SET state = 'ASKED', payment_hash = ? WHERE node_id = ?"
        " AND statement_sha256 = ? AND state = 'WANTED'",
        (payment_hash, payout.node_id, payout.statement_sha256),
    )
    exchange.post(
        db,
        payout.node_id,
        settlement_pb2.RebateInvoice(
            lease_id=payout.lease_id,
            rebate_statement_sha256=payout.statement_sha256,
            bolt11=bolt11,
        ),
    )


def state_unstated(db: sqlite3.Connection, exchange: Exchange, silence_ns: int) -> list[str]:
    """State what a silent node owes; returns the nodes that were written to.

    A window counts as closed when that time has passed since its end: a node that is dead states
    nothing, and time without any receipt is not delivered.
    """
    before_ns = exchange.now_ns() - silence_ns
    told = []
    rows = db.execute(
        "SELECT node_id, lease_id, windows, agreement, detail, receipt FROM lease"
        " WHERE countersigned != x'' AND stage NOT IN ('REFUSED', 'EXPIRED', 'FAILED')"
    ).fetchall()
    for row in rows:
        if not _closed(row, row["windows"], before_ns):
            continue
        # Only now: a lease's history is every receipt it ever got.
        history = _history(db, row["node_id"], row["lease_id"])
        index, stated = row["windows"], False
        while _closed(row, index, before_ns):
            stated |= _state(db, exchange, row["node_id"], row["lease_id"], history, index)
            index += 1
        db.execute(
            "UPDATE lease SET windows = ? WHERE node_id = ? AND lease_id = ?",
            (index, row["node_id"], row["lease_id"]),
        )
        if stated:
            told.append(row["node_id"])
    return told


def _closed(lease: sqlite3.Row, index: int, before_ns: int) -> bool:
    """Whether a lease has a window of this index, and it ended before."""
    contract = lease_pb2.LeaseAgreement.FromString(lease["agreement"])
    window = availability.window(_span(lease, contract), _level(contract).window_ns, index)
    return window.start_ns < window.end_ns <= before_ns


def _state(
    db: sqlite3.Connection,
    exchange: Exchange,
    node_id: str,
    lease_id: str,
    history: _History,
    index: int,
) -> bool:
    found = rebate.state(history.level, history.span, index, history.standings, history.outages)
    known = db.execute(
        "SELECT 1 FROM payout WHERE node_id = ? AND lease_id = ? AND kind = 'REBATE'"
        " AND window_ns = ?",
        (node_id, lease_id, found.window.start_ns),
    ).fetchone()
    if known is not None or found.msat == 0:
        return False
    statement = lease_pb2.RebateStatement(
        lease_id=lease_id,
        window=common_pb2.TimeInterval(
            start_time=timestamp(found.window.start_ns), end_time=timestamp(found.window.end_ns)
        ),
        inputs_sha256=found.inputs_sha256,
        availability_ppm=found.availability_ppm,
        msat=found.msat,
    )
    payload = exchange.post(db, node_id, statement)
    _keep(db, node_id, lease_id, payload, "REBATE", found.msat, found.window.start_ns)
    return True


def _keep(
    db: sqlite3.Connection,
    node_id: str,
    lease_id: str,
    payload: bytes,
    kind: str,
    msat: int,
    window_ns: int,
) -> None:
    """Enter a payout; another statement of one that is there already changes nothing."""
    db.execute(
        "INSERT INTO payout"
        " (node_id, lease_id, statement_sha256, kind, msat, window_ns, state, open)"
        " SELECT ?1, ?2, ?3, ?4, ?5, ?6, 'WANTED',"
        " coalesce((SELECT max(open) FROM payout WHERE node_id = ?1), 0)"
        " WHERE NOT EXISTS (SELECT 1 FROM payout"
        " WHERE node_id = ?1 AND lease_id = ?2 AND kind = 'REBATE' AND ?4 = 'REBATE'"
        " AND window_ns = ?6)",
        (node_id, lease_id, hashlib.sha256(payload).digest(), kind, msat, window_ns),
    )


def _judge(history: _History, window: Span) -> Rebate:
    """Compute the rebate of the window that begins there."""
    length = history.level.window_ns
    index = (window.start_ns - history.span.start_ns) // length if length else 0
    return rebate.state(
        history.level, history.span, max(0, index), history.standings, history.outages
    )


def _history(db: sqlite3.Connection, node_id: str, lease_id: str) -> _History:
    lease = db.execute(
        "SELECT agreement, detail, receipt FROM lease WHERE node_id = ? AND lease_id = ?",
        (node_id, lease_id),
    ).fetchone()
    if lease is None or not lease["agreement"]:
        raise Refused(session_pb2.NACK_REASON_NOT_AUTHORIZED, f"no lease {lease_id!r}")
    contract = lease_pb2.LeaseAgreement.FromString(lease["agreement"])
    units = {item.resource_class: item.units for item in contract.units}
    rows = db.execute(
        "SELECT envelope FROM inbox JOIN node ON node.ordinal = inbox.node"
        " WHERE node_id = ? AND lease_id = ? AND refusal = '' ORDER BY delivery_sequence",
        (node_id, lease_id),
    ).fetchall()
    standings: list[Standing] = []
    outages: list[Span] = []
    for row in rows:
        signed = common_pb2.SignedEnvelope.FromString(row["envelope"])
        if signed.payload_type != _RECEIPT:
            continue
        receipt = lease_pb2.Receipt.FromString(signed.payload)
        standings.append(_standing(receipt, signed.payload, units))
        for event in receipt.clock_events:
            if event.kind in _OUTAGES:
                start = event.event_time.ToNanoseconds()
                outages.append(Span(start, start + event.magnitude.ToNanoseconds()))
    return _History(
        contract, _level(contract), _span(lease, contract), tuple(standings), tuple(outages)
    )


def _span(lease: sqlite3.Row, contract: lease_pb2.LeaseAgreement) -> Span:
    """The agreed time, or up to the final receipt where tenant or exchange ended it early."""
    span = Span(contract.start_time.ToNanoseconds(), contract.end_time.ToNanoseconds())
    if lease["receipt"] and _tenant_or_exchange(lease["detail"]):
        last = judge.registers(lease["receipt"])
        if last.final:
            return Span(span.start_ns, min(span.end_ns, last.end_ns))
    return span


def _standing(receipt: lease_pb2.Receipt, payload: bytes, units: dict[str, int]) -> Standing:
    delivered = availability.lease_milliseconds(
        (units.get(total.resource_class, 0), total.delivered_unit_milliseconds)
        for total in receipt.totals
    )
    interval = receipt.interval
    return Standing(
        Span(interval.start_time.ToNanoseconds(), interval.end_time.ToNanoseconds()),
        delivered,
        receipt.gross_msat_total,
        hashlib.sha256(payload).digest(),
    )


def _level(contract: lease_pb2.LeaseAgreement) -> Level:
    service = contract.service_level
    return Level(
        service.window.ToNanoseconds(),
        tuple(Tier(tier.below_ppm, tier.rebate_permille) for tier in service.rebate_tiers),
        frozenset(kind for kind in Exclusion if int(kind) in service.exclusions),
    )


def _tenant_or_exchange(reason: str) -> bool:
    """Whether the lease ended by the wish of tenant (1xx) or exchange (3xx)."""
    values = lease_pb2.CloseReason.items()
    number = dict(values).get(reason, 0)
    return 100 <= number < 200 or 300 <= number < 400
