"""Checkpoints: one record, one note, one chain, wherever the TPM or the power fails."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from concurrent.futures import Future
from itertools import pairwise
from pathlib import Path

import pytest

from agent.exchange import outbox
from agent.journal import checkpoints
from agent.journal.store import View
from attest import checkpoint as notes
from attest import merkle
from attest.envelope import message_name
from attest.errors import TpmError
from attest.formats import CheckpointRecord, decode_checkpoint_record, decode_envelope
from attest.keys import SoftwareKey
from attest.software import SoftwareRoot
from tests.fakes.world import World


class StubbornRoot(SoftwareRoot):
    """Fails to sign as often as it is told to, or never answers at all."""

    def __init__(self, key: SoftwareKey) -> None:
        super().__init__(key)
        self.failures = 0
        self.silent = False
        self.asked: list[bytes] = []

    def sign_note(self, text: bytes) -> Future[bytes]:
        self.asked.append(text)
        future: Future[bytes] = Future()
        if self.silent:
            return future
        if self.failures:
            self.failures -= 1
            future.set_exception(TpmError("TPM_RC_RETRY, for the test"))
            return future
        return super().sign_note(text)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = await World.open(tmp_path / "state")
    key = SoftwareKey.from_pem((made.state / "node.pem").read_bytes())
    made.node.root = StubbornRoot(key)
    yield made
    assert made.findings() == []
    made.node.close()


def root(world: World) -> StubbornRoot:
    assert isinstance(world.node.root, StubbornRoot)
    return world.node.root


def records(view: View) -> list[tuple[int, CheckpointRecord]]:
    found = []
    for index in range(view.size()):
        envelope = decode_envelope(view.envelope(index))
        if message_name(envelope.payload_type) == "CheckpointRecord":
            found.append((index, decode_checkpoint_record(envelope.payload)))
    return found


async def grow(world: World) -> None:
    await world.offering.refresh(world.links)
    await world.lease(1 + await world.node.journal.read(View.size))


async def test_a_note_is_over_the_tree_that_ends_with_its_record(world: World) -> None:
    head = await world.checkpoint()
    assert head is not None
    size = await world.node.journal.read(View.size)
    signed = notes.verify(head.note, world.node.root.identity.spki)
    tree = await world.node.journal.read(lambda view: view.root(size))
    assert signed == notes.Checkpoint(world.node.origin, size, tree)
    assert head.size == size
    [(index, record)] = await world.node.journal.read(records)
    assert index == size - 1
    assert (record.checkpoint_sequence, record.previous_note_sha256) == (1, b"")


async def test_nothing_new_no_checkpoint(world: World) -> None:
    assert await world.checkpoint() is not None
    size = await world.node.journal.read(View.size)
    assert await world.checkpoint() is None
    assert await world.node.journal.read(View.size) == size


async def test_notes_chain_through_their_records(world: World) -> None:
    heads = []
    for _ in range(4):
        await grow(world)
        head = await world.checkpoint()
        assert head is not None
        heads.append(head)
    assert [head.sequence for head in heads] == [1, 2, 3, 4]
    before = b""
    for head, (index, record) in zip(heads, await world.node.journal.read(records), strict=True):
        assert head.size == index + 1
        assert (record.checkpoint_sequence, record.previous_note_sha256) == (
            head.sequence,
            before,
        )
        before = hashlib.sha256(head.note).digest()
    for old, new in pairwise(heads):
        path = await world.node.journal.read(
            lambda view, old=old, new=new: checkpoints.consistency(view, old.size, new.size)
        )
        roots = [notes.parse(head.note)[0].root for head in (old, new)]
        merkle.verify_consistency(old.size, roots[0], new.size, roots[1], path)


async def test_a_record_without_its_note_is_finished_and_not_repeated(world: World) -> None:
    """The TPM refuses, leaves go on being written, the next cut signs exactly the first tree."""
    root(world).failures = 1
    with pytest.raises(TpmError):
        await world.checkpoint()
    assert await world.node.journal.read(checkpoints.newest) is None
    size = await world.node.journal.read(View.size)
    await grow(world)
    head = await world.checkpoint()
    assert head is not None
    assert (head.sequence, head.size) == (1, size)
    assert root(world).asked[0] == root(world).asked[1]
    assert len(await world.node.journal.read(records)) == 1
    after = await world.checkpoint()
    assert after is not None
    assert after.sequence == 2


async def test_a_crash_between_record_and_note_is_finished_by_the_next_start(
    world: World,
) -> None:
    root(world).failures = 1
    with pytest.raises(TpmError):
        await world.checkpoint()
    asked = root(world).asked[0]
    world.crash()
    await world.start()
    again = StubbornRoot(SoftwareKey.from_pem((world.state / "node.pem").read_bytes()))
    world.node.root = again
    head = await world.checkpoint()
    assert head is not None
    assert again.asked == [asked]
    assert len(await world.node.journal.read(records)) == 1


async def test_a_note_that_stands_is_never_replaced(world: World) -> None:
    """Two cuts sign one record; ECDSA gives two signatures, and one of them stands."""
    root(world).failures = 1
    with pytest.raises(TpmError):
        await world.checkpoint()
    one, two = await asyncio.gather(world.checkpoint(), world.checkpoint())
    assert root(world).asked == root(world).asked[:1] * 3
    assert one is not None
    assert one == two == await world.node.journal.read(checkpoints.newest)


async def test_a_silent_tpm_is_given_up_and_the_journal_goes_on(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "SIGN_DEADLINE_S", 0.05)
    root(world).silent = True
    with pytest.raises(TimeoutError):
        await world.checkpoint()
    await grow(world)
    root(world).silent = False
    assert await world.checkpoint() is not None


# --- what an exchange gets ---


async def test_a_bundle_moves_an_exchange_from_any_head_to_the_newest(world: World) -> None:
    pen = world.pens[0]
    roots: dict[int, bytes] = {}
    for _ in range(4):
        await grow(world)
        head = await world.checkpoint()
        assert head is not None
        roots[head.size] = notes.parse(head.note)[0].root
    newest = max(roots)
    for witnessed in (0, *sorted(roots)[:-1]):
        bundle = await world.node.journal.read(
            lambda view, at=witnessed: outbox.bundle(view, pen.row, at, 1 << 40)
        )
        assert bundle is not None
        assert (bundle.old_size, bundle.size) == (witnessed, newest)
        if witnessed:
            merkle.verify_consistency(
                witnessed, roots[witnessed], newest, roots[newest], bundle.consistency
            )
        leaves = {
            index: await world.node.journal.read(lambda view, at=index: view.node(0, at))
            for index in bundle.indices
        }
        merkle.verify_multiproof(leaves, newest, bundle.inclusion, roots[newest])
    nothing = await world.node.journal.read(
        lambda view: outbox.bundle(view, pen.row, newest, 1 << 40)
    )
    assert nothing is None


async def test_a_bundle_waits_for_the_leaves_under_it(world: World) -> None:
    pen = world.pens[0]
    await grow(world)
    await world.checkpoint()
    last = await world.node.journal.read(lambda view: outbox.last(view, pen.row))
    early = await world.node.journal.read(lambda view: outbox.bundle(view, pen.row, 0, last - 1))
    assert early is None
    ready = await world.node.journal.read(lambda view: outbox.bundle(view, pen.row, 0, last))
    assert ready is not None
