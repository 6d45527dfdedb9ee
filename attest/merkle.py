"""The Merkle tree of RFC 9162, section 2.1, over SHA-256. Pure.

The prover reads the tree through a `NodeReader`: `node(level, index)` is the hash of the perfect
subtree of 2**level leaves that starts at leaf `index << level`. The verifier needs no tree.
Leaves are hashes already (`envelope.leaf_hash`).
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence

from attest.errors import Malformed, Mismatch

NodeReader = Callable[[int, int], bytes]
HASH_SIZE = 32
MAX_SIZE = 2**63 - 1
EMPTY_ROOT = hashlib.sha256(b"").digest()

_sha256 = hashlib.sha256


def hash_children(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node: SHA-256(0x01 || left || right)."""
    return _sha256(b"\x01" + left + right).digest()


def completed_nodes(size: int, leaf: bytes, node: NodeReader) -> list[tuple[int, int, bytes]]:
    """What appending `leaf` to a tree of `size` leaves completes: (level, index, hash), leaf first.

    Storing these and nothing else makes every perfect subtree readable.
    """
    level, index, current = 0, size, leaf
    completed = [(level, index, current)]
    while index & 1:
        current = hash_children(node(level, index - 1), current)
        level, index = level + 1, index >> 1
        completed.append((level, index, current))
    return completed


def root(size: int, node: NodeReader) -> bytes:
    """The root of the first `size` leaves."""
    return _range_hash(0, size, node) if size else EMPTY_ROOT


def inclusion_path(index: int, size: int, node: NodeReader) -> tuple[bytes, ...]:
    """PATH(index, D[size]), lowest sibling first (RFC 9162 2.1.3.1).

    :raises Malformed: when the tree has no such leaf.
    """
    _check_index(index, size)
    path: list[bytes] = []
    low, high = 0, size
    while high - low > 1:
        middle = low + _split(high - low)
        if index < middle:
            path.append(_range_hash(middle, high, node))
            high = middle
        else:
            path.append(_range_hash(low, middle, node))
            low = middle
    return tuple(reversed(path))


def consistency_path(old: int, new: int, node: NodeReader) -> tuple[bytes, ...]:
    """PROOF(old, D[new]) (RFC 9162 2.1.4.1); empty for equal sizes and from the empty tree.

    :raises Malformed: when `old` is larger than `new`.
    """
    if not 0 <= old <= new <= MAX_SIZE:
        raise Malformed(f"a tree of {new} leaves was never one of {old}")
    path: list[bytes] = []
    low, high = 0, new
    if old in (0, new):
        return ()
    while high != old:
        middle = low + _split(high - low)
        if old <= middle:
            path.append(_range_hash(middle, high, node))
            high = middle
        else:
            path.append(_range_hash(low, middle, node))
            low = middle
    if low:  # the old tree is not one perfect subtree: its last part is not known from its root
        path.append(_range_hash(low, high, node))
    return tuple(reversed(path))


def multiproof(indices: Iterable[int], size: int, node: NodeReader) -> tuple[bytes, ...]:
    """What `verify_multiproof` needs beside the leaves at `indices`: each node once, left to right.

    A node stands for the largest subtree that holds none of them. No index, no node.

    :raises Malformed: when the tree has no such leaf.
    """
    wanted = sorted(set(indices))
    if not wanted:
        return ()
    _check_index(wanted[0], size)
    _check_index(wanted[-1], size)
    nodes: list[bytes] = []

    def walk(low: int, high: int, first: int, last: int) -> None:
        if first == last:
            nodes.append(_range_hash(low, high, node))
        elif last - first < high - low:  # else every leaf of it is given, and no node is needed
            middle = low + _split(high - low)
            between = bisect_left(wanted, middle, first, last)
            walk(low, middle, first, between)
            walk(middle, high, between, last)

    walk(0, size, 0, len(wanted))
    return tuple(nodes)


def verify_inclusion(
    leaf: bytes, index: int, size: int, path: Sequence[bytes], root: bytes
) -> None:
    """Check that `leaf` is the leaf at `index` of the tree of `size` with this root (2.1.3.2).

    :raises Mismatch: when it is not. :raises Malformed: for a path of the wrong shape.
    """
    if not 0 <= index < size <= MAX_SIZE:
        raise Malformed(f"a tree of {size} leaves has no leaf {index}")
    current, position, last = leaf, index, size - 1
    for sibling in path:
        if len(sibling) != HASH_SIZE:
            raise Malformed(f"a node of {len(sibling)} bytes in an inclusion path")
        if not last:
            raise Malformed(f"an inclusion path of {len(path)} nodes is too long")
        if position & 1:
            current = _sha256(b"\x01" + sibling + current).digest()
        elif position == last:  # no sibling on these levels: the right edge of the tree
            shift = (position & -position).bit_length() - 1
            position >>= shift
            last >>= shift
            current = _sha256(b"\x01" + sibling + current).digest()
        else:
            current = _sha256(b"\x01" + current + sibling).digest()
        position >>= 1
        last >>= 1
    if last:
        raise Malformed(f"an inclusion path of {len(path)} nodes is too short")
    if current != root:
        raise Mismatch(f"the path from leaf {index} does not lead to the root")


def verify_consistency(
    old_size: int, old_root: bytes, new_size: int, new_root: bytes, path: Sequence[bytes]
) -> None:
    """Check that the new tree begins with the old one (RFC 9162 2.1.4.2).

    :raises Mismatch: when it does not. :raises Malformed: for a path of the wrong shape.
    """
    if not 0 <= old_size <= new_size <= MAX_SIZE:
        raise Mismatch(f"the tree shrank from {old_size} to {new_size} leaves")
    _check_nodes(path)
    if old_size in (0, new_size):
        if path:
            raise Malformed("a consistency path where none is needed")
        if old_root != (new_root if old_size else EMPTY_ROOT):
            raise Mismatch(f"two different roots of {old_size} leaves")
        return
    nodes = list(path)
    position, last = old_size - 1, new_size - 1
    if old_size & (old_size - 1) == 0:  # the old root is itself the first node
        nodes.insert(0, old_root)
    if not nodes:
        raise Malformed("an empty consistency path")
    while position & 1:
        position >>= 1
        last >>= 1
    old = new = nodes[0]
    for sibling in nodes[1:]:
        if not last:
            raise Malformed(f"a consistency path of {len(path)} nodes is too long")
        if position & 1 or position == last:
            old = hash_children(sibling, old)
            new = hash_children(sibling, new)
            while position and not position & 1:
                position >>= 1
                last >>= 1
        else:
            new = hash_children(new, sibling)
        position >>= 1
        last >>= 1
    if last:
        raise Malformed(f"a consistency path of {len(path)} nodes is too short")
    if old != old_root:
        raise Mismatch(f"the consistency path does not lead to the old root of {old_size} leaves")
    if new != new_root:
        raise Mismatch(f"the consistency path does not lead to the new root of {new_size} leaves")


def verify_multiproof(
    leaves: Mapping[int, bytes], size: int, nodes: Sequence[bytes], root: bytes
) -> None:
    """Check that all `leaves` (index -> hash) are in the tree of `size` with this root.

    :raises Mismatch: when they are not. :raises Malformed: for too few or too many nodes.
    """
    _check_nodes(nodes)
    indices = sorted(leaves)
    if not indices:
        if nodes:
            raise Malformed("an inclusion proof of nothing")
        return
    _check_index(indices[0], size)
    _check_index(indices[-1], size)
    given = iter(nodes)

    def fold(low: int, high: int, first: int, last: int) -> bytes:
        """The hash of leaves [low, high), of which `indices[first:last]` are known; depth <= 63."""
        if first == last:
            known = next(given, None)
            if known is None:
                raise Malformed("a multiproof with nodes missing")
            return known
        if high - low == 1:
            return leaves[low]
        middle = low + _split(high - low)
        between = bisect_left(indices, middle, first, last)
        left = fold(low, middle, first, between)
        return _sha256(b"\x01" + left + fold(middle, high, between, last)).digest()

    if fold(0, size, 0, len(indices)) != root:
        raise Mismatch("the multiproof does not lead to the root")
    if next(given, None) is not None:
        raise Malformed("a multiproof with nodes to spare")


def _split(width: int) -> int:
    """The largest power of two smaller than `width` (> 1)."""
    return 1 << ((width - 1).bit_length() - 1)


def _range_hash(low: int, high: int, node: NodeReader) -> bytes:
    """The hash of leaves [low, high); `low` is a multiple of the largest power of two inside."""
    parts = []
    while low < high:
        level = (high - low).bit_length() - 1
        parts.append(node(level, low >> level))
        low += 1 << level
    current = parts.pop()
    while parts:
        current = hash_children(parts.pop(), current)
    return current


def _check_index(index: int, size: int) -> None:
    if not 0 <= index < size <= MAX_SIZE:
        raise Malformed(f"a tree of {size} leaves has no leaf {index}")


def _check_nodes(nodes: Sequence[bytes]) -> None:
    for each in nodes:
        if len(each) != HASH_SIZE:
            raise Malformed(f"a node of {len(each)} bytes in a proof")
