"""A long backlog costs what is new in it, not what was sent before."""

from __future__ import annotations

from pathlib import Path

from agent.exchange import outbox
from agent.journal.store import Journal, Transaction, View

LEAVES = 5000


def steps(view: View, sent: int) -> int:
    """SQLite's virtual machine steps, in tens, to find that leaves are ahead of a head."""
    taken = 0

    def count() -> int:
        nonlocal taken
        taken += 1
        return 0

    view.connection.set_progress_handler(count, 10)
    assert outbox.bundle(view, 1, 0, sent) is None
    view.connection.set_progress_handler(None, 0)
    return taken


async def test_what_was_sent_is_not_walked_again(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.sqlite")

    def fill(change: Transaction) -> None:
        change.execute("INSERT INTO exchanges (exchange_id, enrolment) VALUES ('x', x'')")
        change.append_many([(b"envelope", bytes(32))] * LEAVES, [1])
        change.execute("INSERT INTO checkpoints VALUES (1, ?, x'00', 0)", LEAVES)

    await journal.write(fill)
    early = await journal.read(lambda view: steps(view, 10))
    late = await journal.read(lambda view: steps(view, LEAVES - 1))
    journal.close()
    assert late <= early + 5
