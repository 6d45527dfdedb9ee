"""The log: rolled back, forked at any size, with a false path, or shown as another's."""

from __future__ import annotations

import pytest

from attest import merkle
from attest.envelope import payload_type, sign
from attest.errors import AttestError, BadSignature, Malformed, Mismatch
from attest.verify import verify_bundle
from tests.fakes.fake_node import FakeNode
from tests.fakes.fake_tpm import FakeTpm


def _node(tail: int = 0) -> FakeNode:
    """The same node each time; `tail` makes the leaves from the fifth on different."""
    node = FakeNode(FakeTpm(), receipts=3)
    for number in range(8):
        node.append("Receipt", node.receipt(100 * tail + 10 + number))
    return node


HONEST, FORK = _node(), _node(1)
SIZE = len(HONEST.leaves)


def _move(
    node: FakeNode,
    old: int,
    new: int,
    path: tuple[bytes, ...] | None = None,
    *,
    seen: FakeNode = HONEST,
) -> None:
    """A witness that saw `seen` at `old` is shown `node` at `new`."""
    made = merkle.consistency_path(old, new, node.read) if path is None and old <= new else path
    witnessed = (old, seen.root(old))
    verify_bundle(node.node, node.log_id, node.note(new), witnessed, made or (), {}, ())


def test_it_grows() -> None:
    for new in range(1, SIZE + 1):
        for old in range(1, new + 1):
            _move(HONEST, old, new)


def test_it_is_rolled_back() -> None:
    """An older, honestly signed note: a restored file or snapshot."""
    for old in range(2, SIZE + 1):
        with pytest.raises(Mismatch, match="shrank"):
            _move(HONEST, old, old - 1)


@pytest.mark.parametrize("new", range(6, SIZE + 1))
def test_it_forks_with_one_predecessor(new: int) -> None:
    """Odd and even sizes, the sizes equal or not: what was witnessed is no prefix of the fork."""
    assert HONEST.log_id == FORK.log_id
    assert HONEST.root(5) == FORK.root(5)
    _move(FORK, 5, new)  # from before the fork nobody can tell
    for old in range(6, new + 1):
        with pytest.raises(Mismatch, match="consistency"):
            _move(FORK, old, new)


def test_a_bad_consistency_path() -> None:
    good = merkle.consistency_path(6, SIZE, HONEST.read)
    for wrong in ((), good[:-1], (*good, good[0]), good[::-1], (bytes(32), *good[1:]), (b"",)):
        with pytest.raises(AttestError, match="consistency"):
            _move(HONEST, 6, SIZE, wrong)


def test_a_path_from_nowhere() -> None:
    with pytest.raises(Malformed, match="never witnessed"):
        verify_bundle(HONEST.node, HONEST.log_id, HONEST.note(), None, (bytes(32),), {}, ())


def test_the_head_of_another_log_or_node() -> None:
    with pytest.raises(Mismatch, match="another log"):
        verify_bundle(HONEST.node, "0" * 64, HONEST.note(), None, (), {}, ())
    stranger = FakeNode(FakeTpm("stranger"))
    with pytest.raises(BadSignature):
        verify_bundle(HONEST.node, HONEST.log_id, stranger.note(), None, (), {}, ())


def test_a_leaf_that_is_not_in_it() -> None:
    wanted = {2: HONEST.leaf(2), 6: HONEST.leaf(6)}
    nodes = merkle.multiproof(wanted, SIZE, HONEST.read)
    note = HONEST.note()
    verify_bundle(HONEST.node, HONEST.log_id, note, None, (), wanted, nodes)
    for leaves in (
        {2: HONEST.leaf(2), 6: FORK.leaf(6)},
        {2: HONEST.leaf(6), 6: HONEST.leaf(2)},
        {2: HONEST.leaf(2)},
        {2: HONEST.leaf(2), 7: HONEST.leaf(6)},
        {2: HONEST.leaf(2), SIZE: HONEST.leaf(6)},
        {},
    ):
        with pytest.raises(AttestError, match="inclusion"):
            verify_bundle(HONEST.node, HONEST.log_id, note, None, (), leaves, nodes)


def test_an_inner_node_poses_as_a_leaf() -> None:
    """Leaves are hashed with 00 and nodes with 01: no payload hashes to a node."""
    pair = merkle.hash_children(HONEST.leaf(0), HONEST.leaf(1))
    forged = sign(payload_type("Receipt"), HONEST.leaf(0) + HONEST.leaf(1), HONEST.envelope_key)
    assert HONEST.read(1, 0) == pair
    index = FORK.append_envelope(forged)
    assert FORK.leaf(index) != pair
