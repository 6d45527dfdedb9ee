"""The BMC asked in band: the helper, ipmitool, and a simulated BMC (tests/testbed/bmc.py)."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.errors import Absent, Denied, Malformed, ProbeError, TimedOut
from probes.host import Host
from probes.integral import Integral
from probes.ipmi import IpmiPower, IpmiSensors, judge, parse_power, parse_sensors
from probes.link import Unreachable
from probes.reading import Counter, Gauge, Instant, SourceClass, Unit

ROOT = Path(__file__).parents[2]
HELPER = ROOT / "systemd" / "ipmi-ask"
BMC = ROOT / "tests" / "testbed" / "bmc.py"
AT = Instant(1, 1, 1, "boot-1")
SECOND = 1_000_000_000
# As Lenovo's manual of its XCC prints it (DCMI power management): 57, 56, 59, 57 W.
XCC = " dc 39 00 38 00 3b 00 39 00 e3 6f 0a 39 e8 03 00\n 00 40\n"
REFUSED = "Unable to send RAW command (channel=0x0 netfn=0x2c lun=0x0 cmd=0x2 rsp=0x{:02x}): x\n"


@dataclass
class Board:
    """A BMC, and the helper as its socket unit starts it, with a real ipmitool between them."""

    folder: Path
    device: str
    helper_path: str
    helpers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def socket(self) -> str:
        return str(self.folder / "helper.sock")

    def set(self, **state: object) -> None:
        part = self.folder / "state.tmp"
        part.write_text(json.dumps(state))
        part.rename(self.folder / "state")

    def end_helpers(self) -> None:
        """End them as the service manager does, with all that they started."""
        while self.helpers:
            helper = self.helpers.pop()
            with contextlib.suppress(psutil.NoSuchProcess):
                process = psutil.Process(helper.pid)
                for child in [process, *process.children(recursive=True)]:
                    child.kill()
            helper.wait(5)

    def serve(self, listener: socket.socket, stop: threading.Event) -> None:
        with listener:
            listener.settimeout(0.05)
            while not stop.is_set():
                try:
                    link, _ = listener.accept()
                except TimeoutError:
                    continue
                with link:
                    self.helpers.append(
                        subprocess.Popen(
                            [HELPER],
                            stdin=link,
                            stdout=link,
                            env={"PATH": self.helper_path},
                        )
                    )


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """One with a device of a BMC, which the helper alone opens."""
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev" / "ipmi0").touch()
    boot_id = tmp_path / "proc/sys/kernel/random/boot_id"
    boot_id.parent.mkdir(parents=True)
    boot_id.write_text("boot-1\n")
    return Host(tmp_path)


@pytest.fixture
def board(tmp_path: Path) -> Iterator[Board]:
    if shutil.which("ipmitool") is None:
        pytest.skip("ipmitool is not installed")
    (tmp_path / "state").write_text("{}")
    bmc = subprocess.Popen([BMC, "--tty", tmp_path / "state"], stdout=subprocess.PIPE, text=True)
    assert bmc.stdout is not None
    device = bmc.stdout.readline().strip()
    # The same tool on the wire that this BMC has: what the helper says of an interface is dropped.
    tool = tmp_path / "ipmitool"
    real = shutil.which("ipmitool")
    tool.write_text(f'#!/bin/sh\nshift 2\nexec {real} -I serial-basic -D {device}:115200 "$@"\n')
    tool.chmod(0o755)
    made = Board(tmp_path, device, f"{tmp_path}:{os.environ['PATH']}")
    stop = threading.Event()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(made.socket)
    listener.listen()
    thread = threading.Thread(target=made.serve, args=(listener, stop))
    thread.start()
    try:
        yield made
    finally:
        stop.set()
        thread.join(5)
        made.end_helpers()
        bmc.kill()
        bmc.wait(5)
        bmc.stdout.close()


@pytest.fixture
def power(board: Board) -> Iterator[IpmiPower]:
    with contextlib.closing(IpmiPower(board.socket)) as probe:
        yield probe


@pytest.fixture
def sensors(board: Board) -> Iterator[IpmiSensors]:
    with contextlib.closing(IpmiSensors(board.socket)) as probe:
        yield probe


def test_power_and_the_energy_that_it_makes(board: Board, host: Host, power: IpmiPower) -> None:
    now, energy = power.read(host, AT)
    assert str(now.sensor) == "ipmi:board:power"
    assert now.value == Gauge(230_000, Unit.MILLIWATT)
    assert isinstance(energy.value, Counter)
    assert energy.value.total == 0
    assert energy.source is now.source is SourceClass.BMC
    board.set(watts=250)
    _, later = power.read(host, AT)
    assert isinstance(later.value, Counter)
    elapsed = later.at.boottime_ns - energy.at.boottime_ns
    assert later.value.epoch == energy.value.epoch
    assert later.value.total == 240_000 * elapsed // SECOND


def test_sensors(board: Board, host: Host, sensors: IpmiSensors) -> None:
    found = {str(reading.sensor): reading for reading in sensors.read(host, AT)}
    assert {name: reading.value for name, reading in found.items()} == {
        "ipmi-sensors:Inlet Temp:temperature": Gauge(23_000, Unit.MILLICELSIUS),
        "ipmi-sensors:Fan 1:fan": Gauge(42, Unit.REVOLUTIONS_PER_MINUTE),
        "ipmi-sensors:PS1, Input:power": Gauge(115_000, Unit.MILLIWATT),
    }
    assert {reading.source for reading in found.values()} == {None}  # never billed
    board.set(celsius=None)
    names = {reading.sensor.locator for reading in sensors.read(host, AT)}
    assert names == {"Fan 1", "PS1, Input"}


def test_what_a_bmc_does_not_stand_by_is_shown_and_not_billed(
    board: Board, host: Host, power: IpmiPower
) -> None:
    board.set(active=False)
    (now,) = power.read(host, AT)
    assert now.value == Gauge(230_000, Unit.MILLIWATT)
    assert now.source is None
    board.set(active=False, watts=0)
    with pytest.raises(Malformed, match="0 W is no measurement"):
        power.read(host, AT)


def test_a_bmc_without_dcmi_is_left_alone_for_a_while(
    board: Board, host: Host, power: IpmiPower
) -> None:
    board.set(completion=0xC1)
    with pytest.raises(Absent, match="knows no such thing"):
        power.read(host, AT)
    board.set()
    with pytest.raises(Absent, match="knows no such thing"):
        power.read(host, AT)


def test_a_busy_bmc_is_asked_again(board: Board, host: Host, power: IpmiPower) -> None:
    board.set(completion=0xC0)
    with pytest.raises(Malformed, match="rsp=0xc0"):
        power.read(host, AT)
    board.set()
    assert len(power.read(host, AT)) == 2


def test_a_bmc_that_hangs_costs_its_deadline_and_nothing_later(
    board: Board, host: Host, power: IpmiPower
) -> None:
    power.deadline_s = 0.5
    board.set(silent=True)
    with pytest.raises(TimedOut):
        power.read(host, AT)
    board.end_helpers()  # a tty, unlike /dev/ipmi0, gives one's answer to another
    board.set()
    power.deadline_s = 20.0
    assert len(power.read(host, AT)) == 2


def test_without_ipmitool_the_remedy_is_named(board: Board, host: Host, power: IpmiPower) -> None:
    only = board.folder / "bin"
    only.mkdir()
    for tool in ("sh", "timeout"):
        found = shutil.which(tool)
        assert found is not None
        (only / tool).symlink_to(found)
    board.helper_path = str(only)
    with pytest.raises(Denied, match="apt install ipmitool"):
        power.read(host, AT)


@pytest.mark.parametrize(
    "word", ["power on", "raw 0x00 0x02 0x00", "", "sensors;id", "-I lan", "$(id)"]
)
def test_the_helper_knows_no_other_word(board: Board, word: str) -> None:
    done = subprocess.run(
        [HELPER],
        input=f"{word}\npower\n",
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": board.helper_path},
    )
    assert done.returncode == 2
    assert done.stdout == ""


def test_the_helper_asks_in_no_language_of_the_host(tmp_path: Path) -> None:
    tool = tmp_path / "ipmitool"
    tool.write_text('#!/bin/sh\nexec printf "%s\\n" "$LC_ALL"\n')
    tool.chmod(0o755)
    said = subprocess.run(
        [HELPER],
        input="sensors\n",
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}", "LANG": "de_DE.UTF-8"},
    ).stdout
    assert said == "C\nexit 0\n"


def test_an_agent_that_is_gone_is_no_failure_of_the_helpers(board: Board) -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        helper = subprocess.Popen(
            # As the service manager starts it: without being ended by a signal.
            ["env", "--ignore-signal=PIPE", HELPER],
            stdin=theirs,
            stdout=theirs,
            env={"PATH": board.helper_path},
        )
    with ours:
        ours.sendall(b"power\n")
    assert helper.wait(10) == 0


def test_without_a_device_nobody_is_asked(tmp_path: Path) -> None:
    with pytest.raises(Absent, match="no BMC in band"):
        IpmiPower("/nonexistent").read(Host(tmp_path), AT)


def test_without_a_helper_it_is_absent(tmp_path: Path, host: Host) -> None:
    with pytest.raises(Absent, match=r"hearth-ipmi\.socket"):
        IpmiSensors(str(tmp_path / "none.sock")).read(host, AT)
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.bind(str(tmp_path / "deaf.sock"))
        with pytest.raises(Absent, match=r"hearth-ipmi\.socket"):  # as one that was masked
            IpmiSensors(str(tmp_path / "deaf.sock")).read(host, AT)


def test_an_agent_that_stops_does_not_wait_for_a_bmc_that_hangs(tmp_path: Path, host: Host) -> None:
    path = str(tmp_path / "mute.sock")
    probe = IpmiSensors(path, deadline_s=60)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        errors: list[ProbeError] = []

        def read() -> None:
            for _ in ("on a new connection", "on one that was kept"):
                try:
                    probe.read(host, AT)
                except ProbeError as error:
                    errors.append(error)

        thread = threading.Thread(target=read)
        thread.start()
        link, _ = listener.accept()
        with link:
            assert link.recv(99) == b"sensors\n"
            link.sendall(b"exit 0\n")  # no sensor at all, and asked again
            assert link.recv(99) == b"sensors\n"
            probe.close()
            thread.join(20)
            assert not thread.is_alive()
    assert [type(error) for error in errors] == [Absent, Unreachable]


def test_an_answer_without_end_is_cut_off(tmp_path: Path, host: Host) -> None:
    path = str(tmp_path / "flood.sock")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()

        def flood() -> None:
            link, _ = listener.accept()
            with link:
                try:
                    while True:
                        link.sendall(b"exit 0 exit 0\n" * 1000)
                except OSError:
                    return

        thread = threading.Thread(target=flood)
        thread.start()
        with pytest.raises(Malformed, match="more than"):
            IpmiSensors(path).read(host, AT)
        thread.join(5)


# --- what ipmitool says


def test_power_as_a_bmc_of_lenovo_gives_it() -> None:
    assert parse_power(XCC) == (57, True)


def test_a_complaint_beside_the_power_costs_no_reading() -> None:
    assert parse_power("Received a response with unexpected ID 0 vs. 1\n" + XCC) == (57, True)


@pytest.mark.parametrize("text", ["", "dc\n", XCC + XCC, XCC.replace("dc", "dd"), "power is 57 W"])
def test_what_is_no_power_reading(text: str) -> None:
    with pytest.raises(Malformed):
        parse_power(text)


@pytest.mark.parametrize(
    ("said", "kind", "match"),
    [
        (REFUSED.format(0xC1) + "exit 1\n", Absent, "knows no such thing"),
        (REFUSED.format(0xD4) + "exit 1\n", Malformed, "rsp=0xd4"),
        ("Could not open device at /dev/ipmi0: Permission denied\nexit 1\n", Denied, "ipmi0"),
        ("Could not open device at /dev/ipmi0: No such file\nexit 1\n", Absent, "ipmi0"),
        ("exit 124\n", TimedOut, "does not answer"),
        ("exit 137\n", TimedOut, "does not answer"),
        ("timeout: failed to run command\nexit 127\n", Denied, "apt install ipmitool"),
        ("exit 139\n", Malformed, "ended with 139"),
        (" dc 39\n", Malformed, "no status"),
        ("exit 0", Malformed, "no status"),
    ],
)
def test_each_failure_is_what_it_is(said: str, kind: type[ProbeError], match: str) -> None:
    with pytest.raises(kind, match=match):
        judge(said.encode(), "ipmi power")


@given(st.binary(max_size=200))
def test_no_answer_does_anything_but_be_judged(said: bytes) -> None:
    try:
        text = judge(said, "ipmi power")
    except ProbeError:
        return
    try:
        watts, _ = parse_power(text)
    except Malformed:
        return
    assert 0 < watts <= 0xFFFE


@given(st.text(max_size=300))
def test_no_text_breaks_the_sensors(text: str) -> None:
    for (name, _), gauge in parse_sensors(text).items():
        assert name.isprintable()
        assert isinstance(gauge.value, int)


def test_sensors_of_one_name_and_warnings_between() -> None:
    text = (
        "IANA PEN registry open failed: x\nTemp,-4.5,degrees C,ok\nTemp,60,degrees C,cr\n"
        "Temp,1,RPM,ok\nA,,,ns\nB,na,Volts,ok\nC,1,unspecified,ok\n"
    )
    assert parse_sensors(text) == {
        ("Temp", "temperature"): Gauge(-4_500, Unit.MILLICELSIUS),
        ("Temp#2", "temperature"): Gauge(60_000, Unit.MILLICELSIUS),
        ("Temp#3", "fan"): Gauge(1, Unit.REVOLUTIONS_PER_MINUTE),
    }


def test_a_sensor_keeps_its_number_when_another_has_no_value() -> None:
    """Two processors of a Dell server, the first of them without a reading for a moment."""
    second = ("Temp#2", "temperature")
    assert second in parse_sensors("Temp,41,degrees C,ok\nTemp,60,degrees C,ok\n")
    assert list(parse_sensors("Temp,,,ns\nTemp,60,degrees C,ok\n")) == [second]


# --- power as energy


def instant(seconds: float, boot: str = "boot-1", asleep: float = 0) -> Instant:
    return Instant(int(seconds * SECOND), int((seconds - asleep) * SECOND), 0, boot)


def test_trapezoids() -> None:
    integral = Integral(10 * SECOND)
    assert integral.add(instant(0), 100_000).total == 0
    assert integral.add(instant(10), 200_000).total == 1_500_000
    assert integral.add(instant(40), 200_000).total == 7_500_000  # three intervals


@pytest.mark.parametrize(
    "then",
    [instant(30.5), instant(0), instant(-1), instant(5, "boot-2"), instant(20, asleep=15)],
)
def test_a_gap_is_another_epoch(then: Instant) -> None:
    integral = Integral(10 * SECOND)
    first = integral.add(instant(0), 100_000)
    other = integral.add(then, 100_000)
    assert other.total == 0
    assert (other.epoch, then) != (first.epoch, instant(0, "boot-9"))
    assert other.epoch != first.epoch or then == instant(0)


@given(st.lists(st.tuples(st.integers(1, 30 * SECOND), st.integers(1, 65_000_000)), min_size=1))
def test_nothing_is_lost_to_rounding(steps: list[tuple[int, int]]) -> None:
    integral = Integral(10 * SECOND)
    at, power, area = 0, 1, 0
    integral.add(instant(0), power)
    for elapsed, next_power in steps:
        at += elapsed
        area += (power + next_power) * elapsed
        power = next_power
        counter = integral.add(Instant(at, at, 0, "boot-1"), power)
    assert counter.total == area // (2 * SECOND)
