"""The double of Core Lightning answers as the recorded node did: codes, words, shapes, values.

Every recording is asked again, in the order and the situation in which it was made.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.sandbox.lightningd.hosting import Hosting
from agent.sandbox.lightningd.methods import make_node
from agent.sandbox.lightningd.network import Network
from tests.fakes.cln_replay import IDS, LOST, RECORDINGS, Replay, recording

# Nothing to ask: rows without their request, and the bytes that have a test of their own.
NOT_ASKED = {"sql_invoices", "_raw_wire"}


def invoices(replay: Replay) -> None:
    replay.ask(
        "getinfo", "unknown_method", "invoice_ok", "invoice_dup_label_same",
        "invoice_dup_label_diff_amount", "listinvoices_by_label_unpaid", "decode_bolt11_deschash",
        "invoice_preimage", "invoice_dup_preimage", "invoice_any", "invoice_str_msat",
        "invoice_str_sat", "invoice_str_btc", "invoice_int_label", "invoice_bool_label",
        "invoice_zero", "invoice_neg", "invoice_float", "invoice_unicode", "invoice_ctrl_desc",
        "invoice_long_desc_639", "invoice_long_desc_640", "invoice_long_desc_2000_hashonly",
        "invoice_long_label", "invoice_missing_param", "invoice_unknown_param", "check_invoice_bad",
        "invoice_huge", "invoice_over_capacity", "invoice_over21M", "listinvoices_missing",
        "listinvoices_two_filters", "delinvoice_wrong_status", "delinvoice_ok",
        "delinvoice_missing", "waitinvoice_missing", "preapproveinvoice",
    )  # fmt: skip


def expiring(replay: Replay) -> None:
    replay.nodes["l1"].call(
        "invoice", amount_msat=1000, label="e0-1795338289", description="x", expiry=0
    )
    replay.ask("invoice_expiry0", "invoice_expiry1")
    waiting = replay.begin("waitinvoice_expires")
    assert not waiting.done
    replay.passes(3)
    replay.compare("waitinvoice_expires", waiting)
    replay.ask(
        "waitinvoice_already_expired", "listinvoices_expired", "listinvoices_index_updated",
        "invoice_relabel_expired", "xpay_expired", "pay_expired",
    )  # fmt: skip


def dying(replay: Replay) -> None:
    replay.ask("CRASH_invoice_expiry_minus1")
    assert not replay.nodes["l1"].up


def paying(replay: Replay) -> None:
    replay.ask("waitanyinvoice_timeout0", "waitanyinvoice_negative")
    waiting = replay.begin("waitanyinvoice_timeout1")
    replay.passes(1)
    replay.compare("waitanyinvoice_timeout1", waiting)
    replay.ask(
        "xpay_ok_2hop", "waitanyinvoice_first", "waitinvoice_paid", "listinvoices_paid",
        "xpay_second", "waitanyinvoice_resume", "xpay_already_paid", "pay_already_paid",
        "listpays_complete", "listsendpays_complete", "listsendpays_label_a",
    )  # fmt: skip
    for name in ("waitanyinvoice_resume_timeout", "waitanyinvoice_future_index"):
        waiting = replay.begin(name)
        replay.passes(1)
        replay.compare(name, waiting)
    replay.ask(
        "xpay_any_missing_amount", "xpay_any_ok", "listinvoices_any_paid", "sendamount_ok",
        "xpay_fixed_with_amount", "xpay_self", "pay_maxfee0", "xpay_maxfee0", "xpay_maxfee_ok",
        "xpay_maxdelay_small", "xpay_str_amounts", "xpay_layers_unknown", "xpay_garbage",
        "pay_garbage", "xpay_wrong_network", "listpays_unknown_hash", "pay_partial_deprecated_name",
        "delinvoice_paid_as_unpaid", "wait_invoices_updated_now", "wait_sendpays",
    )  # fmt: skip


def not_paying(replay: Replay) -> None:
    replay.nodes["l3"].spendable_msat = 289_856_651
    replay.ask(
        "xpay_too_big", "pay_too_big", "listpays_after_no_route", "listsendpays_after_no_route"
    )
    asked = recording("xpay_deleted_invoice")["params"]["invstring"]
    gone = replay.owe(asked)
    label = next(row.label for row in replay.nodes["l1"].invoices.values() if row.text == gone)
    replay.nodes["l1"].call("delinvoice", label=label, status="unpaid")
    replay.ask("xpay_deleted_invoice", "listsendpays_failed")
    replay.passes(2)
    replay.ask("listpays_failed")


def in_parts(replay: Replay) -> None:
    first = replay.begin("xpay_partial_from_l3")
    assert not first.done
    replay.ask("xpay_partial_from_l2")
    replay.compare("xpay_partial_from_l3", first)
    replay.ask("listinvoices_partial")


def unasked(replay: Replay) -> None:
    """Money that belongs to no invoice of ours, and more of it than was asked for."""
    replay.ask("keysend", "xkeysend")
    keysends = recording("listinvoices_keysend")["result"]["invoices"]
    theirs = [row for row in keysends if row["label"].startswith("keysend-")]
    ours = replay.nodes["l1"].call("listinvoices")["invoices"]
    assert [list(row) for row in ours] == [list(row) for row in theirs]
    assert [row["amount_received_msat"] for row in ours] == [5000, 6000]
    replay.done.append("listinvoices_keysend")
    pending = recording("sendpay_overpay_pending")
    replay.owe(pending["params"]["bolt11"])
    replay.network.habits = type(replay.network.habits)(latency_s=1)
    replay.ask("sendpay_overpay_pending")
    waiting = replay.begin("waitsendpay_ok")
    replay.passes(1)
    replay.compare("waitsendpay_ok", waiting)
    replay.ask("listinvoices_overpaid")


def held(replay: Replay) -> None:
    hold = "a6a9413d9bc332defdde3ab374d77a43116564372369248b22e03e35b2fcec8e"
    replay.translate(recording("xpay_held_first")["params"])
    replay.network.holds.hashes.add(replay.ours[hold])
    paying = replay.begin("xpay_held_first")
    assert not paying.done
    replay.ask(
        "listinvoices_held", "listsendpays_pending", "listpays_pending",
        "waitsendpay_timeout_pending", "delpay_pending", "xpay_held_duplicate_concurrent",
        "pay_held_duplicate_concurrent", "listsendpays_pending_dups",
    )  # fmt: skip
    theirs = recording("hold_list")["result"]["held"]
    ours = replay.begin("hold_list").answer()["held"]
    assert ours == {replay.ours[one]: count for one, count in theirs.items()}
    replay.done.append("hold_list")
    replay.ask("hold_release")
    replay.compare("xpay_held_first", paying)
    replay.ask("listinvoices_after_dups", "listsendpays_after_dups")


def paid_then_expired(replay: Replay) -> None:
    text = recording("xpay_before_expiry")["params"]["invstring"]
    replay.owe(text, expiry_s=5)
    replay.ask("xpay_before_expiry")
    replay.passes(7)
    replay.ask("xpay_paid_then_expired", "pay_paid_then_expired")


def cancelled(replay: Replay) -> None:
    replay.network.holds.everything = True
    paying = replay.begin("xpay_held_retry_for_2")
    replay.passes(8)
    replay.ask("listpays_pending_after_retry_for")
    replay.network.holds.everything = False
    replay.network.cancel(replay.network.htlcs[0].payment_hash)
    replay.compare("xpay_held_retry_for_2", paying)
    replay.ask("listsendpays_after_cancel", "listpays_after_cancel", "xpay_retry_after_cancel")
    replay.passes(2)
    replay.ask("listpays_after_retry_ok", "listsendpays_after_retry_ok")


def expiring_while_held(replay: Replay) -> None:
    text = recording("xpay_invoice_expires_while_held")["params"]["invstring"]
    replay.owe(text, expiry_s=3)
    replay.network.holds.everything = True
    paying = replay.begin("xpay_invoice_expires_while_held")
    replay.passes(5)
    replay.ask("listinvoices_expired_while_held")
    replay.network.holds.everything = False
    replay.network.advance()
    replay.compare("xpay_invoice_expires_while_held", paying)
    replay.ask("listinvoices_expired_after_release")


def killed_payer(replay: Replay) -> None:
    replay.network.holds.everything = True
    paying = replay.begin("xpay_killed_midflight")
    replay.passes(1)
    replay.nodes["l1"].kill()
    replay.compare("xpay_killed_midflight", paying)
    replay.nodes["l1"].restart(channel_after_s=60)
    replay.ask(
        "listsendpays_pending_after_kill", "listpays_pending_after_kill",
        "xpay_retry_while_still_inflight_after_restart",
        "listsendpays_pending_after_kill_and_retry",
    )  # fmt: skip
    replay.network.holds.everything = False
    replay.passes(60)
    replay.ask(
        "listsendpays_reconciled_after_kill", "listpays_reconciled_after_kill",
        "listinvoices_kill9_payee", "xpay_again_after_reconcile",
    )  # fmt: skip


def killed_payer_channel_up(replay: Replay) -> None:
    replay.network.holds.everything = True
    paying = replay.begin("xpay_killed2")
    replay.nodes["l1"].kill()
    replay.compare("xpay_killed2", paying)
    replay.nodes["l1"].restart()
    group = recording("waitsendpay_inflight_after_restart")["params"]["groupid"]
    asked = recording("waitsendpay_inflight_after_restart")["params"]
    ours = {**replay.translate(asked), "groupid": replay.nodes["l1"].payments[-1].groupid}
    assert group != ours["groupid"]
    waiting = replay.nodes["l1"].start("waitsendpay", ours)
    replay.passes(1)
    replay.compare("waitsendpay_inflight_after_restart", waiting)
    replay.ask("xpay_retry_inflight_after_restart_channel_up")


def payee_away(replay: Replay) -> None:
    replay.nodes["l3"].kill()
    replay.ask("xpay_dest_offline")
    replay.passes(2)
    replay.ask("listpays_dest_offline")
    replay.nodes["l3"].restart()
    replay.ask("xpay_dest_back")
    replay.ask("xpay_after_negative_knowledge")
    replay.nodes["l1"].call("askrene-age", layer="xpay", cutoff=0)
    replay.ask("xpay_after_askrene_age")


def restarting(replay: Replay) -> None:
    """Payments are seen again after a restart, but not those whose invoice was deleted."""
    node = replay.nodes["l1"]
    node.counters["paid"] = 15
    texts = [
        node.call("invoice", amount_msat=amount, label=label, description=f"d {label[:4]}")[
            "bolt11"
        ]
        for amount, label in ((1001, "del1-1795339221"), (1002, "del2-1795339221"))
    ]
    for text in texts:
        replay.nodes["l3"].call("xpay", invstring=text)
    node.call("delinvoice", label="del1-1795339221", status="paid")
    replay.ask("invoice_reuse_label_after_delpaid")
    for name, end in (
        ("waitanyinvoice_killed_midcall", "kill"),
        ("waitanyinvoice_during_stop", "stop"),
    ):
        waiting = replay.begin(name)
        assert not waiting.done
        if end == "stop":
            replay.ask("stop")
        node.kill()
        replay.compare(name, waiting)
        node.restart()
    replay.ask("waitanyinvoice_resume_after_restart")
    node.call("invoice", amount_msat=1, label="wdel-1795339788", description="d")
    waiting = replay.begin("waitinvoice_deleted")
    node.call("delinvoice", label="wdel-1795339788", status="unpaid")
    replay.network.advance()
    replay.compare("waitinvoice_deleted", waiting)


def deprecated(replay: Replay) -> None:
    for node in replay.nodes.values():
        node.allow_deprecated = False
    replay.ask(
        "nodeprecated_pay", "nodeprecated_xpay", "nodeprecated_listpays", "nodeprecated_paystatus",
        "nodeprecated_keysend", "nodeprecated_getroute",
    )  # fmt: skip


def runes(replay: Replay) -> None:
    replay.ask(
        "createrune_unrestricted", "createrune_readonly", "createrune_invoice_only",
        "createrune_xpay_limited", "createrune_peer_bound", "createrune_amount_limited",
        "createrune_attenuate", "createrune_bad", "createrune_wrongtype", "showrunes_one",
        "decode_rune",
    )  # fmt: skip
    replay.ask(
        "showrunes",
        "checkrune_ok", "checkrune_method_denied", "checkrune_garbage", "checkrune_no_peer",
        "checkrune_wrong_peer", "checkrune_readonly_listfunds", "checkrune_readonly_listdatastore",
        "checkrune_readonly_pay", "checkrune_readonly_summary_getsharedsecret",
        "checkrune_amount_ok", "checkrune_amount_too_big", "checkrune_amount_any",
        "checkrune_amount_as_string_msat", "checkrune_amount_as_string_num",
        "checkrune_expiry_missing", "checkrune_expiry_negative", "checkrune_label_prefix_bad",
        "checkrune_positional_params", "checkrune_xpay_maxfee_missing",
        "checkrune_xpay_maxfee_too_big", "checkrune_xpay_maxfee_ok", "checkrune_rate_0",
        "checkrune_rate_1", "checkrune_rate_2", "checkrune_rate_3", "blacklistrune",
        "blacklistrune_list", "checkrune_blacklisted", "showrunes_blacklisted",
        "blacklistrune_relist",
    )  # fmt: skip
    replay.ask(
        "commando_ok", "commando_remote_error", "commando_denied", "commando_no_rune",
        "commando_filter", "commando_not_connected",
    )  # fmt: skip
    replay.ask(
        "createrune2_expiry_guarded", "createrune2_label_must_be_missing", "createrune2_pnum",
        "createrune2_sendamount_cap", "createrune2_xkeysend_to_buyer", "createrune2_xpay_amt_cap",
        "createrune2_readonly", "createrune2_wait",
        "checkrune2_guard_ok", "checkrune2_guard_neg", "checkrune2_guard_huge",
        "checkrune2_guard_u64max", "checkrune2_bang_named", "checkrune2_bang_positional",
        "checkrune2_pnum_ok", "checkrune2_pnum_bad", "checkrune2_xkeysend_ok",
        "checkrune2_xkeysend_again_per", "checkrune2_xkeysend_other_dest",
        "checkrune2_xpay_fixed_invoice_no_amount", "checkrune2_readonly_getemergencyrecoverdata",
        "checkrune2_readonly_getlog", "checkrune2_readonly_listconfigs",
        "checkrune2_readonly_listfunds", "checkrune2_readonly_listinvoices",
        "checkrune2_readonly_listpays", "checkrune2_readonly_listsendpays",
    )  # fmt: skip
    replay.ask("commando_sendamount_ok", "commando_sendamount_too_soon")
    replay.passes(3)
    replay.ask("commando_sendamount_over_cap", "commando_sendamount_fixed_invoice")
    replay.ask("commando_xpay_amountless")
    replay.ask("xpay_ok_2hop", "commando_waitanyinvoice")
    replay.ask("showrunes_all2", "createrune2_amount_limited_unguarded")


def offers(replay: Replay) -> None:
    replay.ask("offer_fixed", "offer_same_again", "offer_any", "fetchinvoice_ok")
    replay.ask(
        "listinvoices_bolt12_unpaid", "xpay_bolt12", "listinvoices_bolt12_paid", "listpays_bolt12",
        "xpay_bolt12_again", "xpay_offer_direct", "xpay_offer_direct_twice", "fetchinvoice_too_low",
        "fetchinvoice_any_missing_amount", "listoffers", "disableoffer", "fetchinvoice_disabled",
        "offer_single_use",
    )  # fmt: skip
    replay.nodes["l1"].disconnect(60)
    replay.ask("xpay_single_use_offer")
    replay.passes(60)
    replay.ask("xpay_single_use_offer_again")


def datastore(replay: Replay) -> None:
    replay.ask(
        "datastore_create", "datastore_create_dup", "datastore_replace_gen",
        "datastore_replace_gen_stale", "listdatastore",
    )  # fmt: skip


def described(replay: Replay) -> None:
    """What the node reads in an offer and in its invoice. Blinded paths are not the double's."""
    replay.ask("offer_fixed", "fetchinvoice_ok")
    replay.done.clear()
    for name in ("decode_offer", "decode_bolt12_invoice"):
        theirs = recording(name)["result"]
        ours = replay.begin(name).answer()
        for paths in ("offer_paths", "invoice_paths"):
            theirs.pop(paths, None)
            assert ours.pop(paths, []) == []
        replay._learn(theirs, ours)
        assert sorted(ours) == sorted(theirs), name
        assert {k: type(v) for k, v in ours.items()} == {k: type(v) for k, v in theirs.items()}
        replay.done.append(name)


SCENARIOS: tuple[Callable[[Replay], None], ...] = (
    invoices, expiring, dying, paying, not_paying, in_parts, unasked, held, paid_then_expired,
    cancelled, expiring_while_held, killed_payer, killed_payer_channel_up, payee_away, restarting,
    deprecated, runes, offers, datastore, described,
)  # fmt: skip


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_the_double_answers_as_the_node_did(scenario: Callable[[Replay], None]) -> None:
    scenario(Replay())


def test_no_recording_is_left_out() -> None:
    asked = {"call_while_down"}  # by test_a_dead_node_refuses_connections
    for scenario in SCENARIOS:
        replay = Replay()
        scenario(replay)
        asked |= set(replay.done)
    there = {path.stem for path in RECORDINGS.glob("*.json")}
    assert there - asked == NOT_ASKED
    assert asked <= there


async def said_on_the_wire(socket: Path, sent: bytes, quiet_s: float = 0.2) -> str:
    reader, writer = await asyncio.open_unix_connection(socket)
    writer.write(sent)
    heard = b""
    try:
        while some := await asyncio.wait_for(reader.read(1 << 16), quiet_s):
            heard += some
        end = "<closed>"
    except TimeoutError:
        end = "<open>"
    writer.close()
    return heard.decode() + end


RAW = json.loads((RECORDINGS / "_raw_wire.json").read_text())


@pytest.mark.parametrize("name", sorted(set(RAW) - {"notifications_xpay_ok"}))
async def test_the_wire_carries_the_recorded_bytes(name: str, tmp_path: Path) -> None:
    network = Network()
    node = make_node(network, "l1")
    async with Hosting(network, tmp_path) as hosting:
        heard = await said_on_the_wire(hosting.socket("l1"), RAW[name]["sent"].encode())
    assert heard.replace(node.node_id, IDS["l1"]) == RAW[name]["recv"]


async def test_notifications_of_a_payment_come_before_its_answer(tmp_path: Path) -> None:
    network = Network()
    payee, _ = make_node(network, "l1"), make_node(network, "l3")
    invoice = payee.call("invoice", amount_msat=3333, label="n", description="notif")
    theirs = RAW["notifications_xpay_ok"]
    text = json.loads(theirs["sent"].partition("}}")[2])["params"]["invstring"]
    async with Hosting(network, tmp_path) as hosting:
        sent = theirs["sent"].replace(text, invoice["bolt11"]).encode()
        heard = await said_on_the_wire(hosting.socket("l3"), sent)

    def shapes(said: str) -> list[object]:
        parts = [json.loads(part) for part in said.removesuffix("<open>").split("\n\n") if part]
        return [
            (sorted(part), sorted(part["params"]), part["params"]["level"])
            if part.get("method") == "message"
            else (sorted(part), part["id"], sorted(part["result"]))
            for part in parts
        ]

    ours, recorded = shapes(heard), shapes(theirs["recv"])
    assert heard.endswith("<open>")
    assert ours[0] == recorded[0]
    assert ours[-1] == recorded[-1]
    assert len(ours) > 2
    assert {str(one) for one in ours} == {str(one) for one in recorded}


async def test_a_dead_node_refuses_connections(tmp_path: Path) -> None:
    assert recording("call_while_down")["py_exception"].startswith("ConnectionRefusedError")
    network = Network()
    make_node(network, "l1")
    async with Hosting(network, tmp_path) as hosting:
        hosting.kill("l1")
        await asyncio.sleep(0)
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_unix_connection(hosting.socket("l1"))
        await hosting.restart("l1")
        reader, writer = await asyncio.open_unix_connection(hosting.socket("l1"))
        writer.write(b'{"jsonrpc":"2.0","id":1,"method":"getinfo","params":[]}')
        assert b'"alias":"l1"' in await reader.readuntil(b"\n\n")
        writer.close()


def test_lost_connections_are_told_in_pyln_s_words() -> None:
    assert recording("xpay_killed2")["error"] == LOST
