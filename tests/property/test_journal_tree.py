"""The stored tree against RFC 9162 written down naively, after any mix of changes and failures."""

from __future__ import annotations

import hashlib
import sqlite3
import tempfile
from collections.abc import Sequence
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from agent.errors import JournalError
from agent.journal.store import Journal, Transaction, View
from attest import merkle


def naive(leaves: Sequence[bytes]) -> bytes:
    """MTH(D[n]) (RFC 9162 2.1.1) over leaf hashes."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return hashlib.sha256(b"\x01" + naive(leaves[:k]) + naive(leaves[k:])).digest()


def leaf(number: int) -> tuple[bytes, bytes]:
    return b"%d" % number, hashlib.sha256(b"leaf %d" % number).digest()


CHANGES = st.lists(
    st.tuples(
        st.sampled_from(["append", "append_many", "both", "fails", "full"]), st.integers(1, 40)
    ),
    max_size=15,
)


class NotToday(Exception):
    """Whatever makes a change fail."""


def apply(journal: Journal, kind: str, first: int, count: int) -> bool:
    """Run one change of `count` leaves; whether it stands."""
    fresh = [leaf(first + place) for place in range(count)]

    def change(to: Transaction) -> int:
        if kind == "append_many":
            return to.append_many(fresh)
        half = count // 2 if kind == "both" else 0
        if half:
            to.append_many(fresh[:half])
        for one in fresh[half:]:
            to.append(*one)
        if kind == "fails":
            raise NotToday
        if kind == "full":
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise error
        return first

    future = journal.submit(change)
    failure = future.exception(10)
    if failure is None:
        return True
    assert isinstance(failure, NotToday if kind == "fails" else JournalError)
    return False


@settings(max_examples=60, deadline=None)
@given(CHANGES, st.data())
def test_the_tree_is_the_naive_one(changes: list[tuple[str, int]], data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as directory:
        journal = Journal(Path(directory) / "journal.sqlite")
        leaves: list[bytes] = []
        roots = {0: naive([])}
        for kind, count in changes:
            if apply(journal, kind, len(leaves), count):
                leaves += [leaf(len(leaves) + place)[1] for place in range(count)]
            roots[len(leaves)] = naive(leaves)
        view = View(journal._reader)
        size = view.size()
        assert size == len(leaves)
        for at, root in roots.items():
            assert view.root(at) == root
        if size:
            proofs(view, leaves, roots, data)
        journal.close()


def proofs(view: View, leaves: list[bytes], roots: dict[int, bytes], data: st.DataObject) -> None:
    size = len(leaves)
    index = data.draw(st.integers(0, size - 1))
    path = merkle.inclusion_path(index, size, view.node)
    merkle.verify_inclusion(leaves[index], index, size, path, roots[size])
    old = data.draw(st.sampled_from([at for at in roots if at]))
    consistent = merkle.consistency_path(old, size, view.node)
    merkle.verify_consistency(old, roots[old], size, roots[size], consistent)
    some = data.draw(st.sets(st.integers(0, size - 1), max_size=10))
    nodes = merkle.multiproof(some, size, view.node)
    merkle.verify_multiproof({at: leaves[at] for at in some}, size, nodes, roots[size])
