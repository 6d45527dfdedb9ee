"""Writing a leaf as a file that proves itself."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from agent.errors import JournalError
from agent.journal import ledger
from agent.journal.checkpoints import newest
from agent.journal.store import View
from attest import merkle
from attest.ak_certificate import check_vouched
from attest.errors import AttestError
from attest.formats import decode_envelope
from attest.identity import TrustedNode
from attest.proof_file import InclusionProof, ProofFile, proof_to_json


def find_receipt(view: View, lease: str, sequence: int) -> int:
    """Log index of a receipt.

    :param lease: see `ledger.one_lease`.
    :param sequence: 0 for the newest that a checkpoint covers.
    :raises JournalError: when there is none, or more than one lease begins like that.
    """
    row, lease_id = ledger.one_lease(view, lease)
    if sequence:
        found = view.one("SELECT idx FROM receipts WHERE lease = ? AND sequence = ?", row, sequence)
    else:
        head = newest(view)
        found = view.one(
            "SELECT idx FROM receipts WHERE lease = ? AND idx < ? ORDER BY sequence DESC LIMIT 1",
            row,
            0 if head is None else head.size,
        )
    if found is None:
        raise JournalError(
            f"lease {lease_id} has no receipt {sequence or 'under a checkpoint'} yet"
        )
    return int(found[0])


def export(view: View, index: int, ak_chains: Sequence[tuple[bytes, ...]]) -> bytes:
    """A proof file for one leaf under the newest checkpoint.

    :param ak_chains: AK certificate chains of the exchanges, leaf first, ending in their CA.
    :raises JournalError: when no checkpoint covers the leaf yet, or no exchange's chain holds.
    """
    head = newest(view)
    if head is None or head.size <= index:
        raise JournalError(f"leaf {index} is under no checkpoint yet; try again after the next")
    statement = decode_envelope(view.envelope(index))
    key_id = statement.signatures[-1].key_id
    bound = view.one("SELECT idx FROM bindings WHERE key_id = ?", key_id)
    if bound is None:
        raise JournalError(f"leaf {index} was signed by a key that no binding introduces")
    binding = int(bound[0])
    node = TrustedNode(
        (view.meta("node_id") or b"").decode(),
        view.meta("ak_public") or b"",
        view.meta("software_spki") or b"",
    )
    proof = ProofFile(
        statement=statement,
        statement_inclusion=_inclusion(view, index, head.size),
        key_binding=decode_envelope(view.envelope(binding)),
        key_binding_inclusion=_inclusion(view, binding, head.size),
        note=head.note,
        ak_public=node.ak_public,
        software_spki=node.software_spki,
        ak_certificates=_sound(node, ak_chains),
    )
    return proof_to_json(proof)


def _sound(
    node: TrustedNode, ak_chains: Sequence[tuple[bytes, ...]]
) -> tuple[tuple[bytes, ...], ...]:
    """The chains that a verifier takes: one exchange's spoils no proof, one CA vouches once."""
    by_ca: dict[str, tuple[bytes, ...]] = {}
    for chain in ak_chains:
        with contextlib.suppress(AttestError):
            by = check_vouched(chain, node.spki, node.node_id, software=bool(node.software_spki))
            by_ca[by.ca_sha256] = chain
    if not by_ca:
        raise JournalError("no exchange vouches for this host in a proof; enrol with one again")
    return tuple(by_ca[ca] for ca in sorted(by_ca))


def _inclusion(view: View, index: int, size: int) -> InclusionProof:
    return InclusionProof(index, size, merkle.inclusion_path(index, size, view.node))
