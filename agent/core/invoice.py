"""The words of settlement: labels and the texts whose hash an invoice carries. Pure; published.

Both sides write these texts themselves and compare hashes, so that an invoice can be for nothing
else than what it says.
"""

from __future__ import annotations

import hashlib
import re
from typing import NamedTuple

_LABEL = re.compile(r"hearth/([0-9a-f]{1,128})/([0-9a-f-]{36})/(0|[1-9]\d{0,19})(?:-r([1-9]\d*))?")


class Label(NamedTuple):
    """The idempotency key of one invoice at the operator's node."""

    exchange_id: str
    lease_id: str
    through: int
    round: int = 1  # 2, 3, ...: issued again for the same receipts

    def __str__(self) -> str:
        """`hearth/<exchange_id>/<lease_id>/<through_sequence>[-rN]`."""
        again = f"-r{self.round}" if self.round > 1 else ""
        return f"hearth/{self.exchange_id}/{self.lease_id}/{self.through}{again}"


def read_label(text: str) -> Label | None:
    """Read a label; None for one that is not ours, as of a tip or another program's invoice."""
    match = _LABEL.fullmatch(text)
    if match is None:
        return None
    label = Label(match[1], match[2], int(match[3]), int(match[4] or 1))
    return label if str(label) == text else None


def invoice_text(label: str, receipt_sha256: bytes) -> str:
    """What an invoice for receipts is for.

    :param receipt_sha256: of the payload of the receipt at the label's watermark; empty before the
        first receipt (PREPAID).
    """
    return f"hearth.v1 invoice\nlabel {label}\nreceipt sha256 {receipt_sha256.hex() or 'none'}\n"


def payout_text(exchange_id: str, lease_id: str, statement_sha256: bytes) -> str:
    """What an exchange's invoice for a rebate or a refund is for.

    :param statement_sha256: of the payload of the RebateStatement or RefundStatement.
    """
    return (
        f"hearth.v1 payout\nexchange {exchange_id}\nlease {lease_id}\n"
        f"statement sha256 {statement_sha256.hex()}\n"
    )


def text_sha256(text: str) -> bytes:
    """What stands in the invoice: BOLT 11, field h."""
    return hashlib.sha256(text.encode()).digest()
