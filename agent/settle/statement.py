"""Statements for people: invoices as files, payments entered by hand.

For operators who may not hold bitcoin. Each invoice becomes a JSON file in one folder; whoever
keeps the bank account adds a line to `paid.csv` beside them when it was paid:

    label,amount_msat,paid_date
    hearth/<exchange_id>/<lease_id>/12,45000,2026-11-22

Lines are only ever added: how many were read is remembered. Nothing expires. Rebates are netted
with later invoices; what is left of them, and refunds, somebody gives back and enters in the same
file, under the label that `hearth settlement status` shows (payout/<lease id>/<key>).
"""

from __future__ import annotations

import asyncio
import csv
import hashlib
import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

import msgspec

from agent.core.bounds import MOST_MSAT
from agent.settle.rail import (
    MOST_LABEL_BYTES,
    Attempt,
    DecodedInvoice,
    Invoice,
    InvoiceState,
    InvoiceStatus,
    LabelTaken,
    NotOffered,
    Payment,
    PaymentOrder,
    PayOutcome,
    RailDown,
    RailHealth,
    RailRefused,
)

NEVER_NS = 4_102_444_800 * 1_000_000_000  # 2100-01-01
FIRST_YEAR, LAST_YEAR = 2009, 2100  # of a payment
PAID = "paid.csv"
PAYOUT = "payout/"
COLUMNS = ["label", "amount_msat", "paid_date"]
LOOK_S = 5.0
_MSAT = re.compile("[1-9][0-9]{0,18}")


def _refuse(what: str) -> NoReturn:
    raise NotOffered(f"statements are paid by hand: this rail cannot {what}")


class _Statement(msgspec.Struct):
    """What of a statement's file is read again."""

    amount_msat: int
    description: str


class StatementRail:
    """Implements `Rail` over a folder."""

    name = "statement"

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    async def health(self) -> RailHealth:
        """Look whether the folder can be written and its payments read.

        :raises RailDown: when not.
        """
        await asyncio.to_thread(self._paid)
        return RailHealth(None, None, None, None, ())

    async def invoice(
        self, label: str, amount_msat: int, description: str, _expiry_s: int
    ) -> Invoice:
        """Write a statement, or find it again.

        :raises LabelTaken: when there is one with another amount or text.
        :raises RailDown: when the folder cannot be written.
        """
        return await asyncio.to_thread(self._write, label, amount_msat, description)

    def _write(self, label: str, amount_msat: int, description: str) -> Invoice:
        known = self._read(label)
        if known is not None:
            if (known.amount_msat, known.description) != (amount_msat, description):
                raise LabelTaken(f"{self._file(label)}: another amount or description")
            return _invoice(label, amount_msat)
        content = {
            "label": label,
            "amount_msat": amount_msat,
            "description": description,
            "made": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        file = self._file(label)
        part = file.with_suffix(".part")
        try:
            self._directory.mkdir(mode=0o750, parents=True, exist_ok=True)
            part.write_text(json.dumps(content, indent=2) + "\n")
            part.replace(file)
        except OSError as error:
            raise RailDown(f"{file}: {error.strerror}") from None
        return _invoice(label, amount_msat)

    async def invoice_state(self, label: str) -> InvoiceState | None:
        """Look up one statement and whether it is paid."""

        def look() -> InvoiceState | None:
            known = self._read(label)
            if known is None:
                return None
            invoice = _invoice(label, known.amount_msat)
            for payment in self._paid():
                if payment.label == label:
                    return InvoiceState(invoice, InvoiceStatus.PAID, payment)
            return InvoiceState(invoice, InvoiceStatus.UNPAID)

        return await asyncio.to_thread(look)

    async def paid_after(self, pay_index: int, wait_s: int) -> tuple[Payment, ...]:
        """Wait for lines that were added to `paid.csv`."""
        loop = asyncio.get_running_loop()
        until = loop.time() + wait_s
        while True:
            payments = await asyncio.to_thread(self._paid)
            found = tuple(item for item in payments if item.pay_index > pay_index)
            await asyncio.to_thread(self._check_labels, payments, pay_index)
            if found or loop.time() >= until:
                return found
            await asyncio.sleep(min(LOOK_S, max(0.0, until - loop.time())))

    async def decode(self, _text: str) -> DecodedInvoice:
        """Refuse.

        :raises NotOffered: always.
        """
        _refuse("read an invoice")

    async def pay(self, _order: PaymentOrder) -> PayOutcome:
        """Refuse.

        :raises NotOffered: always.
        """
        _refuse("pay")

    async def attempts(self, _payment_hash: bytes) -> tuple[Attempt, ...]:
        """Refuse: what an earlier rail began only that one can say, and it may still be paid.

        :raises NotOffered: always.
        """
        _refuse("tell what an earlier one paid")

    async def invoice_from_offer(self, _offer: str, _amount_msat: int | None, _wait_s: int) -> str:
        """Refuse.

        :raises NotOffered: always.
        """
        _refuse("fetch an invoice")

    async def close(self) -> None:
        """Nothing to let go."""

    # --- the folder ------------------------------------------------------------------------------

    def _file(self, label: str) -> Path:
        return self._directory / f"{label.replace('/', '_')}.json"

    def _read(self, label: str) -> _Statement | None:
        file = self._file(label)
        try:
            return msgspec.json.decode(file.read_bytes(), type=_Statement)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise RailDown(f"{file}: {error}; put back what was written there") from None

    def _check_labels(self, payments: Sequence[Payment], read: int) -> None:
        """Nothing that somebody entered is passed over.

        :raises RailDown: naming the line, of those not read yet, whose label stands for nothing or
            was entered before: what was not paid then is asked for under another label.
        """
        lines: dict[str, int] = {}
        for item in payments:
            line = item.pay_index + 1
            before = lines.setdefault(item.label, line)
            if item.pay_index <= read or item.label.startswith(PAYOUT):
                continue
            where = f"{self._directory / PAID}, line {line}"
            known = len(item.label.encode()) <= MOST_LABEL_BYTES and self._file(item.label).exists()
            if not known:
                raise RailDown(f"{where}: no statement has the label {item.label!r}")
            if before != line:
                raise RailDown(
                    f"{where}: {item.label} is paid in line {before}; what is paid besides goes"
                    " under the label of the next statement"
                )

    def _paid(self) -> tuple[Payment, ...]:
        """Every payment that was entered; its line is its index.

        :raises RailDown: naming the line that is wrong; nothing after it is read until it is right.
        """
        file = self._directory / PAID
        try:
            text = file.read_text("utf-8")
        except FileNotFoundError:
            return ()
        except (OSError, UnicodeDecodeError) as error:
            raise RailDown(f"{file}: {error}") from None
        whole = text[: text.rfind("\n") + 1]  # a line without its end is being written
        try:
            rows = list(csv.reader(whole.splitlines()))
        except csv.Error as error:
            raise RailDown(f"{file}: {error}") from None
        if rows and rows[0] != COLUMNS:
            raise RailDown(f"{file}: the first line is {','.join(COLUMNS)}")
        return tuple(_payment(file, place, row) for place, row in enumerate(rows[1:], 1) if row)


def _payment(file: Path, place: int, row: list[str]) -> Payment:
    where = f"{file}, line {place + 1}"
    if len(row) != len(COLUMNS) or not _MSAT.fullmatch(row[1]) or int(row[1]) > MOST_MSAT:
        raise RailDown(f"{where}: a label, a whole number of msat and a date are needed")
    try:
        paid = datetime.fromisoformat(row[2])
    except ValueError as error:
        raise RailDown(f"{where}: {error}") from None
    if paid.tzinfo is None:
        paid = paid.replace(tzinfo=UTC)
    if not FIRST_YEAR <= paid.year < LAST_YEAR:
        raise RailDown(f"{where}: nothing was paid in the year {paid.year}")
    paid_ns = int(paid.timestamp()) * 1_000_000_000
    return Payment(row[0], _reference(row[0]), b"", place, int(row[1]), paid_ns)


def _invoice(label: str, amount_msat: int) -> Invoice:
    if amount_msat <= 0:
        raise RailRefused(f"invoice {label}: amount {amount_msat} msat")
    return Invoice(label, "", _reference(label), amount_msat, NEVER_NS)


def _reference(label: str) -> bytes:
    """What stands in place of a payment hash: nobody can show a preimage of it."""
    return hashlib.sha256(b"hearth/v1/statement\0" + label.encode()).digest()
