"""What an exchange may say while it enrols a host, and what one of many may not spoil."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest
from hearth.v1 import attestation_pb2

from agent.admin import Admin
from agent.errors import ExchangeError, ExchangeRefused, JournalError, MalformedMessage
from agent.exchange.enroll import check_certificates, normal_endpoint
from agent.journal.proofs import export, find_receipt
from agent.journal.store import View, connect
from agent.sampler import Latest
from agent.wire import enrol as wire
from agent.wire.foreign import one_line
from attest.ak_certificate import Assurance
from attest.formats import envelope_to_proto
from attest.keys import SoftwareKey
from attest.verify import verify_proof
from tests.fakes import spine
from tests.fakes.fake_ca import FakeCa
from tests.fakes.scripted_exchange import ThrowawayCa
from tests.fakes.spine import Pen
from tests.fakes.world import World

HONEST = FakeCa("an honest exchange")


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    world = await World.open(tmp_path / "state")
    yield world
    world.node.close()


def chain(world: World, ca: FakeCa = HONEST, assurance: str = "software") -> tuple[bytes, ...]:
    root = world.node.root.identity
    return ca.ak_chain(root.spki, root.node_id, assurance)


def wrong_chains(world: World) -> dict[str, tuple[bytes, ...]]:
    """AK chains that an exchange may send and no verifier takes, by what is wrong."""
    root = world.node.root.identity
    good = chain(world)
    other = SoftwareKey.generate().spki
    return {
        "a chain of 0 certificates": (),
        "a chain of 1 certificates": good[:1],
        "a chain of 6 certificates": (good[0], *[good[1]] * 5),
        "does not fit the root of trust": chain(world, assurance="virtual-tpm"),
        "one assurance class": chain(world, assurance="of-later-years"),
        "another node": HONEST.ak_chain(root.spki, "00" * 32, "software"),
        "over another key": HONEST.ak_chain(other, root.node_id, "software"),
    }


async def test_a_chain_that_no_verifier_takes_is_no_enrolment(world: World) -> None:
    key, _, der = ThrowawayCa().issue("agent")
    spki = SoftwareKey.from_pem(key).spki
    assert check_certificates("x", world.node, (der,), chain(world), spki) is Assurance.SOFTWARE
    for why, wrong in wrong_chains(world).items():
        with pytest.raises(ExchangeError, match=why):
            check_certificates("x", world.node, (der,), wrong, spki)
    for tls in ((), (b"rubbish",)):
        with pytest.raises(ExchangeError, match="TLS certificate does not parse"):
            check_certificates("x", world.node, tls, chain(world), spki)
    with pytest.raises(ExchangeError, match="TLS certificate is over another key"):
        check_certificates("x", world.node, (der,), chain(world), SoftwareKey.generate().spki)


async def test_no_exchange_spoils_the_proofs_of_another(world: World) -> None:
    """They were kept before anybody looked, and two exchanges may have one CA."""
    await world.lease()
    await world.seconds(3)
    await world.release()
    await world.seconds(1)
    await world.checkpoint()

    async def proof(*chains: tuple[bytes, ...]) -> bytes:
        def make(view: View) -> bytes:
            return export(view, find_receipt(view, spine.lease_id(1), 0), chains)

        return await world.node.journal.read(make)

    alone = await proof(chain(world))
    assert await proof(chain(world), *wrong_chains(world).values(), chain(world)) == alone
    assert verify_proof(alone, [HONEST.der]).pinned_by
    both = await proof(chain(world, FakeCa("another")), chain(world))
    assert len(verify_proof(both, [HONEST.der]).certified_by) == 2
    below = FakeCa("a CA below the honest one", HONEST)
    second = (*chain(world, below), HONEST.der)
    assert len(verify_proof(await proof(chain(world), second), [HONEST.der]).certified_by) == 1
    with pytest.raises(JournalError, match="enrol with one again"):
        await proof(*wrong_chains(world).values())


@pytest.mark.parametrize(
    "endpoint", ["", "host", "host:", "host:0", "host:65536", "unix:/run/x", "dns:///a:1", "a b:1"]
)
def test_what_is_no_address(endpoint: str) -> None:
    with pytest.raises(ExchangeRefused, match="not an address"):
        normal_endpoint(endpoint)


@pytest.mark.parametrize("endpoint", ["host:1", "https://host:1/", "[::1]:65535"])
def test_what_is_an_address(endpoint: str) -> None:
    assert normal_endpoint(endpoint) in endpoint


def challenge(
    pen: Pen, name: str = "", keys: int = 1, *, by: Pen | None = None, among: bytes = b""
) -> wire.Challenge:
    message = attestation_pb2.CredentialChallenge(nonce=bytes(32))
    message.exchange.exchange_id = pen.exchange_id
    message.exchange.display_name = name
    message.exchange.statement_spki.extend([among or pen.key.spki] * keys)
    if among:
        message.exchange.statement_spki.append(pen.key.spki)
    sealed = envelope_to_proto((by or pen).sign(message))
    return wire.challenge(attestation_pb2.EnrollResponse(challenge=sealed), pen.exchange_id)


def test_a_stranger_who_takes_the_tokens_name_is_not_the_exchange() -> None:
    """He answers in its place, says its id, and signs with a key of his own."""
    exchange, stranger = Pen("exchange"), Pen("stranger")
    with pytest.raises(MalformedMessage, match="not the exchange that issued the join token"):
        challenge(exchange, by=stranger, among=stranger.key.spki)
    with pytest.raises(MalformedMessage, match="enrolment challenge"):
        challenge(exchange, by=stranger)


async def test_a_journal_of_another_node_is_left_alone(tmp_path: Path) -> None:
    first = await World.open(tmp_path / "state")
    first.crash()
    (tmp_path / "state" / "node.pem").unlink()
    for _ in range(2):
        with pytest.raises(JournalError, match="belongs to node"):
            await first.start()
    with closing(connect(tmp_path / "state" / "journal.sqlite", readonly=True)) as journal:
        assert View(journal).size() == 3


def test_a_name_drives_no_terminal_and_forges_no_line() -> None:
    wish = "a\x1b]0;title\x07\nnext: b\u202e" + "c" * 200
    name = challenge(Pen("x"), wish).display_name
    assert name.isprintable()
    assert name.startswith("a ]0;title  next: b ccc")
    assert len(name) == 100
    assert one_line(None) == ""


def test_keys_without_end_are_not_tried() -> None:
    assert len(challenge(Pen("x"), keys=wire.MOST_KEYS).statement_spki) == wire.MOST_KEYS
    with pytest.raises(MalformedMessage, match="statement keys"):
        challenge(Pen("x"), keys=wire.MOST_KEYS + 1)


async def test_a_class_of_later_years_is_shown_as_its_number(world: World) -> None:
    world.links[0].enrolment = world.pens[0].enrolment(assurance=99)

    async def unasked(*words: object) -> None:
        raise AssertionError(words)

    desk = Admin(world.node, world.metering, Latest(), world.links, unasked, unasked)  # type: ignore[arg-type]
    answer = await desk._status()
    assert [int(item.assurance) for item in answer.exchanges] == [99]
