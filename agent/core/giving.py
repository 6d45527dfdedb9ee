"""Rebates and refunds in the books of one lease: stated, asked for, given back. Pure."""

from __future__ import annotations

import msgspec

from agent.core import payout as payouts
from agent.core.bill import Account, Policy
from agent.core.payout import OWED, Payout, PayoutKind, PayoutState, Refusal
from agent.core.settling import (
    Asked,
    Effect,
    Handed,
    Judged,
    Ordered,
    PayoutMoved,
    PayoutRefused,
    Stopped,
    Traced,
)

replace = msgspec.structs.replace

Step = tuple[Account, tuple[Effect, ...]]


def with_statement(account: Account, key: str, statement_sha256: bytes) -> Account:
    """Remember a signed statement of a payout, ours or the exchange's."""
    item = account.payout(key)
    if item is None or statement_sha256 in item.statements:
        return account
    stated = replace(item, statements=(*item.statements, statement_sha256))
    return with_payout(account, stated)


def with_payout(account: Account, item: Payout) -> Account:
    """Put a payout in its place."""
    if account.payout(item.key) is None:
        return replace(account, payouts=(*account.payouts, item))
    placed = tuple(item if old.key == item.key else old for old in account.payouts)
    return replace(account, payouts=placed)


def judged(account: Account, event: Judged, now_ns: int) -> Step:
    """Plan the rebate of a closed window; each window is judged once."""
    if event.index != account.windows:
        return account, ()
    account = replace(account, windows=event.index + 1)
    if event.rebate.msat == 0:
        return account, ()
    key = f"rebate/{event.index}"
    planned = Payout(key, PayoutKind.REBATE, event.rebate.msat, PayoutState.PLANNED, now_ns)
    return with_payout(account, planned), (PayoutMoved(planned, event.rebate),)


def asked(account: Account, event: Asked, policy: Policy, now_ns: int) -> Step:
    """Begin to pay an invoice of the exchange, or refuse it with a reason."""
    item = account.stated(event.statement_sha256)
    if item is not None and item.bolt11 == event.text and item.state is PayoutState.PAYING:
        return account, ()  # the same again
    setting = payouts.Setting(account.exchange_id, account.lease_id, policy.network, event.unix_ns)
    refusal = payouts.judge(
        item, event.statement_sha256, event.invoice, setting, policy.caps, event.spent
    )
    if refusal is None and event.used:
        refusal = Refusal.PAID
    if refusal is None and not policy.pays:
        refusal = Refusal.NO_RAIL
    named = event.invoice is not None and event.invoice.amount_msat is not None
    if refusal is None and named and not policy.pays_named:
        refusal = Refusal.AMOUNT_NAMED
    if refusal is not None or item is None or event.invoice is None:
        reason = refusal or Refusal.UNREADABLE
        return account, (PayoutRefused(event.statement_sha256, reason),)
    begun = payouts.begin(item, event.text, event.invoice, policy.caps, now_ns)
    return with_payout(account, begun), (PayoutMoved(begun),)


def handed(account: Account, event: Handed) -> Step:
    """Enter what was given back by hand."""
    item = account.payout(event.key)
    if item is None or item.state not in OWED or item.msat != event.msat:
        return account, ()  # what a rail may be paying is not taken for paid by hand
    return _given(account, replace(item, state=PayoutState.PAID, since_ns=event.unix_ns))


def _given(account: Account, after: Payout) -> Step:
    account = with_payout(account, after)
    if after.state is PayoutState.PAID and after.kind is PayoutKind.REFUND:
        account = replace(account, returned=account.returned + after.msat)
    return account, (PayoutMoved(after),)


def paying(account: Account, event: Ordered | Stopped, **parts: object) -> Account:
    """Note something about the payment that is under way; nothing where it is another one."""
    item = account.payout(event.key)
    if item is None or item.state is not PayoutState.PAYING:
        return account
    if item.payment_hash != event.payment_hash:
        return account
    return with_payout(account, replace(item, **parts))


def traced(account: Account, event: Traced) -> Step:
    """Take what the node's records show of a payment."""
    item = account.payout(event.key)
    if item is None or item.payment_hash != event.payment_hash:
        return account, ()
    after = payouts.traced(item, event.trace, event.preimage, event.fee_msat, event.unix_ns)
    if after.state is item.state:
        return account, ()
    return _given(account, after)
