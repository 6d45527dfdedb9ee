"""The process: two servers on the loopback and one control channel.

    python -m agent.sandbox.exchange --dir DIR [options]

The first line on standard output says where it listens; logs are JSON lines on standard error.
kill -9 at any moment and a start with the same directory lose nothing.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import grpc
import grpc.aio
import structlog
from hearth.v1 import attestation_pb2_grpc, session_pb2_grpc

from agent.sandbox.exchange import control, market, trust
from agent.sandbox.exchange.ca import Authority
from agent.sandbox.exchange.cashier import Cashier
from agent.sandbox.exchange.enrolment import EnrollmentService
from agent.sandbox.exchange.faults import Faults
from agent.sandbox.exchange.identity import Exchange
from agent.sandbox.exchange.options import Options, parse
from agent.sandbox.exchange.purse import Purse
from agent.sandbox.exchange.service import ExchangeService
from agent.sandbox.exchange.store import Store

HOST = "127.0.0.1"
GRACE_S = 2.0
QUEUED_COMMANDS = 16
ENROLMENTS_AT_ONCE = 32
PLACEMENT_TICK_S = 1.0
CHANNEL_OPTIONS = (
    ("grpc.so_reuseport", 0),  # or a stale process shares the port silently
    ("grpc.max_receive_message_length", 8 * 1024 * 1024),  # evidence with its logs inline
)


def main() -> None:
    """Run until standard input ends or a signal comes."""
    options = parse(sys.argv[1:])
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
    )
    options.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _alone(options.directory):
        asyncio.run(serve(options))


async def serve(options: Options) -> None:
    """Start everything, say so, and stop everything in order."""
    now = datetime.now(UTC)
    authority = Authority.open(options.directory, options.name, now)
    ca_file = options.directory / "ca.pem"
    ca_file.write_bytes(authority.certificate_pem)
    enrol_port, session_port = _ports(options)
    server_key = [authority.issue_server(now)]

    enrolment_server = grpc.aio.server(
        options=CHANNEL_OPTIONS, maximum_concurrent_rpcs=ENROLMENTS_AT_ONCE
    )
    enrol_port = enrolment_server.add_secure_port(
        f"{HOST}:{enrol_port}", grpc.ssl_server_credentials(server_key)
    )
    session_server = grpc.aio.server(options=CHANNEL_OPTIONS)
    session_port = session_server.add_secure_port(
        f"{HOST}:{session_port}",
        grpc.ssl_server_credentials(
            server_key, root_certificates=authority.certificate_pem, require_client_auth=True
        ),
    )
    _keep_ports(options.directory, enrol_port, session_port)

    exchange = Exchange(authority, options, f"{HOST}:{session_port}", time.time_ns)
    pinned = trust.pinned_roots(options)
    store, faults = Store(options.directory / "exchange.sqlite"), Faults()
    service = ExchangeService(exchange, store, faults)
    attestation_pb2_grpc.add_EnrollmentServiceServicer_to_server(
        EnrollmentService(exchange, store, pinned), enrolment_server
    )
    session_pb2_grpc.add_ExchangeServiceServicer_to_server(service, session_server)
    try:
        for fingerprint in options.approve_ek:
            await store.run(trust.approve, bytes.fromhex(fingerprint))
        tokens = [
            await store.run(control.make_token, exchange.exchange_id) for _ in range(options.tokens)
        ]
        await enrolment_server.start()
        await session_server.start()
        control.say(
            {
                "ready": True,
                "exchange_id": exchange.exchange_id,
                "enrol_port": enrol_port,
                "session_port": session_port,
                "ca_file": str(ca_file.resolve()),
                "token": tokens[0] if tokens else None,
                "tokens": tokens,
            }
        )
        purse = Purse(options.lightning) if options.lightning else None
        cashier = Cashier(exchange, store, purse, service.wake)
        commands = control.Control(exchange, store, service, faults, cashier)
        await _run(exchange, store, service, commands, cashier)
    finally:
        service.end_all("shutting down")
        await asyncio.gather(enrolment_server.stop(GRACE_S), session_server.stop(GRACE_S))
        await _calls_over()
        store.close()


async def _calls_over() -> None:
    """Wait for the tasks of gRPC's calls.

    A server's `stop` returns before they do, and each that still stands when the loop closes prints
    a trace and keeps what it holds.
    """
    rest = asyncio.all_tasks() - {asyncio.current_task()}
    if rest:
        await asyncio.wait(rest, timeout=GRACE_S)


async def _run(
    exchange: Exchange,
    store: Store,
    service: ExchangeService,
    commands: control.Control,
    cashier: Cashier,
) -> None:
    """Carry out commands, place leases and settle until standard input ends or a signal comes."""
    lines: asyncio.Queue[bytes | None] = asyncio.Queue(QUEUED_COMMANDS)
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)

    async def obey() -> None:
        while (line := await lines.get()) is not None:
            control.say(await commands.answer(line))
        stop.set()

    async with asyncio.TaskGroup() as tasks:
        running = [
            tasks.create_task(control.read_lines(lines), name="read_lines"),
            tasks.create_task(obey(), name="obey"),
            tasks.create_task(_place(exchange, store, service), name="place"),
            tasks.create_task(cashier.run(), name="cashier"),
        ]
        await stop.wait()
        for task in running:
            task.cancel()


async def _place(exchange: Exchange, store: Store, service: ExchangeService) -> None:
    """Place one lease on every node that has none, again where one never began."""
    units = exchange.options.auto_place
    while units:
        await asyncio.sleep(PLACEMENT_TICK_S)
        for node_id, session in list(service.sessions.items()):
            if await store.run(market.auto_place, exchange, node_id, units) is not None:
                session.wake()


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Hold the directory; the lock goes with the process, however it ends."""
    descriptor = os.open(directory / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit(f"{directory}: another exchange runs here")
    try:
        yield
    finally:
        os.close(descriptor)


def _ports(options: Options) -> tuple[int, int]:
    """Return the ports asked for, else those of the last run, which nodes have learned."""
    last = [0, 0]
    file = options.directory / "ports.json"
    if file.exists():
        last = json.loads(file.read_text())
    return options.enrol_port or last[0], options.session_port or last[1]


def _keep_ports(directory: Path, enrol_port: int, session_port: int) -> None:
    temporary = directory / "ports.new"
    temporary.write_text(json.dumps([enrol_port, session_port]))
    temporary.replace(directory / "ports.json")


if __name__ == "__main__":
    main()
