"""A network's books in a file: what a killed process finds again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from agent.sandbox.lightningd.network import Network
from agent.sandbox.lightningd.node import Node
from agent.sandbox.lightningd.records import Htlc, Invoice, Offer, Payment


class NodeBooks(msgspec.Struct):
    """What one node keeps."""

    spendable_msat: int
    receivable_msat: int
    invoices: list[Invoice]
    payments: list[Payment]
    offers: list[Offer]
    counters: dict[str, int]
    datastore: list[tuple[list[str], int, bytes]]
    runes_made: list[str]
    runes_blacklist: list[tuple[int, int]]
    runes_next_id: int


class Books(msgspec.Struct):
    """What a network keeps: its nodes, and the money on its way."""

    nodes: dict[str, NodeBooks]
    htlcs: list[Htlc]


def _of(node: Node) -> NodeBooks:
    return NodeBooks(
        spendable_msat=node.spendable_msat,
        receivable_msat=node.receivable_msat,
        invoices=list(node.invoices.values()),
        payments=node.payments,
        offers=list(node.offers.values()),
        counters=node.counters,
        datastore=[(list(key), *value) for key, value in node.datastore.items()],
        runes_made=node.runes.made,
        runes_blacklist=node.runes.blacklist,
        runes_next_id=node.runes.next_id,
    )


def _restore(node: Node, books: NodeBooks) -> None:
    node.spendable_msat, node.receivable_msat = books.spendable_msat, books.receivable_msat
    node.invoices = {invoice.label: invoice for invoice in books.invoices}
    node.payments = books.payments
    node.offers = {offer.offer_id: offer for offer in books.offers}
    node.counters = books.counters
    node.datastore = {tuple(key): (number, value) for key, number, value in books.datastore}
    node.runes.made, node.runes.blacklist = books.runes_made, books.runes_blacklist
    node.runes.next_id = books.runes_next_id


class LedgerFile:
    """Writes the books after every change, by a new file in the place of the old one."""

    def __init__(self, network: Network[Node], path: Path) -> None:
        self._network, self._path = network, path
        self._written = b""

    def load(self) -> None:
        """Read what is there, if anything is."""
        if not self._path.exists():
            return
        books = msgspec.json.decode(self._path.read_bytes(), type=Books)
        for name, kept in books.nodes.items():
            if name in self._network.nodes:
                _restore(self._network.nodes[name], kept)
        self._network.htlcs = books.htlcs

    def save(self) -> None:
        """Write, if anything changed."""
        nodes: dict[str, Any] = {name: _of(node) for name, node in self._network.nodes.items()}
        raw = msgspec.json.encode(Books(nodes, self._network.htlcs))
        if raw == self._written:
            return
        fresh = self._path.with_suffix(".new")
        fresh.write_bytes(raw)
        fresh.replace(self._path)
        self._written = raw
