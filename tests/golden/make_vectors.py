"""Write proto/vectors anew: `python -m tests.golden.make_vectors`. All keys are fixed.

The private keys are SHA-256 of the words in `tests/fakes`; they protect nothing.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from attest import checkpoint, envelope, formats, merkle, tcg
from attest.envelope import Envelope, countersign, payload_type
from attest.formats import Evidence, PcrBank, ProofFile
from tests.fakes import mirror
from tests.fakes.fake_ca import FakeCa
from tests.fakes.fake_node import EXCHANGES, FakeNode
from tests.fakes.fake_tpm import PCRS, FakeTpm, FixedKey, unrestricted

VECTORS = Path(__file__).parents[2] / "proto" / "vectors"
Case = dict[str, object]
TPM = FakeTpm()
NODE = FakeNode(TPM)
SOFTWARE = FakeNode(None)
EXCHANGE = "e" * 64
NONCE = bytes(range(32))


def flip(value: bytes, at: int = -1) -> bytes:
    """One bit changed."""
    place = at % len(value)
    return value[:place] + bytes([value[place] ^ 1]) + value[place + 1 :]


def dsse() -> list[Case]:
    key, other = FixedKey("dsse"), FixedKey("other")
    good = envelope.sign(payload_type("Offer"), b"\x08\x01", key)
    (by,) = good.signatures

    def case(name: str, made: Envelope, holds: bool) -> Case:
        return {
            "name": name,
            "spki": key.spki.hex(),
            "payload_type": made.payload_type,
            "payload": made.payload.hex(),
            "pae": envelope.pae(made.payload_type, made.payload).hex(),
            "leaf_hash": envelope.leaf_hash(made.payload_type, made.payload).hex(),
            "signatures": [
                {
                    "key_id": each.key_id.hex(),
                    "algorithm": each.algorithm,
                    "signature": each.signature.hex(),
                }
                for each in made.signatures
            ],
            "holds": holds,
        }

    long_form = b"\x30\x81" + by.signature[1:]
    return [
        case("good", good, True),
        case("countersigned by another key", countersign(good, other), True),
        case("empty payload", envelope.sign(payload_type("Offer"), b"", key), True),
        case("payload changed", replace(good, payload=b"\x08\x02"), False),
        case("relabelled as a receipt", replace(good, payload_type=payload_type("Receipt")), False),
        case(
            "signature changed",
            replace(good, signatures=(replace(by, signature=flip(by.signature)),)),
            False,
        ),
        case(
            "signature not in DER",
            replace(good, signatures=(replace(by, signature=long_form),)),
            False,
        ),
        case("algorithm unspecified", replace(good, signatures=(replace(by, algorithm=0),)), False),
        case(
            "algorithm of another key", replace(good, signatures=(replace(by, algorithm=2),)), False
        ),
        case("signed twice by one key", replace(good, signatures=(by, by)), False),
        case("signed by another key", envelope.sign(good.payload_type, good.payload, other), False),
        case("not signed", replace(good, signatures=()), False),
    ]


def merkle_tree() -> dict[str, list[Case]]:
    node, size = NODE, len(NODE.leaves)
    inclusion: list[Case] = []
    for of in (1, 2, 3, 5, size):
        for index in (0, of - 1):
            path = merkle.inclusion_path(index, of, node.read)
            inclusion.append(_inclusion(f"leaf {index} of {of}", index, of, path, True))
    path = merkle.inclusion_path(4, 5, node.read)
    inclusion += [
        _inclusion("node changed", 4, 5, (flip(path[0]),), False),
        _inclusion("index of another leaf", 3, 5, path, False),
        _inclusion("path too short", 4, 5, (), False),
        _inclusion("path too long", 4, 5, (*path, bytes(32)), False),
        _inclusion("node too short", 4, 5, (path[0][:31],), False),
        _inclusion("index outside", 5, 5, path, False),
    ]
    consistency: list[Case] = []
    for old, new in ((1, 2), (3, 7), (4, 8), (6, 8), (8, 8), (0, 5)):
        made = merkle.consistency_path(old, new, node.read)
        consistency.append(_consistency(f"{old} to {new}", old, new, made, True))
    made = merkle.consistency_path(3, 7, node.read)
    consistency += [
        _consistency("node changed", 3, 7, (flip(made[0]), *made[1:]), False),
        _consistency("node missing", 3, 7, made[:-1], False),
        _consistency("node to spare", 3, 7, (*made, bytes(32)), False),
        _consistency("nodes for equal sizes", 8, 8, (bytes(32),), False),
        _consistency("shrunk", 7, 3, made, False),
    ]
    wanted = [0, 3, 4]
    nodes = merkle.multiproof(wanted, size, node.read)
    multi = [
        _multi("three leaves", wanted, size, nodes, True),
        _multi("all leaves", list(range(size)), size, (), True),
        _multi("one leaf", [5], size, merkle.multiproof([5], size, node.read), True),
        _multi("no leaf", [], size, (), True),
        _multi("node changed", wanted, size, (flip(nodes[0]), *nodes[1:]), False),
        _multi("node missing", wanted, size, nodes[:-1], False),
        _multi("node to spare", wanted, size, (*nodes, bytes(32)), False),
        _multi("no leaf and a node", [], size, (node.root(),), False),
    ]
    return {"inclusion": inclusion, "consistency": consistency, "multiproof": multi}


def _inclusion(name: str, index: int, size: int, path: tuple[bytes, ...], holds: bool) -> Case:
    return {
        "name": name,
        "leaf": NODE.leaf(min(index, 7)).hex(),
        "leaf_index": index,
        "tree_size": size,
        "path": [each.hex() for each in path],
        "root": NODE.root(size).hex(),
        "holds": holds,
    }


def _consistency(name: str, old: int, new: int, path: tuple[bytes, ...], holds: bool) -> Case:
    return {
        "name": name,
        "old_size": old,
        "old_root": NODE.root(old).hex(),
        "new_size": new,
        "new_root": NODE.root(new).hex(),
        "path": [each.hex() for each in path],
        "holds": holds,
    }


def _multi(name: str, indices: list[int], size: int, nodes: tuple[bytes, ...], holds: bool) -> Case:
    return {
        "name": name,
        "tree_size": size,
        "leaf_indices": indices,
        "leaves": [NODE.leaf(index).hex() for index in indices],
        "nodes": [each.hex() for each in nodes],
        "root": NODE.root(size).hex(),
        "holds": holds,
    }


def checkpoints() -> list[Case]:
    note = NODE.note().decode()
    head, text, lines = checkpoint.parse(NODE.note())
    witness = checkpoint.NoteSignature("witness.example/1", b"abcd", b"not judged")
    cosigned = checkpoint.assemble(text, *lines, witness).decode()
    forged = checkpoint.signature_by(head.origin, TPM.spki, FixedKey("forger").sign(text))
    renamed = replace(lines[0], name="witness.example/1")
    notes = [
        ("good", note, True),
        ("cosigned by a witness", cosigned, True),
        ("size with a leading zero", note.replace("\n8\n", "\n08\n"), False),
        ("another size", note.replace("\n8\n", "\n9\n"), False),
        ("extension line", note.replace("=\n\n", "=\nmore\n\n", 1), False),
        ("no blank line", note.replace("\n\n", "\n", 1), False),
        ("carriage returns", note.replace("\n", "\r\n"), False),
        ("no end of line", note[:-1], False),
        ("hyphen for a dash", note.replace("\u2014", "-"), False),
        ("signature of another key", checkpoint.assemble(text, forged).decode(), False),
        ("signed under another name", checkpoint.assemble(text, renamed).decode(), False),
        ("signed twice by one key", checkpoint.assemble(text, lines[0], lines[0]).decode(), False),
        ("not signed", text.decode() + "\n", False),
    ]
    return [
        {
            "name": name,
            "spki": TPM.spki.hex(),
            "note": content,
            "origin": head.origin,
            "size": head.size,
            "root": head.root.hex(),
            "holds": holds,
        }
        for name, content, holds in notes
    ]


def evidence() -> list[Case]:
    good = NODE.evidence(EXCHANGE, NONCE)
    software = SOFTWARE.evidence(EXCHANGE, NONCE)
    question = tcg.parse_attest(good.quote).extra_data

    def quoted(**shape: object) -> Evidence:
        made = TPM.quote(question, **shape)  # type: ignore[arg-type]  # by name
        return replace(good, quote=made.attest, quote_signature=made.signature)

    certify = TPM.certify(question)
    moved = PCRS[0][1] + PCRS[1][1]
    cases = [
        ("good", NODE, good, True),
        ("software: good", SOFTWARE, software, True),
        ("another nonce", NODE, NODE.evidence(EXCHANGE, bytes(32)), False),
        ("for another exchange", NODE, NODE.evidence("f" * 64, NONCE), False),
        ("wrong magic", NODE, quoted(magic=0xFF544348), False),
        (
            "certify poses as quote",
            NODE,
            replace(good, quote=certify.attest, quote_signature=certify.signature),
            False,
        ),
        ("PCR 12 relabelled as 7", NODE, quoted(selections=[(tcg.SHA256, (0, 2, 4, 12))]), False),
        ("SHA-1 bank quoted", NODE, quoted(selections=[(0x0004, (0, 2, 4, 7))]), False),
        (
            "second selection",
            NODE,
            quoted(selections=[(tcg.SHA256, (0, 2, 4, 7)), (0x0004, ())]),
            False,
        ),
        ("signer is not the AK", NODE, quoted(signer=b"\0\x0b" + bytes(32)), False),
        ("PCR missing", NODE, replace(good, pcr_banks=(PcrBank(tcg.SHA256, PCRS[:3]),)), False),
        (
            "bytes moved between PCRs",
            NODE,
            replace(
                good,
                pcr_banks=(PcrBank(tcg.SHA256, ((0, moved[:31]), (2, moved[31:]), *PCRS[2:])),),
            ),
            False,
        ),
        ("bytes after the quote", NODE, replace(good, quote=good.quote + b"\0"), False),
        ("payload changed", NODE, replace(good, payload=flip(good.payload)), False),
        (
            "software signature instead of a quote",
            NODE,
            Evidence(good.payload, software_signature=TPM.key.sign(question)),
            False,
        ),
        ("software: a quote as well", SOFTWARE, replace(software, quote=good.quote), False),
    ]
    return [
        {
            "name": name,
            "node_id": node.node_id,
            "ak_public": node.node.ak_public.hex(),
            "software_spki": node.node.software_spki.hex(),
            "exchange_id": EXCHANGE,
            "nonce": NONCE.hex(),
            "required_pcrs": [0, 2, 4, 7],
            "evidence": formats.encode_evidence(made).hex(),
            "holds": holds,
        }
        for name, node, made, holds in cases
    ]


def proofs() -> dict[str, tuple[bytes, list[bytes], int, str]]:
    """File name -> (bytes, pinned CAs, exit code, begin of the reason)."""
    pinned = [EXCHANGES[0].der]
    good, software = NODE.proof(), SOFTWARE.proof()
    written = formats.proof_to_json
    statement, (by,) = good.statement, good.statement.signatures
    path = good.statement_inclusion.path
    thief = FakeNode(FakeTpm("thief"))
    loose = FakeNode(FakeTpm(shape=unrestricted()))
    stranger = FakeCa("mallory").ak_chain(TPM.spki, NODE.node_id, "hardware-tpm")
    introduced = FakeNode(FakeTpm())
    nobody = introduced.append_envelope(
        envelope.sign(payload_type("Receipt"), introduced.receipt(9), FixedKey("nobody's"))
    )
    chains = good.ak_certificates

    def changed(**fields: object) -> ProofFile:
        return replace(good, **fields)  # type: ignore[arg-type]  # by name

    return {
        "good-tpm": (written(good), pinned, 0, ""),
        "good-software": (written(software), pinned, 0, ""),
        "good-any-leaf": (written(NODE.proof(0)), pinned, 0, ""),
        "good-not-pinned": (written(good), [], 3, ""),
        "good-one-chain": (
            written(changed(ak_certificates=chains[:1])),
            [each.der for each in EXCHANGES],
            0,
            "",
        ),
        "good-mirrored-signatures": (
            written(
                changed(
                    statement=mirror.envelope(statement),
                    key_binding=mirror.envelope(good.key_binding),
                    note=mirror.note(good.note),
                    ak_certificates=tuple((mirror.certificate(leaf), ca) for leaf, ca in chains),
                )
            ),
            pinned,
            0,
            "",
        ),
        "good-stranger-vouches": (written(changed(ak_certificates=(stranger,))), pinned, 3, ""),
        "bad-receipt-contents": (
            written(changed(statement=replace(statement, payload=flip(statement.payload)))),
            pinned,
            1,
            "receipt contents",
        ),
        "bad-receipt-signature": (
            written(
                changed(
                    statement=replace(
                        statement, signatures=(replace(by, signature=flip(by.signature)),)
                    )
                )
            ),
            pinned,
            1,
            "receipt signature",
        ),
        "bad-receipt-path": (
            written(
                changed(
                    statement_inclusion=replace(
                        good.statement_inclusion, path=(flip(path[0]), *path[1:])
                    )
                )
            ),
            pinned,
            1,
            "receipt inclusion path",
        ),
        "bad-checkpoint-size": (
            written(changed(note=good.note.replace(b"\n8\n", b"\n9\n"))),
            pinned,
            1,
            "checkpoint contents",
        ),
        "bad-ak-certificate": (
            written(changed(ak_certificates=((flip(chains[0][0]), chains[0][1]), chains[1]))),
            pinned,
            1,
            "AK certificate 1 of 2",
        ),
        "bad-copied-certificates": (
            written(replace(thief.proof(), ak_certificates=chains)),
            pinned,
            1,
            "AK certificate 1 of 2",
        ),
        "bad-unrestricted-ak": (written(loose.proof()), pinned, 1, "root of trust"),
        "bad-key-not-introduced": (
            written(introduced.proof(nobody)),
            pinned,
            1,
            "receipt signature",
        ),
        "bad-key-of-another-log": (
            written(changed(key_binding=thief.leaves[thief.binding])),
            pinned,
            1,
            "key binding",
        ),
        "bad-not-canonical": (written(good) + b"\n", pinned, 1, "proof file"),
        "bad-unknown-field": (
            written(good).replace(b'{"ak_certificates"', b'{"a":"1","ak_certificates"', 1),
            pinned,
            1,
            "proof file",
        ),
        "bad-number-not-a-string": (
            written(good).replace(b'"leaf_index":"4"', b'"leaf_index":4', 1),
            pinned,
            1,
            "proof file",
        ),
    }


def made() -> dict[str, bytes]:
    """Path below proto/vectors -> bytes."""
    files: dict[str, bytes] = {}
    index: list[Case] = []
    for name, (content, roots, code, part) in proofs().items():
        files[f"proofs/{name}.json"] = content
        index.append(
            {
                "file": f"proofs/{name}.json",
                "pinned": [each.hex() for each in roots],
                "exit_code": code,
                "part": part,
            }
        )
    listed = {
        "dsse.json": dsse(),
        "merkle.json": merkle_tree(),
        "checkpoint.json": checkpoints(),
        "evidence.json": evidence(),
        "proofs.json": index,
    }
    for name, document in listed.items():
        files[name] = (json.dumps(document, indent=1, ensure_ascii=True) + "\n").encode()
    return files


def main() -> None:
    """Write them all."""
    for path, content in made().items():
        (VECTORS / path).parent.mkdir(parents=True, exist_ok=True)
        (VECTORS / path).write_bytes(content)


if __name__ == "__main__":
    main()
