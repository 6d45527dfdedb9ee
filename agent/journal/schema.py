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
  witnessed_size INTEGER NOT NULL DEFAULT 0,
  settles INTEGER NOT NULL DEFAULT 0 -- it said that it can be invoiced
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
CREATE INDEX answers_that_expire ON answers (wall_ns) WHERE idx IS NULL;
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

-- Settlement. `body` is the books of a lease; `open`: something may still come of them; the last
-- four are what the ledger had when the books were last brought up to it.
CREATE TABLE accounts (
  lease INTEGER PRIMARY KEY REFERENCES leases, open INTEGER NOT NULL, body BLOB NOT NULL,
  state INTEGER NOT NULL DEFAULT 0, receipts INTEGER NOT NULL DEFAULT 0,
  acked_through INTEGER NOT NULL DEFAULT 0, acked_msat INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX accounts_open ON accounts (open);
-- Every invoice there ever was; idx of its Invoice once the exchange is told. Times are Unix.
CREATE TABLE invoices (
  label TEXT PRIMARY KEY, lease INTEGER NOT NULL REFERENCES leases,
  through_sequence INTEGER NOT NULL, msat INTEGER NOT NULL, state INTEGER NOT NULL,
  payment_hash BLOB NOT NULL, idx INTEGER, change_ns INTEGER NOT NULL
) WITHOUT ROWID;
-- Rebates and refunds; idx of their statement. `most_msat` counts against the caps from `begin_ns`
-- until a day after it was paid, or until it has failed for certain;
-- `invoice` is the label that netted it.
CREATE TABLE payouts (
  lease INTEGER NOT NULL REFERENCES leases, key TEXT NOT NULL, msat INTEGER NOT NULL,
  state INTEGER NOT NULL, idx INTEGER NOT NULL, most_msat INTEGER NOT NULL DEFAULT 0,
  begin_ns INTEGER NOT NULL DEFAULT 0, invoice TEXT NOT NULL DEFAULT '',
  change_ns INTEGER NOT NULL, PRIMARY KEY (lease, key)
) WITHOUT ROWID;
CREATE INDEX payouts_by_time ON payouts (begin_ns);
-- Money that moved, numbered for each exchange without a gap; idx of its PaymentNotice. `msat` is
-- what came in, or less than zero what went out, without `fee_msat`.
CREATE TABLE payments (
  exchange INTEGER NOT NULL REFERENCES exchanges, number INTEGER NOT NULL,
  lease INTEGER NOT NULL REFERENCES leases, reference TEXT NOT NULL, -- label, or key of the payout
  msat INTEGER NOT NULL, fee_msat INTEGER NOT NULL, payment_hash BLOB NOT NULL,
  preimage BLOB NOT NULL, paid_ns INTEGER NOT NULL, idx INTEGER NOT NULL,
  currency TEXT NOT NULL, minor_per_bitcoin INTEGER NOT NULL, rate_source TEXT NOT NULL,
  PRIMARY KEY (exchange, number), UNIQUE (lease, reference)
) WITHOUT ROWID;
-- Steps of credit and signed corrections, each a leaf.
CREATE TABLE credit_steps (
  idx INTEGER PRIMARY KEY, lease INTEGER NOT NULL REFERENCES leases, level INTEGER NOT NULL,
  exposure_msat INTEGER NOT NULL, change_ns INTEGER NOT NULL
);
CREATE TABLE adjustments (
  idx INTEGER PRIMARY KEY, lease INTEGER NOT NULL REFERENCES leases, msat INTEGER NOT NULL,
  reason TEXT NOT NULL, change_ns INTEGER NOT NULL
);
CREATE TABLE disputes (
  exchange INTEGER NOT NULL REFERENCES exchanges, dispute_id TEXT NOT NULL,
  lease INTEGER NOT NULL REFERENCES leases, sequence INTEGER NOT NULL, reason INTEGER NOT NULL,
  contested_msat INTEGER NOT NULL, detail TEXT NOT NULL, answer_by_ns INTEGER NOT NULL,
  ended TEXT NOT NULL DEFAULT '', PRIMARY KEY (exchange, dispute_id)
) WITHOUT ROWID;
-- How far payments to the node were entered, and since when it does not answer (0: it does).
CREATE TABLE rail (
  id INTEGER PRIMARY KEY CHECK (id = 1), pay_index INTEGER NOT NULL DEFAULT 0,
  down_since_ns INTEGER NOT NULL DEFAULT 0, error TEXT NOT NULL DEFAULT '',
  warnings TEXT NOT NULL DEFAULT ''
);
INSERT INTO rail (id) VALUES (1);
"""
