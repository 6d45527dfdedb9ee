"""What the board's management controller (BMC) measures, asked in band over IPMI.

`/dev/ipmi0` is full power over the board, so no probe opens it: the questions go to a helper that
knows these and no other (`systemd/ipmi-ask`), and which asks by ipmitool.

Sources: DCMI 1.5 (6.6.1, Get Power Reading), IPMI 2.0 (table 5-2, completion codes),
ipmitool(1).
"""

from __future__ import annotations

import contextlib
import re
import socket
import struct
import time
from collections import Counter as Tally
from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING

from probes.errors import Absent, Denied, Malformed, ProbeError, TimedOut
from probes.integral import Integral
from probes.link import Deadline, Unreachable, translate
from probes.reading import Gauge, Reading, SensorId, SourceClass, Unit

if TYPE_CHECKING:
    from probes.host import Host
    from probes.reading import Instant

DEVICE = "/dev/ipmi0"
HELPER = "/run/hearth-ipmi.sock"
REFUSED_S = 600.0  # a BMC does not learn DCMI but by new firmware; ipmitool takes 34 ms of CPU
MAX_ANSWER = 1 << 18  # 255 sensors of a line each, with room
LAST_LINE = re.compile(rb"(?:^|\n)exit (\d{1,3})\n\Z")

# Statuses of ipmi-ask: ipmitool's own, or those of timeout(1).
TIMED_OUT, NOT_INSTALLED, KILLED = 124, 127, 137
REFUSAL = re.compile(r"\brsp=0x([0-9a-f]{2})\b")
INVALID_COMMAND = 0xC1  # a BMC without DCMI

POWER_READING = struct.Struct(
    "<BHHHHIIB"
)  # group, W: now, least, most, average; time, period, state
DCMI_GROUP = 0xDC
MEASURING = 0x40
MOST_WATTS = 0xFFFE
RAW = re.compile(r"(?: [0-9a-f]{2})+\s*")  # a line of bytes as ipmitool prints them
# What BMCs say of themselves ranges from 1 to 10 %; DCMI asks for none.
UNCERTAINTY_PERMILLE = 100

# ipmitool's names of units (IPMI 2.0, table 43-15) -> quantity, our unit, how many of ours in one.
UNITS: Mapping[str, tuple[str, Unit, int]] = {
    "degrees C": ("temperature", Unit.MILLICELSIUS, 1000),
    "RPM": ("fan", Unit.REVOLUTIONS_PER_MINUTE, 1),
    "Watts": ("power", Unit.MILLIWATT, 1000),
    "Volts": ("voltage", Unit.MILLIVOLT, 1000),
    "Amps": ("current", Unit.MILLIAMPERE, 1000),
}
MEASURED = frozenset({"ok", "nc", "cr", "nr"})  # fine, or beyond a threshold
NUMBER = re.compile(r"-?\d{1,9}(\.\d{1,9})?")


class Helper:
    """A connection with the helper, made when it is needed and kept."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._socket: socket.socket | None = None
        self._ended = False
        self._refused: Absent | None = None
        self._refused_until = 0.0

    def ask(self, word: str, seconds: float) -> str:
        """Return what ipmitool says. On any failure of the wire the connection is dropped.

        :raises Absent: no helper, or the BMC does not know such a thing: then it is not asked
            again for a while.
        :raises Denied, TimedOut, Malformed, Unreachable: as helper, ipmitool and BMC answer.
        """
        if self._refused is not None and time.monotonic() < self._refused_until:
            raise self._refused.with_traceback(None)  # which would grow with every raise
        what = f"ipmi {word}"
        deadline = Deadline(seconds, what)
        reused = self._socket is not None
        try:
            try:
                said = self._exchange(word, deadline, what)
            except Unreachable:
                if not reused or self._ended:
                    raise
                self.close()  # an upgrade ends the helper
                said = self._exchange(word, deadline, what)
        except ProbeError:
            self.close()  # a late answer must not be taken for the next one's
            raise
        try:
            return judge(said, what)
        except Absent as error:
            self._refused, self._refused_until = error, time.monotonic() + REFUSED_S
            raise

    def close(self) -> None:
        """End the connection, and with it the helper's process."""
        link, self._socket = self._socket, None
        if link is not None:
            with contextlib.suppress(OSError):  # the helper went first
                link.shutdown(socket.SHUT_RDWR)  # wakes who reads; `close` alone does not
            link.close()

    def end(self) -> None:
        """Close for good, from whatever thread: a question that waits for its answer fails."""
        self._ended = True
        self.close()

    def _exchange(self, word: str, deadline: Deadline, what: str) -> bytes:
        answer = bytearray()
        try:
            link = self._socket or self._connect(deadline)
            self._socket = link
            link.settimeout(deadline.remaining())
            link.sendall(word.encode() + b"\n")
            while LAST_LINE.search(answer, max(0, len(answer) - 16)) is None:
                link.settimeout(deadline.remaining())
                chunk = link.recv(1 << 14)
                if not chunk:
                    raise Unreachable(
                        f"{what}: the helper ended; see journalctl -u 'hearth-ipmi@*'"
                    )
                answer += chunk
                if len(answer) > MAX_ANSWER:
                    raise Malformed(f"{what}: an answer of more than {MAX_ANSWER} bytes")
        except OSError as error:
            raise translate(error, what) from error
        return bytes(answer)

    def _connect(self, deadline: Deadline) -> socket.socket:
        link = socket.socket(socket.AF_UNIX)
        try:
            link.settimeout(deadline.remaining())
            link.connect(self._path)
        except (FileNotFoundError, ConnectionRefusedError):  # a socket that was masked stays there
            link.close()
            raise Absent(f"{self._path}: no helper (hearth-ipmi.socket is not started)") from None
        except BaseException:
            link.close()
            raise
        return link


def judge(said: bytes, what: str) -> str:
    """Return an answer without its last line, if that says that all went well. Pure.

    :raises Absent, Denied, TimedOut, Malformed: what ipmitool's failure means.
    """
    found = LAST_LINE.search(said)
    if found is None:
        raise Malformed(f"{what}: no status at the end of the answer")
    text = said[: found.start()].decode("utf-8", "replace")
    status = int(found[1])
    if status == 0:
        return text
    reason = text.strip().rpartition("\n")[2][:200] or f"ipmitool ended with {status}"
    refusal = REFUSAL.search(text)
    if status in (TIMED_OUT, KILLED):
        raise TimedOut(f"{what}: the BMC does not answer")
    if status == NOT_INSTALLED:
        raise Denied(f"{what}: ipmitool is not installed; apt install ipmitool")
    if refusal is not None and int(refusal[1], 16) == INVALID_COMMAND:
        raise Absent(f"{what}: this BMC knows no such thing")
    if "Could not open device" in text:
        kind = Absent if "No such file" in text else Denied
        raise kind(f"{what}: {reason}")
    raise Malformed(f"{what}: {reason}")


def parse_power(text: str) -> tuple[int, bool]:
    """Return the power of the moment [W] and whether the BMC stands by it. Pure.

    Some BMCs give all zeros with the state "deactivated", others real figures (openbmc does).

    :param text: the bytes of DCMI's answer, in hex. Other lines are passed over: a request that was
        given up has ipmitool complain of its late answer in the next ("unexpected ID 0 vs. 1").
    :raises Malformed: for another answer, and for a figure that is none: a host that runs takes
        more than nothing.
    """
    try:
        raw = bytes.fromhex("".join(line for line in text.splitlines() if RAW.fullmatch(line)))
        group, now, _least, _most, _average, _time, _period, state = POWER_READING.unpack(raw)
    except (ValueError, struct.error):
        raise Malformed(f"ipmi power: {text.strip()[:80]!r} is no power reading") from None
    if group != DCMI_GROUP:
        raise Malformed(f"ipmi power: an answer of group {group:#04x}, not DCMI's")
    if not 0 < now <= MOST_WATTS:
        raise Malformed(f"ipmi power: {now} W is no measurement")
    return now, bool(state & MEASURING)


def parse_sensors(text: str) -> dict[tuple[str, str], Gauge]:
    """Return (name, quantity) -> value of all sensors that measure something. Pure.

    A name that several sensors have (Dell calls each processor's "Temp") is numbered from the
    second on, those without a value included: a sensor keeps its number when another has none.
    Lines that are none of a sensor's (warnings of ipmitool) are passed over.
    """
    values: dict[tuple[str, str], Gauge] = {}
    taken: Tally[str] = Tally()
    for line in text.splitlines():
        parts = line.rsplit(",", 3)
        if len(parts) != 4:
            continue
        name = (
            "".join(char if char.isprintable() else "?" for char in parts[0].strip()) or "unnamed"
        )
        taken[name] += 1
        if taken[name] > 1:
            name = f"{name}#{taken[name]}"
        if parts[3] not in MEASURED or parts[2] not in UNITS or not NUMBER.fullmatch(parts[1]):
            continue
        quantity, unit, factor = UNITS[parts[2]]
        values[name, quantity] = Gauge(int(Decimal(parts[1]) * factor), unit)
    return values


class IpmiPower:
    """The board's `power` [mW], and the `energy` [mJ] that it makes: a source of class BMC.

    A reading that the BMC does not stand by is shown and never billed.
    """

    name = "ipmi"
    interval_ns = 10_000_000_000
    slow = True

    def __init__(self, helper: str = HELPER, deadline_s: float = 10.0) -> None:
        self.deadline_s = deadline_s
        self._helper = Helper(helper)
        self._energy = Integral(self.interval_ns)

    def read(self, host: Host, at: Instant) -> tuple[Reading, ...]:
        """Ask for the power of the moment.

        :raises Absent: no BMC, no helper, or a BMC without DCMI.
        """
        text = ask(self._helper, host, "power", self.deadline_s)
        watts, stands = parse_power(text)
        now = host.now()
        milliwatts = watts * 1000
        power = SensorId(self.name, "board", "power")
        if not stands:
            return (Reading(power, now, Gauge(milliwatts, Unit.MILLIWATT)),)
        energy = Reading(
            SensorId(self.name, "board", "energy"),
            now,
            self._energy.add(now, milliwatts),
            SourceClass.BMC,
            UNCERTAINTY_PERMILLE,
        )
        shown = Gauge(milliwatts, Unit.MILLIWATT)
        return Reading(power, now, shown, SourceClass.BMC, UNCERTAINTY_PERMILLE), energy

    def close(self) -> None:
        """End the connection."""
        self._helper.end()


class IpmiSensors:
    """What the BMC's sensors say: temperatures, fans, volts, amperes, watts. Never billed.

    Two power supplies may each report the board's whole power, so nothing is ever summed.
    """

    name = "ipmi-sensors"
    # A full round is hundreds of exchanges with a slow processor, which the kernel waits for.
    interval_ns = 300_000_000_000
    slow = True

    def __init__(self, helper: str = HELPER, deadline_s: float = 27.0) -> None:
        self.deadline_s = deadline_s
        self._helper = Helper(helper)

    def read(self, host: Host, at: Instant) -> tuple[Reading, ...]:
        """Ask for all sensors.

        :raises Absent: no BMC, no helper, or no sensor of a kind that we read.
        """
        values = parse_sensors(ask(self._helper, host, "sensors", self.deadline_s))
        if not values:
            raise Absent("ipmi sensors: no temperature, fan, voltage, current or power")
        now = host.now()
        return tuple(
            Reading(SensorId(self.name, name, quantity), now, value)
            for (name, quantity), value in values.items()
        )

    def close(self) -> None:
        """End the connection."""
        self._helper.end()


def ask(helper: Helper, host: Host, word: str, seconds: float) -> str:
    """Ask where there is somebody to ask: without a device the helper is left alone."""
    if not host.exists(DEVICE):
        helper.close()
        raise Absent(f"{DEVICE}: no BMC in band")
    return helper.ask(word, seconds)
