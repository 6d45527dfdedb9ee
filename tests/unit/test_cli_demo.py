"""The demo's picture, lines and options, without a demo."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from agent.cli.demo import seconds
from agent.cli.lines import changes, joules, real, simulated, watts
from agent.cli.machine import describe
from agent.cli.screen import Glyphs, Screen
from agent.sandbox.moment import ExchangeMoment, Identity, LeaseMoment, Moment, MoneyMoment
from probes.component import Component, ComponentKind, properties
from probes.inventory import Inventory

INVENTORY = Inventory(
    components=(
        Component(ComponentKind.SYSTEM, "system", properties=properties(memory_bytes=8 << 30)),
        *(
            Component(
                ComponentKind.PROCESSOR,
                f"package{number}",
                model="EPYC 9554P",
                properties=properties(cores=64, threads=128),
            )
            for number in range(2)
        ),
        Component(ComponentKind.DISK, "nvme0", properties=properties(size_bytes=10**12)),
    ),
    traits=(),
    kernel_release="6.12.0",
    virtualization="none",
)


def at(elapsed_ms: int, used_cpu_ms: int = 0, receipts: int = 0, power: int | None = 1) -> Moment:
    exchange = ExchangeMoment(
        *("northern", True, "virtual-tpm"),
        *(2, receipts, receipts, receipts, 0, receipts, 0, 0, 5000),
        MoneyMoment(invoices_issued=3, invoices_paid=2, invoiced_msat=4000, paid_msat=3000),
    )
    lease = LeaseMoment(
        "northern", "01a20366-3973", "ACTIVE", {"VCPU": 1}, used_cpu_ms, 10**6, 0, 5000, receipts
    )
    return Moment(
        identity=Identity("ab" * 32, "SW TPM", "cd" * 32, 1),
        elapsed_ms=elapsed_ms,
        capacity={"MEMORY_MB": 4096, "VCPU": 2},
        available={"MEMORY_MB": 3840, "VCPU": 1},
        oversold_units=0,
        power_mw=power,
        heat_mw=power,
        energy_mj=10**9,
        heat_mj=0,
        log_size=20,
        checkpoint_size=16,
        peak_rss_kib=70_000,
        cpu_ms=1500,
        exchanges=(exchange, replace(exchange, name="harbour")),
        leases=(lease, replace(lease, exchange="harbour", state="CLOSED")),
    )


def screen(width: int = 80, encoding: str = "utf-8") -> Screen:
    out = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    console = Console(file=out, width=width, height=24, force_terminal=True)
    return Screen(console, INVENTORY, 30.0)


def drawn(shown: Screen, width: int, height: int) -> list[str]:
    return [line.plain for line in shown.picture(width, height)]


@pytest.mark.parametrize(("text", "value"), [("30s", 30), ("2m", 120), ("45", 45), ("1.5 m", 90)])
def test_durations(text: str, value: float) -> None:
    assert seconds(text) == value


@pytest.mark.parametrize("text", ["", "0s", "-1", "1d", "s", "1s1"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        seconds(text)


@pytest.mark.parametrize(("width", "height"), [(80, 24), (120, 40), (100, 30)])
@pytest.mark.parametrize("moments", [0, 1, 30])
def test_the_picture_fits_its_terminal(width: int, height: int, moments: int) -> None:
    shown = screen(width)
    for second in range(moments):
        shown.moment(at(second * 1000, second * 900, second // 5))
        shown.event("something that happened, told at some length")
    lines = drawn(shown, width, height)
    assert len(lines) == height
    assert max(map(len, lines)) <= width
    assert lines[-2].startswith(" real: ")
    assert lines[-1].startswith(" simulated: ")


def test_the_picture_shows_what_there_is() -> None:
    shown = screen()
    for second in range(11):
        shown.moment(at(second * 1000, second * 500, 2, power=150_000 + second))
    text = "\n".join(drawn(shown, 80, 24))
    for wanted in (
        "hearth demo  node abababababababab  virtual-tpm",
        "00:10 of 00:30  Ctrl-C ends",
        "2 x EPYC 9554P, 64 cores, 128 threads; memory 8.0 GiB",
        "SW TPM (swtpm)",
        "150.0 W",
        "free 1 of 2 VCPU, 3840 of 4096 MEMORY_MB; 0 sold twice",
        " 50 % of 1 VCPU",
        "closed",
        "log 20 leaves, checkpoint 16",
        "inventory cdcdcdcd, generation 1",
    ):
        assert wanted in text, wanted


def test_a_missing_reading_is_no_zero() -> None:
    shown = screen()
    shown.moment(at(0, power=None))
    text = "\n".join(drawn(shown, 80, 24))
    assert "no meter" in text
    assert "0.0 W" not in text


def test_a_terminal_without_unicode_gets_ascii() -> None:
    shown = screen(encoding="ascii")
    for second in range(3):
        shown.moment(at(second * 1000, second * 500, second))
    assert "\n".join(drawn(shown, 80, 24)).isascii()


def test_the_picture_shows_money_and_what_was_staged() -> None:
    now = at(0)
    rebate = replace(
        now.exchanges[0].money,
        rebates_issued=2,
        rebates_paid=1,
        rebates_netted=1,
        returned_msat=40,
        netted_msat=5,
    )
    shown = screen()
    shown.moment(
        replace(
            now,
            exchanges=(replace(now.exchanges[0], money=rebate), now.exchanges[1]),
            leases=(replace(now.leases[0], outage=True), now.leases[1]),
        )
    )
    lines = drawn(shown, 80, 24)
    assert sum("STAGED OUTAGE" in text for text in lines) == 1
    money = next(number for number, text in enumerate(lines) if text.startswith("─ money"))
    assert lines[money].endswith("simulated Lightning ─")
    assert "2 of 3 invoices paid    3 000 msat   2 of 2 rebates back    45 msat" in lines[money + 1]
    assert lines[money + 2].split()[-3:] == ["no", "rebate", "due"]


def test_what_is_real_depends_on_whose_nodes_they_are() -> None:
    doubles, nodes = at(0), replace(at(0), network="regtest")
    assert (real(doubles) + simulated(doubles)).count("Lightning") == 1
    assert simulated(doubles).endswith("Lightning")
    assert real(nodes).endswith("Lightning")
    assert "Lightning" not in simulated(nodes)
    keys = tuple(replace(item, assurance="software") for item in doubles.exchanges)
    assert "no TPM" in simulated(replace(doubles, exchanges=keys))
    for now in (doubles, nodes, replace(nodes, exchanges=keys)):
        assert len(f" simulated: {simulated(now)}") <= 80
        assert len(f" real: {real(now)}") <= 80


@given(st.lists(st.integers(0, 10**9), max_size=50), st.integers(0, 60))
def test_a_sparkline_is_as_wide_as_what_it_shows(values: list[int], width: int) -> None:
    assert len(Glyphs(ascii_only=False).sparkline(values, width)) == min(len(values), width)


def test_a_sparkline_rises_with_its_values_and_keeps_noise_flat() -> None:
    glyphs = Glyphs(ascii_only=False)
    assert glyphs.sparkline([0, 50, 100], 9) == "▁▄█"
    assert len(set(glyphs.sparkline([200_000, 200_100, 200_050], 9))) == 1


@given(st.integers(-10, 3000), st.integers(0, 60))
def test_a_bar_keeps_its_width(permille: int, width: int) -> None:
    assert len(Glyphs(ascii_only=True).bar(permille, width)) == width


def test_a_bar_is_filled_in_proportion() -> None:
    assert Glyphs(ascii_only=True).bar(500, 10) == "#####....."


def test_lines_say_what_changed_and_nothing_else() -> None:
    before, now = at(0), at(1000, receipts=2)
    assert list(changes(None, now)) == []
    assert list(changes(now, now)) == []
    assert list(changes(before, now))[:3] == [
        "northern: verified 2 receipts, 5 000 msat due",
        "northern: verified 2 checkpoints",
        "northern: acknowledged 2 receipts",
    ]


def test_lines_say_what_money_moved() -> None:
    before = at(0)
    moved = MoneyMoment(
        invoices_issued=4,
        invoices_paid=3,
        invoiced_msat=4_500,
        paid_msat=4_000,
        rebates_issued=2,
        rebates_paid=1,
        rebates_netted=1,
        rebate_msat=90,
        returned_msat=60,
        netted_msat=30,
    )
    now = replace(
        before, exchanges=(replace(before.exchanges[0], money=moved), before.exchanges[1])
    )
    assert list(changes(before, now)) == [
        "northern: is invoiced 500 msat",
        "northern: paid 1 000 msat",
        "northern: a rebate of 90 msat is due",
        "northern: was paid a rebate, 60 msat",
        "northern: a rebate is netted, 30 msat",
    ]


def test_lines_say_what_went_wrong() -> None:
    now = at(0)
    bad = replace(now.exchanges[0], connected=False, receipts_rejected=1, challenges_failed=2)
    worse = replace(now, exchanges=(bad, now.exchanges[1]))
    assert list(changes(now, worse)) == [
        "northern: connection lost",
        "northern: REJECTED 1 receipt",
        "northern: 2 quote challenges FAILED",
    ]


@pytest.mark.parametrize(
    ("millijoules", "text"),
    [
        (0, "0 J"),
        (999, "0.999 J"),
        (99_960, "100 J"),
        (1_950_000, "1.95 kJ"),
        (2_300_000, "2.30 kJ"),
        (123_456_000_000, "123 MJ"),
    ],
)
def test_energy_for_people(millijoules: int, text: str) -> None:
    assert joules(millijoules) == text


def test_power_for_people() -> None:
    assert (watts(None), watts(189_060)) == ("no meter", "189.1 W")


def test_a_machine_in_lines() -> None:
    lines = dict(describe(INVENTORY, "SW TPM"))
    assert lines["disk"] == "nvme0 1000 GB"
    assert lines["kernel"] == "6.12.0"
    assert "network" not in lines
