"""What is in a node's log, shown without the log: key bindings, bundles and proof files. Pure."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from attest import checkpoint as notes
from attest import envelope as envelopes
from attest import merkle
from attest.ak_certificate import AkCertificate, Assurance, check_vouched
from attest.certificate import parse_certificate
from attest.checkpoint import Checkpoint
from attest.envelope import Envelope
from attest.errors import AttestError, Malformed, Mismatch
from attest.evidence import attested_quote, key_binding_data
from attest.formats import (
    InclusionProof,
    ProofFile,
    Receipt,
    decode_key_binding,
    decode_receipt,
    proof_from_json,
    stated_origin,
)
from attest.identity import TrustedNode
from attest.keys import Algorithm, algorithm_of, verify_signature

_ID = re.compile(r"[0-9a-f]{64}")
_PEM = re.compile(
    rb"-----BEGIN CERTIFICATE-----\r?\n([A-Za-z0-9+/=\r\n]+)-----END CERTIFICATE-----"
)


@dataclass(frozen=True, slots=True)
class ProofResult:
    """What a proof file shows. Everything in it holds; `pinned_by` says who is believed for it."""

    node_id: str
    log_id: str
    statement: Envelope
    receipt: Receipt | None  # the statement, where it is one
    leaf_index: int
    size: int  # of the log under the checkpoint
    boot_id: str  # whose envelope key signed
    assurance: (
        Assurance  # the lowest that the pinned CAs state; where none is pinned, that any states
    )
    certified_by: tuple[str, ...]  # fingerprints of all CAs in the file, hex
    pinned_by: tuple[str, ...]  # those among them that the caller pinned


def verify_key_binding(envelope: Envelope, node: TrustedNode, log_id: str) -> bytes:
    """DER SubjectPublicKeyInfo of the envelope key that this leaf introduces.

    :raises AttestError: when the root of trust did not vouch for it in this log.
    """
    with _part("key binding"):
        if envelope.payload_type != envelopes.payload_type("KeyBinding"):
            raise Mismatch(f"it is a {envelope.payload_type[:80]!r}")
        binding = decode_key_binding(envelope.payload)
        if binding.log_id != log_id:
            raise Mismatch("the key is bound to another log")
        algorithm_of(binding.envelope_spki)
    with _part("key binding signature"):
        envelopes.verify_only(envelope, binding.envelope_spki)
    qualifying = key_binding_data(
        log_id, binding.boot_id, binding.envelope_spki, binding.incarnation
    )
    ak = node.ak
    with _part("key binding quote"):
        if ak is not None:
            attested_quote(ak, qualifying, binding.quote, binding.quote_signature)
        else:
            if binding.quote or binding.incarnation:
                raise Mismatch("TPM fields from a node without a TPM")
            verify_signature(
                node.software_spki,
                Algorithm.ECDSA_P256_SHA256,
                qualifying,
                binding.quote_signature,
            )
    return binding.envelope_spki


def verify_bundle(
    node: TrustedNode,
    log_id: str,
    note: bytes,
    witnessed: tuple[int, bytes] | None,
    consistency: Sequence[bytes],
    leaves: Mapping[int, bytes],
    nodes: Sequence[bytes],
) -> Checkpoint:
    """The head of a log: signed by its root, grown from what was witnessed, holding these leaves.

    :param witnessed: (size, root) of the newest head this verifier has seen; None for the first.
    :param consistency: path from there. :param leaves: index -> leaf hash.
    :param nodes: the multiproof of `leaves`.
    :raises AttestError: naming the part that is false; a log that shrank or forked is a Mismatch.
    """
    with _part("checkpoint"):
        head = notes.verify(note, node.spki)
        if head.origin != notes.origin(node.node_id, log_id):
            raise Mismatch("it is the head of another log")
    with _part("consistency"):
        if witnessed is not None:
            merkle.verify_consistency(*witnessed, head.size, head.root, consistency)
        elif consistency:
            raise Malformed("a path from a head that was never witnessed")
    with _part("inclusion"):
        merkle.verify_multiproof(leaves, head.size, nodes, head.root)
    return head


def verify_proof(file: bytes, roots: Sequence[bytes]) -> ProofResult:
    """Check a proof file to its last byte, offline.

    Expiry is judged against nothing: a proof stays verifiable when certificates have run out. Where
    all holds but no CA is pinned, `pinned_by` is empty: true, if one believes a stranger.

    :param roots: pinned CA certificates, DER or PEM.
    :raises AttestError: naming the part that is false.
    """
    pinned = {der for each in roots for der in load_roots(each)}
    with _part("proof file"):
        proof = proof_from_json(file)
    with _part("checkpoint"):
        head, _, lines = notes.parse(proof.note)
        node_id, log_id = _origin(head)
        if len(lines) != 1:
            raise Malformed("more than one signature line")
    with _part("root of trust"):
        node = TrustedNode(node_id, proof.ak_public, proof.software_spki)
    _check_note(proof, node, head)
    vouched = _check_certificates(proof, node)
    spki = _check_binding(proof, node, log_id, head)
    receipt = _check_statement(proof, spki, head, node_id, log_id)
    believed = [by for by in vouched if by.ca in pinned]
    return ProofResult(
        node_id=node_id,
        log_id=log_id,
        statement=proof.statement,
        receipt=receipt,
        leaf_index=proof.statement_inclusion.leaf_index,
        size=head.size,
        boot_id=decode_key_binding(proof.key_binding.payload).boot_id,
        assurance=min(by.assurance for by in believed or vouched),
        certified_by=tuple(by.ca_sha256 for by in vouched),
        pinned_by=tuple(by.ca_sha256 for by in believed),
    )


def load_roots(pem_or_der: bytes) -> tuple[bytes, ...]:
    """The certificates (DER) in a PEM bundle, or one in DER. Other PEM blocks are passed over.

    :raises Malformed: when there is none, or one is not a certificate.
    """
    if pem_or_der[:1] == b"\x30" and pem_or_der[1:2] >= b"\x80":  # no text begins like this
        return (parse_certificate(pem_or_der).raw,)
    found = []
    blocks = _PEM.findall(pem_or_der)
    if len(blocks) != pem_or_der.count(b"-----BEGIN CERTIFICATE-----"):
        raise Malformed("a PEM block that is not base64 between its two lines")
    for block in blocks:
        try:
            found.append(parse_certificate(base64.b64decode(b"".join(block.split()))).raw)
        except binascii.Error as error:
            raise Malformed("a PEM block that is not base64") from error
    if not found:
        raise Malformed("no certificate in DER or PEM")
    return tuple(found)


def _check_note(proof: ProofFile, node: TrustedNode, head: Checkpoint) -> None:
    """The note's signature; when it does not hold, the tree tells which half was changed."""
    try:
        notes.verify(proof.note, node.spki)
    except AttestError as error:
        leaf = envelopes.leaf_hash(proof.statement.payload_type, proof.statement.payload)
        included = _included(leaf, proof.statement_inclusion, head)
        part = "checkpoint signature" if included else "checkpoint contents"
        raise type(error)(f"{part}: {error}") from error


def _check_certificates(proof: ProofFile, node: TrustedNode) -> list[AkCertificate]:
    count = len(proof.ak_certificates)
    vouched = []
    for number, chain in enumerate(proof.ak_certificates, 1):
        with _part(f"AK certificate {number} of {count}"):
            software = bool(node.software_spki)
            vouched.append(check_vouched(chain, node.spki, node.node_id, software=software))
    with _part("AK certificates"):
        fingerprints = [by.ca_sha256 for by in vouched]
        if not vouched or fingerprints != sorted(set(fingerprints)):
            raise Malformed("not at least one chain, sorted by CA fingerprint, each CA once")
    return vouched


def _check_binding(proof: ProofFile, node: TrustedNode, log_id: str, head: Checkpoint) -> bytes:
    leaf = envelopes.leaf_hash(proof.key_binding.payload_type, proof.key_binding.payload)
    try:
        spki = verify_key_binding(proof.key_binding, node, log_id)
    except AttestError as error:
        if _included(leaf, proof.key_binding_inclusion, head):
            raise
        raise type(error)(f"key binding contents: {error}") from error
    with _part("key binding inclusion path"):
        _check_inclusion(leaf, proof.key_binding_inclusion, head)
    return spki


def _check_statement(
    proof: ProofFile, spki: bytes, head: Checkpoint, node_id: str, log_id: str
) -> Receipt | None:
    """Signature and place of the statement; what holds of the two tells which part was changed."""
    statement = proof.statement
    is_receipt = statement.payload_type == envelopes.payload_type("Receipt")
    noun = "receipt" if is_receipt else "statement"
    leaf = envelopes.leaf_hash(statement.payload_type, statement.payload)
    try:
        envelopes.verify_only(statement, spki)
    except AttestError as error:
        included = _included(leaf, proof.statement_inclusion, head)
        part = f"{noun} signature" if included else f"{noun} contents"
        raise type(error)(f"{part}: {error}") from error
    with _part(f"{noun} inclusion path"):
        _check_inclusion(leaf, proof.statement_inclusion, head)
    with _part(noun):
        stated_node, stated_log = stated_origin(statement)
        if stated_node not in (None, node_id):
            raise Mismatch("it names another node")
        if stated_log not in (None, log_id):
            raise Mismatch("it names another log")
        return decode_receipt(statement.payload) if is_receipt else None


def _check_inclusion(leaf: bytes, proof: InclusionProof, head: Checkpoint) -> None:
    if proof.tree_size != head.size:
        raise Mismatch(f"a path in a tree of {proof.tree_size} leaves, not of {head.size}")
    merkle.verify_inclusion(leaf, proof.leaf_index, head.size, proof.path, head.root)


def _included(leaf: bytes, proof: InclusionProof, head: Checkpoint) -> bool:
    try:
        _check_inclusion(leaf, proof, head)
    except AttestError:
        return False
    return True


def _origin(head: Checkpoint) -> tuple[str, str]:
    node_id, slash, log_id = head.origin.partition("/")
    if not slash or not _ID.fullmatch(node_id) or not _ID.fullmatch(log_id):
        raise Malformed("the origin is not a node id and a log id")
    return node_id, log_id


@contextmanager
def _part(name: str) -> Iterator[None]:
    """Put the name of the part in front of what is wrong with it."""
    try:
        yield
    except AttestError as error:
        raise type(error)(f"{name}: {error}") from error
