"""What years of leases and offers leave behind does not hold up what goes on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from agent.core.lease import METERED, Decision, Lease, LeaseKey, LeaseState, Outcome
from agent.exchange import outbox
from agent.journal import checkpoints, ledger, settlement
from agent.journal.scribe import Scribe
from agent.journal.store import Journal, Transaction, View
from attest.keys import SoftwareKey
from probes.reading import Instant
from tests.fakes.sqlite_steps import steps

LESS, MORE = 200, 800


def lease(number: int, state: LeaseState) -> Lease:
    return Lease(
        key=LeaseKey("x", f"lease-{number}"),
        state=state,
        units={"VCPU": 1},
        fencing_token=b"",
        request_sha256=b"",
        offer_index=0,
        hold_until_ns=0,
        hold_boot_id="",
    )


async def journal_of(path: Path, count: int) -> Journal:
    """A journal in which so many offers were delivered, and as many receipts refused."""
    journal = Journal(path)

    def fill(change: Transaction) -> None:
        change.execute("INSERT INTO exchanges (exchange_id, enrolment) VALUES ('x', x'')")
        change.append_many([(b"envelope", bytes(32))] * 2 * count, [1])
        ledger.put(change, 1, lease(1, LeaseState.CLOSED))
        for number in range(count):
            offer, receipt = 2 * number, 2 * number + 1
            change.execute("INSERT INTO offers VALUES (1, 'offer', ?, ?, 0, x'')", number, offer)
            change.execute("INSERT INTO receipts VALUES (1, ?, ?)", number + 1, receipt)
            change.execute("INSERT INTO nacks VALUES (1, ?, 1, '')", receipt + 1)
        change.execute("UPDATE exchanges SET delivered_through = ?", 2 * count - 2)
        change.execute("UPDATE leases SET acked_through = 3")

    await journal.write(fill)
    return journal


async def test_what_an_exchange_got_is_counted(tmp_path: Path) -> None:
    journal = await journal_of(tmp_path / "journal.sqlite", LESS)
    counts = await journal.read(lambda view: outbox.counts(view, 1))
    journal.close()
    assert counts == outbox.Counts(
        offers_delivered=LESS - 1,
        receipts_issued=LESS,
        receipts_acked=3,
        undelivered=2,
        refused=LESS,
        receipts_rejected=LESS,
    )


async def test_counting_takes_as_many_times_longer_as_there_is_more(tmp_path: Path) -> None:
    taken = []
    for count in (LESS, MORE):
        journal = await journal_of(tmp_path / f"{count}.sqlite", count)
        taken.append(
            await journal.read(lambda view: steps(view, lambda again: outbox.counts(again, 1)))
        )
        journal.close()
    assert taken[1] <= 2 * MORE // LESS * taken[0]


async def kept(path: Path, count: int) -> Journal:
    """A journal with as many signed heads, answers and leases of the past."""
    journal = Journal(path)

    def fill(change: Transaction) -> None:
        change.execute("INSERT INTO exchanges (exchange_id, enrolment) VALUES ('x', x'')")
        change.append_many([(b"envelope", bytes(32))] * 8, [1])
        for number in range(count):
            change.execute("INSERT INTO checkpoints VALUES (?, 8, x'00', 0)", number + 1)
            answer = number.to_bytes(32)
            change.execute("INSERT INTO answers VALUES (1, ?, 0, NULL, 0)", answer)
            ledger.put(change, 1, lease(number, LeaseState.SETTLED))
            change.execute(
                "INSERT INTO accounts (lease, open, body) VALUES (?, 0, x'')", number + 1
            )

    await journal.write(fill)
    return journal


def refuse(view: View) -> None:
    decision = Decision(Outcome.DRAINING)
    now = Instant(0, 0, 10**18, "boot")
    change = Transaction(view.connection)
    ledger.refuse(change, Scribe(KEY), 1, "lease", b"request", decision, now)


KEY = SoftwareKey.generate()
STEPS: dict[str, Callable[[View], object]] = {
    "checkpoint": lambda view: checkpoints._open_record(
        Transaction(view.connection), Scribe(KEY), "boot", 0
    ),
    "refusal": refuse,
    "books": lambda view: settlement.behind(view, METERED),
}


@pytest.mark.parametrize("query", STEPS.values(), ids=STEPS)
async def test_what_is_over_is_not_walked_again(
    tmp_path: Path, query: Callable[[View], object]
) -> None:
    taken = []
    for count in (LESS, MORE):
        journal = await kept(tmp_path / f"{count}.sqlite", count)
        taken.append(await journal.write(lambda change: steps(change, query)))
        journal.close()
    assert taken[1] <= taken[0] + (MORE - LESS) // 10


async def test_of_leases_that_ended_only_the_last_are_shown(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.sqlite")

    def fill(change: Transaction) -> None:
        change.execute("INSERT INTO exchanges (exchange_id, enrolment) VALUES ('x', x'')")
        for number in range(50):
            goes_on = number % 25 == 0
            state = LeaseState.ACTIVE if goes_on else LeaseState.CLOSED
            ledger.put(change, 1, lease(number, state))

    await journal.write(fill)
    shown = await journal.read(lambda view: ledger.newest(view, 3))
    journal.close()
    assert [item.lease.key.lease_id for item in shown] == [
        f"lease-{number}" for number in (0, 25, 47, 48, 49)
    ]


async def test_a_session_begins_with_the_leases_that_lack_an_acknowledgement(
    tmp_path: Path,
) -> None:
    journal = Journal(tmp_path / "journal.sqlite")

    def fill(change: Transaction) -> None:
        for name in ("x", "y"):
            change.execute("INSERT INTO exchanges (exchange_id, enrolment) VALUES (?, x'')", name)
        states = (LeaseState.CLOSED, LeaseState.ACTIVE, LeaseState.ACTIVE, LeaseState.FAILED)
        for number, state in enumerate(states, 1):
            ledger.put(change, 1, replace(lease(number, state), receipt_sequence=2))
            for sequence in (1, 2):
                change.execute("INSERT INTO receipts VALUES (?, ?, 0)", number, sequence)
        change.execute("UPDATE leases SET acked_through = 2 WHERE id = 1")
        change.execute("UPDATE leases SET acked_through = 1 WHERE id = 2")
        ledger.put(change, 2, lease(5, LeaseState.ACTIVE))  # without a receipt yet

    await journal.write(fill)
    told = []
    for exchange in (1, 2):
        cursors = await journal.write(
            lambda change, exchange=exchange: outbox.begin_session(change, exchange)
        )
        told.append([(cursor.lease_id, cursor.sequence) for cursor in cursors.leases])
    journal.close()
    assert told == [[("lease-2", 2), ("lease-3", 2)], []]
