"""Messages as an honest agent would make them, for scripted ones."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from typing import Any

from hearth.v1 import lease_pb2, offer_pb2

from attest.envelope import Envelope
from tests.fakes.scripted_agent import BOOT, ScriptedAgent


def offer(
    agent: ScriptedAgent, sequence: int = 1, units: Mapping[str, int] | None = None
) -> offer_pb2.Offer:
    now = time.time_ns()
    message = offer_pb2.Offer(
        node_id=agent.node_id,
        exchange_id=agent.exchange_id,
        offer_id="0190c1d2-0000-7000-8000-00000000000f",
        sequence=sequence,
        assurance=agent.enrolled.assurance,
        inventories=[
            offer_pb2.ResourceInventory(
                resource_class=name, min_unit=1, max_unit=count, step_size=1, total_units=count
            )
            for name, count in sorted((units or {"MEMORY_MB": 4096, "VCPU": 8}).items())
        ],
        prices=[
            offer_pb2.Price(
                msat_numerator=7001,
                unit_denominator=2,
                unit=offer_pb2.PRICE_UNIT_DELIVERED_UNIT_SECOND,
                resource_class="VCPU",
            ),
            offer_pb2.Price(msat_numerator=1, unit_denominator=3, unit=offer_pb2.PRICE_UNIT_JOULE),
        ],
    )
    message.issue_time.FromNanoseconds(now)
    message.expire_time.FromNanoseconds(now + 600 * 10**9)
    message.settlement.receipt_interval.FromSeconds(60)
    return message


def decision(request: Envelope, outcome: str = "ACCEPTED") -> lease_pb2.LeaseDecision:
    """The answer to a request."""
    return lease_pb2.LeaseDecision(
        lease_id=lease_pb2.ReserveRequest.FromString(request.payload).lease_id,
        request_sha256=hashlib.sha256(request.payload).digest(),
        outcome=f"LEASE_OUTCOME_{outcome}",
        fencing_token=b"f" * 16 if outcome == "ACCEPTED" else b"",
    )


class Meter:
    """Receipts of one lease."""

    def __init__(self, agent: ScriptedAgent, agreement: Envelope) -> None:
        self.agent = agent
        self.agreement = lease_pb2.LeaseAgreement.FromString(agreement.payload)
        self.agreement_sha256 = hashlib.sha256(agreement.payload).digest()
        self.sequence = 0
        self.previous = b""

    def receipt(
        self, *, step_ms: int = 1, final: bool = False, **changed: Any
    ) -> lease_pb2.Receipt:
        """The next receipt, `step_ms` of the lease's time after the one before."""
        self.sequence += 1
        start = self.agreement.start_time.ToNanoseconds()
        milliseconds = self.sequence * step_ms
        message = lease_pb2.Receipt(
            node_id=self.agent.node_id,
            exchange_id=self.agent.exchange_id,
            lease_id=self.agreement.lease_id,
            job_id=self.agreement.job_id,
            log_id=self.agent.log_id,
            sequence=self.sequence,
            previous_sha256=self.previous,
            agreement_sha256=self.agreement_sha256,
            boot_id=BOOT,
            final=final,
        )
        message.interval.start_time.FromNanoseconds(start + (milliseconds - step_ms) * 1_000_000)
        message.interval.end_time.FromNanoseconds(start + milliseconds * 1_000_000)
        for part in self.agreement.units:
            message.totals.add(
                resource_class=part.resource_class,
                reserved_unit_milliseconds=part.units * milliseconds,
                delivered_unit_milliseconds=part.units * milliseconds,
                used_unit_milliseconds=milliseconds // 2,
            )
        message.energy.millijoules = 5 * milliseconds
        message.heat.reused_millijoules = 4 * milliseconds
        for name, value in changed.items():
            setattr(message, name, value)
        self._price(message)
        self.previous = hashlib.sha256(message.SerializeToString(deterministic=True)).digest()
        return message

    def _price(self, message: lease_pb2.Receipt) -> None:
        for index, price in enumerate(self.agreement.prices):
            quantity = message.energy.millijoules
            if price.resource_class:
                quantity = next(
                    total.delivered_unit_milliseconds
                    for total in message.totals
                    if total.resource_class == price.resource_class
                )
            msat = quantity * price.msat_numerator // (price.unit_denominator * 1000)
            message.lines.add(price_index=index, quantity=quantity, msat=msat)
        message.gross_msat_total = sum(line.msat for line in message.lines)
