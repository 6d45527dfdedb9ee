"""What a configuration must not say: settings that have no effect, or that cannot all be meant.

Each rule gives the key and what is wrong with it, with the remedy. A value that is the default is
never refused: whoever writes the defaults out says nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from agent.config import Config, Offer, Reserve, Settlement
from agent.core import amount
from agent.core.amount import PriceUnit
from agent.core.bounds import MOST_MSAT, most_delivered
from agent.core.lease import Units

DAY_NS = 86_400 * 1_000_000_000
PRICE_UNITS = {
    "delivered-lease-second": PriceUnit.DELIVERED_LEASE_SECOND,
    "delivered-unit-second": PriceUnit.DELIVERED_UNIT_SECOND,
    "joule": PriceUnit.JOULE,
}
# The largest host that a price is held against; a larger one refuses leases that are too dear.
LARGEST_HOST = {"MEMORY_MB": 1 << 24, "PGPU": 256, "VCPU": 4096, "VGPU": 1024}
# What each rail reads of [settlement], beside what all of them do.
RAIL_KEYS: Mapping[str, frozenset[str]] = {
    "cln": frozenset({"socket"}),
    "cln-commando": frozenset(
        {"node", "invoice_rune_file", "pay_rune_file", "payments_rune_file", "key_file"}
    ),
    "statement": frozenset({"directory"}),
}

Contradiction = tuple[str, str]  # key, what is wrong


def contradictions(config: Config) -> Iterator[Contradiction]:
    """Give everything that the settings cannot mean together, worst first."""
    wrong = tuple(_classes(config.offer))
    yield from wrong or _dear(config.offer)
    yield from _rebates(config.offer)
    yield from _mode(config)
    yield from _refund(config)
    yield from _rail(config.settlement)
    yield from _site(config)
    yield from _meters(config)


def prices(offer: Offer) -> tuple[amount.Price, ...]:
    """The prices as they are offered."""
    return tuple(
        amount.Price(item.msat, item.per, PRICE_UNITS[item.unit], item.resource_class)
        for item in offer.prices
    )


def unpriced(offer: Offer, classes: Iterable[str]) -> list[str]:
    """Return those of `classes` that no price covers: they are not for sale.

    A price per lease-second covers all of a lease. One per joule covers none: without a meter it
    comes to nothing.
    """
    covered = {item.resource_class for item in offer.prices}
    if any(item.unit == "delivered-lease-second" for item in offer.prices):
        return []
    return sorted(set(classes) - covered)


def overreserved(config: Config, capacity: Units) -> Iterator[Contradiction]:
    """Give what is reserved of this host and not there.

    Not of accelerators: one that failed is not in the capacity, and the daemon goes on without it.
    """
    for key, count, name in (
        ("vcpu", config.reserve.vcpu, "VCPU"),
        ("memory_mb", config.reserve.memory_mb, "MEMORY_MB"),
    ):
        there = capacity.get(name)
        if there is not None and there < count != getattr(Reserve(), key):
            yield f"reserve.{key}", f"{count}; accepted: at most the {there} {name} of this host"


def _classes(offer: Offer) -> Iterator[Contradiction]:
    for place, price in enumerate(offer.prices):
        by_class = price.unit == "delivered-unit-second"
        if by_class != bool(price.resource_class):
            needs = "a class such as VCPU" if by_class else f"none with the unit {price.unit!r}"
            key = f"offer.prices[{place}].resource_class"
            yield key, f"{price.resource_class!r}; accepted: {needs}"


def _dear(offer: Offer) -> Iterator[Contradiction]:
    # units x longest lease x price, summed over the prices, e.g. of memory at 1 msat / 250 MB s:
    # 2^24 MB x 30 x 86,400 s / 250 = 1.7e11 msat. A receipt's amount has 63 bits (9.2e18), and
    # MOST_MSAT (2.1e18) leaves room to add advance, corrections and rebates to it.
    most = most_delivered(LARGEST_HOST, offer.available_days * DAY_NS)
    lines = amount.lines(prices(offer), most)
    total = amount.gross(lines)
    if total > MOST_MSAT:
        dearest = max(lines, key=lambda line: line.msat)
        price = offer.prices[dearest.price_index]
        yield (
            f"offer.prices[{dearest.price_index}].msat",
            f"{price.msat} for {price.per}: a large host leased for offer.available_days ="
            f" {offer.available_days} could owe {total} msat; accepted: prices that come to"
            f" {MOST_MSAT} at most, all the bitcoin there are",
        )


def _rebates(offer: Offer) -> Iterator[Contradiction]:
    tiers = offer.rebates
    for place, tier in enumerate(tiers):
        for other_place, other in enumerate(tiers):
            covers = other.below_ppm >= tier.below_ppm and other.permille >= tier.permille
            if covers and place != other_place:
                yield (
                    f"offer.rebates[{place}]",
                    f"has no effect: offer.rebates[{other_place}] gives {other.permille} permille"
                    f" below {other.below_ppm} already; accepted: more for less availability",
                )
                return


def _mode(config: Config) -> Iterator[Contradiction]:
    offer, rail = config.offer, config.settlement.rail
    if offer.mode == "prepaid" and rail == "none":
        yield (
            "offer.mode",
            '"prepaid" without a rail that makes invoices; set settlement.rail, or use "postpaid"',
        )
    if offer.mode == "prepaid" and offer.advance_msat == 0:
        yield "offer.advance_msat", '0 with the mode "prepaid"; accepted: what is invoiced ahead'
    if offer.mode == "postpaid" and offer.advance_msat != Offer().advance_msat:
        yield (
            "offer.advance_msat",
            'has no effect with the mode "postpaid"; leave it out, or set offer.mode = "prepaid"',
        )


def _refund(config: Config) -> Iterator[Contradiction]:
    """All of a prepayment may have to be given back, and nothing nets the last of it."""
    advance, caps = config.offer.advance_msat, config.settlement.caps
    if config.offer.mode != "prepaid" or not _pays(config.settlement):
        return
    most = advance + max(caps.fee_least_msat, advance * caps.fee_permille // 1000)
    for key in ("payment_msat", "day_msat", "exchange_day_msat"):
        limit = getattr(caps, key)
        if limit < most:
            yield (
                f"settlement.caps.{key}",
                f"{limit} is less than {most}, offer.advance_msat with its fee: what is left of a"
                " prepayment could not be given back; raise it, or lower offer.advance_msat",
            )


def _pays(settlement: Settlement) -> bool:
    return settlement.rail == "cln" or bool(settlement.pay_rune_file)


def _rail(settlement: Settlement) -> Iterator[Contradiction]:
    if settlement.rail == "none":
        return
    own, defaults = RAIL_KEYS[settlement.rail], Settlement()
    for key in sorted(frozenset[str]().union(*RAIL_KEYS.values()) - own):
        if getattr(settlement, key) != getattr(defaults, key):
            yield (
                f"settlement.{key}",
                f"has no effect with the rail {settlement.rail!r}; leave it out"
                f" (this rail reads {', '.join(sorted(own))})",
            )
    if settlement.caps != defaults.caps and not _pays(settlement):
        remedy = "leave them out, or name settlement.pay_rune_file with the rail 'cln-commando'"
        yield "settlement.caps", f"have no effect, for nothing is ever paid; {remedy}"


def _site(config: Config) -> Iterator[Contradiction]:
    site = config.site
    if site.subdivision_code and site.subdivision_code[:2] != site.country_code:
        yield (
            "site.subdivision_code",
            f"{site.subdivision_code!r} is not in site.country_code = {site.country_code!r};"
            f" accepted: the country {site.subdivision_code[:2]!r}, or no subdivision",
        )
    if config.sensors.modbus or config.sensors.mbus:
        return
    without = "has no effect without a meter of the site; name one in [[sensors.{}]]"
    if site.heat_sink != "none":
        yield "site.heat_sink", without.format("mbus")
    if site.share_ppm != 1_000_000:
        yield "site.share_ppm", without.format("modbus")


def _meters(config: Config) -> Iterator[Contradiction]:
    names = [meter.name for meter in config.sensors.modbus]
    names += [meter.name for meter in config.sensors.mbus]
    for name in names:
        if names.count(name) > 1:
            yield "sensors", f"the name {name!r} is used twice; make it unique"
            return
