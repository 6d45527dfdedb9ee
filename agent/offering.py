"""What exchanges are offered: a revision for each of them whenever it is due."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from agent.clock import SECOND
from agent.config import Config
from agent.config_rules import prices
from agent.core import offer as offers
from agent.core.bill import Mode, Terms
from agent.core.lease import Units
from agent.core.rebate import Level, Tier
from agent.exchange.link import Link
from agent.journal import ledger
from agent.journal.store import Transaction, View
from agent.market import Market
from agent.node import Node
from agent.wire.statements import encode_offer
from probes.reading import Instant

DAY_NS = 86_400 * SECOND
LIMITS_NOT_ENFORCED = "CUSTOM_HEARTH_LIMITS_NOT_ENFORCED"


def terms_of(config: Config) -> offers.Terms:
    """Price and service level as configured."""
    return offers.Terms(
        prices=prices(config.offer),
        availability_ppm=config.offer.availability_ppm,
        level=Level(
            config.offer.window_seconds * SECOND,
            tuple(Tier(tier.below_ppm, tier.permille) for tier in config.offer.rebates),
        ),
        receipt_interval_ns=config.offer.receipt_seconds * SECOND,
        money=Terms(
            mode=Mode.PREPAID if config.offer.mode == "prepaid" else Mode.POSTPAID,
            credit_limit_msat=config.offer.credit_limit_msat,
            least_msat=config.offer.least_invoice_msat,
            payment_timeout_ns=config.offer.payment_seconds * SECOND,
            advance_msat=config.offer.advance_msat if config.offer.mode == "prepaid" else 0,
        ),
    )


def uuid7(wall_ns: int) -> str:
    """A UUIDv7 (RFC 9562, 5.7): milliseconds, then random bits."""
    value = ((wall_ns // 1_000_000) & ((1 << 48) - 1)) << 80
    value |= int.from_bytes(os.urandom(10), "big")
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    text = f"{value:032x}"
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


@dataclass(frozen=True, slots=True)
class _Audience:
    """One exchange as an offer is cut for it."""

    row: int
    exchange_id: str
    assurance: int
    exchange_ns: int
    cut_ns: int  # when it was cut the last


@dataclass(slots=True)
class Offering:
    """Keeps what each exchange was offered up to date with what there is."""

    node: Node
    market: Market
    own_traits: tuple[str, ...]  # what this host adds to its inventory's
    environment: Callable[[], offers.Environment]
    _cut_times: dict[int, int] = field(default_factory=dict)  # exchange row -> CLOCK_BOOTTIME

    async def refresh(self, links: list[Link]) -> None:
        """Cut a new revision for every exchange that needs one."""
        now = self.node.clock.now()
        audience = [
            _Audience(
                link.row,
                link.enrolment.exchange_id,
                link.enrolment.assurance,
                self.market.now_at(link.enrolment.exchange_id),
                self._cut_times.get(link.row, 0),
            )
            for link in links
        ]

        def due(view: View) -> bool:
            available = self._available(view, now)
            return any(self._due(view, to, available, now) is not None for to in audience)

        needed: bool = await self.node.journal.read(due)
        if not needed:
            return
        environment = self.environment()
        cut: list[int] = await self.node.journal.write(
            lambda change: self._cut(change, audience, environment, now)
        )
        self._cut_times.update(dict.fromkeys(cut, now.boottime_ns))

    def _available(self, view: View, now: Instant) -> dict[str, int]:
        free = ledger.free(view, self.node.total, now)
        return dict.fromkeys(free, 0) if self.market.closed else free

    def _due(
        self, view: View, to: _Audience, available: Units, now: Instant
    ) -> tuple[offers.Shown | None] | None:
        """What an exchange has, where it needs a new revision; None where it does not."""
        shown = _shown(view, to.row, to.cut_ns)
        lifetime = self.node.config.offer.lifetime_seconds * SECOND
        due = offers.due(shown, available, now.boottime_ns, to.exchange_ns, lifetime)
        return (shown,) if due else None

    def _cut(
        self,
        change: Transaction,
        audience: list[_Audience],
        environment: offers.Environment,
        now: Instant,
    ) -> list[int]:
        """Cut what is due and return to whom."""
        config = self.node.config
        available = self._available(change, now)
        cut = []
        for to in audience:
            found = self._due(change, to, available, now)
            if found is None:
                continue
            shown, wall = found[0], to.exchange_ns
            offer = offers.Offer(
                node_id=self.node.node_id,
                exchange_id=to.exchange_id,
                offer_id=shown.offer_id if shown else uuid7(now.wall_ns),
                sequence=shown.sequence + 1 if shown else 1,
                inventory_generation=self.node.inventory_generation,
                issue_ns=wall,
                expire_ns=wall + config.offer.lifetime_seconds * SECOND,
                available_until_ns=wall + config.offer.available_days * DAY_NS,
                capacity=self.node.capacity,
                reserved=self.node.reserved,
                available=available,
                traits=tuple(sorted({*self.node.inventory.traits, *self.own_traits})),
                site=offers.Site(
                    config.site.id,
                    config.site.share_ppm,
                    config.site.country_code,
                    config.site.subdivision_code,
                    config.site.heat_sink,
                ),
                environment=environment,
                terms=terms_of(config),
                assurance=to.assurance,
                log_breaks=0,
            )
            index = self.node.scribe.append(change, "Offer", encode_offer(offer), [to.row])
            change.execute(
                "INSERT INTO offers VALUES (?, ?, ?, ?, ?, ?)",
                to.row,
                offer.offer_id,
                offer.sequence,
                index,
                offer.expire_ns,
                msgspec.msgpack.encode(available),
            )
            cut.append(to.row)
        return cut


def _shown(view: View, row: int, cut_ns: int) -> offers.Shown | None:
    found = view.one(
        "SELECT offer_id, sequence, expire_ns, available FROM offers WHERE exchange = ?"
        " ORDER BY offer_id DESC, sequence DESC LIMIT 1",  # a UUIDv7 is ordered by its time
        row,
    )
    if found is None:
        return None
    available = msgspec.msgpack.decode(found[3], type=dict[str, int])
    return offers.Shown(found[0], int(found[1]), cut_ns, int(found[2]), available)
