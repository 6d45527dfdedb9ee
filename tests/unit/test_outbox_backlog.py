"""A long backlog costs what is new in it, not what was sent before."""

from __future__ import annotations

from pathlib import Path

from agent.exchange import outbox
from agent.journal.store import Journal, Transaction, View
from tests.fakes.sqlite_steps import steps

LEAVES = 5000


async def test_what_was_sent_is_not_walked_again(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.sqlite")

    def fill(change: Transaction) -> None:
        change.execute("INSERT INTO exchanges (exchange_id, enrolment) VALUES ('x', x'')")
        change.append_many([(b"envelope", bytes(32))] * LEAVES, [1])
        change.execute("INSERT INTO checkpoints VALUES (1, ?, x'00', 0)", LEAVES)

    await journal.write(fill)
    taken = []
    for sent in (10, LEAVES - 1):

        def bundle(view: View, sent: int = sent) -> None:
            assert outbox.bundle(view, 1, 0, sent) is None, "leaves are ahead of the head"

        taken.append(await journal.read(lambda view, query=bundle: steps(view, query)))
    early, late = taken
    journal.close()
    assert late <= early + 5
