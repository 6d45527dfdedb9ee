"""proto/vectors: our code answers each as its README says, and the script makes the same ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from attest import checkpoint, envelope, merkle
from attest.envelope import Envelope, Signature
from attest.errors import AttestError
from attest.verify import TrustedNode, appraise, verify_proof
from tests.golden.make_vectors import VECTORS, made

Case = dict[str, Any]
_hex = bytes.fromhex


def _read(name: str) -> Any:
    return json.loads((VECTORS / name).read_bytes())


def _dsse(case: Case) -> None:
    signatures = tuple(
        Signature(_hex(by["key_id"]), by["algorithm"], _hex(by["signature"]))
        for by in case["signatures"]
    )
    kind, payload = case["payload_type"], _hex(case["payload"])
    assert envelope.pae(kind, payload).hex() == case["pae"]
    assert envelope.leaf_hash(kind, payload).hex() == case["leaf_hash"]
    envelope.verify(Envelope(kind, payload, signatures), _hex(case["spki"]))


def _inclusion(case: Case) -> None:
    path = [_hex(each) for each in case["path"]]
    place = case["leaf_index"], case["tree_size"]
    merkle.verify_inclusion(_hex(case["leaf"]), *place, path, _hex(case["root"]))


def _consistency(case: Case) -> None:
    merkle.verify_consistency(
        case["old_size"],
        _hex(case["old_root"]),
        case["new_size"],
        _hex(case["new_root"]),
        [_hex(each) for each in case["path"]],
    )


def _multiproof(case: Case) -> None:
    leaves = dict(zip(case["leaf_indices"], map(_hex, case["leaves"]), strict=True))
    nodes = [_hex(each) for each in case["nodes"]]
    merkle.verify_multiproof(leaves, case["tree_size"], nodes, _hex(case["root"]))


def _checkpoint(case: Case) -> None:
    head = checkpoint.verify(case["note"].encode(), _hex(case["spki"]))
    assert (head.origin, head.size) == (case["origin"], case["size"])
    assert head.root.hex() == case["root"]


def _evidence(case: Case) -> None:
    node = TrustedNode(case["node_id"], _hex(case["ak_public"]), _hex(case["software_spki"]))
    appraise(
        _hex(case["evidence"]),
        node,
        case["exchange_id"],
        _hex(case["nonce"]),
        case["required_pcrs"],
    )


CASES = [
    *((_dsse, case) for case in _read("dsse.json")),
    *((_inclusion, case) for case in _read("merkle.json")["inclusion"]),
    *((_consistency, case) for case in _read("merkle.json")["consistency"]),
    *((_multiproof, case) for case in _read("merkle.json")["multiproof"]),
    *((_checkpoint, case) for case in _read("checkpoint.json")),
    *((_evidence, case) for case in _read("evidence.json")),
]


@pytest.mark.parametrize(
    ("check", "case"), CASES, ids=[f"{check.__name__[1:]}: {case['name']}" for check, case in CASES]
)
def test_a_vector(check: Callable[[Case], None], case: Case) -> None:
    if case["holds"]:
        check(case)
    else:
        with pytest.raises(AttestError):
            check(case)


@pytest.mark.parametrize("case", _read("proofs.json"), ids=lambda case: case["file"])
def test_a_proof_file(case: Case) -> None:
    file = (VECTORS / case["file"]).read_bytes()
    roots = [_hex(each) for each in case["pinned"]]
    if case["exit_code"] == 1:
        with pytest.raises(AttestError) as caught:
            verify_proof(file, roots)
        assert caught.value.exit_code == 1
        assert str(caught.value).startswith(case["part"])
        assert case["part"]
    else:
        assert bool(verify_proof(file, roots).pinned_by) == (case["exit_code"] == 0)


def test_every_kind_is_there() -> None:
    listed = {path.relative_to(VECTORS).as_posix() for path in VECTORS.rglob("*.json")}
    assert listed >= set(made())
    holds = [case["holds"] for _, case in CASES]
    assert True in holds
    assert False in holds
    assert {case["exit_code"] for case in _read("proofs.json")} == {0, 1, 3}


def test_the_script_makes_them_again() -> None:
    for path, content in made().items():
        assert (VECTORS / path).read_bytes() == content, f"{path}: make_vectors.py writes another"
