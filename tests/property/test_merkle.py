"""The tree against RFC 9162 2.1 written down naively, for every small size and drawn large ones."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attest import merkle
from attest.errors import AttestError

SIZES = range(71)
LEAVES = [hashlib.sha256(b"leaf %d" % i).digest() for i in range(600)]


def _k(n: int) -> int:
    k = 1
    while k * 2 < n:
        k *= 2
    return k


def mth(leaves: Sequence[bytes]) -> bytes:
    """MTH(D[n]) over leaf hashes."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    k = _k(len(leaves))
    return hashlib.sha256(b"\x01" + mth(leaves[:k]) + mth(leaves[k:])).digest()


def path(m: int, leaves: Sequence[bytes]) -> list[bytes]:
    """PATH(m, D[n])."""
    if len(leaves) == 1:
        return []
    k = _k(len(leaves))
    if m < k:
        return [*path(m, leaves[:k]), mth(leaves[k:])]
    return [*path(m - k, leaves[k:]), mth(leaves[:k])]


def proof(m: int, leaves: Sequence[bytes]) -> list[bytes]:
    """PROOF(m, D[n])."""
    return subproof(m, leaves, True)


def subproof(m: int, leaves: Sequence[bytes], whole: bool) -> list[bytes]:
    n = len(leaves)
    if m == n:
        return [] if whole else [mth(leaves)]
    k = _k(n)
    if m <= k:
        return [*subproof(m, leaves[:k], whole), mth(leaves[k:])]
    return [*subproof(m - k, leaves[k:], False), mth(leaves[:k])]


def multi(indices: Sequence[int], low: int, leaves: Sequence[bytes]) -> list[bytes]:
    """The largest subtrees without a wanted leaf, left to right."""
    inside = [i for i in indices if low <= i < low + len(leaves)]
    if not inside:
        return [mth(leaves)]
    if len(leaves) == 1:
        return []
    k = _k(len(leaves))
    return [*multi(inside, low, leaves[:k]), *multi(inside, low + k, leaves[k:])]


@pytest.fixture(scope="module")
def node() -> merkle.NodeReader:
    stored: dict[tuple[int, int], bytes] = {}

    def read(level: int, index: int) -> bytes:
        return stored[level, index]

    for size, leaf in enumerate(LEAVES):
        for level, index, value in merkle.completed_nodes(size, leaf, read):
            assert (level, index) not in stored
            stored[level, index] = value
    return read


def test_roots(node: merkle.NodeReader) -> None:
    for size in [*SIZES, 255, 256, 257, 600]:
        assert merkle.root(size, node) == mth(LEAVES[:size])
    assert mth([]) == merkle.EMPTY_ROOT


def test_the_known_answer_of_certificate_transparency() -> None:
    """Seven leaves of the CT reference implementation (merkletree test vectors)."""
    contents = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657"]
    leaves = [hashlib.sha256(b"\x00" + bytes.fromhex(each)).digest() for each in contents]
    stored: dict[tuple[int, int], bytes] = {}
    for size, leaf in enumerate(leaves):
        for level, index, value in merkle.completed_nodes(size, leaf, lambda a, b: stored[a, b]):
            stored[level, index] = value
    assert merkle.root(7, lambda a, b: stored[a, b]).hex() == (
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c"
    )


def test_inclusion_at_every_place(node: merkle.NodeReader) -> None:
    for size in SIZES[1:]:
        root = mth(LEAVES[:size])
        for index in range(size):
            made = merkle.inclusion_path(index, size, node)
            assert list(made) == path(index, LEAVES[:size])
            merkle.verify_inclusion(LEAVES[index], index, size, made, root)


def test_consistency_between_every_two_sizes(node: merkle.NodeReader) -> None:
    for new in SIZES:
        for old in range(new + 1):
            made = merkle.consistency_path(old, new, node)
            if old:
                assert list(made) == proof(old, LEAVES[:new])
            merkle.verify_consistency(old, mth(LEAVES[:old]), new, mth(LEAVES[:new]), made)


@given(st.integers(1, 600), st.data())
def test_multiproofs(node: merkle.NodeReader, size: int, data: st.DataObject) -> None:
    indices = sorted(data.draw(st.sets(st.integers(0, size - 1), max_size=40)))
    made = merkle.multiproof(indices, size, node)
    assert list(made) == (multi(indices, 0, LEAVES[:size]) if indices else [])
    leaves = {index: LEAVES[index] for index in indices}
    merkle.verify_multiproof(leaves, size, made, merkle.root(size, node))


def _refused(call: Callable[[], None]) -> bool:
    try:
        call()
    except AttestError:
        return True
    return False


def test_no_other_place_root_or_leaf(node: merkle.NodeReader) -> None:
    for size in range(1, 24):
        root = mth(LEAVES[:size])
        for index in range(size):
            made = merkle.inclusion_path(index, size, node)
            for other in range(size):
                if other != index:
                    assert _refused(
                        lambda o=other, s=size, p=made, r=root, i=index: merkle.verify_inclusion(
                            LEAVES[i], o, s, p, r
                        )
                    )
            for changed in ([*made, bytes(32)], made[:-1]) if made else ([bytes(32)],):
                with pytest.raises(AttestError):
                    merkle.verify_inclusion(LEAVES[index], index, size, changed, root)
            with pytest.raises(AttestError):
                merkle.verify_inclusion(LEAVES[index + 1], index, size, made, root)


@given(st.integers(1, 300), st.integers(0, 300), st.data())
def test_a_changed_consistency_path_is_refused(
    node: merkle.NodeReader, old: int, more: int, data: st.DataObject
) -> None:
    new = old + more
    made = list(merkle.consistency_path(old, new, node))
    roots = merkle.root(old, node), merkle.root(new, node)
    if made:
        at = data.draw(st.integers(0, len(made) - 1))
        bit = data.draw(st.integers(0, 255))
        flipped = int.from_bytes(made[at], "big") ^ (1 << bit)
        changed = [*made[:at], flipped.to_bytes(32, "big"), *made[at + 1 :]]
        assert _refused(lambda: merkle.verify_consistency(old, roots[0], new, roots[1], changed))
        assert _refused(lambda: merkle.verify_consistency(old, roots[0], new, roots[1], made[:-1]))
    assert _refused(
        lambda: merkle.verify_consistency(old, roots[0], new, roots[1], [*made, bytes(32)])
    )
    assert _refused(lambda: merkle.verify_consistency(old, bytes(32), new, roots[1], made))
    assert _refused(lambda: merkle.verify_consistency(old, roots[0], new, bytes(32), made))


@given(st.integers(1, 300), st.data())
def test_a_changed_multiproof_is_refused(
    node: merkle.NodeReader, size: int, data: st.DataObject
) -> None:
    indices = data.draw(st.sets(st.integers(0, size - 1), min_size=1, max_size=20))
    leaves = {index: LEAVES[index] for index in indices}
    root = merkle.root(size, node)
    made = merkle.multiproof(indices, size, node)
    changed_leaf = {**leaves, min(indices): bytes(32)}
    assert _refused(lambda: merkle.verify_multiproof(changed_leaf, size, made, root))
    assert _refused(lambda: merkle.verify_multiproof(leaves, size, (*made, bytes(32)), root))
    if made:
        assert _refused(lambda: merkle.verify_multiproof(leaves, size, made[:-1], root))
        assert _refused(
            lambda: merkle.verify_multiproof(leaves, size, (bytes(32), *made[1:]), root)
        )


@given(
    st.integers(-2, 2**65),
    st.integers(-2, 2**65),
    st.lists(st.binary(max_size=40), max_size=70),
    st.dictionaries(st.integers(-2, 2**64), st.binary(max_size=33), max_size=4),
)
def test_only_typed_errors_escape(
    first: int, second: int, nodes: list[bytes], leaves: dict[int, bytes]
) -> None:
    for call in (
        lambda: merkle.verify_inclusion(bytes(32), first, second, nodes, bytes(32)),
        lambda: merkle.verify_consistency(first, bytes(32), second, bytes(32), nodes),
        lambda: merkle.verify_multiproof(leaves, second, nodes, bytes(32)),
    ):
        assert _refused(call) or not nodes


def test_the_empty_multiproof_shows_nothing() -> None:
    merkle.verify_multiproof({}, 5, (), bytes(32))
    with pytest.raises(AttestError):
        merkle.verify_multiproof({}, 5, (bytes(32),), bytes(32))
