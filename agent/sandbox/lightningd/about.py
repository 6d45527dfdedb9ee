"""Calls about the node itself: what it is, its channel, its settings, its data store."""

from __future__ import annotations

from agent.sandbox.lightningd import params
from agent.sandbox.lightningd.command import Answer
from agent.sandbox.lightningd.network import NAME
from agent.sandbox.lightningd.node import VERSION, Method, Node
from agent.sandbox.lightningd.orders import INVOICE, OFFER, read_bolt11, unpack
from agent.sandbox.lightningd.params import Args, Param, read_params
from agent.sandbox.lightningd.records import present
from agent.sandbox.lightningd.refusal import Code, Refusal
from agent.settle.runes import Alternative, NotARune, parse

_SPOKEN = {
    "=": "equal to",
    "/": "unequal to",
    "^": "starts with",
    "$": "ends with",
    "~": "contains",
    "<": "less than",
    ">": "greater than",
    "{": "sorts before",
    "}": "sorts after",
}


def _getinfo(node: Node, _args: Args) -> Answer:
    return {
        "id": node.node_id,
        "alias": node.name,
        "color": node.node_id[:6],
        "num_peers": 1,
        "num_pending_channels": 0,
        "num_active_channels": int(node.connected),
        "num_inactive_channels": int(not node.connected),
        "address": [],
        "binding": [{"type": "ipv4", "address": "127.0.0.1", "port": node.commando_port}],
        "version": VERSION,
        "blockheight": 129,
        "network": NAME,
        "fees_collected_msat": 0,
        "lightning-dir": "/var/lib/lightning/regtest",
        "our_features": {
            "init": "800898880a8a59a1",
            "node": "808898880a8a59a1",
            "channel": "",
            "invoice": "02000002024100",
        },
    }


def _listpeerchannels(node: Node, _args: Args) -> Answer:
    channel = {
        "peer_id": node.network.router.node_id,
        "peer_connected": node.connected,
        "state": "CHANNELD_NORMAL",
        "short_channel_id": "117x1x0",
        "to_us_msat": node.spendable_msat,
        "total_msat": node.spendable_msat + node.receivable_msat,
        "spendable_msat": node.spendable_msat,
        "receivable_msat": node.receivable_msat,
    }
    return {"channels": [channel]}


def _listconfigs(node: Node, args: Args) -> Answer:
    if args["config"] not in (None, "xpay-slow-mode"):
        raise Refusal(Code.BAD_PARAMETER, "config: Unknown config option")
    value = {"value_bool": node.slow_mode, "source": "cmdline", "plugin": "cln-xpay"}
    return {"configs": {"xpay-slow-mode": value}}


def _decode(node: Node, args: Args) -> Answer:
    text = args["string"]
    if text.startswith(INVOICE):
        return {"type": "bolt12 invoice", **unpack(text), "valid": True}
    if text.startswith(OFFER):
        return {"type": "bolt12 offer", **unpack(text), "valid": True}
    if not text.startswith("ln"):
        return _decode_rune(text)
    invoice = read_bolt11(node.network, text)
    described = invoice.description_sha256
    return present(
        type="bolt11 invoice",
        currency="bcrt",
        created_at=invoice.created_s,
        expiry=invoice.expiry_s,
        payee=invoice.payee.hex(),
        amount_msat=invoice.amount_msat,
        description=invoice.description,
        description_hash=described.hex() if described is not None else None,
        min_final_cltv_expiry=invoice.min_final_cltv,
        payment_secret=invoice.payment_secret.hex(),
        features=invoice.features.hex(),
        routes=[
            [
                {
                    "pubkey": hop.public_key.hex(),
                    "short_channel_id": "117x1x0",
                    "fee_base_msat": hop.fee_base_msat,
                    "fee_proportional_millionths": hop.fee_ppm,
                    "cltv_expiry_delta": hop.cltv_delta,
                }
                for hop in route
            ]
            for route in invoice.routes
        ],
        payment_hash=invoice.payment_hash.hex(),
        signature=invoice.signature.hex(),
        valid=True,
    )


def _summary(alternative: Alternative) -> str:
    name, wanted = alternative.field, alternative.value
    known = f"object parameter '{name.removeprefix('pname')}'" if name.startswith("pname") else ""
    known = {"method": "of command"}.get(name, known or "unknown condition?")
    quoted = wanted if alternative.condition in "<>" else f"'{wanted}'"
    return f"{name} ({known}) {_SPOKEN.get(alternative.condition, 'missing')} {quoted}"


def _decode_rune(text: str) -> Answer:
    try:
        rune = parse(text)
    except NotARune:
        raise Refusal(Code.BAD_PARAMETER, "Invalid string") from None
    return {
        "type": "rune",
        "unique_id": rune.unique_id,
        "string": f"{rune.code.hex()}:{rune.body()}",
        "restrictions": [
            {
                "alternatives": [alternative.text() for alternative in row],
                "summary": " OR ".join(_summary(alternative) for alternative in row),
            }
            for row in rune.restrictions
        ],
        "valid": True,
    }


def _datastore(node: Node, args: Args) -> Answer:
    key, mode = tuple(args["key"]), args["mode"] or "must-create"
    old = node.datastore.get(key)
    if old is not None and mode == "must-create":
        raise Refusal(Code.KEY_EXISTS, "Key already exists")
    if old is None and mode == "must-replace":
        raise Refusal(Code.KEY_UNKNOWN, "Key does not exist")
    if old is not None and args["generation"] not in (None, old[0]):
        raise Refusal(Code.OTHER_GENERATION, "generation is different")
    value = bytes.fromhex(args["hex"]) if args["hex"] else (args["string"] or "").encode()
    node.datastore[key] = (0 if old is None else old[0] + 1, value)
    return _stored(node, key)


def _stored(node: Node, key: tuple[str, ...]) -> Answer:
    generation, value = node.datastore[key]
    return {
        "key": list(key),
        "generation": generation,
        "hex": value.hex(),
        "string": value.decode(errors="replace"),
    }


def _listdatastore(node: Node, args: Args) -> Answer:
    prefix = tuple(args["key"] or ())
    keys = [key for key in sorted(node.datastore) if key[: len(prefix)] == prefix]
    return {"datastore": [_stored(node, key) for key in keys]}


def _check(node: Node, args: Args) -> Answer:
    """Read another call's parameters without doing it."""
    method = node.methods.get(args.pop("command_to_check"))
    if method is None:
        raise Refusal(Code.BAD_PARAMETER, "command_to_check: unknown command")
    read_params(method.params, {name: value for name, value in args.items() if value is not None})
    return {"command_to_check": "ok"}


def _stop(node: Node, _args: Args) -> Answer:
    node.stopping = True
    return {"result": "Shutdown complete"}


def _age(node: Node, _args: Args) -> Answer:
    """Let payers forget what they learnt from failures."""
    node.network.believed_msat.clear()
    return {"layer": "xpay", "num_removed": 1}


def _hold_list(node: Node, _args: Args) -> Answer:
    network = node.network
    held = [h.payment_hash for h in network.htlcs if h.payee == node.node_id]
    return {"held": {one: held.count(one) for one in held if network.holds.holds(one)}}


def _hold_release(node: Node, args: Args) -> Answer:
    network, wanted = node.network, args["payment_hash"]
    released = [
        h for h in network.htlcs if h.payment_hash == wanted and network.holds.holds(wanted)
    ]
    network.holds.hashes.discard(wanted)
    return {"released": len(released)}


_CHECKED = ("amount_msat", "label", "description", "expiry", "invstring", "maxfee", "bolt11")

METHODS = {
    "getinfo": Method((), _getinfo),
    "listpeerchannels": Method((Param("id", params.node_id),), _listpeerchannels),
    "listconfigs": Method((Param("config", params.text),), _listconfigs),
    "decode": Method((Param("string", params.text, required=True),), _decode),
    "datastore": Method(
        (
            Param("key", params.array, required=True),
            Param("string", params.text),
            Param("hex", params.text),
            Param("mode", params.text),
            Param("generation", params.integer),
        ),
        _datastore,
    ),
    "listdatastore": Method((Param("key", params.array),), _listdatastore),
    "check": Method(
        (
            Param("command_to_check", params.text, required=True),
            *(Param(name, params.anything) for name in _CHECKED),
        ),
        _check,
    ),
    "stop": Method((), _stop),
    "askrene-age": Method((Param("layer", params.text), Param("cutoff", params.integer)), _age),
    "hold-list": Method((), _hold_list),
    "hold-release": Method((Param("payment_hash", params.hash_hex, required=True),), _hold_release),
}
