"""The journal's tables. A later version adds statements; what stands is never rewritten."""

from __future__ import annotations

VERSION = 1

SCHEMA = """
-- The node's own constants: log_id, node_id, tls keys' places, draining.
CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;

-- The log: serialised SignedEnvelope, RFC 9162 leaf hash; perfect subtrees of 8 leaves and more.
CREATE TABLE entries (idx INTEGER PRIMARY KEY, leaf BLOB NOT NULL, envelope BLOB NOT NULL);
CREATE TABLE nodes (
  level INTEGER, idx INTEGER, hash BLOB NOT NULL, PRIMARY KEY (level, idx)
) WITHOUT ROWID;
-- A record leaf is written first, its note once the TPM has signed; between them note is NULL.
CREATE TABLE checkpoints (
  sequence INTEGER PRIMARY KEY, size INTEGER NOT NULL, note BLOB, wall_ns INTEGER NOT NULL
);
-- Which leaf introduced which envelope key.
CREATE TABLE bindings (
  key_id BLOB PRIMARY KEY, idx INTEGER NOT NULL, spki BLOB NOT NULL
) WITHOUT ROWID;

-- One row an enrolment; cursors of both directions.
CREATE TABLE exchanges (
  id INTEGER PRIMARY KEY,
  exchange_id TEXT NOT NULL UNIQUE,
  enrolment BLOB NOT NULL,
  epoch INTEGER NOT NULL DEFAULT 0,
  outbox_last INTEGER NOT NULL DEFAULT 0,
  delivered_through INTEGER NOT NULL DEFAULT 0,
  applied_through INTEGER NOT NULL DEFAULT 0,
  witnessed_size INTEGER NOT NULL DEFAULT 0
);
-- What goes to an exchange: a leaf, or an envelope that is none.
CREATE TABLE outbox (
  exchange INTEGER NOT NULL REFERENCES exchanges, sequence INTEGER NOT NULL,
  idx INTEGER, envelope BLOB, PRIMARY KEY (exchange, sequence)
) WITHOUT ROWID;
CREATE INDEX outbox_by_leaf ON outbox (exchange, idx);

CREATE TABLE inventories (
  generation INTEGER PRIMARY KEY, digest BLOB NOT NULL, idx INTEGER NOT NULL
);
CREATE TABLE offers (
  exchange INTEGER NOT NULL REFERENCES exchanges, offer_id TEXT NOT NULL, sequence INTEGER NOT NULL,
  idx INTEGER NOT NULL, expire_ns INTEGER NOT NULL, available BLOB NOT NULL,
  PRIMARY KEY (exchange, offer_id, sequence)
) WITHOUT ROWID;

-- The ledger. `body` is the lease, `closed_ns` the meter's reserved time at its last receipt.
CREATE TABLE leases (
  id INTEGER PRIMARY KEY,
  exchange INTEGER NOT NULL REFERENCES exchanges, lease_id TEXT NOT NULL,
  state INTEGER NOT NULL, body BLOB NOT NULL, closed_ns INTEGER NOT NULL DEFAULT 0,
  acked_through INTEGER NOT NULL DEFAULT 0, acked_msat INTEGER NOT NULL DEFAULT 0,
  UNIQUE (exchange, lease_id)
);
CREATE INDEX leases_by_state ON leases (state);
-- What was answered to a request, so that the same request gets the same answer. Refusals expire.
CREATE TABLE answers (
  exchange INTEGER NOT NULL REFERENCES exchanges, request_sha256 BLOB NOT NULL,
  idx INTEGER, envelope BLOB, wall_ns INTEGER NOT NULL, PRIMARY KEY (exchange, request_sha256)
) WITHOUT ROWID;
CREATE TABLE receipts (
  lease INTEGER NOT NULL REFERENCES leases, sequence INTEGER NOT NULL, idx INTEGER NOT NULL,
  PRIMARY KEY (lease, sequence)
) WITHOUT ROWID;
-- Nacks of the exchange for what we sent.
CREATE TABLE nacks (
  exchange INTEGER NOT NULL REFERENCES exchanges, sequence INTEGER NOT NULL,
  reason INTEGER NOT NULL, detail TEXT NOT NULL, PRIMARY KEY (exchange, sequence)
) WITHOUT ROWID;

-- The meter's state, written in the transaction of whatever was billed from it.
CREATE TABLE meter (id INTEGER PRIMARY KEY CHECK (id = 1), state BLOB NOT NULL);
"""
