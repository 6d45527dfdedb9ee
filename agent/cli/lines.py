"""A demo as plain lines: what changed from one moment to the next, and the account at its end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agent.sandbox.moment import ExchangeMoment, Moment, MoneyMoment
    from agent.sandbox.outcome import Outcome

# What is shown is named for what it is; short enough for a line of 80.
REAL = "inventory, CPU, cgroups, counters, gRPC/mTLS, signatures, log"
SIMULATED = "site meters, exchanges"
SIMULATED_TPM, NO_TPM = "TPM and its certificate (swtpm), ", "; no TPM: a key in a file"


def real(now: Moment | None) -> str:
    """Name what is real."""
    return f"{REAL}, Lightning" if now is not None and now.network else REAL


def simulated(now: Moment | None) -> str:
    """Name what is not real."""
    software = now is not None and any(item.assurance == "software" for item in now.exchanges)
    doubles = now is None or not now.network
    said = f"{SIMULATED}, Lightning" if doubles else SIMULATED
    return f"{said}{NO_TPM}" if software else f"{SIMULATED_TPM}{said}"


def changes(before: Moment | None, now: Moment) -> Iterator[str]:
    """Say what happened between two moments, one line each."""
    known = {item.name: item for item in before.exchanges} if before is not None else {}
    for item in now.exchanges:
        yield from _exchange(known.get(item.name), item)
    # Two exchanges may use the same lease id: those are two leases.
    leases = before.leases if before is not None else ()
    states = {(item.exchange, item.lease_id): item.state for item in leases}
    for lease in now.leases:
        old = states.get((lease.exchange, lease.lease_id))
        if old not in (None, lease.state):
            yield f"{lease.exchange}: lease is {lease.state}"


def _exchange(before: ExchangeMoment | None, now: ExchangeMoment) -> Iterator[str]:
    if before is None:
        return
    if now.connected != before.connected:
        yield f"{now.name}: {'connected' if now.connected else 'connection lost'}"
    if (count := now.offers_accepted - before.offers_accepted) > 0:
        yield f"{now.name}: accepted {plural(count, 'offer')}"
    if (count := now.receipts_verified - before.receipts_verified) > 0:
        yield f"{now.name}: verified {plural(count, 'receipt')}, {msat(now.amount_due_msat)} due"
    if (count := now.checkpoints_verified - before.checkpoints_verified) > 0:
        yield f"{now.name}: verified {plural(count, 'checkpoint')}"
    if (count := now.receipts_acked - before.receipts_acked) > 0:
        yield f"{now.name}: acknowledged {plural(count, 'receipt')}"
    if (count := now.challenges_passed - before.challenges_passed) > 0:
        yield f"{now.name}: {plural(count, 'quote challenge')} passed"
    yield from _money(now.name, before.money, now.money)
    if (count := now.receipts_rejected - before.receipts_rejected) > 0:
        yield f"{now.name}: REJECTED {plural(count, 'receipt')}"
    if (count := now.challenges_failed - before.challenges_failed) > 0:
        yield f"{now.name}: {plural(count, 'quote challenge')} FAILED"


def _money(name: str, before: MoneyMoment, now: MoneyMoment) -> Iterator[str]:
    if now.invoices_issued > before.invoices_issued:
        yield f"{name}: is invoiced {msat(now.invoiced_msat - before.invoiced_msat)}"
    if now.invoices_paid > before.invoices_paid:
        yield f"{name}: paid {msat(now.paid_msat - before.paid_msat)}"
    if now.rebates_issued > before.rebates_issued:
        yield f"{name}: a rebate of {msat(now.rebate_msat - before.rebate_msat)} is due"
    if now.rebates_paid > before.rebates_paid:
        yield f"{name}: was paid a rebate, {msat(now.returned_msat - before.returned_msat)}"
    if now.rebates_netted > before.rebates_netted:
        yield f"{name}: a rebate is netted, {msat(now.netted_msat - before.netted_msat)}"


def account(outcome: Outcome) -> Iterator[str]:
    """Say what a demo came to."""
    last = outcome.last
    issued = sum(item.receipts_issued for item in last.exchanges)
    acked = sum(item.receipts_acked for item in last.exchanges)
    verified = sum(item.receipts_verified for item in last.exchanges)
    due = sum(item.amount_due_msat for item in last.exchanges)
    yield (
        f"{plural(issued, 'receipt')} issued, {verified} verified, {acked} acknowledged,"
        f" {last.oversold_units} units sold twice"
    )
    money = [item.money for item in last.exchanges]
    yield (
        f"{plural(sum(item.invoices_issued for item in money), 'invoice')} issued,"
        f" {sum(item.invoices_paid for item in money)} paid:"
        f" {msat(sum(item.paid_msat for item in money))} of {msat(due)} due"
    )
    rebates = sum(item.rebates_issued for item in money)
    if rebates:
        yield (
            f"{plural(rebates, 'rebate')}: {msat(sum(item.returned_msat for item in money))}"
            f" paid back, {msat(sum(item.netted_msat for item in money))} netted"
        )
    used, reused = joules(last.energy_mj), joules(last.heat_mj)
    yield f"host: {used} used, {reused} of heat reused"
    for item in outcome.cpu:
        yield (
            f"{item.exchange}: {item.used_cpu_ms} ms of CPU by the final receipt,"
            f" {item.kernel_cpu_ms} ms by the kernel"
        )
    offered = "" if outcome.first_offer_ms is None else f"{outcome.first_offer_ms / 1000:.2f} s"
    yield (
        f"agent: {last.peak_rss_kib / 1024:.1f} MiB at most, {last.cpu_ms / 1000:.1f} s of CPU,"
        f" first offer accepted after {offered or 'never'}"
    )
    if outcome.proof is not None:
        yield f"hearth verify {outcome.proof.file} --roots {outcome.proof.roots}"
        for line in outcome.proof.said.splitlines():
            yield f"  {line}"


def plural(count: int, noun: str) -> str:
    """Return "1 offer", "2 offers"."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def msat(amount: int) -> str:
    """Millisatoshi for people."""
    return f"{amount:,} msat".replace(",", " ")


def joules(millijoules: int) -> str:
    """Energy for people, with three digits."""
    value, unit = millijoules / 1000, "J"
    for larger in ("kJ", "MJ", "GJ"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    digits = f"{value:#.3g}".rstrip(".") if 0 < value < 100 else f"{value:.0f}"
    return f"{digits} {unit}"


def watts(milliwatts: int | None) -> str:
    """Power for people."""
    return "no meter" if milliwatts is None else f"{milliwatts / 1000:.1f} W"
