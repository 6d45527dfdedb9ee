"""Asks the double what a recording asked, and holds the answer against the recorded one.

Keys, ids, hashes and invoices differ between the two worlds: a recorded one stands for ours as
soon as both were seen in the same place.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from agent.core.bolt11 import NotBolt11, decode
from agent.sandbox.lightningd.command import Command
from agent.sandbox.lightningd.methods import make_node
from agent.sandbox.lightningd.network import Habits, Network
from agent.sandbox.lightningd.node import Node
from agent.sandbox.lightningd.refusal import Refusal

RECORDINGS = Path(__file__).parents[1] / "hosts" / "cln"
IDS = {
    "l1": "028ca1981200231e3c6e81a545d1e694fe8149e2534f748b8eb6abffc01e0f3fb2",
    "l2": "035591c6d25324c1e6d70c57e1525f0c6f75ef72ffe11070e67ea938b47d788f53",
    "l3": "032986c96fa5d10cf3a9383f6036ee2bdf079f3c6269764f65ce201985caffd20b",
}
LOST = "Connection to RPC server lost."
# What must be equal, not only of the same type. Times, indexes and ids are not.
EXACT = {
    "active", "amount_msat", "amount_received_msat", "amount_sent_msat", "blacklist", "blacklisted",
    "changes", "condition", "current_status", "currency", "description", "english",
    "expected_status", "expiry", "failed_parts", "fieldname", "force_paths", "generation", "hex",
    "label", "min_final_cltv_expiry", "network", "parts", "restrictions_as_english", "single_use",
    "status", "string", "successful_parts", "type", "unique_id", "used", "valid",
    "value", "version",
}  # fmt: skip


class VirtualTime:
    """A clock that stands still until it is told to go on."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def recording(name: str) -> dict[str, Any]:
    return dict(json.loads((RECORDINGS / f"{name}.json").read_text()))


def _labels() -> dict[str, str]:
    """Which label a recorded invoice had, found wherever both stand together."""
    found: dict[str, str] = {}

    def look(value: Any) -> None:
        if isinstance(value, dict):
            text, label = value.get("bolt11"), value.get("label")
            if isinstance(text, str) and isinstance(label, str) and "expires_at" in value:
                found[text] = label
            for part in value.values():
                look(part)
        elif isinstance(value, list):
            for part in value:
                look(part)

    for path in RECORDINGS.glob("*.json"):
        look(json.loads(path.read_text()))
    return found


class Replay:
    """A network like the recorded one, and what stands for what."""

    def __init__(self, now: float = 1_795_338_310.25) -> None:
        self.clock = VirtualTime(now)
        self.network = Network(self.clock, seed=1, habits=Habits(listpays_lag_s=1))
        self.nodes = {name: make_node(self.network, name) for name in IDS}
        self.network.router = self.nodes["l2"].key
        self.nodes["l2"].peers.add(self.nodes["l1"].node_id)
        self.ours = {IDS[name]: node.node_id for name, node in self.nodes.items()}
        self.done: list[str] = []
        self._labels = _labels()

    def passes(self, seconds: float) -> None:
        """Let time pass."""
        self.clock.now += seconds
        self.network.advance()

    # -- what stands for what -------------------------------------------------------------

    def owe(self, text: str, *, expiry_s: int | None = None) -> str:
        """Make the invoice that stands for a recorded one."""
        if text not in self.ours:
            said = decode(text)
            payee = next(n for n in self.nodes.values() if n.node_id == self.ours[said.payee.hex()])
            made = payee.issue(
                self._labels.get(text, f"other-{len(self.ours)}"),
                said.amount_msat,
                said.description or "",
                expiry_s=said.expiry_s if expiry_s is None else expiry_s,
            )
            self.ours[text] = made.text
            self.ours[said.payment_hash.hex()] = made.payment_hash
        return self.ours[text]

    def translate(self, value: Any) -> Any:
        """Write our own ids, hashes and invoices in place of the recorded ones."""
        if isinstance(value, dict):
            return {name: self.translate(part) for name, part in value.items()}
        if isinstance(value, list):
            return [self.translate(part) for part in value]
        if not isinstance(value, str):
            return value
        if value not in self.ours and value.startswith("lnbcrt"):
            try:
                return self.owe(value)
            except (NotBolt11, KeyError):
                return value
        for theirs in IDS.values():
            value = value.replace(theirs, self.ours[theirs])
        return self.ours.get(value, value)

    def _learn(self, theirs: Any, ours: Any) -> None:
        if isinstance(theirs, dict) and isinstance(ours, dict):
            for name in theirs.keys() & ours.keys():
                self._learn(theirs[name], ours[name])
        elif isinstance(theirs, list) and isinstance(ours, list):
            for one, other in zip(theirs, ours, strict=False):
                self._learn(one, other)
        elif isinstance(theirs, str) and isinstance(ours, str) and len(theirs) >= 40:
            self.ours.setdefault(theirs, ours)

    # -- asking ---------------------------------------------------------------------------

    def begin(self, name: str) -> Command:
        """Ask what a recording asked."""
        asked = recording(name)
        node: Node = self.nodes[asked["node"]]
        return node.start(asked["method"], self.translate(asked["params"]))

    def ask(self, *names: str) -> None:
        """Ask what the recordings asked, one after the other; each answers at once."""
        for name in names:
            self.compare(name, self.begin(name))

    def compare(self, name: str, command: Command) -> None:
        """Hold an answer against the recorded one."""
        theirs = recording(name)
        self.done.append(name)
        if theirs.get("error") == LOST:
            assert command.lost, name
            return
        assert not command.lost, f"{name}: lost"
        assert command.done, f"{name}: no answer"
        try:
            ours = command.answer()
        except Refusal as refusal:
            assert "error" in theirs, f"{name}: {refusal}"
            self._compare_errors(name, theirs["error"], refusal.body())
            return
        assert "result" in theirs, f"{name}: {ours}"
        self._learn(theirs["result"], ours)
        self._compare(name, theirs["result"], ours)

    def _compare_errors(self, name: str, theirs: dict[str, Any], ours: dict[str, Any]) -> None:
        assert ours["code"] == theirs["code"], f"{name}: {ours}"
        assert self._words(ours["message"]) == self._words(theirs["message"]), name
        assert ("data" in ours) == ("data" in theirs), name
        if "data" in theirs:
            self._compare(f"{name} data", theirs["data"], ours["data"])

    def _words(self, message: str) -> str:
        """A message without what differs: numbers, ids."""
        for theirs, ours in self.ours.items():
            message = message.replace(theirs, ours)
        message = re.sub(r"[0-9a-f]{16,}", "<id>", message)
        return re.sub(r"\d+", "<n>", message)

    def _compare(self, where: str, theirs: Any, ours: Any) -> None:
        if isinstance(theirs, dict):
            assert isinstance(ours, dict), where
            assert sorted(ours) == sorted(theirs), f"{where}: {list(ours)} for {list(theirs)}"
            for key, value in theirs.items():
                self._compare(f"{where}.{key}", value, ours[key])
        elif isinstance(theirs, list):
            assert isinstance(ours, list), where
            assert len(ours) == len(theirs), f"{where}: {len(ours)} for {len(theirs)}"
            for at, value in enumerate(theirs):
                self._compare(f"{where}[{at}]", value, ours[at])
        else:
            assert type(ours) is type(theirs), f"{where}: {ours!r} for {theirs!r}"
            if where.rpartition(".")[2] in EXACT:
                wanted = self._words(theirs) if isinstance(theirs, str) else theirs
                got = self._words(ours) if isinstance(ours, str) else ours
                assert got == wanted, f"{where}: {ours!r} for {theirs!r}"
