"""The agent's own socket: what `hearth status` and `hearth enroll` talk to."""

from __future__ import annotations

import errno
import os
import resource
import socket
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path

import grpc
import grpc.aio
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from grpc.aio import ServicerContext
from hearth.admin.v1 import admin_pb2
from hearth.admin.v1.admin_pb2_grpc import (
    AdminServiceServicer,
    add_AdminServiceServicer_to_server,
)
from hearth.v1 import common_pb2

from agent.clock import SECOND
from agent.core import receipt as receipts
from agent.errors import ConfigError
from agent.exchange import outbox
from agent.exchange.enrolment import Enrolment
from agent.exchange.stream import Link
from agent.journal import ledger
from agent.journal.checkpoints import Head, newest
from agent.journal.store import View
from agent.metering import Metering
from agent.node import Node
from agent.recovery import key_of
from agent.refusal import refusing
from agent.sampler import Latest
from agent.settle.alarms import alarms
from agent.version import version
from agent.wire.statements import enum
from probes.reading import Counter, Gauge, Reading

SOCKET_MODE = 0o660
LONGEST_SOCKET = 107  # unix(7)
ENDED_SHOWN = 100  # leases that ended are kept for years; an answer holds 4 MiB
Context = ServicerContext[admin_pb2.StatusRequest, admin_pb2.StatusResponse]
AdjustContext = ServicerContext[admin_pb2.AdjustRequest, admin_pb2.AdjustResponse]
EnrollContext = ServicerContext[admin_pb2.EnrollRequest, admin_pb2.EnrollResponse]


def peak_rss_kib() -> int:
    """VmHWM of this process in KiB: the largest resident set it ever had."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _timestamp(nanoseconds: int) -> Timestamp | None:
    if not nanoseconds:
        return None
    return Timestamp(seconds=nanoseconds // SECOND, nanos=nanoseconds % SECOND)


def _duration(nanoseconds: int) -> Duration:
    return Duration(seconds=nanoseconds // SECOND, nanos=nanoseconds % SECOND)


def _units(units: dict[str, int]) -> list[common_pb2.ResourceUnits]:
    return [
        common_pb2.ResourceUnits(resource_class=name, units=count)
        for name, count in sorted(units.items())
    ]


class Admin(AdminServiceServicer):
    """Answers from what the daemon knows; changes nothing but by `enroll` and `adjust`."""

    def __init__(
        self,
        node: Node,
        metering: Metering,
        latest: Latest,
        links: list[Link],
        enroll: Callable[[str, str, bytes | None], Awaitable[Enrolment]],
        adjust: Callable[[str, int, str, str], Awaitable[tuple[str, int]]],
    ) -> None:
        self._node = node
        self._metering = metering
        self._latest = latest
        self._links = links
        self._enroll = enroll
        self._adjust = adjust

    async def Status(
        self, request: admin_pb2.StatusRequest, context: Context
    ) -> admin_pb2.StatusResponse:
        """Say how things stand."""
        return await refusing(context, self._status())

    async def _status(self) -> admin_pb2.StatusResponse:
        node, metering = self._node, self._metering
        now = node.clock.now()

        def ask(
            view: View,
        ) -> tuple[dict[str, int], int, Head | None, list[ledger.Stored], list[str]]:
            free = ledger.free(view, node.total, now)
            return (
                dict.fromkeys(free, 0) if node.journal.full else free,
                view.size(),
                newest(view),
                ledger.newest(view, ENDED_SHOWN),
                [item.text for item in alarms(view, now.wall_ns)],
            )

        available, size, head, leases, money = await node.journal.read(ask)
        usage = resource.getrusage(resource.RUSAGE_SELF)
        exchanges = [await self._exchange(link) for link in self._links]
        root = node.root.identity
        environment = metering.environment()
        source = environment.energy_source if environment.energy_mj is not None else None
        started = metering.started
        response = admin_pb2.StatusResponse(
            agent_version=version(),
            node_id=node.node_id,
            root_of_trust=(
                common_pb2.ASSURANCE_CLASS_UNSPECIFIED
                if root.ak_public
                else common_pb2.ASSURANCE_CLASS_SOFTWARE
            ),
            tpm=root.description,
            boot_id=now.boot_id,
            uptime=_duration(now.boottime_ns - started.boottime_ns if started else 0),
            inventory_generation=node.inventory_generation,
            inventory_digest=node.inventory_digest,
            capacity=_units(node.total),
            available=_units(available),
            log_id=node.log_id,
            log_size=size,
            energy_millijoules=environment.energy_mj,
            energy_source=enum(common_pb2.MeasurementSource, source.value if source else 0),
            heat_millijoules=environment.heat_mj,
            resident_kibibytes_peak=peak_rss_kib(),
            cpu_milliseconds=int((usage.ru_utime + usage.ru_stime) * 1000),
            exchanges=exchanges,
            leases=[self._lease(stored) for stored in leases],
            sensors=self._sensors(now.boottime_ns),
            next_steps=[*self._next_steps(exchanges), *money],
        )
        if head is not None:
            response.checkpoint.CopyFrom(
                admin_pb2.Checkpoint(
                    sequence=head.sequence, size=head.size, time=_timestamp(head.wall_ns)
                )
            )
        return response

    async def _exchange(self, link: Link) -> admin_pb2.ExchangeStatus:
        row = link.row
        counts = await self._node.journal.read(lambda view: outbox.counts(view, row))
        enrolment, standing = link.enrolment, link.standing
        return admin_pb2.ExchangeStatus(
            exchange_id=enrolment.exchange_id,
            display_name=enrolment.display_name,
            endpoint=enrolment.session_endpoint,
            connected=standing.connected,
            last_error=standing.last_error,
            assurance=enum(common_pb2.AssuranceClass, enrolment.assurance),
            offers_delivered=counts.offers_delivered,
            receipts_issued=counts.receipts_issued,
            receipts_acked=counts.receipts_acked,
            receipts_rejected=counts.receipts_rejected,
            statements_refused=counts.refused,
            challenges_answered=standing.challenges_answered,
            requests_limited=standing.requests_limited,
            undelivered=counts.undelivered,
            first_offer_time=_timestamp(standing.first_offer_ns),
            certificate_expire_time=_timestamp(enrolment.expire_ns),
        )

    def _lease(self, stored: ledger.Stored) -> admin_pb2.LeaseStatus:
        lease = stored.lease
        running = self._metering.running.get(key_of(stored))
        meter = self._metering.state.leases.get(key_of(stored))
        status = admin_pb2.LeaseStatus(
            exchange_id=lease.key.exchange_id,
            lease_id=lease.key.lease_id,
            state=lease.state.name,
            units=_units(dict(lease.units)),
            receipt_sequence=lease.receipt_sequence,
        )
        if running is not None:
            status.cgroup = str(running.sampler.directory)
            status.limits_in_force = running.limits_in_force
        if meter is not None:
            now = receipts.close(
                lease, meter, stored.closed_ns, "", "", receipts.Sources(), final=False
            )
            status.used_cpu_milliseconds = meter.used_cpu_us // 1000
            if meter.energy_mj is not None:
                status.energy_millijoules = meter.energy_mj
            if meter.heat_mj is not None:
                status.heat_millijoules = meter.heat_mj
            status.amount_due_msat = now.gross_msat
        return status

    def _sensors(self, now_ns: int) -> list[admin_pb2.SensorStatus]:
        shown = []
        for sensor, reading in sorted(self._latest.readings.items()):
            value, unit = _value(reading)
            shown.append(
                admin_pb2.SensorStatus(
                    sensor=str(sensor),
                    value=value,
                    unit=unit,
                    age=_duration(max(0, now_ns - reading.at.boottime_ns)),
                )
            )
        for probe, fault in sorted(self._latest.faults.items()):
            shown.append(
                admin_pb2.SensorStatus(sensor=probe, fault=f"{fault.kind}: {fault.detail}")
            )
        return shown

    def _next_steps(self, exchanges: list[admin_pb2.ExchangeStatus]) -> list[str]:
        steps = []
        if self._node.journal.full:
            steps.append(
                f"make room on the disk of {self._node.state}: it is full, and nothing is offered"
            )
        if self._node.trouble:
            steps.append(f"no checkpoint is signed, so no receipt is final: {self._node.trouble}")
        if not self._links:
            steps.append(
                "enrol with an exchange: hearth enroll HOST:PORT --token TOKEN [--ca FILE]"
            )
        for link in self._links:
            if not link.standing.connected and link.standing.last_error:
                name = link.enrolment.display_name or link.enrolment.exchange_id[:16]
                steps.append(f"{name}: {link.standing.last_error}")
        for item in exchanges:
            if item.statements_refused:
                steps.append(
                    f"{item.display_name}: refused {item.statements_refused} of our statements;"
                    " the log of this daemon says which and why (statement_refused)"
                )
        return steps

    async def Enroll(
        self, request: admin_pb2.EnrollRequest, context: EnrollContext
    ) -> admin_pb2.EnrollResponse:
        """Enrol and start the session."""
        done = await refusing(
            context, self._enroll(request.endpoint, request.token, request.ca_pem or None)
        )
        return admin_pb2.EnrollResponse(
            exchange_id=done.exchange_id,
            display_name=done.display_name,
            node_id=self._node.node_id,
            assurance=enum(common_pb2.AssuranceClass, done.assurance),
        )

    async def Adjust(
        self, request: admin_pb2.AdjustRequest, context: AdjustContext
    ) -> admin_pb2.AdjustResponse:
        """Correct what a lease owes."""
        lease_id, total = await refusing(
            context,
            self._adjust(request.lease_id, request.msat, request.reason, request.dispute_id),
        )
        return admin_pb2.AdjustResponse(lease_id=lease_id, adjustment_msat_total=total)


def _value(reading: Reading) -> tuple[int, str]:
    if isinstance(reading.value, Counter):
        return reading.value.total, reading.value.unit.value
    if isinstance(reading.value, Gauge):
        return reading.value.value, reading.value.unit.value
    return 0, reading.value.value


def clear(path: Path) -> None:
    """Make way for the socket: one that a killed daemon left goes, and nothing else.

    :raises OSError: when something else is there, or another daemon listens.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise FileExistsError(errno.EEXIST, "something that is no socket is there")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        if probe.connect_ex(str(path)) in (0, errno.EAGAIN):  # unix(7): too many wait there
            raise OSError(errno.EADDRINUSE, "another daemon listens there")
    path.unlink(missing_ok=True)


async def serve(admin: Admin, path: Path) -> grpc.aio.Server:
    """Listen on the socket, for the owner and the group of this process.

    :raises ConfigError: when there can be no socket.
    """
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    add_AdminServiceServicer_to_server(admin, server)
    before = os.umask(0o177 & ~SOCKET_MODE | 0o007)
    try:
        clear(path)
        server.add_insecure_port(f"unix:{path}")
        await server.start()
    except (OSError, RuntimeError) as error:
        raise ConfigError(
            f"admin_socket: {path}: {error}; name a path of at most {LONGEST_SOCKET} bytes in a"
            " folder that this user may write"
        ) from None
    finally:
        os.umask(before)
    return server
