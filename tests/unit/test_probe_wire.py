"""Wire drivers against a peer that says what it likes: garbage, drips, several telegrams."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.sandbox import heat_meter
from probes.errors import Malformed, ProbeError, TimedOut
from probes.host import Host
from probes.link import Deadline
from probes.mbus import MbusMeter, MbusProbe
from probes.modbus import ModbusMeter, ModbusProbe
from probes.probe import Probe
from probes.reading import Counter, Gauge, Reading

HOST = Host()
MORE_FOLLOWS = b"\x1f"

Answer = Callable[[socket.socket, bytes], None]


class Peer:
    """A TCP listener; `answer` is called with the connection and each thing received on it."""

    def __init__(self) -> None:
        self.answer: Answer = lambda connection, request: None
        self.seen: list[bytes] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError):
                while request := connection.recv(4096):
                    self.seen.append(request)
                    self.answer(connection, request)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)


@pytest.fixture
def peer() -> Iterator[Peer]:
    made = Peer()
    yield made
    made.close()


def modbus(peer: Peer, deadline_ms: int) -> ModbusProbe:
    where = {"name": "feed", "host": "127.0.0.1", "port": peer.port}
    return ModbusProbe(ModbusMeter(**where, map="abb-b23", deadline_ms=deadline_ms))  # type: ignore[arg-type]  # mixed dict


def mbus(peer: Peer, deadline_ms: int) -> MbusProbe:
    where = {"name": "loop", "host": "127.0.0.1", "port": peer.port}
    return MbusProbe(MbusMeter(**where, address=1, deadline_ms=deadline_ms))  # type: ignore[arg-type]  # mixed dict


@contextlib.contextmanager
def closing(probe: Probe) -> Iterator[Probe]:
    try:
        yield probe
    finally:
        probe.close()


def read(probe: Probe) -> tuple[Reading, ...]:
    return probe.read(HOST, HOST.now())


def answer_modbus(pdu: bytes) -> Answer:
    """Answer with this PDU under the right transaction id."""

    def answer(connection: socket.socket, request: bytes) -> None:
        header = request[:4] + (len(pdu) + 1).to_bytes(2, "big") + request[6:7]
        connection.sendall(header + pdu)

    return answer


def answer_mbus(*frames: bytes) -> Answer:
    """Acknowledge SND_NKE, then send one frame for each new FCB, starting over after the last."""
    state = {"fcb": -1, "next": 0}

    def answer(connection: socket.socket, request: bytes) -> None:
        if request[1] == heat_meter.SND_NKE:
            state.update(fcb=-1, next=0)
            connection.sendall(heat_meter.ACK)
            return
        fcb = request[1] & heat_meter.FCB
        if fcb != state["fcb"]:
            state.update(fcb=fcb, next=state["next"] + 1)
        connection.sendall(frames[(state["next"] - 1) % len(frames)])

    return answer


@pytest.mark.parametrize("make", [modbus, mbus])
def test_a_peer_that_drips_is_cut_at_the_deadline(
    peer: Peer, make: Callable[[Peer, int], Probe]
) -> None:
    def drip(connection: socket.socket, request: bytes) -> None:
        start = heat_meter.ACK if request[0] == 0x10 else request[:4] + b"\x00\xff"
        if request[0] == 0x10 and request[1] != heat_meter.SND_NKE:
            start = b"\x68\xff\xff\x68"
        connection.sendall(start)
        while request[1] != heat_meter.SND_NKE:
            time.sleep(0.02)
            connection.sendall(b"\x01")

    peer.answer = drip
    with closing(make(peer, 300)) as probe:
        begin = time.monotonic()
        with pytest.raises(TimedOut):
            read(probe)
        assert time.monotonic() - begin < 0.9


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(pdu=st.one_of(st.binary(max_size=40), st.binary(max_size=40).map(lambda b: b"\x03" + b)))
def test_any_modbus_answer(peer: Peer, pdu: bytes) -> None:
    peer.answer = answer_modbus(pdu)
    with closing(modbus(peer, 60)) as probe, contextlib.suppress(ProbeError):
        read(probe)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    frame=st.one_of(
        st.binary(min_size=1, max_size=40),
        st.binary(max_size=40).map(lambda records: heat_meter.respond(1, 0, records)),
    )
)
def test_any_mbus_answer(peer: Peer, frame: bytes) -> None:
    peer.answer = answer_mbus(frame)
    with closing(mbus(peer, 60)) as probe, contextlib.suppress(ProbeError):
        read(probe)


@pytest.mark.parametrize(
    ("pdu", "error"),
    [
        (b"\x83\x02", Malformed),  # illegal address
        (b"\x83\x06", TimedOut),  # busy
        (b"\x83\x0b", TimedOut),  # a gateway's device does not answer
        (b"\x04\x08" + bytes(8), Malformed),  # another function
        (b"\x03\x04" + bytes(4), Malformed),  # fewer registers than asked for
        (b"\x03\x08" + b"\xff" * 8, Malformed),  # no value, and then too few registers
    ],
)
def test_modbus_answers_that_are_no_values(peer: Peer, pdu: bytes, error: type[ProbeError]) -> None:
    peer.answer = answer_modbus(pdu)
    with closing(modbus(peer, 200)) as probe, pytest.raises(error):
        read(probe)


def test_a_readout_of_two_telegrams(peer: Peer) -> None:
    power = heat_meter.record(heat_meter.INT32, heat_meter.POWER_MW, 70_000)
    heat = heat_meter.record(heat_meter.INT48, heat_meter.HEAT_J, 5)
    frames = (heat_meter.respond(1, 1, power + MORE_FOLLOWS), heat_meter.respond(1, 2, heat))
    peer.answer = answer_mbus(*frames)
    with closing(mbus(peer, 500)) as probe:
        for _ in range(3):
            values = {reading.sensor.quantity: reading.value for reading in read(probe)}
            total, power_now = values["heat"], values["power"]
            assert isinstance(total, Counter)
            assert isinstance(power_now, Gauge)
            assert (total.total, power_now.value) == (5_000, 70_000)
    controls = [request[1] for request in peer.seen]
    # Reset once, then the frame count bit alternates from one.
    assert controls == [0x40, 0x7B, 0x5B, 0x7B, 0x5B, 0x7B, 0x5B]


def test_a_meter_that_never_ends_is_refused(peer: Peer) -> None:
    peer.answer = answer_mbus(heat_meter.respond(1, 1, MORE_FOLLOWS))
    with closing(mbus(peer, 500)) as probe, pytest.raises(Malformed, match="more than 16"):
        read(probe)


def test_enciphered_busy_and_failed_meters_are_told_apart() -> None:
    plain = bytearray(heat_meter.respond(1, 1, b""))

    def kind(status: int, mode: int) -> str:
        from probes.mbus_telegram import decode

        frame = plain.copy()
        frame[16], frame[18] = status, mode
        frame[-2] = sum(frame[4:-2]) & 0xFF
        try:
            decode(bytes(frame))
        except ProbeError as error:
            return error.kind
        return "ok"

    assert kind(0, 0) == "ok"
    assert kind(0, 5) == "denied"
    assert kind(1, 0) == "timed-out"
    assert kind(2, 0) == "malformed"


def test_a_deadline_that_is_over() -> None:
    deadline = Deadline(0.0, "meter")
    with pytest.raises(TimedOut, match="meter"):
        deadline.remaining()


@pytest.mark.parametrize("wrong", [{"address": 251}, {"address": -1}, {"medium": "gas"}])
def test_configuration_says_what_is_wrong(wrong: dict[str, object]) -> None:
    right: dict[str, object] = {"name": "loop", "host": "192.0.2.1", "address": 1}
    with pytest.raises(ValueError, match=next(iter(wrong))):
        MbusMeter(**(right | wrong))  # type: ignore[arg-type]  # wrong on purpose
