"""Misbehaviour on command, so that agents can be tested against a bad exchange or a bad network."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from enum import StrEnum


class Kind(StrEnum):
    """What goes wrong."""

    DROP = "drop"  # end the stream now, with UNAVAILABLE
    STALL_READS = "stall_reads"  # read nothing for `seconds`, once per `count`
    DELAY_ACKS = "delay_acks"  # confirm deliveries `seconds` late
    SLOW = "slow"  # wait `seconds` before each of the next `count` writes
    REFUSE_RECEIPTS = "refuse_receipts"  # for now: Nack RATE_LIMITED, apply nothing, end the stream
    REJECT_RECEIPTS = "reject_receipts"  # for good: Nack MALFORMED on the next `count` good ones
    DUPLICATE_DELIVERIES = "duplicate_deliveries"  # send the next `count` batches twice
    SHORT_NONCE = "short_nonce"  # the next nonce has 31 bytes
    WRONG_NONCE = "wrong_nonce"  # send one nonce and judge the answer by another
    FORGED_ENVELOPE = "forged_envelope"  # send the next `count` batches signed by another key


@dataclass(slots=True)
class Fault:
    """One armed fault. `node_id` empty: for the first node it happens to."""

    kind: Kind
    node_id: str = ""
    count: int = 1
    seconds: float = 0.0


@dataclass(slots=True)
class Faults:
    """The armed ones."""

    armed: list[Fault] = field(default_factory=list)

    def arm(self, fault: Fault) -> None:
        """Wait for the next occasion."""
        self.armed.append(fault)

    def take(self, kind: Kind, node_id: str) -> Fault | None:
        """Return the fault that strikes now, if any, and use it up by one."""
        for fault in self.armed:
            if fault.kind is kind and fault.node_id in ("", node_id):
                fault.count -= 1
                if fault.count <= 0:
                    self.armed.remove(fault)
                return fault
        return None


def spoil_nonce(faults: Faults, node_id: str, nonce: bytes) -> bytes:
    """Return what is sent in place of a nonce: itself, unless a fault is armed."""
    if faults.take(Kind.SHORT_NONCE, node_id):
        return nonce[:31]
    if faults.take(Kind.WRONG_NONCE, node_id):
        return secrets.token_bytes(len(nonce))
    return nonce
