"""The exchange's memory: one SQLite file, and one thread that owns the connection.

Every act is one transaction: whatever was answered to a node is on the disk, so that kill -9 at
any moment and a restart in the same directory lose nothing. Acts are plain functions of a
connection; they judge and store together, and the event loop never waits for a disk.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

DEADLINE_S = 30.0  # for one act, the queue before it included

_SCHEMA = """
CREATE TABLE IF NOT EXISTS token (
    digest BLOB PRIMARY KEY,               -- SHA-256; the token itself is not kept
    node_id TEXT                           -- who used it; NULL: nobody yet
);
CREATE TABLE IF NOT EXISTS approved_ek (
    spki_sha256 BLOB PRIMARY KEY
);
CREATE TABLE IF NOT EXISTS node (
    ordinal INTEGER PRIMARY KEY,
    node_id TEXT NOT NULL UNIQUE,
    ek_spki_sha256 BLOB UNIQUE,            -- one EK is one node; NULL without a TPM
    ek_certificate_sha256 BLOB NOT NULL,   -- empty where there is none
    ak_public BLOB NOT NULL,               -- TPMT_PUBLIC; empty without a TPM
    software_spki BLOB NOT NULL,           -- DER; empty with a TPM
    assurance INTEGER NOT NULL,
    session_epoch INTEGER NOT NULL DEFAULT 0,
    received INTEGER NOT NULL DEFAULT 0,   -- highest delivery sequence applied
    sent INTEGER NOT NULL DEFAULT 0,       -- highest delivery sequence given out
    first_offer_ns INTEGER,
    claims TEXT NOT NULL DEFAULT '[]'      -- of the last appraisal, JSON
);
CREATE TABLE IF NOT EXISTS log (
    ordinal INTEGER PRIMARY KEY,
    node_id TEXT NOT NULL,
    log_id TEXT NOT NULL,
    start BLOB NOT NULL,                   -- SignedEnvelope of the LogStart
    bound INTEGER NOT NULL DEFAULT 0,      -- its signature was checked with the first bound key
    size INTEGER NOT NULL DEFAULT 0,       -- of the newest witnessed head; 0: none
    root BLOB NOT NULL DEFAULT x'',
    note BLOB NOT NULL DEFAULT x'',
    UNIQUE (node_id, log_id)
);
CREATE TABLE IF NOT EXISTS envelope_key (
    log INTEGER NOT NULL,                  -- log.ordinal
    key_id BLOB NOT NULL,
    spki BLOB NOT NULL,
    PRIMARY KEY (log, key_id)
);
-- Everything a node delivered, verbatim, also what was refused: a refused leaf is a leaf.
CREATE TABLE IF NOT EXISTS inbox (
    node INTEGER NOT NULL,                 -- node.ordinal
    delivery_sequence INTEGER NOT NULL,
    envelope BLOB NOT NULL,                -- SignedEnvelope
    lease_id TEXT,
    log_index INTEGER,                     -- NULL: no leaf
    refusal TEXT NOT NULL                  -- empty: applied
);
CREATE UNIQUE INDEX IF NOT EXISTS inbox_order ON inbox (node, delivery_sequence);
-- Those of them that are leaves; what a checkpoint is held against.
CREATE TABLE IF NOT EXISTS leaf (
    log INTEGER NOT NULL,                  -- log.ordinal
    log_index INTEGER NOT NULL,
    sha256 BLOB NOT NULL,                  -- SHA-256(0x00 || PAE)
    PRIMARY KEY (log, log_index)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS outbox (
    node_id TEXT NOT NULL,
    delivery_sequence INTEGER NOT NULL,
    envelope BLOB NOT NULL,                -- SignedEnvelope
    PRIMARY KEY (node_id, delivery_sequence)
);
CREATE TABLE IF NOT EXISTS offer (
    node_id TEXT NOT NULL,
    offer_id TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    payload BLOB NOT NULL,
    accept_ns INTEGER NOT NULL,
    expire_ns INTEGER NOT NULL,
    withdrawn INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (node_id, offer_id)
);
CREATE TABLE IF NOT EXISTS lease (
    ordinal INTEGER PRIMARY KEY,
    node_id TEXT NOT NULL,
    lease_id TEXT NOT NULL,
    stage TEXT NOT NULL,                   -- market.Stage
    stage_ns INTEGER NOT NULL,
    duration_ns INTEGER NOT NULL,
    job_id TEXT NOT NULL,
    workload BLOB NOT NULL,                -- WorkloadBinding; empty: the agent makes a cgroup
    offer BLOB NOT NULL,                   -- payload of the offer it was placed on
    request BLOB NOT NULL,                 -- payload of the ReserveRequest
    fencing_token BLOB NOT NULL DEFAULT x'',
    agreement BLOB NOT NULL DEFAULT x'',   -- payload; empty until the hold was granted
    countersigned BLOB NOT NULL DEFAULT x'', -- SignedEnvelope with both signatures
    receipt BLOB NOT NULL DEFAULT x'',     -- payload of the last good one
    release BLOB NOT NULL DEFAULT x'',     -- payload of the LeaseRelease
    acked INTEGER NOT NULL DEFAULT 0,      -- sequence of the last ReceiptAck
    windows INTEGER NOT NULL DEFAULT 0,    -- whose rebates we looked after ourselves
    detail TEXT NOT NULL DEFAULT '',
    UNIQUE (node_id, lease_id)
);
CREATE TABLE IF NOT EXISTS receipt (
    lease INTEGER NOT NULL,                -- lease.ordinal
    sequence INTEGER NOT NULL,
    sha256 BLOB NOT NULL,
    log INTEGER NOT NULL,                  -- log.ordinal
    log_index INTEGER NOT NULL,
    gross_msat INTEGER NOT NULL,
    signed INTEGER NOT NULL,               -- the envelope's signature was verified
    PRIMARY KEY (lease, sequence)
) WITHOUT ROWID;
-- Every good receipt with its lease; final: under a head that the root of trust has signed.
CREATE VIEW IF NOT EXISTS lease_receipt AS
    SELECT lease.node_id, lease_id, stage, acked, sequence, sha256, gross_msat, receipt.log,
        log_index, signed, log_index < size AS final
    FROM lease JOIN receipt ON receipt.lease = lease.ordinal JOIN log ON log.ordinal = receipt.log;
-- Money. Amounts in msat.
CREATE TABLE IF NOT EXISTS ack (
    node_id TEXT NOT NULL,
    lease_id TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    uncontested INTEGER NOT NULL           -- of the ReceiptAck; the last one for a sequence holds
);
CREATE INDEX IF NOT EXISTS ack_order ON ack (node_id, lease_id, sequence);
CREATE TABLE IF NOT EXISTS bill (
    node_id TEXT NOT NULL,
    label TEXT NOT NULL,
    lease_id TEXT NOT NULL,
    through INTEGER NOT NULL,
    msat INTEGER NOT NULL,
    bolt11 TEXT NOT NULL,
    payment_hash BLOB NOT NULL,
    expire_s INTEGER NOT NULL,
    state TEXT NOT NULL,                   -- billing.BillState
    preimage BLOB NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS bill_label ON bill (node_id, label);
CREATE TABLE IF NOT EXISTS adjustment (
    node_id TEXT NOT NULL,
    lease_id TEXT NOT NULL,
    msat INTEGER NOT NULL,
    dispute_id TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS payout (
    node_id TEXT NOT NULL,
    lease_id TEXT NOT NULL,
    statement_sha256 BLOB NOT NULL,
    kind TEXT NOT NULL,                    -- REBATE, REFUND
    msat INTEGER NOT NULL,
    window_ns INTEGER NOT NULL,            -- start of a rebate's
    state TEXT NOT NULL,                   -- WANTED, ASKED, PAID, NETTED, REFUSED
    payment_hash BLOB NOT NULL DEFAULT x'',
    round INTEGER NOT NULL DEFAULT 1,      -- of our invoice
    detail TEXT NOT NULL DEFAULT '',
    open INTEGER NOT NULL DEFAULT 0        -- our invoice names no amount: the node wants it so
);
CREATE UNIQUE INDEX IF NOT EXISTS payout_statement ON payout (node_id, statement_sha256);
CREATE TABLE IF NOT EXISTS credit (
    node_id TEXT NOT NULL,
    lease_id TEXT NOT NULL,
    level TEXT NOT NULL,
    exposure INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS dispute (
    node_id TEXT NOT NULL,
    lease_id TEXT NOT NULL,
    dispute_id TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    contested INTEGER NOT NULL,
    answered INTEGER NOT NULL DEFAULT 0,
    ended INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (node_id, dispute_id)
);
CREATE TABLE IF NOT EXISTS tally (
    node_id TEXT NOT NULL,
    name TEXT NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (node_id, name)
) WITHOUT ROWID;
"""


class Store:
    """The one way to the database from the event loop."""

    def __init__(self, file: Path) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store")
        self._db = self._thread.submit(open_database, file).result()

    async def run(
        self,
        act: Callable[Concatenate[sqlite3.Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run one act as one transaction; it is durable when this returns.

        :raises TimeoutError: no answer in time. The act may still take place: whoever retries
            asks the database where it stands.
        """
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(DEADLINE_S):
            return await loop.run_in_executor(
                self._thread, lambda: _transact(self._db, act, *args, **kwargs)
            )

    def close(self) -> None:
        """Finish what was begun and close the file."""
        self._thread.submit(self._db.close).result()
        self._thread.shutdown()


def open_database(file: Path) -> sqlite3.Connection:
    """Open and create: WAL, and every commit waits for the disk."""
    db = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
    db.row_factory = sqlite3.Row
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    db.executescript(_SCHEMA)
    return db


def tally(db: sqlite3.Connection, node_id: str, name: str, count: int = 1) -> None:
    """Count an event for good, in the transaction in which it happened."""
    db.execute(
        "INSERT INTO tally VALUES (?, ?, ?)"
        " ON CONFLICT DO UPDATE SET count = count + excluded.count",
        (node_id, name, count),
    )


def _transact(
    db: sqlite3.Connection,
    act: Callable[Concatenate[sqlite3.Connection, P], T],
    *args: P.args,
    **kwargs: P.kwargs,
) -> T:
    db.execute("BEGIN IMMEDIATE")
    try:
        result = act(db, *args, **kwargs)
    except BaseException:
        db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")
    return result
