"""Offers: what a node says it can lease, judged and kept.

Only the newest revision of an offer counts, and only until it expires. Every function that takes a
connection is an act of the store.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import TypeVar

from google.protobuf.message import DecodeError, Message
from hearth.v1 import offer_pb2, session_pb2

from agent.core import amount
from agent.sandbox.exchange.identity import Exchange
from agent.sandbox.exchange.judge import MAX_QUANTITY, nanoseconds
from agent.sandbox.exchange.refusal import Refused

OFFER_LIFE_NS = 15 * 60 * 10**9  # offer.proto: at most 15 min after issue

M = TypeVar("M", bound=Message)


def parse(kind: type[M], payload: bytes) -> M:
    """Parse a node's message.

    :raises Refused: (MALFORMED).
    """
    try:
        return kind.FromString(payload)
    except DecodeError as error:
        raise Refused(session_pb2.NACK_REASON_MALFORMED, f"{kind.__name__}: {error}") from error


def read_prices(prices: Sequence[offer_pb2.Price]) -> tuple[amount.Price, ...]:
    """Return prices as the published amount function takes them.

    :raises Refused: (MALFORMED) a price that is none, or of what no receipt states.
    """
    try:
        read = tuple(
            amount.Price(
                price.msat_numerator,
                price.unit_denominator,
                amount.PriceUnit(price.unit),
                price.resource_class,
            )
            for price in prices
        )
    except ValueError as error:
        raise Refused(session_pb2.NACK_REASON_MALFORMED, str(error)) from error
    if any(price.unit is amount.PriceUnit.EGRESS_BYTE for price in read):
        # A Receipt has no egress total, so nobody could check the line.
        raise Refused(session_pb2.NACK_REASON_MALFORMED, "egress is priced but not in receipts")
    return read


def accept_offer(db: sqlite3.Connection, exchange: Exchange, node_id: str, payload: bytes) -> None:
    """Store an offer's newest revision. One that expired on its way is stored and not used.

    :raises Refused: not for us, not his, malformed, or not newer than what we have.
    """
    offer = parse(offer_pb2.Offer, payload)
    malformed = session_pb2.NACK_REASON_MALFORMED
    if offer.node_id != node_id or offer.exchange_id != exchange.exchange_id:
        raise Refused(session_pb2.NACK_REASON_NOT_AUTHORIZED, "offer of another node or exchange")
    try:
        issue_ns, expire_ns = nanoseconds(offer.issue_time), nanoseconds(offer.expire_time)
        nanoseconds(offer.available_until_time)
    except ValueError as error:
        raise Refused(malformed, str(error)) from error
    if not issue_ns < expire_ns <= issue_ns + OFFER_LIFE_NS:
        raise Refused(malformed, "an offer lives at most 15 minutes")
    if not offer.offer_id or not 0 < offer.sequence <= MAX_QUANTITY:
        raise Refused(malformed, "offer id or sequence is out of range")
    names = [inventory.resource_class for inventory in offer.inventories]
    if names != sorted(set(names)) or not all(names):
        raise Refused(malformed, "inventories are not sorted by class")
    read_prices(offer.prices)
    longest = exchange.options.receipt_interval
    if offer.settlement.receipt_interval.ToMilliseconds() > longest * 1000:
        raise Refused(
            session_pb2.NACK_REASON_NOT_AUTHORIZED, f"receipt interval is longer than {longest} s"
        )
    node = db.execute("SELECT assurance FROM node WHERE node_id = ?", (node_id,)).fetchone()
    if offer.assurance != node["assurance"]:
        raise Refused(malformed, "assurance is not as certified here")
    stored = db.execute(
        "SELECT sequence FROM offer WHERE node_id = ? AND offer_id = ?", (node_id, offer.offer_id)
    ).fetchone()
    if stored is not None and offer.sequence <= stored["sequence"]:
        raise Refused(session_pb2.NACK_REASON_STALE, f"revision {stored['sequence']} is here")
    now_ns = exchange.now_ns()
    db.execute(
        "INSERT OR REPLACE INTO offer VALUES (?, ?, ?, ?, ?, ?, 0)",
        (node_id, offer.offer_id, offer.sequence, payload, now_ns, expire_ns),
    )
    db.execute(
        "UPDATE node SET first_offer_ns = coalesce(first_offer_ns, ?) WHERE node_id = ?",
        (now_ns, node_id),
    )


def accept_withdrawal(db: sqlite3.Connection, node_id: str, payload: bytes) -> None:
    """Stop using an offer; leases stay as they are. Of an offer unknown here: nothing to do."""
    withdrawal = parse(offer_pb2.OfferWithdrawal, payload)
    db.execute(
        "UPDATE offer SET withdrawn = 1 WHERE node_id = ? AND offer_id = ? AND sequence <= ?",
        (node_id, withdrawal.offer_id, min(withdrawal.sequence, MAX_QUANTITY)),
    )


def fits(offer: offer_pb2.Offer, units: Mapping[str, int]) -> bool:
    """Whether an offer has room for these units, as OpenStack Placement reads min, max and step."""
    inventories = {inventory.resource_class: inventory for inventory in offer.inventories}
    for name, count in units.items():
        inventory = inventories.get(name)
        if inventory is None or not inventory.min_unit <= count <= inventory.max_unit:
            return False
        if count % max(1, inventory.step_size):
            return False
    return bool(units)
