"""What an exchange and the agent really stored, read from their files as they lie on the disk."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterable
from pathlib import Path

from hearth.v1 import lease_pb2

from agent.sandbox.audit import Book, Page
from attest.envelope import message_name
from attest.formats import decode_envelope


def of_exchange(directory: Path) -> Book:
    """Every lease that a sandbox exchange has: from what was delivered to it and not refused."""
    with contextlib.closing(_open(directory / "exchange.sqlite")) as db:
        return _book(
            bytes(envelope)
            for (envelope,) in db.execute(
                "SELECT envelope FROM inbox WHERE refusal = '' ORDER BY delivery_sequence"
            )
        )


def of_agent(file: Path) -> dict[str, Book]:
    """By exchange id, every lease that the agent's journal has: from what was on its way there."""
    with contextlib.closing(_open(file)) as db:
        exchanges = db.execute("SELECT id, exchange_id FROM exchanges").fetchall()
        return {
            exchange_id: _book(
                bytes(envelope)
                for (envelope,) in db.execute(
                    "SELECT e.envelope FROM outbox o JOIN entries e ON e.idx = o.idx"
                    " WHERE o.exchange = ? ORDER BY o.sequence",
                    (row,),
                )
            )
            for row, exchange_id in exchanges
        }


def _open(file: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)


def _book(envelopes: Iterable[bytes]) -> Book:
    agreements: dict[str, bytes] = {}
    receipts: dict[str, list[bytes]] = {}
    for content in envelopes:
        envelope = decode_envelope(content)
        match message_name(envelope.payload_type):
            case "LeaseAgreement":
                agreed = lease_pb2.LeaseAgreement.FromString(envelope.payload)
                agreements[agreed.lease_id] = envelope.payload
            case "Receipt":
                receipt = lease_pb2.Receipt.FromString(envelope.payload)
                receipts.setdefault(receipt.lease_id, []).append(envelope.payload)
    return {
        lease_id: Page(agreements[lease_id], tuple(receipts.get(lease_id, ())))
        for lease_id in sorted({*agreements, *receipts})
    }
