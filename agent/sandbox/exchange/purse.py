"""The exchange's own Lightning node: Core Lightning's JSON-RPC on its unix socket, nothing else.

One connection a call, each with a deadline: a call that did not end says nothing about what was
done. What the calls answer stands in the manual pages named at each.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CALL_S = 20.0
PAY_S = 60.0
RETRY_S = 30
CHUNK = 1 << 16
LABEL_TAKEN = 900  # lightning-invoice(7)


class PurseError(Exception):
    """The node did not do what it was asked, or nobody knows whether it did."""

    def __init__(self, text: str, code: int | None = None) -> None:
        super().__init__(text)
        self.code = code


@dataclass(frozen=True, slots=True)
class Sent:
    """What the node's records say of a payment: complete, pending or failed; empty: nothing."""

    status: str
    preimage: bytes = b""


@dataclass(frozen=True, slots=True)
class Purse:
    """One node's socket."""

    socket: Path

    async def call(self, method: str, deadline_s: float = CALL_S, **params: object) -> Any:
        """Ask the node and return its result.

        :raises PurseError: with the node's code where it gave one.
        """
        request = {"jsonrpc": "2.0", "id": method, "method": method, "params": params}
        try:
            async with asyncio.timeout(deadline_s):
                reader, writer = await asyncio.open_unix_connection(self.socket)
                try:
                    writer.write(json.dumps(request).encode())
                    answer = await _read(reader)
                finally:
                    writer.close()
        except (OSError, TimeoutError, ValueError) as error:
            raise PurseError(f"{method}: {error or 'no answer in time'}") from error
        if "error" in answer:
            refused = answer["error"]
            raise PurseError(f"{method}: {refused.get('message')}", refused.get("code"))
        return answer["result"]

    async def pay(self, bolt11: str, most_fee_msat: int) -> None:
        """Pay an invoice (lightning-xpay(7)); whether it was paid only `sent` can say.

        :raises PurseError: also when it was, or will be.
        """
        await self.call("xpay", PAY_S, invstring=bolt11, maxfee=most_fee_msat, retry_for=RETRY_S)

    async def sent(self, payment_hash: bytes) -> Sent:
        """What became of all attempts at one hash (lightning-listsendpays(7)).

        :raises PurseError: when the node does not answer.
        """
        rows = (await self.call("listsendpays", payment_hash=payment_hash.hex()))["payments"]
        for row in rows:
            if row["status"] == "complete":
                return Sent("complete", bytes.fromhex(row["payment_preimage"]))
        if any(row["status"] == "pending" for row in rows):
            return Sent("pending")
        return Sent("failed" if rows else "")

    async def invoice(self, label: str, msat: int | None, text: str, life_s: int) -> str:
        """Make an invoice that carries the hash of `text`, or find it again (lightning-invoice(7)).

        :param msat: None: the payer chooses.
        :raises PurseError: when the node does not answer or refuses.
        """
        try:
            made = await self.call(
                "invoice",
                amount_msat="any" if msat is None else msat,
                label=label,
                description=text,
                expiry=life_s,
                deschashonly=True,
            )
        except PurseError as error:
            if error.code != LABEL_TAKEN:
                raise
            made = (await self.call("listinvoices", label=label))["invoices"][0]
        return str(made["bolt11"])


async def _read(reader: asyncio.StreamReader) -> dict[str, Any]:
    """Read one reply: JSON, ended by an empty line."""
    raw = b""
    while not raw.endswith(b"\n\n"):
        chunk = await reader.read(CHUNK)
        if not chunk:
            raise OSError("the node hung up")
        raw += chunk
    answer: dict[str, Any] = json.loads(raw)
    return answer
