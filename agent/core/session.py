"""The rules of one session with an exchange: cursors, credit, who is ahead of whom. Pure.

Both directions number what is journaled (delivery sequence 1, 2, 3, ...) and resend from the other
side's cursor after a break. What was applied is skipped, a gap ends the session.
"""

from __future__ import annotations

from dataclasses import dataclass

PROTOCOL = 1
MOST_CREDIT = 4096


class ProtocolBroken(Exception):
    """The exchange did what the protocol does not allow; the last good state stands."""


class ExchangeAhead(ProtocolBroken):
    """The exchange has envelopes that this journal does not: a lost disk or a restored snapshot."""


@dataclass(slots=True)
class Outgoing:
    """Our envelopes on their way: `delivered` is the exchange's durable cursor."""

    last: int  # highest sequence in the outbox
    delivered: int = 0
    sent: int = 0
    credit: int = 0

    def welcome(self, delivered: int, credit: int) -> None:
        """Start where the exchange says it is.

        :raises ExchangeAhead: when that is beyond what this journal holds.
        """
        if delivered > self.last:
            raise ExchangeAhead(
                f"the exchange has our envelopes through {delivered}, we only {self.last}"
            )
        self.delivered = self.sent = delivered
        self.credit = min(credit, MOST_CREDIT)

    def acknowledge(self, delivered: int, credit: int) -> bool:
        """Take the exchange's cursor and credit; whether the cursor moved.

        :raises ProtocolBroken: when it names what was never sent.
        """
        if delivered > self.sent:
            raise ProtocolBroken(f"acknowledged {delivered}, sent through {self.sent}")
        if credit:
            self.credit = min(credit, MOST_CREDIT)
        moved = delivered > self.delivered
        self.delivered = max(self.delivered, delivered)
        return moved

    def window(self) -> int:
        """How many envelopes may be sent now."""
        return max(0, min(self.last, self.delivered + self.credit) - self.sent)


@dataclass(slots=True)
class Incoming:
    """The exchange's envelopes: `applied` is our durable cursor."""

    applied: int

    def fresh(self, sequence: int, count: int) -> int:
        """Return how many of `count` envelopes from `sequence` on were applied before: skip those.

        :raises ProtocolBroken: when something between was never delivered.
        """
        if sequence > self.applied + 1:
            raise ProtocolBroken(f"delivery {sequence} after {self.applied}: a gap")
        return min(count, self.applied + 1 - sequence)


@dataclass(slots=True)
class Allowance:
    """How often something may be asked: `most` at once, then one more every `every_ns`."""

    most: int
    every_ns: int
    spent: int = 0
    since_ns: int = 0  # from which the next one is earned, on the clock of whoever asks

    def take(self, now_ns: int) -> bool:
        """Use one up, if there is one left."""
        earned = max(0, now_ns - self.since_ns) // self.every_ns
        if earned >= self.spent:
            self.spent, self.since_ns = 0, now_ns
        else:
            self.spent -= earned
            self.since_ns += earned * self.every_ns
        if self.spent >= self.most:
            return False
        self.spent += 1
        return True

    def wait_ns(self, now_ns: int) -> int:
        """How long until one is left; to be asked after `take` refused."""
        return max(0, self.since_ns + self.every_ns - now_ns)
