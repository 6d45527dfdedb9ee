"""What is kept of the rail: payments heard, since when it is down, what it warns of."""

from __future__ import annotations

from agent.journal.store import Transaction, View


def pay_index(view: View) -> int:
    """How far payments to the node were entered."""
    row = view.one("SELECT pay_index FROM rail")
    return int(row[0]) if row else 0


def place(view: View) -> str | None:
    """Which rail that was, and where; None before the first."""
    where = view.meta("rail")
    return None if where is None else where.decode()


def listen(change: Transaction, where: str) -> None:
    """Begin with another rail or node, which counts its payments from the first on."""
    if place(change) is not None:
        change.execute("UPDATE rail SET pay_index = 0")
    change.set_meta("rail", where.encode())


def heard(change: Transaction, index: int) -> None:
    """Note how far, in the transaction that enters the payment."""
    change.execute("UPDATE rail SET pay_index = max(pay_index, ?)", index)


def down(change: Transaction, unix_ns: int, error: str) -> None:
    """Note that the rail does not answer, and since when."""
    change.execute(
        "UPDATE rail SET error = ?, down_since_ns = iif(down_since_ns = 0, ?, down_since_ns)",
        error[:500],
        unix_ns,
    )


def up(change: Transaction) -> None:
    """Note that it answers."""
    change.execute("UPDATE rail SET error = '', down_since_ns = 0")


def said(view: View) -> bool:
    """Whether anything is kept that a rail suffered from."""
    return view.one("SELECT 1 FROM rail WHERE down_since_ns OR error || warnings != ''") is not None


def none(change: Transaction) -> None:
    """Note that there is no rail; how far payments were heard stays."""
    change.execute("UPDATE rail SET error = '', down_since_ns = 0, warnings = ''")


def warns(change: Transaction, warnings: str) -> None:
    """Keep what its node warns of, a line each."""
    change.execute("UPDATE rail SET warnings = ?", warnings[:2000])
