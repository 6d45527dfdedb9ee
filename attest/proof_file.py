"""The proof file: `hearth.v1.ProofFile` as canonical JSON, in which every byte counts. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from attest.canonical import (
    Json,
    as_object,
    bytes_in,
    from_bytes,
    from_uint64,
    list_in,
    object_in,
    parse,
    serialise,
    text_in,
    to_bytes,
    uint64_in,
    without_defaults,
)
from attest.envelope import Envelope, Signature
from attest.errors import Malformed
from attest.keys import Algorithm

MAX_PROOF_FILE = 1024 * 1024  # bytes; a proof with two chains takes about 10 KiB
_ALGORITHMS = {
    int(Algorithm.ECDSA_P256_SHA256): "SIGNATURE_ALGORITHM_ECDSA_P256_SHA256",
    int(Algorithm.ED25519): "SIGNATURE_ALGORITHM_ED25519",
}
_NUMBERS = {name: number for number, name in _ALGORITHMS.items()}


@dataclass(frozen=True, slots=True)
class InclusionProof:
    """`hearth.v1.InclusionProof`."""

    leaf_index: int
    tree_size: int
    path: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class ProofFile:
    """`hearth.v1.ProofFile`."""

    statement: Envelope
    statement_inclusion: InclusionProof
    key_binding: Envelope
    key_binding_inclusion: InclusionProof
    note: bytes  # UTF-8
    ak_public: bytes  # TPMT_PUBLIC; empty without a TPM
    software_spki: bytes  # DER; empty with a TPM
    ak_certificates: tuple[tuple[bytes, ...], ...]  # DER, leaf first, the last one self-signed


def proof_to_json(proof: ProofFile) -> bytes:
    """The file's bytes.

    :raises Malformed: for a value that the file cannot carry.
    """
    try:
        note = proof.note.decode()
    except UnicodeDecodeError as error:
        raise Malformed("the note is not UTF-8") from error
    chains: list[object] = [
        {"certificates": [from_bytes(each) for each in chain]} for chain in proof.ak_certificates
    ]
    return serialise(
        without_defaults(
            {
                "statement": _envelope_to_json(proof.statement),
                "statement_inclusion": _inclusion_to_json(proof.statement_inclusion),
                "key_binding": _envelope_to_json(proof.key_binding),
                "key_binding_inclusion": _inclusion_to_json(proof.key_binding_inclusion),
                "note": note,
                "ak_public": from_bytes(proof.ak_public),
                "software_spki": from_bytes(proof.software_spki),
                "ak_certificates": chains,
            }
        )
    )


def proof_from_json(content: bytes) -> ProofFile:
    """The proof in a file, unverified.

    :raises Malformed: for every byte sequence that `proof_to_json` would not have written.
    """
    fields = parse(content, MAX_PROOF_FILE)
    proof = ProofFile(
        statement=_envelope_from_json(object_in(fields, "statement")),
        statement_inclusion=_inclusion_from_json(object_in(fields, "statement_inclusion")),
        key_binding=_envelope_from_json(object_in(fields, "key_binding")),
        key_binding_inclusion=_inclusion_from_json(object_in(fields, "key_binding_inclusion")),
        note=_utf8(text_in(fields, "note")),
        ak_public=bytes_in(fields, "ak_public"),
        software_spki=bytes_in(fields, "software_spki"),
        ak_certificates=tuple(
            _bytes_list(as_object(chain, "a certificate chain"), "certificates")
            for chain in list_in(fields, "ak_certificates")
        ),
    )
    if proof_to_json(proof) != content:
        raise Malformed("the file is not in its one canonical encoding")
    return proof


def _envelope_to_json(envelope: Envelope) -> Json:
    signatures: list[object] = [_signature_to_json(by) for by in envelope.signatures]
    return without_defaults(
        {
            "payload_type": envelope.payload_type,
            "payload": from_bytes(envelope.payload),
            "signatures": signatures,
        }
    )


def _envelope_from_json(fields: Json) -> Envelope:
    return Envelope(
        text_in(fields, "payload_type"),
        bytes_in(fields, "payload"),
        tuple(
            _signature_from_json(as_object(by, "a signature"))
            for by in list_in(fields, "signatures")
        ),
    )


def _signature_to_json(by: Signature) -> Json:
    name = _ALGORITHMS.get(by.algorithm)
    if name is None:
        raise Malformed(f"{by.algorithm} is not a signature algorithm")
    return without_defaults(
        {
            "key_id": from_bytes(by.key_id),
            "algorithm": name,
            "signature": from_bytes(by.signature),
        }
    )


def _signature_from_json(fields: Json) -> Signature:
    algorithm = _NUMBERS.get(text_in(fields, "algorithm"))
    if algorithm is None:
        raise Malformed("a signature names no known algorithm")
    return Signature(bytes_in(fields, "key_id"), algorithm, bytes_in(fields, "signature"))


def _inclusion_to_json(proof: InclusionProof) -> Json:
    path: list[object] = [from_bytes(each) for each in proof.path]
    return without_defaults(
        {
            "leaf_index": from_uint64(proof.leaf_index),
            "tree_size": from_uint64(proof.tree_size),
            "path": path,
        }
    )


def _inclusion_from_json(fields: Json) -> InclusionProof:
    return InclusionProof(
        uint64_in(fields, "leaf_index"),
        uint64_in(fields, "tree_size"),
        _bytes_list(fields, "path"),
    )


def _bytes_list(fields: Json, name: str) -> tuple[bytes, ...]:
    return tuple(to_bytes(each, name) for each in list_in(fields, name))


def _utf8(value: str) -> bytes:
    try:
        return value.encode()
    except UnicodeEncodeError as error:
        raise Malformed("a lone surrogate in the note") from error
