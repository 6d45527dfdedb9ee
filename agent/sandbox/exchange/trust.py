"""Which TPMs this exchange believes, and what it makes of evidence."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from agent.sandbox.exchange.identity import Exchange
from agent.sandbox.exchange.options import Options
from agent.sandbox.exchange.store import Store
from attest import verify
from attest.errors import Mismatch
from attest.root import REQUIRED_PCRS


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is on a stream, as its client certificate says."""

    node: verify.TrustedNode
    tls_spki_sha256: bytes


def pinned_roots(options: Options) -> verify.TrustRoots:
    """Load the certificates that the command line pins. EKs approved by hand are in the store.

    :raises OSError, AttestError: a file that cannot be read or holds no certificate.
    """
    return verify.TrustRoots(
        hardware=_load(options.tpm_roots),
        virtual=_load(options.virtual_tpm_roots),
        intermediates=_load(options.tpm_intermediates),
    )


def approve(db: sqlite3.Connection, ek_spki_sha256: bytes) -> None:
    """Approve one EK by hand, by the SHA-256 of its DER SubjectPublicKeyInfo."""
    db.execute("INSERT OR IGNORE INTO approved_ek VALUES (?)", (ek_spki_sha256,))


def believed(db: sqlite3.Connection, pinned: verify.TrustRoots) -> verify.TrustRoots:
    """Return the pinned roots and the EKs approved by hand."""
    approved = frozenset(row[0] for row in db.execute("SELECT spki_sha256 FROM approved_ek"))
    return replace(pinned, approved_ek_spki_sha256=approved)


def known_node(db: sqlite3.Connection, node_id: str) -> verify.TrustedNode | None:
    """Return an enrolled node."""
    row = db.execute(
        "SELECT ak_public, software_spki FROM node WHERE node_id = ?", (node_id,)
    ).fetchone()
    if row is None:
        return None
    return verify.TrustedNode(node_id, row["ak_public"], row["software_spki"])


def judge_evidence(
    exchange: Exchange,
    node: verify.TrustedNode,
    evidence: bytes,
    nonce: bytes,
    tls_spki_sha256: bytes,
) -> verify.Appraisal:
    """Appraise evidence over a nonce of ours, from a peer with this TLS key.

    :raises AttestError: anything false; also a TLS key that the evidence does not name, for then
        somebody relays another machine's TPM.
    """
    appraisal = verify.appraise(evidence, node, exchange.exchange_id, nonce, REQUIRED_PCRS)
    if appraisal.payload.tls_spki_sha256 != tls_spki_sha256:
        raise Mismatch("the TLS key is not the attested one")
    return appraisal


async def appraise(
    exchange: Exchange,
    store: Store,
    node: verify.TrustedNode,
    evidence: bytes,
    nonce: bytes,
    tls_spki_sha256: bytes,
) -> None:
    """As `judge_evidence`, and keep the claims.

    :raises AttestError: as there.
    """
    appraisal = judge_evidence(exchange, node, evidence, nonce, tls_spki_sha256)
    await store.run(keep_claims, node.node_id, appraisal)


def keep_claims(db: sqlite3.Connection, node_id: str, appraisal: verify.Appraisal) -> None:
    """Store what the last appraisal found."""
    claims = [
        {"name": claim.name, "tier": claim.tier.name.lower(), "reason": claim.reason}
        for claim in appraisal.claims
    ]
    db.execute("UPDATE node SET claims = ? WHERE node_id = ?", (json.dumps(claims), node_id))


def _load(files: Sequence[Path]) -> tuple[bytes, ...]:
    return tuple(der for file in files for der in verify.load_roots(file.read_bytes()))
