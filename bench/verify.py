"""One receipt verified against a verified checkpoint, against one Ed25519 verification."""

from __future__ import annotations

import hashlib
import json
import statistics
import time
from collections.abc import Callable

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from attest import merkle
from attest.envelope import leaf_hash, payload_type

LEAVES = 100_000  # about three years of one lease's receipts, every 15 minutes
RECEIPT = 800  # bytes
ROUNDS = 41
PASSES = 200


def per_call_us(call: Callable[[], object]) -> float:
    begin = time.perf_counter_ns()
    for _ in range(PASSES):
        call()
    return (time.perf_counter_ns() - begin) / PASSES / 1000


def rows() -> list[dict[str, object]]:
    """One row: leaf hash and inclusion path, timed in turns with the peer: noise hits both."""
    kind = payload_type("Receipt")
    receipt = hashlib.shake_256(b"receipt").digest(RECEIPT)
    index = LEAVES // 3
    nodes: dict[tuple[int, int], bytes] = {}

    def node(level: int, at: int) -> bytes:
        return nodes[level, at]

    for at in range(LEAVES):
        leaf = leaf_hash(kind, receipt) if at == index else hashlib.sha256(b"%d" % at).digest()
        for level, place, value in merkle.completed_nodes(at, leaf, node):
            nodes[level, place] = value
    root = merkle.root(LEAVES, node)
    path = merkle.inclusion_path(index, LEAVES, node)

    key = Ed25519PrivateKey.generate()
    signature, public = key.sign(receipt), key.public_key()

    def ours() -> None:
        merkle.verify_inclusion(leaf_hash(kind, receipt), index, LEAVES, path, root)

    def theirs() -> None:
        public.verify(signature, receipt)

    inclusion, ed25519, ratios = [], [], []
    for _ in range(ROUNDS):
        ed25519.append(per_call_us(theirs))
        inclusion.append(per_call_us(ours))
        ratios.append(inclusion[-1] / ed25519[-1])
    bar = statistics.median(ed25519)
    return [
        {
            "name": "verify",
            "value": round(statistics.median(inclusion), 2),
            "unit": "us",
            "bar": f"<= {bar:.2f}",
            "peer": f"one Ed25519 verification of {RECEIPT} bytes by cryptography",
            "peer_value": round(bar, 2),
            "ratio": round(statistics.median(ratios), 2),
        }
    ]


if __name__ == "__main__":
    for row in rows():
        print(json.dumps(row))
