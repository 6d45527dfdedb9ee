"""One random life of one lease: receipts, acknowledgements, payments, and all that goes wrong."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from agent.core.availability import Span
from agent.core.bill import UNSURE, Account, BillState, Mode, Policy, Terms
from agent.core.credit import CreditLevel
from agent.core.giving import with_statement
from agent.core.lease import LeaseKey
from agent.core.payout import OWED, Caps, PayoutState, Spent
from agent.core.rebate import Level, Rebate
from agent.core.settlement import open_account, outstanding, step
from agent.core.settling import (
    Acked,
    Adjusted,
    Asked,
    Billed,
    Collected,
    CreditMoved,
    Effect,
    Ended,
    Event,
    Inspect,
    Issued,
    Judged,
    Noticed,
    PayoutMoved,
    Seen,
    Status,
    Tick,
)
from agent.settle.errands import Errands
from agent.settle.rail import RailError
from tests.settlement.doubles import Doubles
from tests.settlement.model import EXCHANGE, LEASE, SECOND, Crash, Model, drive

HOUR = 3600 * SECOND
STEPS = 60
SHORT, LONG = (1, 20, 40, 60), (600, 3600, 7200, 50_000)  # seconds
POLICY = Policy(
    collects=True,
    pays=True,
    pays_named=True,
    network="regtest",
    least_msat=5_000,
    age_ns=4 * HOUR,
    invoice_life_ns=2 * HOUR,
    net_after_ns=12 * HOUR,
    caps=Caps(10**9, 10**12, 10**12),
)


@dataclass
class Receipts:
    """What the agent cut and the exchange acknowledged."""

    gross: list[int] = field(default_factory=lambda: [0])
    acks: list[Acked] = field(default_factory=list)


@dataclass
class Life:
    """The account, payments, what was sent and the index are durable; the rest is the world."""

    dice: random.Random
    model: Model | Doubles
    account: Account
    payments: list[Collected] = field(default_factory=list)
    sent: list[str] = field(default_factory=list)  # keys of payouts
    netted: list[str] = field(default_factory=list)
    pay_index: int = 0
    receipts: Receipts = field(default_factory=Receipts)
    announced: list[str] = field(default_factory=list)
    levels: list[CreditLevel] = field(default_factory=list)
    crashing: float = 0.0
    ahead_ns: int = 0  # the agent's wall clock, of everybody else's
    watched: dict[bytes, int] = field(default_factory=dict)  # by this run of the agent
    pace: tuple[int, ...] = ()
    steps: int = 0

    @classmethod
    def begin(cls, seed: int, nodes: type[Model | Doubles]) -> Life:
        dice = random.Random(seed)
        model = nodes(dice)
        if isinstance(model, Model):
            model.late = dice.random() < 0.2
        terms = Terms(
            mode=dice.choice([Mode.POSTPAID, Mode.POSTPAID, Mode.PREPAID]),
            credit_limit_msat=dice.choice([0, 20_000, 200_000]),
            least_msat=dice.choice([0, 10_000]),
            payment_timeout_ns=dice.choice([1, 10, 100]) * HOUR,
            advance_msat=30_000,
        )
        return cls(dice, model, open_account(LeaseKey(EXCHANGE, LEASE), terms, Level()))

    # --- the journal -----------------------------------------------------------------------------

    async def enter(self, event: Event) -> Account:
        """One transaction."""
        if self.dice.random() < self.crashing:
            raise Crash
        self.commit(event)
        if self.dice.random() < self.crashing:
            raise Crash
        return self.account

    def commit(self, event: Event) -> None:
        self.steps += 1
        before = self.account
        after, effects = step(before, event, POLICY, self.model.now_ns)
        for effect in effects:
            after = self._note(after, effect)
        self.account = after
        self.check(before, effects)

    def _note(self, account: Account, effect: Effect) -> Account:
        match effect:
            case Billed(bill) if bill.state is BillState.INVOICED:
                self.announced.append(bill.label)
            case Collected():
                assert effect.bill.label not in {done.bill.label for done in self.payments}
                self.payments.append(effect)
            case PayoutMoved(item):
                if item.state is PayoutState.PLANNED:
                    return with_statement(account, item.key, item.key.encode())
                if item.state is PayoutState.PAID:
                    self.sent.append(item.key)
                if item.state is PayoutState.NETTED:
                    self.netted.append(item.key)
            case CreditMoved(level):
                self.levels.append(level)
            case _:
                pass
        return account

    # --- what must always hold -------------------------------------------------------------------

    def check(self, before: Account, effects: tuple[Effect, ...]) -> None:
        account = self.account
        opened = [b for b in account.bills if b.state in (BillState.DUE, BillState.INVOICED)]
        assert len(opened) <= 1
        for effect in effects:
            if isinstance(effect, Billed) and effect.bill.state is BillState.DUE:
                self._check_range(account, effect)
        assert len(set(self.sent)) == len(self.sent)
        assert not set(self.sent) & set(self.netted)
        exposure = account.gross + account.adjusted - account.netted
        exposure += account.returned - account.received
        over = exposure > account.terms.credit_limit_msat
        assert not over or account.credit.level >= CreditLevel.WARNED
        if self.levels:
            assert self.levels[-1] is account.credit.level
        assert account.received == sum(done.received_msat for done in self.payments)

    def _check_range(self, account: Account, effect: Billed) -> None:
        """Whatever is unpaid or unknown is never asked for a second time."""
        prepaid = account.terms.mode is Mode.PREPAID and not account.final
        most = account.uncontested + account.adjusted - account.netted + account.returned
        most += account.terms.advance_msat if prepaid else 0
        others = sum(
            bill.msat
            for bill in account.bills
            if bill.state in UNSURE and bill.label != effect.bill.label
        )
        assert 0 < effect.bill.msat <= most - account.received - others
        if not self.model.late:  # then what is paid and not seen yet must be left out as well
            paid = [ours for ours in self.model.ours.values() if ours.pay_index]
            truly = sum(min(ours.received, ours.invoice.amount_msat) for ours in paid)
            assert effect.bill.msat <= most - truly

    def check_truth(self) -> None:
        """What really happened, against the books; at rest."""
        recorded = {done.bill.label: done for done in self.payments}
        for label, ours in self.model.ours.items():
            if ours.pay_index:
                assert label in recorded, f"{label} is paid and not in the books"
                if not ours.deleted:
                    assert recorded[label].received_msat == ours.received
            else:
                assert label not in recorded
        paid: dict[bytes, int] = {}
        for theirs in self.model.theirs.values():
            paid[theirs.statement] = paid.get(theirs.statement, 0) + theirs.paid
        assert all(times <= 1 for times in paid.values())
        assert {key.decode() for key, times in paid.items() if times} == set(self.sent)

    # --- what may happen -------------------------------------------------------------------------

    def live(self, steps: int) -> None:
        """A random schedule.

        Each life does some things often and others never, and has its own pace: what goes wrong
        only after five steps in the right order is met so (swarm testing, Groce et al. 2012).
        """
        acts: list[tuple[Callable[[], None], int]] = [
            (self.cut, 6),
            (self.acknowledge, 6),
            (self.work, 10),
            (self.listen, 5),
            (self.time, 6),
            (self.pay, 8),
            (self.window, 2),
            (self.ask, 4),
            (self.model.resolve, 3),
            (self.toggle, 2),
            (self.restart, 2),
            (self.adjust, 1),
            (self.delete, 3),
            (self.model.stranger_pays, 1),
            (self.again, 2),
            (self.set_clock, 1),
        ]
        moods = [self.dice.choice([0, 1, 1, 5]) for _ in acts]
        self.pace = self.dice.choice([SHORT, LONG, SHORT + LONG])
        names = [act for act, _ in acts]
        weights = [weight * mood + 0.01 for (_, weight), mood in zip(acts, moods, strict=True)]
        for _ in range(steps):
            try:
                self.dice.choices(names, weights)[0]()
            except RailError:
                pass
            except Crash:
                self.restart()

    def cut(self) -> None:
        if not self.account.final:
            self.receipts.gross.append(self.receipts.gross[-1] + self.dice.randrange(20_000))
            self.sync()

    def sync(self) -> None:
        """Take up what the ledger has, as the agent does at every look."""
        gross = self.receipts.gross
        drive(self.enter(Issued(len(gross) - 1, gross[-1])))

    def acknowledge(self, *, kindly: bool = False) -> None:
        through = len(self.receipts.gross) - 1
        if not kindly:
            through = self.dice.randint(self.account.through, through)
        if through == 0:
            return
        gross = self.receipts.gross[through]
        contested = 0 if kindly or self.dice.random() < 0.8 else self.dice.randrange(gross + 1)
        self.receipts.acks.append(
            Acked(through, bytes([through % 256]) * 32, gross, gross - contested, final=kindly)
        )
        drive(self.enter(self.receipts.acks[-1]))

    def again(self) -> None:
        """Something that came before comes once more."""
        if self.receipts.acks:
            last = self.receipts.acks[-1]
            older = [ack for ack in self.receipts.acks if ack.through < last.through]
            drive(self.enter(self.dice.choice([*older, last])))
        if self.payments:
            done = self.dice.choice(self.payments)
            drive(self.enter(Seen(done.bill.label, Status.PAID, done.received_msat, b"", 1)))

    def errands(self) -> Errands:
        return Errands(
            self.model,
            self.enter,
            self.unix_ns,
            7200,
            POLICY.network,
            lambda: self.model.now_ns,
            self.watched,
        )

    def unix_ns(self) -> int:
        """What the agent's wall clock shows."""
        return self.model.now_ns + self.ahead_ns

    def set_clock(self) -> None:
        """Somebody sets the agent's wall clock: ahead by more than an invoice lives, or right."""
        self.ahead_ns = self.dice.choice([0, 5_000, 20_000]) * SECOND

    def work(self) -> None:
        for item in outstanding(self.account, self.unix_ns()):
            drive(self.errands().run(item))

    def listen(self) -> None:
        for payment in drive(self.model.paid_after(self.pay_index, 0)):
            if self.dice.random() < self.crashing:
                raise Crash
            self.commit(
                Seen(
                    payment.label,
                    Status.PAID,
                    payment.amount_received_msat,
                    payment.preimage,
                    payment.paid_ns,
                )
            )
            self.pay_index = payment.pay_index  # in the same transaction

    def time(self) -> None:
        self.model.wait(self.dice.choice(self.pace))
        drive(self.enter(Tick()))

    def pay(self) -> None:
        known = [self.model.ours[label] for label in self.announced if label in self.model.ours]
        if not known:
            return
        ours = self.dice.choice(known)
        over = self.dice.choice([0, 0, 0, ours.invoice.amount_msat // 2])
        self.model.receive(ours, ours.invoice.amount_msat + over)

    def window(self) -> None:
        msat = self.dice.choice([0, self.dice.randrange(1, 8_000)])
        rebate = Rebate(Span(0, 1), b"", 1, msat)
        drive(self.enter(Judged(self.account.windows, rebate)))

    def ask(self) -> None:
        if not self.account.payouts:
            return
        item = self.dice.choice(self.account.payouts)
        statement = item.key.encode()
        wrong = self.dice.choice(["", "", "", "amount", "network", "expiry", "description"])
        life_s = self.dice.choice([120, 3600])
        theirs = self.model.ask(statement, item.msat, life_s=life_s, wrong=wrong)
        before = item.state
        now = self.unix_ns()
        drive(self.enter(Asked(statement, theirs.text, theirs.bolt11, Spent(), now)))
        after = self.account.payout(item.key)
        if wrong or before not in OWED:
            assert after is not None
            assert after.bolt11 != theirs.text

    def toggle(self) -> None:
        self.model.up = self.dice.random() < 0.7
        self.model.channel = self.dice.random() < 0.7

    def restart(self) -> None:
        """The agent starts anew and looks at everything it does not know."""
        self.watched.clear()
        self.look_again()

    def look_again(self) -> None:
        """Ask for every invoice whose fate is not known."""
        try:
            self.sync()
            for bill in self.account.bills:
                if bill.state in UNSURE:
                    drive(self.errands().run(Inspect(bill.label)))
        except (Crash, RailError):
            pass  # it is killed again, or the node is down: the next start looks again

    def adjust(self) -> None:
        drive(self.enter(Adjusted(self.dice.randrange(-2_000, 2_000))))

    def delete(self) -> None:
        """Somebody cleans up at the node."""
        if self.model.ours and self.dice.random() < 0.5:
            ours = self.dice.choice(list(self.model.ours.values()))
            if self.model.status(ours).value != "unpaid":
                self.model.delete(ours)

    # --- the end ---------------------------------------------------------------------------------

    def rest(self) -> None:
        """Everything works again, both sides do what they owe; then the books must be right.

        What is on its way comes last, and at first time passes slowly: whoever takes a payment for
        failed too early pays another invoice meanwhile, and then both.
        """
        model = self.model
        model.up = True
        model.channel = True
        model.faults = self.crashing = 0.0
        self.ahead_ns = 0
        model.dice = random.Random(1)  # luck does not decide here
        for look in range(80):
            hasty = look < 10
            if look >= 14:
                model.resolve(kindly=True)
            self.look_again()
            if len(self.receipts.gross) == 1:
                self.commit(Ended())
            self.acknowledge(kindly=True)
            for label in self.announced:
                ours = model.ours[label]
                if model.status(ours).value == "unpaid":
                    model.receive(ours, ours.invoice.amount_msat)
                if ours.pay_index:
                    self.commit(Noticed(ours.invoice.payment_hash, ours.preimage))
            self.listen()
            for item in self.account.payouts:
                if item.state in OWED:
                    life_s = 120 if hasty else 3600
                    theirs = model.ask(item.key.encode(), item.msat, life_s=life_s)
                    asked = Asked(
                        theirs.statement, theirs.text, theirs.bolt11, Spent(), model.now_ns
                    )
                    self.commit(asked)
            self.work()
            model.wait(50 if hasty else 1800)
            self.commit(Tick())
            if self.account.closed and not outstanding(self.account, model.now_ns):
                break
        self.check_truth()
        lost = [bill for bill in self.account.bills if bill.state is BillState.LOST]
        assert self.account.closed or lost


def run(seed: int, nodes: type[Model | Doubles]) -> Life:
    """One whole life, checked to its end."""
    life = Life.begin(seed, nodes)
    life.model.faults = life.dice.choice([0.0, 0.1, 0.3])
    life.crashing = life.dice.choice([0.0, 0.03, 0.1])
    life.live(STEPS)
    life.rest()
    return life


def run_many(nodes: type[Model | Doubles], count: int, first: int) -> int:
    """So many lives from this seed on; returns how many there were."""
    for seed in range(first, first + count):
        try:
            run(seed, nodes)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error
    return count
