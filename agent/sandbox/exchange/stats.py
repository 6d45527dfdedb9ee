"""What the exchange knows of each node, in numbers. An act of the store."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from typing import Any

from agent.sandbox.exchange import judge, market
from attest.verify import Assurance

_TALLIES = (
    "offers_accepted",
    "receipts_rejected",
    "others_rejected",
    "checkpoints_verified",
    "checkpoints_rejected",
    "challenges_sent",
    "challenges_passed",
    "challenges_failed",
    "challenges_refused",
    "log_breaks",
    "nacks_received",
)


def stats(db: sqlite3.Connection) -> dict[str, Any]:
    """Return {node id: figures} as JSON values; everything counted is an integer."""
    return {row["node_id"]: _node(db, row) for row in db.execute("SELECT * FROM node").fetchall()}


def _node(db: sqlite3.Connection, node: sqlite3.Row) -> dict[str, Any]:
    node_id = node["node_id"]
    tallies = dict(
        db.execute("SELECT name, count FROM tally WHERE node_id = ?", (node_id,)).fetchall()
    )
    head = db.execute(
        "SELECT log_id, size FROM log WHERE node_id = ? ORDER BY ordinal DESC LIMIT 1", (node_id,)
    ).fetchone()
    leases = db.execute(
        "SELECT * FROM lease WHERE node_id = ? ORDER BY lease_id", (node_id,)
    ).fetchall()
    stored, verified, final = db.execute(
        "SELECT count(*), coalesce(sum(signed OR final), 0), coalesce(sum(final), 0)"
        " FROM lease_receipt WHERE node_id = ?",
        (node_id,),
    ).fetchone()
    gaps, regressions = _audit(db, node_id)
    return {
        "assurance": Assurance(node["assurance"]).label,
        **{name: tallies.get(name, 0) for name in _TALLIES},
        "first_offer_unix_ns": node["first_offer_ns"],
        "leases": dict(Counter(lease["stage"] for lease in leases)),
        "receipts_stored": stored,
        "receipts_verified": verified,
        "receipts_final": final,
        "receipts_acked": sum(lease["acked"] for lease in leases),
        "gaps": gaps,
        "regressions": regressions,
        "log_id": head["log_id"] if head is not None else None,
        "head_size": head["size"] if head is not None else 0,
        "deliveries_received": node["received"],
        "deliveries_made": node["sent"],
        "session_epoch": node["session_epoch"],
        "lease": {
            lease["lease_id"]: {**_lease(lease), "money": _money(db, lease)} for lease in leases
        },
        "claims": json.loads(node["claims"]),
    }


def _audit(db: sqlite3.Connection, node_id: str) -> tuple[int, int]:
    """Count missing receipt sequences, and totals that fell, over all that is stored."""
    gaps = db.execute(
        "SELECT coalesce(sum(missing), 0) FROM (SELECT max(sequence) - count(*) AS missing"
        " FROM lease_receipt WHERE node_id = ? GROUP BY lease_id)",
        (node_id,),
    ).fetchone()[0]
    regressions = db.execute(
        "SELECT count(*) FROM (SELECT gross_msat < lag(gross_msat) OVER"
        " (PARTITION BY lease_id ORDER BY sequence) AS fell FROM lease_receipt WHERE node_id = ?)"
        " WHERE fell",
        (node_id,),
    ).fetchone()[0]
    return gaps, regressions


def _money(db: sqlite3.Connection, lease: sqlite3.Row) -> dict[str, Any]:
    """What was invoiced, paid and given back for one lease, in msat."""
    key = (lease["node_id"], lease["lease_id"])
    bills = db.execute(
        "SELECT label, through, msat, state FROM bill WHERE node_id = ? AND lease_id = ?"
        " ORDER BY rowid",
        key,
    ).fetchall()
    back = db.execute(
        "SELECT kind, msat, state, detail FROM payout WHERE node_id = ? AND lease_id = ?"
        " ORDER BY rowid",
        key,
    ).fetchall()
    levels = db.execute(
        "SELECT level FROM credit WHERE node_id = ? AND lease_id = ? ORDER BY rowid", key
    ).fetchall()
    disputed = db.execute(
        "SELECT contested, answered, ended FROM dispute WHERE node_id = ? AND lease_id = ?", key
    ).fetchall()
    return {
        "paid_msat": sum(row["msat"] for row in bills if row["state"] == "PAID"),
        "returned_msat": sum(row["msat"] for row in back if row["state"] == "PAID"),
        "invoices": [dict(row) for row in bills],
        "payouts": [dict(row) for row in back],
        "credit": [row["level"] for row in levels],
        "disputes": [dict(row) for row in disputed],
    }


def _lease(lease: sqlite3.Row) -> dict[str, Any]:
    figures: dict[str, Any] = {
        "stage": lease["stage"],
        "detail": lease["detail"],
        "job_id": lease["job_id"],
        "units": None,
        "start_unix_ns": None,
        "stage_unix_ns": lease["stage_ns"],
        "acked_through": lease["acked"],
        "receipt": None,
    }
    if lease["agreement"]:  # without one nothing was ever held for long
        agreed = market.contract(lease["agreement"])
        figures |= {"units": dict(agreed.units), "start_unix_ns": agreed.start_ns}
    if lease["receipt"]:
        last = judge.registers(lease["receipt"])
        figures["receipt"] = {
            "sequence": last.sequence,
            "sha256": last.sha256.hex(),
            "final": last.final,
            "start_unix_ns": last.start_ns,
            "end_unix_ns": last.end_ns,
            "totals": {
                total.resource_class: {
                    "reserved_unit_ms": total.reserved,
                    "delivered_unit_ms": total.delivered,
                    "used_unit_ms": _counted(total.used),
                    "missing_ms": total.missing,
                }
                for total in last.totals
            },
            "energy_mj": _counted(last.energy_mj),
            "heat_mj": _counted(last.heat_mj),
            "reverse_mj": _counted(last.reverse_mj),
            "gross_msat": last.gross_msat,
        }
    return figures


def _counted(register: int) -> int | None:
    return None if register == judge.ABSENT else register
