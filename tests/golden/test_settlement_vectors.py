"""proto/vectors of the published functions: computed from the file alone, and made again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import pytest

from agent.core import amount, availability, invoice, rebate
from agent.core.amount import Delivered, Price, PriceUnit
from agent.core.availability import Exclusion, Inputs, Span, Standing
from agent.core.rebate import Level, Tier
from tests.golden.make_settlement_vectors import VECTORS, made

Case = dict[str, Any]


def _read(name: str) -> list[Case]:
    cases: list[Case] = json.loads((VECTORS / name).read_bytes())
    return cases


def _numbers(values: dict[str, str]) -> dict[str, int]:
    return {name: int(value) for name, value in values.items()}


def _span(times: Sequence[str]) -> Span:
    return Span(int(times[0]), int(times[1]))


def _standings(receipts: list[Case]) -> tuple[Standing, ...]:
    return tuple(
        Standing(
            _span(item["interval"]),
            int(item["delivered_ms"]),
            int(item["gross_msat"]),
            bytes.fromhex(item["sha256"]),
        )
        for item in receipts
    )


@pytest.mark.parametrize("case", _read("amount.json"), ids=lambda case: case["name"])
def test_amounts(case: Case) -> None:
    prices = [
        Price(
            int(item["msat_numerator"]),
            int(item["unit_denominator"]),
            PriceUnit[item["unit"]],
            item["resource_class"],
        )
        for item in case["prices"]
    ]
    delivered = Delivered(
        _numbers(case["units"]),
        _numbers(case["delivered_unit_milliseconds"]),
        int(case["energy_millijoules"]),
    )
    lines = amount.lines(prices, delivered)
    assert [(line.price_index, str(line.quantity), str(line.msat)) for line in lines] == [
        (line["price_index"], line["quantity"], line["msat"]) for line in case["lines"]
    ]
    assert str(amount.gross(lines)) == case["gross_msat_total"]


@pytest.mark.parametrize("case", _read("availability.json"), ids=lambda case: case["name"])
def test_availabilities(case: Case) -> None:
    inputs = Inputs(
        _span(case["window"]),
        int(case["before"]["delivered_ms"]),
        int(case["before"]["gross_msat"]),
        _standings(case["receipts"]),
        tuple(map(_span, case["outages"])),
        tuple(map(_span, case["excluded"])),
    )
    assert availability.availability_ppm(inputs) == case["availability_ppm"]
    assert str(availability.gross_msat(inputs)) == case["gross_msat"]
    encoded = rebate.encode_inputs(inputs)
    assert encoded.hex() == case["encoded"]
    assert hashlib.sha256(encoded).hexdigest() == case["inputs_sha256"]


@pytest.mark.parametrize("case", _read("rebate.json"), ids=lambda case: case["name"])
def test_rebates(case: Case) -> None:
    level = Level(
        int(case["window_ns"]),
        tuple(Tier(*tier) for tier in case["tiers"]),
        frozenset(Exclusion[name] for name in case["exclusions"]),
    )
    found = rebate.state(
        level,
        _span(case["lease"]),
        case["index"],
        _standings(case["receipts"]),
        map(_span, case["outages"]),
        [(Exclusion[kind], _span(times)) for kind, *times in case["excluded"]],
    )
    assert found.window == _span(case["window"])
    assert found.availability_ppm == case["availability_ppm"]
    assert str(found.msat) == case["msat"]
    assert found.inputs_sha256.hex() == case["inputs_sha256"]


@pytest.mark.parametrize("case", _read("invoice-texts.json"), ids=lambda case: case["kind"])
def test_texts(case: Case) -> None:
    if case["kind"] == "payout":
        text = invoice.payout_text(
            case["exchange_id"], case["lease_id"], bytes.fromhex(case["statement_sha256"])
        )
    else:
        label = invoice.Label(
            case["exchange_id"], case["lease_id"], case["through_sequence"], case["round"]
        )
        assert str(label) == case["label"]
        assert invoice.read_label(case["label"]) == label
        text = invoice.invoice_text(case["label"], bytes.fromhex(case["receipt_sha256"]))
    assert text == case["text"]
    assert invoice.text_sha256(text).hex() == case["sha256"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hearth/ab/0190c1d2-0000-7000-8000-000000000001/01",
        "hearth/ab/0190c1d2-0000-7000-8000-000000000001/1-r1",
        "hearth/ab/0190c1d2-0000-7000-8000-000000000001/1-r0",
        "hearth/ab/0190c1d2-0000-7000-8000-000000000001/1 ",
        "hearth/AB/0190c1d2-0000-7000-8000-000000000001/1",
        "somebody else's invoice",
    ],
)
def test_other_labels_are_not_ours(text: str) -> None:
    assert invoice.read_label(text) is None


def test_every_kind_of_case_is_there() -> None:
    ppm = {case["availability_ppm"] for case in _read("availability.json")}
    assert {0, 1_000_000} < ppm
    msat = {int(case["msat"]) for case in _read("rebate.json")}
    assert 0 in msat
    assert len(msat) > 3


def test_the_script_makes_them_again() -> None:
    for path, content in made().items():
        assert (VECTORS / path).read_bytes() == content, f"{path}: the script writes another"
