"""proto/examples/verify.mjs answers as `attest.verify` does, file by file."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from attest.errors import AttestError
from attest.formats import ProofFile, proof_to_json
from attest.verify import verify_proof
from tests.fakes.fake_ca import EKU_EK
from tests.fakes.fake_node import EXCHANGES, FakeNode
from tests.fakes.fake_tpm import FakeTpm

PROTO = Path(__file__).parents[2] / "proto"
SCRIPT = PROTO / "examples" / "verify.mjs"
VECTORS = json.loads((PROTO / "vectors" / "proofs.json").read_text())
NODE = shutil.which("node") or shutil.which("nodejs")
# One process for many files: a start of Node takes longer than a hundred verifications.
MANY = """
import { readFileSync } from 'node:fs';
const [script, trusted, ...files] = process.argv.slice(1);
const { verify } = await import(script);
const answer = (file) => {
  try {
    return verify(readFileSync(file), new Set([trusted])).pinned.length ? 0 : 3;
  } catch (error) {
    return error.constructor.name === 'Refused' ? 1 : String(error.stack);
  }
};
console.log(JSON.stringify(files.map(answer)));
"""

pytestmark = pytest.mark.skipif(
    NODE is None, reason="Node.js is not installed: the verifier in another language did not run"
)


def _node(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    assert NODE
    return subprocess.run(
        [NODE, *arguments], capture_output=True, text=True, check=False, timeout=120
    )


def _by_python(content: bytes, root: bytes) -> int:
    try:
        return 0 if verify_proof(content, [root]).pinned_by else 3
    except AttestError:
        return 1


def _by_javascript(contents: list[bytes], root: bytes, folder: Path) -> list[object]:
    files = []
    for number, content in enumerate(contents):
        files.append(folder / f"{number}.json")
        files[-1].write_bytes(content)
    fingerprint = hashlib.sha256(root).hexdigest()
    done = _node("--input-type=module", "-e", MANY, SCRIPT.as_uri(), fingerprint, *files)
    assert done.returncode == 0, done.stderr
    answers: list[object] = json.loads(done.stdout)
    return answers


@pytest.fixture(scope="module", params=["tpm", "software"])
def host(request: pytest.FixtureRequest) -> FakeNode:
    return FakeNode(FakeTpm() if request.param == "tpm" else None)


def test_it_exits_with_0_under_a_pinned_ca_and_with_3_under_none(
    host: FakeNode, tmp_path: Path
) -> None:
    file, ca = tmp_path / "proof.json", tmp_path / "ca.der"
    file.write_bytes(proof_to_json(host.proof()))
    ca.write_bytes(EXCHANGES[0].der)
    pinned = _node(SCRIPT, file, ca)
    assert (pinned.returncode, pinned.stderr) == (0, "")
    assert host.node_id in pinned.stdout
    assert _node(SCRIPT, file).returncode == 3
    file.write_bytes(file.read_bytes() + b" ")
    refused = _node(SCRIPT, file, ca)
    assert refused.returncode == 1
    assert "canonical" in refused.stderr


@pytest.mark.parametrize("case", VECTORS, ids=[Path(case["file"]).stem for case in VECTORS])
def test_it_answers_as_the_vectors_say(case: dict[str, Any], tmp_path: Path) -> None:
    pinned = []
    for number, der in enumerate(case["pinned"]):
        pinned.append(tmp_path / f"{number}.der")
        pinned[-1].write_bytes(bytes.fromhex(der))
    done = _node(SCRIPT, PROTO / "vectors" / case["file"], *pinned)
    assert done.returncode == case["exit_code"], done.stderr
    assert done.stderr.startswith("refused: ") is (case["exit_code"] == 1)


def test_one_changed_character_anywhere_is_refused(host: FakeNode, tmp_path: Path) -> None:
    content = proof_to_json(host.proof())
    chosen = random.Random(20_261)
    changed = []
    for at in chosen.sample(range(len(content)), 400):
        other = chosen.choice([byte for byte in b'AZaz09_-",:{}[]\\ ' if byte != content[at]])
        changed.append(content[:at] + bytes([other]) + content[at + 1 :])
    root = EXCHANGES[0].der
    assert [_by_python(each, root) for each in changed] == [1] * len(changed)
    assert _by_javascript(changed, root, tmp_path) == [1] * len(changed)


def _variants(host: FakeNode) -> dict[str, ProofFile]:
    """Files that are canonical, and true, unpinned or false in one way each."""
    whole = host.proof()
    spki, node = host.root_key.spki, host.node_id
    klass = "virtual-tpm" if host.tpm else "software"
    other = FakeNode(FakeTpm("another") if host.tpm else None, seed="another").proof()

    def chains(**wish: object) -> tuple[tuple[bytes, ...], ...]:
        return (EXCHANGES[0].ak_chain(spki, node, klass, **wish),)  # type: ignore[arg-type]  # by name

    first, second = whole.ak_certificates
    return {
        "as made": whole,
        "the first leaf": host.proof(0),
        "the key binding itself": host.proof(host.binding),
        "no certificate": replace(whole, ak_certificates=()),
        "one chain": replace(whole, ak_certificates=(first,)),
        "the other chain": replace(whole, ak_certificates=(second,)),
        "chains in the other order": replace(whole, ak_certificates=(second, first)),
        "one chain twice": replace(whole, ak_certificates=(first, first)),
        "no CA at the end": replace(whole, ak_certificates=(first[:1],)),
        "an EK certificate's usage": replace(whole, ak_certificates=chains(usages=(EKU_EK,))),
        "a CA's certificate": replace(whole, ak_certificates=chains(ca=True)),
        "four URIs": replace(
            whole,
            ak_certificates=chains(uris=(f"urn:hearth:node:{node}", "a:", "b:", "c:")),
        ),
        "a root of trust too many": replace(whole, ak_public=b"ak", software_spki=b"spki"),
        "no root of trust": replace(whole, ak_public=b"", software_spki=b""),
        "another node's root of trust": replace(
            whole, ak_public=other.ak_public, software_spki=other.software_spki
        ),
        "another node's note": replace(whole, note=other.note),
        "another node's binding": replace(whole, key_binding=other.key_binding),
        "another node's statement": replace(whole, statement=other.statement),
        "another receipt": replace(whole, statement=host.leaves[host.receipts[0]]),
        "no signature": replace(whole, statement=replace(whole.statement, signatures=())),
        "two signatures": replace(
            whole, statement=replace(whole.statement, signatures=whole.statement.signatures * 2)
        ),
        "another type": replace(
            whole,
            statement=replace(
                whole.statement, payload_type=whole.statement.payload_type.replace("Rec", "rec")
            ),
        ),
        "another index": replace(
            whole, statement_inclusion=replace(whole.statement_inclusion, leaf_index=3)
        ),
        "another size": replace(
            whole, statement_inclusion=replace(whole.statement_inclusion, tree_size=7)
        ),
        "a longer path": replace(
            whole,
            statement_inclusion=replace(
                whole.statement_inclusion, path=(*whole.statement_inclusion.path, bytes(32))
            ),
        ),
        "a shorter path": replace(
            whole,
            statement_inclusion=replace(
                whole.statement_inclusion, path=whole.statement_inclusion.path[:-1]
            ),
        ),
    }


def test_both_verifiers_give_one_answer_to_each_canonical_file(
    host: FakeNode, tmp_path: Path
) -> None:
    root = EXCHANGES[0].der
    files = {what: proof_to_json(proof) for what, proof in _variants(host).items()}
    by_python = {what: _by_python(content, root) for what, content in files.items()}
    by_javascript = _by_javascript(list(files.values()), root, tmp_path)
    assert dict(zip(files, by_javascript, strict=True)) == by_python
    assert set(by_python.values()) == {0, 1, 3}
