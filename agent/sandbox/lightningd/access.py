"""Calls about runes, and `commando`: asking another node with one."""

from __future__ import annotations

from agent.sandbox.lightningd import params
from agent.sandbox.lightningd.command import Answer, Command, Done
from agent.sandbox.lightningd.filters import filtered
from agent.sandbox.lightningd.node import Method, Node
from agent.sandbox.lightningd.params import Args, Param
from agent.sandbox.lightningd.refusal import Code, Refusal
from agent.sandbox.lightningd.runebook import read_restrictions, read_rune

UNRESTRICTED = (
    "WARNING: This rune has no restrictions! Anyone who has access to this rune could drain funds "
    "from your node. Be careful when giving this to apps that you don't trust. Consider using the "
    "restrictions parameter to only allow access to specific rpc methods."
)


def _createrune(node: Node, args: Args) -> Answer:
    base = None if args["rune"] is None else read_rune(args["rune"])
    wanted = args["restrictions"]
    rune = node.runes.make([] if wanted is None else read_restrictions(wanted), base)
    answer: Answer = {"rune": rune.text(), "unique_id": rune.unique_id}
    if not rune.restrictions:
        answer["warning_unrestricted_rune"] = UNRESTRICTED
    return answer


def _checkrune(node: Node, args: Args) -> Answer:
    node.runes.check(args["rune"], args["method"] or "", args["params"] or {}, args["nodeid"] or "")
    return {"valid": True}


def _showrunes(node: Node, args: Args) -> Answer:
    texts = node.runes.made if args["rune"] is None else [args["rune"]]
    return {"runes": [node.runes.shown(text) for text in texts]}


def _blacklistrune(node: Node, args: Args) -> Answer:
    start = args["start"]
    end = start if args["end"] is None else args["end"]
    if args["relist"]:
        kept = [one for one in node.runes.blacklist if one != (start, end)]
        node.runes.blacklist = kept
    elif start is not None:
        node.runes.blacklist.append((start, end))
    return {"blacklist": [{"start": a, "end": b} for a, b in node.runes.blacklist]}


class Remote(Command):
    """A call that another node carries out."""

    def __init__(self, command: Command, wanted: object) -> None:
        super().__init__()
        self._command, self._wanted = command, wanted

    @property
    def wake_at(self) -> float | None:
        """When the other node's call is due."""
        return self._command.wake_at

    def step(self) -> None:
        """Pass its answer on. When the other node dies there is none: the call hangs."""
        if self._command.done:
            self.result = filtered(self._command.answer(), self._wanted)


def ask_with_rune(
    node: Node, peer_id: str, method: str, arguments: object, rune: str | None
) -> Command:
    """Carry out what a peer asks, if its rune permits it."""
    if rune is None:
        return Done(refusal=Refusal(Code.COMMANDO_REMOTE, "Missing rune"))
    given = arguments if isinstance(arguments, dict | list) else {}
    try:
        node.runes.check(rune, method, given, peer_id)
    except Refusal as refusal:
        words = f"Invalid rune: {refusal.message}"
        return Done(refusal=Refusal(Code.COMMANDO_RUNE, words))
    return node.start(method, given)


def _commando(node: Node, args: Args) -> Command:
    peer = node.network.by_id(args["peer_id"])
    if peer is None or peer.node_id not in node.peers or not peer.up:
        raise Refusal(Code.INVALID_REQUEST, f"No such peer: {args['peer_id']}")
    command = ask_with_rune(peer, node.node_id, args["method"], args["params"], args["rune"])
    return Remote(command, args["filter"])


METHODS = {
    "createrune": Method(
        (Param("rune", params.text), Param("restrictions", params.anything)), _createrune
    ),
    "checkrune": Method(
        (
            Param("rune", params.text, required=True),
            Param("nodeid", params.node_id),
            Param("method", params.text),
            Param("params", params.anything),
        ),
        _checkrune,
    ),
    "showrunes": Method((Param("rune", params.text),), _showrunes),
    "blacklistrune": Method(
        (
            Param("start", params.integer),
            Param("end", params.integer),
            Param("relist", params.boolean),
        ),
        _blacklistrune,
    ),
    "commando": Method(
        (
            Param("peer_id", params.node_id, required=True),
            Param("method", params.text, required=True),
            Param("params", params.anything),
            Param("rune", params.text),
            Param("filter", params.anything),
        ),
        _commando,
    ),
}
