"""Judging runes: the recorded ones, the recommended ones, and what an operator may get wrong."""

from __future__ import annotations

import json

import pytest

from agent.sandbox.lightningd.methods import METHODS, make_node
from agent.sandbox.lightningd.network import Network
from agent.sandbox.lightningd.node import Node
from agent.sandbox.lightningd.refusal import Refusal
from agent.settle.audit import CHECKS, Check, Purpose, audit, restrictions, unusable
from agent.settle.inspection import Limits, commands, inspect
from agent.settle.runes import Alternative, Call, NotARune, parse, refusal
from tests.fakes.cln_replay import RECORDINGS, VirtualTime, recording

CHECKED = sorted(path.stem for path in RECORDINGS.glob("checkrune*.json"))
# What the words of the rune do not tell: that it was withdrawn, or used a moment ago.
STATEFUL = ("blacklisted", "rate_", "again_per")


@pytest.mark.parametrize("name", [n for n in CHECKED if not any(s in n for s in STATEFUL)])
def test_recorded_runes_are_judged_as_the_node_judged_them(name: str) -> None:
    asked = recording(name)
    params = asked["params"]
    try:
        rune = parse(params["rune"])
    except NotARune:
        assert asked["error"]["code"] == -32602
        return
    call = Call(params["method"], params["params"], params.get("nodeid", ""))
    said = refusal(rune, call)
    if "error" in asked:
        assert f"Not permitted: {said}" == asked["error"]["message"]
    else:
        assert said is None
    assert rune.text() == params["rune"]


@pytest.fixture
def node() -> Node:
    return make_node(Network(VirtualTime(1_795_338_310), seed=3), "node")


def made(node: Node, wanted: object) -> str:
    return str(node.call("createrune", restrictions=wanted)["rune"])


@pytest.mark.parametrize("purpose", list(Purpose))
def test_what_setup_recommends_is_enough_and_not_too_much(node: Node, purpose: Purpose) -> None:
    command = commands(Limits(most_msat=1_000_000, every="1min"))[purpose]
    wanted = json.loads(command.partition("restrictions='")[2].removesuffix("'"))
    text = made(node, wanted)
    assert audit(parse(text), purpose) == ()
    assert unusable(parse(text), purpose) == ()
    allowed = {check.method for check in CHECKS[purpose] if check.must_pass}
    for method in METHODS:
        if method not in allowed:
            with pytest.raises(Refusal, match="method"):
                node.runes.check(text, method, {})


def passes(node: Node, text: str, check: Check) -> bool:
    node.runes.last_used.clear()
    try:
        node.runes.check(text, check.method, check.params)
    except Refusal:
        return False
    return True


@pytest.mark.parametrize("purpose", list(Purpose))
def test_the_node_agrees_with_every_check(node: Node, purpose: Purpose) -> None:
    text = made(node, restrictions(purpose, most_msat=1_000_000, every="1min"))
    for check in CHECKS[purpose]:
        assert passes(node, text, check) is check.must_pass, check


def test_a_rune_bound_to_an_id_is_of_no_use_to_another(node: Node) -> None:
    text = made(node, restrictions(Purpose.PAYMENTS, node_id="02" + "ab" * 32))
    node.runes.check(text, "listsendpays", {}, "02" + "ab" * 32)
    with pytest.raises(Refusal, match="id is not equal"):
        node.runes.check(text, "listsendpays", {}, "02" + "cd" * 32)
    assert audit(parse(text), Purpose.PAYMENTS) == ()


WRONG = {
    "unrestricted": ([], Purpose.INVOICE, "does not name the methods", True),
    "readonly": ("readonly", Purpose.INVOICE, "does not name the methods", True),
    "all but one": ([["method/withdraw"]], Purpose.INVOICE, "does not name", True),
    "by prefix": ([["method^inv"]], Purpose.INVOICE, "does not name the methods", True),
    "or a time": ([["method=invoice", "time<9999999999"]], Purpose.INVOICE, "not name", True),
    "xpay as well": ([["method=invoice", "method=xpay"]], Purpose.INVOICE, "allows xpay", True),
    "funds": ([["method=invoice", "method=listfunds"]], Purpose.INVOICE, "secrets", False),
    "no lower bound": (
        [["method=invoice"], ["pnameexpiry<86401"]], Purpose.INVOICE, "expiry=-1", False,
    ),
    "no bound": ([["method=invoice"]], Purpose.INVOICE, "by position", False),
    "no cap": ([["method=sendamount"], ["per=1min"]], Purpose.PAY, "any amount", True),
    "a cap that by-position calls pass": (
        [["method=sendamount"], ["pnum=2", "pnameamount_msat<1000"], ["per=1min"]],
        Purpose.PAY, "by position", True,
    ),
    "no pause": (
        [["method=sendamount"], ["pnameamount_msat>0"], ["pnameamount_msat<1000"]],
        Purpose.PAY, "no `per`", True,
    ),
    "a pause that is none": (
        [["method=sendamount"], ["pnameamount_msat>0"], ["pnameamount_msat<1000"], ["per=9msec"]],
        Purpose.PAY, "no `per`", True,
    ),
    "a pause for some": (
        [["method=sendamount"], ["pnameamount_msat>0"], ["pnameamount_msat<1000"],
         ["per=1min", "pnameinvstring^ln"]],
        Purpose.PAY, "no `per`", True,
    ),
    "xpay, whose invoices have amounts": (
        [["method=xpay"], ["pnamemaxfee<1001"], ["rate=2"]], Purpose.PAY, "allows xpay", True,
    ),
    "payments and more": (
        [["method=listsendpays", "method=withdraw"]], Purpose.PAYMENTS, "allows withdraw", True,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_rune_that_allows_too_much_is_found_out(node: Node, name: str) -> None:
    wanted, purpose, words, drains = WRONG[name]
    judged = inspect(made(node, wanted), purpose)
    assert any(words in finding.text for finding in judged.findings), judged.findings
    assert judged.drains is drains


def test_a_rune_that_allows_too_little_is_found_out(node: Node) -> None:
    text = made(node, [["method=invoice"], ["pnameexpiry>0"], ["pnameexpiry<60"]])
    missing = inspect(text, Purpose.INVOICE).missing
    assert set(missing) == {"invoice", "listinvoices", "waitanyinvoice"}


def test_a_rate_hides_nothing(node: Node) -> None:
    """A node says "too soon" to whatever a rate delays: the rune's words say what it allows."""
    text = made(node, [["method=invoice", "method=withdraw"], ["rate=1"]])
    node.runes.check(text, "invoice", {})
    with pytest.raises(Refusal, match="too soon"):
        node.runes.check(text, "withdraw", {})
    assert inspect(text, Purpose.INVOICE).drains


def test_a_narrowed_rune_is_genuine_and_a_widened_one_is_not(node: Node) -> None:
    base = made(node, [["method=invoice"]])
    narrow = node.call("createrune", rune=base, restrictions=[["pnamelabel^a"]])["rune"]
    node.runes.check(narrow, "invoice", {"label": "ab"})
    rune = parse(base)
    wide = type(rune)(rune.code, rune.unique_id, ((Alternative("method", "=", "withdraw"),),))
    with pytest.raises(Refusal, match="Not derived"):
        node.runes.check(wide.text(), "withdraw", {})


@pytest.mark.parametrize("text", ["", "AAAA", "ü", "=" * 60, "a" * 31, "!!!!"])
def test_what_is_no_rune(text: str) -> None:
    with pytest.raises(NotARune):
        parse(text)
