"""`hearth journal check`: silent on a whole journal, and one finding for each way to break it."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from hearth.v1 import lease_pb2
from typer.testing import CliRunner

from agent.cli.app import app
from agent.journal import fsck
from agent.journal.store import View, connect
from attest.formats import decode_envelope, encode_envelope
from tests.fakes import spine
from tests.fakes.spine import SECOND
from tests.fakes.world import World


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """Two exchanges, three leases: one ended, one running, one held; 40 leaves and more."""
    made = await World.open(tmp_path / "state", exchanges=2)
    await made.lease(1)
    await made.lease(2, pen=made.pens[1], hours=10)
    await made.seconds(2)
    for _ in range(16):
        made.clock.tick(900 * SECOND)
        made.metering.sample()
        await made.metering.close_due()
        await made.checkpoint()
        if made.clock.boottime_ns > 3600 * SECOND:
            await made.delivery.reconcile()
    await made.reserve(3)
    await made.checkpoint()
    yield made
    made.node.close()


async def test_a_whole_journal_has_nothing_to_find(world: World) -> None:
    assert world.findings() == []
    size = await world.node.journal.read(View.size)
    assert size >= 40


async def test_an_empty_journal_has_nothing_to_find(tmp_path: Path) -> None:
    connection = connect(tmp_path / "journal.sqlite")
    assert fsck.check(View(connection), None) == []
    connection.close()


async def test_another_root_of_trust_is_found(world: World) -> None:
    connection = connect(world.state / "journal.sqlite", readonly=True)
    found = fsck.check(View(connection), world.pens[0].key.spki)
    connection.close()
    assert found == ["node: another root of trust than this host's"]


BREAKS = {
    "UPDATE entries SET envelope = CAST(envelope || x'00' AS BLOB) WHERE idx = 7": "leaf 7:",
    "UPDATE entries SET leaf = zeroblob(32) WHERE idx = 7": "leaf 7: the stored hash",
    "UPDATE entries SET envelope = (SELECT envelope FROM entries WHERE idx = 5),"
    " leaf = (SELECT leaf FROM entries WHERE idx = 5) WHERE idx = 6": "node 0 of level 3",
    "DELETE FROM entries WHERE idx = 9": "leaf 9: missing",
    "UPDATE nodes SET hash = zeroblob(32) WHERE level = 4 AND idx = 0": "node 0 of level 4",
    "DELETE FROM nodes WHERE level = 3 AND idx = 1": "nodes: ",
    "INSERT INTO nodes VALUES (9, 9, zeroblob(32))": "nodes: ",
    "DELETE FROM bindings": "no binding introduces",
    "UPDATE bindings SET spki = zeroblob(91)": "leaf 1: binds another key",
    "UPDATE meta SET value = zeroblob(64) WHERE key = 'log_start'": "leaf 0: not the LogStart",
    "DELETE FROM checkpoints WHERE sequence = 2": "checkpoint 2: missing",
    "UPDATE checkpoints SET note = NULL WHERE sequence = 2": "checkpoint 2: was never signed",
    "UPDATE checkpoints SET size = size - 1 WHERE sequence = 3": "checkpoint 3:",
    "UPDATE checkpoints SET note = (SELECT note FROM checkpoints WHERE sequence = 2)"
    " WHERE sequence = 3": "checkpoint 3: the note is not over the first",
    "DELETE FROM checkpoints WHERE sequence = (SELECT max(sequence) FROM checkpoints)": (
        "a CheckpointRecord of no checkpoint"
    ),
    "DELETE FROM receipts WHERE lease = 1 AND sequence = 2": "receipts where 1 to",
    "UPDATE receipts SET idx = (SELECT idx FROM receipts WHERE lease = 2 AND sequence = 1)"
    " WHERE lease = 1 AND sequence = 1": "of another lease or sequence",
    "DELETE FROM receipts WHERE lease = 2;"
    " UPDATE leases SET body = (SELECT body FROM leases WHERE id = 3) WHERE id = 2": (
        "a receipt that no lease has"
    ),
    "DELETE FROM outbox WHERE exchange = 1 AND sequence = 3": "outbox of exchange 1:",
    "UPDATE exchanges SET outbox_last = outbox_last + 1 WHERE id = 2": "outbox of exchange 2:",
    "UPDATE exchanges SET delivered_through = outbox_last + 1 WHERE id = 2": "delivered of",
    "UPDATE outbox SET idx = NULL WHERE exchange = 1 AND sequence = 3": "nothing to deliver",
    "UPDATE outbox SET idx = 100000 WHERE exchange = 1 AND sequence = 3": "nothing to deliver",
    "DELETE FROM meter": "its meter is missing",
    "UPDATE meter SET state = x'00'": "meter: ",
    "UPDATE leases SET closed_ns = 1 << 60 WHERE id = 2": "its meter is missing or behind",
    "UPDATE leases SET body = (SELECT body FROM leases WHERE id = 2) WHERE id = 1": (
        "under another exchange"
    ),
    "PRAGMA foreign_keys = OFF; INSERT INTO receipts VALUES (99, 1, 3)": "refers to nothing",
}


@pytest.mark.parametrize(("damage", "finding"), BREAKS.items())
async def test_each_damage_is_found(
    world: World, tmp_path: Path, damage: str, finding: str
) -> None:
    copy = tmp_path / "copy.sqlite"
    with sqlite3.connect(world.state / "journal.sqlite") as original:
        original.execute("VACUUM INTO ?", (str(copy),))
    original.close()
    broken = sqlite3.connect(copy)
    broken.executescript(damage)
    found = fsck.check(View(broken), None)
    broken.close()
    assert any(finding in line for line in found), found


async def test_a_changed_signature_is_found(world: World, tmp_path: Path) -> None:
    copy = tmp_path / "copy.sqlite"
    shutil.copy(world.state / "journal.sqlite", copy)
    shutil.copy(world.state / "journal.sqlite-wal", tmp_path / "copy.sqlite-wal")
    broken = sqlite3.connect(copy)
    (raw,) = broken.execute("SELECT envelope FROM entries WHERE idx = 12").fetchone()
    envelope = decode_envelope(raw)
    by = envelope.signatures[0]
    other = replace(by, signature=by.signature[:-1] + bytes([by.signature[-1] ^ 1]))
    changed = encode_envelope(replace(envelope, signatures=(other,)))
    broken.execute("UPDATE entries SET envelope = ? WHERE idx = 12", (changed,))
    found = fsck.check(View(broken), None)
    broken.close()
    assert len(found) == 1
    assert found[0].startswith("leaf 12: ")


async def test_a_unit_sold_twice_is_found(world: World) -> None:
    """A ledger that lied about what is there grants what is not: the log alone shows it."""
    pen, units = world.pens[0], {"VCPU": 40}
    await world.lease(5, units)
    assert world.findings() == []
    offer, terms = await spine.newest_offer(world.node.journal, pen.row)
    # That offer said 64 in all; now twice as much is granted from it.
    world.node.capacity = {name: 2 * count for name, count in world.node.capacity.items()}
    await spine.tell(world.market, pen, pen.reserve(terms, spine.lease_id(6), units))
    decision = await spine.newest_decision(world.node.journal, pen.row)
    assert decision.outcome == lease_pb2.LEASE_OUTCOME_ACCEPTED
    assert world.findings() == []  # a hold may have run out
    now = world.clock.wall_ns
    agreement = pen.agreement(
        offer, spine.lease_id(6), units, decision.fencing_token, now, now + SECOND
    )
    await spine.tell(world.market, pen, pen.sign(agreement))
    assert any("VCPU granted of 64" in line for line in world.findings())


def test_the_command_says_what_is_wrong_and_exits_7(tmp_path: Path, world: World) -> None:
    world.node.close()
    config = tmp_path / "hearth.toml"
    config.write_text(f'state_dir = "{world.state}"\n')
    good = CliRunner().invoke(app, ["journal", "check", "--config", str(config)])
    assert good.exit_code == 0, good.output
    assert "fine" in good.output
    broken = sqlite3.connect(world.state / "journal.sqlite")
    broken.execute("DELETE FROM outbox WHERE exchange = 1 AND sequence = 3")
    broken.commit()
    broken.close()
    bad = CliRunner().invoke(app, ["journal", "check", "--config", str(config)])
    assert "outbox of exchange 1" in bad.output
    assert bad.exception is not None
    assert getattr(bad.exception, "exit_code", None) == 7
