"""The books of one lease: from acknowledged receipts to money, and back. Pure.

DUE -> INVOICED -> PAID | EXPIRED -> issued again as `-r2`; LOST where the node knows nothing of an
invoice any more. What is still to be done outside is read off the account (`outstanding`), so that
a crash at any moment is taken up by reading it again.
"""

from __future__ import annotations

import msgspec

from agent.core import giving
from agent.core.bill import UNSURE, Account, Bill, BillState, Mode, Policy, Sum, Terms
from agent.core.credit import CreditLevel, escalate
from agent.core.giving import Step
from agent.core.invoice import Label
from agent.core.lease import LeaseKey
from agent.core.payout import OWED, Payout, PayoutKind, PayoutState
from agent.core.rebate import Level
from agent.core.settling import (
    Acked,
    Adjusted,
    Asked,
    Billed,
    Clashed,
    Collected,
    CreditMoved,
    Effect,
    Ended,
    Event,
    Handed,
    Inspect,
    Issued,
    Judged,
    Made,
    Noticed,
    Ordered,
    Pay,
    PayoutMoved,
    Request,
    Seen,
    Settled,
    Status,
    Stopped,
    Tick,
    Traced,
    Work,
)

replace = msgspec.structs.replace


def open_account(key: LeaseKey, terms: Terms, level: Level) -> Account:
    """Begin the books of a lease."""
    return Account(key.exchange_id, key.lease_id, terms, level)


def step(
    account: Account, event: Event, policy: Policy, now_ns: int
) -> tuple[Account, tuple[Effect, ...]]:
    """Take one event into the books; `now_ns` is the exchange's time.

    Events may come late, twice and in any order: what is known already changes nothing.
    """
    account, effects = _take(account, event, policy, now_ns)
    account, followed = _follow(account, policy, now_ns)
    return account, (*effects, *followed)


def outstanding(account: Account, unix_ns: int) -> tuple[Work, ...]:
    """Return what is to be done outside, by nothing but the account."""
    work: list[Work] = []
    for bill in account.bills:
        if bill.state is BillState.DUE:
            work.append(Request(bill))
        elif bill.preimage or bill.state is BillState.LOST or _over(bill, unix_ns):
            work.append(Inspect(bill.label))
    work += [Pay(item) for item in account.payouts if item.state is PayoutState.PAYING]
    return tuple(work)


def _over(bill: Bill, unix_ns: int) -> bool:
    return bill.state is BillState.INVOICED and unix_ns >= bill.expire_ns


def _take(account: Account, event: Event, policy: Policy, now_ns: int) -> Step:
    match event:
        case Issued(sequence, gross):
            issued = max(account.issued, sequence)
            return replace(account, issued=issued, gross=max(account.gross, gross)), ()
        case Acked():
            return _acked(account, event), ()
        case Ended():
            return replace(account, final=True), ()
        case Adjusted(msat):
            return replace(account, adjusted=account.adjusted + msat), ()
        case Made():
            return _made(account, event, now_ns)
        case Clashed(label):
            return _clashed(account, label, now_ns)
        case Seen():
            return _seen(account, event, now_ns)
        case Noticed():
            return _noticed(account, event), ()
        case Judged():
            return giving.judged(account, event, now_ns)
        case Asked():
            return giving.asked(account, event, policy, now_ns)
        case Handed():
            return giving.handed(account, event)
        case Ordered():
            return giving.paying(account, event, ordered_ns=event.unix_ns), ()
        case Stopped():
            return giving.paying(account, event, stopped=True), ()
        case Traced():
            return giving.traced(account, event)
        case Tick():
            return account, ()


def _acked(account: Account, event: Acked) -> Account:
    if event.through < account.through:
        return account
    uncontested = min(event.uncontested_msat, event.gross_msat)  # nobody pays what was not billed
    return replace(
        account,
        through=event.through,
        receipt_sha256=event.receipt_sha256,
        uncontested=uncontested,
        contested=event.gross_msat - uncontested,
        gross=max(account.gross, event.gross_msat),
        final=account.final or event.final,
    )


# --- invoices ------------------------------------------------------------------------------------


def _with_bill(account: Account, bill: Bill) -> Account:
    """Put a bill in its place; a paid one leaves."""
    others = tuple(item for item in account.bills if item.label != bill.label)
    kept = () if bill.state is BillState.PAID else (bill,)
    return replace(account, bills=(*others, *kept))


def _move(account: Account, bill: Bill, state: BillState, now_ns: int) -> Step:
    moved = replace(bill, state=state, since_ns=now_ns)
    return _with_bill(account, moved), (Billed(moved),)


def _made(account: Account, event: Made, now_ns: int) -> Step:
    bill = account.bill(event.label)
    if bill is None or bill.state is not BillState.DUE:
        return account, ()
    made = replace(
        bill, bolt11=event.bolt11, payment_hash=event.payment_hash, expire_ns=event.expire_ns
    )
    return _move(account, made, BillState.INVOICED, now_ns)


def _clashed(account: Account, label: str, now_ns: int) -> Step:
    bill = account.bill(label)
    if bill is None or bill.state is not BillState.DUE:
        return account, ()
    account, effects = _move(account, bill, BillState.EXPIRED, now_ns)
    # It is nobody's invoice: what is paid to it is not ours to count.
    return replace(
        account, bills=tuple(item for item in account.bills if item.label != label)
    ), effects


def _seen(account: Account, event: Seen, now_ns: int) -> Step:
    bill = account.bill(event.label)
    if bill is None:
        return account, ()  # paid and entered before
    match event.status:
        case Status.PAID:
            paid_ns = event.paid_ns or now_ns
            return _collect(account, bill, event.received_msat, event.preimage, paid_ns, now_ns)
        case Status.MISSING if bill.preimage:
            # A payment counts in our own time: an exchange's may be of any year.
            paid_ns = event.paid_ns or now_ns
            return _collect(account, bill, bill.msat, bill.preimage, paid_ns, now_ns)
        case Status.EXPIRED if bill.state in UNSURE:
            return _move(account, bill, BillState.EXPIRED, now_ns)
        case Status.MISSING if bill.state is BillState.INVOICED:
            return _move(account, bill, BillState.LOST, now_ns)
        case Status.UNPAID if bill.state is BillState.LOST and account.open_bill is None:
            return _move(account, bill, BillState.INVOICED, now_ns)
        case _:
            return account, ()


def _noticed(account: Account, event: Noticed) -> Account:
    """Keep the proof of payment: the node is asked how much came, and need not know any more."""
    for bill in account.bills:
        if bill.payment_hash == event.payment_hash:
            return _with_bill(account, replace(bill, preimage=event.preimage))
    return account


def _collect(
    account: Account, bill: Bill, msat: int, preimage: bytes, paid_ns: int, now_ns: int
) -> Step:
    account, effects = _move(account, bill, BillState.PAID, now_ns)
    account = replace(account, received=account.received + msat)
    return account, (*effects, Collected(bill, msat, preimage, paid_ns))


# --- what follows from where the books stand -----------------------------------------------------


def _follow(account: Account, policy: Policy, now_ns: int) -> Step:
    effects: list[Effect] = []
    for rule in (_bill, _refund, _watch, _close):
        account, more = rule(account, policy, now_ns)
        effects += more
    return account, tuple(effects)


def _sum(account: Account) -> Sum:
    """What the next invoice would be for."""
    return Sum(
        uncontested=account.uncontested,
        adjusted=account.adjusted,
        netted=account.netted,
        settled=account.received - account.returned,
        pending=account.pending,
        ahead=account.terms.advance_msat if _prepays(account) else 0,
    )


def _prepays(account: Account) -> bool:
    return account.terms.mode is Mode.PREPAID and not account.final


def _bill(account: Account, policy: Policy, now_ns: int) -> Step:
    due = _sum(account).msat
    if account.open_bill is not None or due <= 0 or not policy.collects:
        return (replace(account, waiting_since_ns=0) if account.waiting_since_ns else account), ()
    if account.waiting_since_ns == 0:
        account = replace(account, waiting_since_ns=now_ns)
    if not _ripe(account, due, policy, now_ns):
        return account, ()
    account, effects = _net(account, due, policy, now_ns)
    again = account.through == account.last_through
    label = Label(
        account.exchange_id,
        account.lease_id,
        account.through,
        account.last_round + 1 if again else 1,
    )
    bill = Bill(
        str(label), account.through, account.receipt_sha256, _sum(account), BillState.DUE, now_ns
    )
    account = replace(
        _with_bill(account, bill),
        last_through=label.through,
        last_round=label.round,
        waiting_since_ns=0,
    )
    return account, (*effects, Billed(bill))


def _ripe(account: Account, due: int, policy: Policy, now_ns: int) -> bool:
    """Whether an invoice is worth making now."""
    if account.final:
        return True
    if _prepays(account):  # half of the balance is used, by what was delivered
        return -account.exposure - account.pending <= account.terms.advance_msat // 2
    old = now_ns - account.waiting_since_ns >= policy.age_ns
    return old or due >= max(policy.least_msat, account.terms.least_msat)


def _net(account: Account, due: int, policy: Policy, now_ns: int) -> Step:
    """Take off the invoice what it can carry of rebates nobody has asked for in time."""
    effects: list[Effect] = []
    for item in account.payouts:
        late = now_ns - item.since_ns >= policy.net_after_ns
        waited = late or account.final or not policy.pays
        if item.kind is PayoutKind.REBATE and item.state in OWED and waited and item.msat < due:
            netted = replace(item, state=PayoutState.NETTED, since_ns=now_ns)
            account = replace(
                giving.with_payout(account, netted), netted=account.netted + item.msat
            )
            effects.append(PayoutMoved(netted))
            due -= item.msat
    return account, tuple(effects)


def _refund(account: Account, policy: Policy, now_ns: int) -> Step:
    """At the end give back what was paid too much."""
    unsure = any(bill.state in UNSURE for bill in account.bills)
    refunds = [item for item in account.payouts if item.kind is PayoutKind.REFUND]
    waiting = any(item.state is not PayoutState.PAID for item in refunds)
    if not account.final or account.contested or unsure or waiting or account.owed >= 0:
        return account, ()
    key = f"refund/{len(refunds)}"
    planned = Payout(key, PayoutKind.REFUND, -account.owed, PayoutState.PLANNED, now_ns)
    return giving.with_payout(account, planned), (PayoutMoved(planned),)


def _watch(account: Account, policy: Policy, now_ns: int) -> Step:
    credit, levels = escalate(
        account.credit,
        account.exposure,
        account.terms.credit_limit_msat,
        account.terms.payment_timeout_ns,
        now_ns,
    )
    if not policy.collects and credit.level > CreditLevel.WARNED:
        # Nobody here can learn of payments, so nobody is cut off for want of them; what an earlier
        # rail came to is taken back.
        credit = replace(credit, level=CreditLevel.WARNED)
        levels = () if account.credit.level is credit.level else (credit.level,)
    moved = tuple(CreditMoved(level, account.exposure) for level in levels)
    return replace(account, credit=credit), moved


def _close(account: Account, policy: Policy, now_ns: int) -> Step:
    done = (PayoutState.PAID, PayoutState.NETTED)
    closed = (
        account.final
        and not account.contested
        and account.owed == 0
        and not any(bill.state in UNSURE for bill in account.bills)
        and all(item.state in done for item in account.payouts)
    )
    if closed is account.closed:
        return account, ()
    # An invoice that was paid after it had expired may open closed books once more.
    return replace(account, closed=closed), (Settled(),) if closed else ()
