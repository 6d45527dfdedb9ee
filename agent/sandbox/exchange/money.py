"""What a node says about money, by message name: each an act of the store that judges and keeps."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping

from hearth.v1 import lease_pb2

from agent.sandbox.exchange import billing, disputes, payouts
from agent.sandbox.exchange.identity import Exchange
from agent.sandbox.exchange.offers import parse

Act = Callable[[sqlite3.Connection, Exchange, str, bytes], None]


def _adjustment(db: sqlite3.Connection, exchange: Exchange, node_id: str, payload: bytes) -> None:
    billing.accept_adjustment(db, node_id, payload)
    named = parse(lease_pb2.Adjustment, payload).dispute_id
    if named:
        disputes.end_adjusted(db, exchange, node_id, named)


def _alone(act: Callable[[sqlite3.Connection, str, bytes], None]) -> Act:
    """An act that needs nothing of the exchange itself."""

    def run(db: sqlite3.Connection, _exchange: Exchange, node_id: str, payload: bytes) -> None:
        act(db, node_id, payload)

    return run


ACTS: Mapping[str, Act] = {
    "Adjustment": _adjustment,
    "CreditNotice": _alone(billing.accept_credit),
    "DisputeStep": _alone(disputes.accept_step),
    "Invoice": billing.accept_invoice,
    "PaymentNotice": _alone(billing.accept_notice),
    "PayoutRefusal": _alone(payouts.accept_refusal),
    "RebateStatement": _alone(payouts.accept_statement),
    "RefundStatement": _alone(payouts.accept_refund),
}
