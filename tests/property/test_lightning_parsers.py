"""What strangers and nodes send: only our own errors come out of the readers."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from agent.core import bolt11
from agent.core.bolt11 import NotBolt11, decode
from agent.settle.calls import Lost, Refused
from agent.settle.lightning import LightningNode
from agent.settle.peer_wire import BadMessage, Joiner, Type, cut, message_type, pong
from agent.settle.rail import PaymentOrder, RailError
from agent.settle.runes import Alternative, Call, NotARune, Rune, parse, refusal
from agent.settle.worker_messages import Broken, read_access, read_answer, read_request
from tests.fakes.cln_replay import recording
from tests.unit.test_bolt11 import resealed

TEXT = recording("decode_bolt11_deschash")["params"]["string"]
PREFIX, WORDS = bolt11._words(TEXT)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=80),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner),
    max_leaves=12,
)


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(NotBolt11):
        decode(text)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_an_invoice_with_a_right_checksum_and_wrong_words(data: st.DataObject) -> None:
    words = list(WORDS)
    for _ in range(data.draw(st.integers(1, 5))):
        at = data.draw(st.integers(0, len(words) - 1))
        words[at] = data.draw(st.integers(0, 31))
    words = words[: data.draw(st.integers(0, len(words)))] if data.draw(st.booleans()) else words
    with contextlib.suppress(NotBolt11):
        said = decode(resealed(PREFIX, words))
        assert len(said.payment_hash) == 32
        assert said.amount_msat == 123_456


@given(st.text(max_size=120) | st.binary(max_size=120).map(lambda raw: raw.hex()))
def test_any_rune_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(NotARune):
        refusal(parse(text), Call("xpay", {"a": 1}))


fields = st.from_regex(r"[a-z_]{1,12}", fullmatch=True)
alternatives = st.builds(
    Alternative, fields, st.sampled_from("=/^$~<>{}!#"), st.text("abc0189 &|\\=<-", max_size=12)
)


@given(st.lists(st.lists(alternatives, min_size=1, max_size=3).map(tuple), max_size=4))
def test_a_rune_is_what_was_written(rows: list[tuple[Alternative, ...]]) -> None:
    rune = Rune(bytes(32), "7", tuple(rows))
    assert parse(rune.text()) == rune


@given(
    st.lists(st.lists(alternatives, min_size=1, max_size=3).map(tuple), max_size=4),
    st.lists(alternatives, min_size=1, max_size=3).map(tuple),
    st.dictionaries(fields, st.integers() | st.text(max_size=9), max_size=3),
)
def test_a_further_restriction_never_allows_more(
    rows: list[tuple[Alternative, ...]],
    further: tuple[Alternative, ...],
    params: dict[str, Any],
) -> None:
    call = Call("invoice", params)
    if refusal(Rune(bytes(32), "7", tuple(rows)), call) is not None:
        assert refusal(Rune(bytes(32), "7", (*rows, further)), call) is not None


class Says:
    """A node that answers whatever it was given."""

    def __init__(self, answers: list[Any]) -> None:
        self._answers = answers

    def call(self, method: str, params: Mapping[str, Any]) -> dict[str, Any]:
        if not self._answers:
            raise Lost("nothing more")
        answer = self._answers.pop()
        if isinstance(answer, int):
            raise Refused(answer, "no")
        return dict(answer)


row_keys = st.sampled_from(
    ["label", "bolt11", "payment_hash", "payment_preimage", "status", "pay_index", "amount_msat",
     "amount_received_msat", "amount_sent_msat", "paid_at", "created_at", "expires_at",
     "description", "invoices", "payments", "channels", "configs", "id", "network", "invoice"]
)  # fmt: skip
values = json_values | st.sampled_from(["paid", "complete", "failed", "00" * 32, TEXT, 5, -5])
rows = st.dictionaries(row_keys, values | st.lists(st.dictionaries(row_keys, values), max_size=2))
answers = st.lists(rows | st.sampled_from([203, 205, 219, 900, 904, -3, -32602, 1502]), max_size=5)


@settings(max_examples=500, deadline=None)
@given(answers)
def test_whatever_a_node_answers_only_the_rail_s_errors_come_out(said: list[Any]) -> None:
    order = PaymentOrder(TEXT, decode(TEXT).payment_hash, 123_456, 10)
    for act in (
        lambda node: node.invoice("hearth/x", 123_456, "d", 60),
        lambda node: node.invoice_state("hearth/x"),
        lambda node: node.paid_after(0, 1),
        lambda node: node.attempts(bytes(32)),
        lambda node: node.decode("lni1xyz"),
        lambda node: node.invoice_from_offer("lno1", None, 1),
        lambda node: node.health(),
        lambda node: node.pay(order),
    ):
        with contextlib.suppress(RailError):
            act(LightningNode(Says(list(said))))


@given(st.binary(max_size=80))
def test_the_worker_s_lines(line: bytes) -> None:
    for read in (read_access, read_request, read_answer):
        with contextlib.suppress(Broken):
            read(line)


@given(st.binary(max_size=200_000), st.integers(0, (1 << 64) - 1))
@settings(max_examples=20)
def test_commando_parts_join_again(body: bytes, number: int) -> None:
    joiner = Joiner(Type.REPLY_PART, Type.REPLY_END)
    joined = [joiner.take(raw) for raw in cut(number, body, Type.REPLY_PART, Type.REPLY_END)]
    assert joined[-1] == (number, body)
    assert all(one is None for one in joined[:-1])


@given(st.binary(max_size=30))
def test_peer_messages(raw: bytes) -> None:
    for read in (message_type, pong, Joiner(Type.REPLY_PART, Type.REPLY_END).take):
        with contextlib.suppress(BadMessage):
            read(raw)
