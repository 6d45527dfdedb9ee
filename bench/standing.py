"""A node without TPM and daemon, and leases on it: what the journal is measured with."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import structlog

from agent.clock import SECOND
from agent.config import Config, Tpm
from agent.core import receipt as receipts
from agent.core.amount import Price, PriceUnit
from agent.core.lease import Lease, LeaseKey, LeaseState
from agent.core.meter import LeaseMeter
from agent.exchange import enrolment
from agent.exchange.enrolment import Enrolment
from agent.journal import ledger
from agent.journal.store import Transaction
from agent.node import Node
from probes.host import Host
from probes.reading import SourceClass

EXCHANGE_ID = "e" * 64
SOURCES = receipts.Sources(SourceClass.BILLING_METER, 10, SourceClass.BILLING_METER, 20)
ENROLMENT = Enrolment(
    exchange_id=EXCHANGE_ID,
    display_name="bench",
    enrol_endpoint="127.0.0.1:1",
    session_endpoint="127.0.0.1:1",
    statement_spki=(),
    session_ca=(),
    tls_chain=(),
    ak_chain=(),
    assurance=1,
    issue_ns=0,
    expire_ns=0,
)


@contextmanager
def node(loop: asyncio.AbstractEventLoop) -> Iterator[tuple[Node, int]]:
    """A node on a software key in a folder of its own, and the row of its one exchange."""
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    with tempfile.TemporaryDirectory(prefix="hearth-bench-") as directory:
        config = Config(state_dir=directory, tpm=Tpm(tcti="none"))
        opened = loop.run_until_complete(Node.open(config, Host()))
        try:
            kept = opened.journal.submit(lambda change: enrolment.keep(change, ENROLMENT))
            row, _ = kept.result()
            yield opened, row
        finally:
            opened.close()


def lease(number: int) -> Lease:
    """An active lease of two classes, as many bytes in a receipt as a real one."""
    return Lease(
        key=LeaseKey(EXCHANGE_ID, f"01a20378-b3e9-7c5f-af6f-{number:012d}"),
        state=LeaseState.ACTIVE,
        units={"MEMORY_MB": 4096, "VCPU": 4},
        fencing_token=bytes(16),
        request_sha256=bytes(32),
        offer_index=0,
        hold_until_ns=0,
        hold_boot_id="",
        agreement_sha256=bytes(32),
        prices=(
            Price(15, 1, PriceUnit.DELIVERED_UNIT_SECOND, "VCPU"),
            Price(1, 250, PriceUnit.DELIVERED_UNIT_SECOND, "MEMORY_MB"),
        ),
        receipt_interval_ns=900 * SECOND,
        start_ns=1_790_000_000 * SECOND,
        end_ns=1_990_000_000 * SECOND,
        job_id=f"job-{number:012d}",
        receipt_sequence=17_000,
        receipt_sha256=bytes(32),
    )


def meter(node: Node) -> LeaseMeter:
    """A meter that has run for half a year."""
    half_a_year = 15_768_000 * SECOND
    return LeaseMeter(
        at=node.clock.now(),
        reserved_ns=half_a_year,
        delivered_ns=half_a_year,
        used_cpu_us=half_a_year // 1000,
        used_mb_ms=2048 * half_a_year // 1_000_000,
        throttled_total_us=1_000_000_000,
        stalled_total_us=1_000_000_000,
        energy_mj=3_000_000_000,
        heat_mj=2_900_000_000,
    )


def keep(
    change: Transaction, exchange: int, number: int, memory_mb: int | None = None
) -> ledger.Stored:
    """Put one more lease into the ledger; `memory_mb`: all that it holds."""
    new = lease(number)
    if memory_mb is not None:
        new = replace(new, units={"MEMORY_MB": memory_mb})
    ledger.put(change, exchange, new)
    stored = ledger.find(change, exchange, new.key.lease_id)
    assert stored is not None
    return replace(stored, closed_ns=0)
