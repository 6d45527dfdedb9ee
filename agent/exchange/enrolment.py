"""What is kept of an enrolment. Everything but the TLS key, which is a file of its own."""

from __future__ import annotations

import msgspec

from agent.journal.store import Transaction, View


class Enrolment(msgspec.Struct, frozen=True):
    """One exchange as it introduced itself, and what it certified; DER where bytes."""

    exchange_id: str
    display_name: str
    enrol_endpoint: str
    session_endpoint: str
    statement_spki: tuple[bytes, ...]
    session_ca: tuple[bytes, ...]
    tls_chain: tuple[bytes, ...]
    ak_chain: tuple[bytes, ...]  # leaf first, ends in the exchange's CA
    assurance: int  # hearth.v1.AssuranceClass
    issue_ns: int  # when it was certified, and until when; wall clock
    expire_ns: int


def known(view: View) -> list[tuple[int, Enrolment]]:
    """All enrolments with their rows, oldest first."""
    rows = view.all("SELECT id, enrolment FROM exchanges ORDER BY id")
    return [(int(row[0]), msgspec.msgpack.decode(row[1], type=Enrolment)) for row in rows]


def keep(change: Transaction, enrolment: Enrolment) -> tuple[int, Enrolment | None]:
    """Write an enrolment; enrolling again renews it and keeps all cursors.

    Returns its row, and the enrolment that it takes the place of.
    """
    before = change.one(
        "SELECT enrolment FROM exchanges WHERE exchange_id = ?", enrolment.exchange_id
    )
    change.execute(
        "INSERT INTO exchanges (exchange_id, enrolment) VALUES (?, ?)"
        " ON CONFLICT (exchange_id) DO UPDATE SET enrolment = excluded.enrolment",
        enrolment.exchange_id,
        msgspec.msgpack.encode(enrolment),
    )
    row = change.one("SELECT id FROM exchanges WHERE exchange_id = ?", enrolment.exchange_id)
    replaced = None if before is None else msgspec.msgpack.decode(before[0], type=Enrolment)
    return (int(row[0]) if row else 0), replaced
