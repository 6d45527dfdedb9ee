"""Write the vectors of the published functions: `python -m tests.golden.make_settlement_vectors`.

Numbers are decimal strings where they may pass 2^53, as in proof files; times are nanoseconds.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from agent.core import amount, availability, invoice, rebate
from agent.core.amount import Delivered, Price, PriceUnit
from agent.core.availability import Exclusion, Span, Standing
from agent.core.rebate import Level, Tier

VECTORS = Path(__file__).parents[2] / "proto" / "vectors"
Case = dict[str, object]
HOUR = 3600 * 10**9
START = 1_800_000_000 * 10**9
TIERS = (Tier(990_000, 100), Tier(950_000, 500), Tier(900_000, 1000))


def amounts() -> list[Case]:
    """Prices over one delivery."""
    units = {"MEMORY_MB": 4096, "VCPU": 3}
    hour = Delivered(units, {"MEMORY_MB": 4096 * 3_600_000, "VCPU": 3 * 3_600_000}, 123_456_789)
    uneven = Delivered(units, {"MEMORY_MB": 4096 * 1000 - 1, "VCPU": 3 * 1500}, 999)
    big = (1 << 63) - 1
    vcpu = Price(15, 1, PriceUnit.DELIVERED_UNIT_SECOND, "VCPU")
    memory = Price(1, 250, PriceUnit.DELIVERED_UNIT_SECOND, "MEMORY_MB")
    lease = Price(7, 3, PriceUnit.DELIVERED_LEASE_SECOND)
    joule = Price(1, 1, PriceUnit.JOULE)

    def case(name: str, prices: tuple[Price, ...], delivered: Delivered) -> Case:
        lines = amount.lines(prices, delivered)
        return {
            "name": name,
            "prices": [
                {
                    "msat_numerator": str(price.numerator),
                    "unit_denominator": str(price.denominator),
                    "unit": price.unit.name,
                    "resource_class": price.resource_class,
                }
                for price in prices
            ],
            "units": {name: str(count) for name, count in delivered.units.items()},
            "delivered_unit_milliseconds": {
                name: str(count) for name, count in delivered.unit_milliseconds.items()
            },
            "energy_millijoules": str(delivered.energy_millijoules),
            "lines": [
                {
                    "price_index": line.price_index,
                    "quantity": str(line.quantity),
                    "msat": str(line.msat),
                }
                for line in lines
            ],
            "gross_msat_total": str(amount.gross(lines)),
        }

    return [
        case("an hour of everything", (vcpu, memory, lease, joule), hour),
        case("floored once a line, not once in all", (lease, joule, vcpu), uneven),
        case("the least delivered class decides a lease-second", (lease,), uneven),
        case("beyond 2^64 on the way", (Price(big, 1000, PriceUnit.JOULE),), hour),
        case("a class that was not delivered", (vcpu,), Delivered(units, {"MEMORY_MB": 5})),
        case("nothing", (vcpu, memory, lease, joule), Delivered(units, {})),
        case("free", (Price(0, 1, PriceUnit.DELIVERED_UNIT_SECOND, "VCPU"),), hour),
    ]


def standings(*rows: tuple[int, int, int]) -> tuple[Standing, ...]:
    """Receipts that join from the lease's start: (minutes, delivered ms, gross msat) each."""
    found: list[Standing] = []
    at = START
    for minutes, delivered_ms, gross in rows:
        end = at + minutes * 60 * 10**9
        sha256 = hashlib.sha256(f"receipt {len(found) + 1}".encode()).digest()
        found.append(Standing(Span(at, end), delivered_ms, gross, sha256))
        at = end
    return tuple(found)


def minutes(start: int, end: int) -> Span:
    """A span, in minutes from the lease's start."""
    return Span(START + start * 60 * 10**9, START + end * 60 * 10**9)


FULL = standings(*((15, 900_000 * n, 13_500 * n) for n in range(1, 9)))
BROKEN = standings(
    (15, 900_000, 9_000),
    (15, 1_500_000, 15_000),  # ten of fifteen minutes
    (15, 1_500_000, 15_000),  # nothing
    (15, 2_400_000, 24_000),
    (15, 3_300_000, 33_001),
)
SETS = {
    "all delivered": (FULL, (), ()),
    "five minutes and a receipt missing": (BROKEN, (minutes(15, 20), minutes(30, 45)), ()),
    "the same, no outage named": (BROKEN, (), ()),
    "the outage was declared maintenance": (
        BROKEN,
        (minutes(15, 20), minutes(30, 45)),
        ((Exclusion.DECLARED_MAINTENANCE, minutes(30, 45)),),
    ),
    "an exclusion that the service level does not name": (
        BROKEN,
        (minutes(15, 20), minutes(30, 45)),
        ((Exclusion.EXCHANGE_UNREACHABLE, minutes(30, 45)),),
    ),
    "exclusions that overlap, in disorder": (
        BROKEN,
        (),
        (
            (Exclusion.DECLARED_MAINTENANCE, minutes(35, 50)),
            (Exclusion.TENANT_SUSPENDED, minutes(30, 40)),
        ),
    ),
    "an exclusion that ends in a receipt with an outage": (
        BROKEN,
        (minutes(15, 20), minutes(26, 28)),
        ((Exclusion.DECLARED_MAINTENANCE, minutes(18, 24)),),
    ),
    "all of it excluded": (BROKEN, (), ((Exclusion.TENANT_SUSPENDED, minutes(0, 120)),)),
    "the node died after half an hour": (BROKEN[:2], (), ()),
    "an outage over a whole receipt that delivered": (FULL, (minutes(15, 30),), ()),
    "no receipt at all": ((), (), ()),
}
LEVEL = Level(HOUR, TIERS, frozenset((Exclusion.DECLARED_MAINTENANCE, Exclusion.TENANT_SUSPENDED)))
# Lease of two hours less a minute, windows of an hour: the last one ends with the lease.
LEASE = minutes(0, 119)


def _times(spans: Sequence[Span]) -> list[list[str]]:
    return [[str(span.start_ns), str(span.end_ns)] for span in spans]


def _inputs(inputs: availability.Inputs) -> Case:
    return {
        "window": _times([inputs.window])[0],
        "before": {
            "delivered_ms": str(inputs.before_delivered_ms),
            "gross_msat": str(inputs.before_gross_msat),
        },
        "receipts": [
            {
                "sha256": item.sha256.hex(),
                "interval": _times([item.span])[0],
                "delivered_ms": str(item.delivered_ms),
                "gross_msat": str(item.gross_msat),
            }
            for item in inputs.standings
        ],
        "outages": _times(inputs.outages),
        "excluded": _times(inputs.excluded),
    }


def availabilities() -> list[Case]:
    """Windows of leases; what is excluded is given as it counts."""
    cases: list[Case] = []
    for name, (receipts, outages, excluded) in SETS.items():
        for index in (0, 1):
            inputs = availability.gather(
                availability.window(LEASE, LEVEL.window_ns, index),
                receipts,
                outages,
                (span for kind, span in excluded if kind in LEVEL.exclusions),
            )
            cases.append(
                {
                    "name": f"{name}; window {index}",
                    **_inputs(inputs),
                    "availability_ppm": availability.availability_ppm(inputs),
                    "gross_msat": str(availability.gross_msat(inputs)),
                    "encoded": rebate.encode_inputs(inputs).hex(),
                    "inputs_sha256": hashlib.sha256(rebate.encode_inputs(inputs)).hexdigest(),
                }
            )
    return cases


def rebates() -> list[Case]:
    """From a lease's receipts to the figures of a RebateStatement."""
    cases: list[Case] = []
    whole = dataclasses.replace(LEVEL, window_ns=0)
    windows = (("window 0", LEVEL, 0), ("window 1", LEVEL, 1), ("one window", whole, 0))
    for name, (receipts, outages, excluded) in SETS.items():
        for which, level, index in windows:
            found = rebate.state(level, LEASE, index, receipts, outages, excluded)
            cases.append(
                {
                    "name": f"{name}; {which}",
                    "lease": _times([LEASE])[0],
                    "window_ns": str(level.window_ns),
                    "tiers": [list(tier) for tier in LEVEL.tiers],
                    "exclusions": sorted(kind.name for kind in LEVEL.exclusions),
                    "index": index,
                    "receipts": [
                        {
                            "sha256": item.sha256.hex(),
                            "interval": _times([item.span])[0],
                            "delivered_ms": str(item.delivered_ms),
                            "gross_msat": str(item.gross_msat),
                        }
                        for item in receipts
                    ],
                    "outages": _times(outages),
                    "excluded": [[kind.name, *_times([span])[0]] for kind, span in excluded],
                    "window": _times([found.window])[0],
                    "inputs_sha256": found.inputs_sha256.hex(),
                    "availability_ppm": found.availability_ppm,
                    "msat": str(found.msat),
                }
            )
    return cases


def texts() -> list[Case]:
    """Labels and the texts whose SHA-256 stands in an invoice (BOLT 11, field h)."""
    exchange, lease = "ab" * 32, "0190c1d2-0000-7000-8000-000000000001"
    receipt = hashlib.sha256(b"receipt").digest()
    labels = (
        (invoice.Label(exchange, lease, 12), receipt),
        (invoice.Label(exchange, lease, 12, 2), receipt),
        (invoice.Label(exchange, lease, 0), b""),
    )
    cases: list[Case] = []
    for label, digest in labels:
        text = invoice.invoice_text(str(label), digest)
        cases.append(
            {
                "kind": "invoice",
                "exchange_id": exchange,
                "lease_id": lease,
                "through_sequence": label.through,
                "round": label.round,
                "receipt_sha256": digest.hex(),
                "label": str(label),
                "text": text,
                "sha256": invoice.text_sha256(text).hex(),
            }
        )
    text = invoice.payout_text(exchange, lease, receipt)
    cases.append(
        {
            "kind": "payout",
            "exchange_id": exchange,
            "lease_id": lease,
            "statement_sha256": receipt.hex(),
            "text": text,
            "sha256": invoice.text_sha256(text).hex(),
        }
    )
    return cases


def made() -> dict[str, bytes]:
    """Every file and its contents."""
    files: dict[str, object] = {
        "amount.json": amounts(),
        "availability.json": availabilities(),
        "rebate.json": rebates(),
        "invoice-texts.json": texts(),
    }
    return {name: (json.dumps(cases, indent=1) + "\n").encode() for name, cases in files.items()}


if __name__ == "__main__":
    for path, content in made().items():
        (VECTORS / path).write_bytes(content)
