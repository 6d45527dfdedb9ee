"""Whatever meters say and leases do: leases and operator get what was metered, and no more."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.core.account import MeterState, last_attribution, take_readings
from agent.core.energy import Sharing
from agent.core.meter import LeaseMeter, LeaseSample, advance, open_meter
from probes.reading import Counter, Instant, Reading, SensorId, SourceClass, Unit

SECOND = 1_000_000_000
VCPUS = 8

POWER = SensorId("modbus", "main", "energy")
FEED_B = SensorId("modbus", "feed-b", "energy")
PACKAGE = SensorId("rapl", "package-0", "energy")
HEAT = SensorId("mbus", "pool", "heat")
REVERSE = SensorId("mbus", "pool", "heat_reverse")
SOURCES = {
    POWER: (SourceClass.BILLING_METER, Unit.MILLIJOULE),
    FEED_B: (SourceClass.BILLING_METER, Unit.MILLIJOULE),
    PACKAGE: (SourceClass.RAPL_NVML, Unit.MICROJOULE),
    HEAT: (SourceClass.BILLING_METER, Unit.MILLIJOULE),
    REVERSE: (SourceClass.BILLING_METER, Unit.MILLIJOULE),
}

ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("pass"), st.integers(1, 400 * SECOND)),
        st.tuples(st.just("begin"), st.integers(1, 4)),
        st.tuples(st.just("end"), st.integers(0, 3)),
        st.tuples(st.just("use"), st.integers(0, 50_000_000)),
        st.tuples(st.just("reset"), st.sampled_from(list(SOURCES))),
        st.tuples(st.just("reboot"), st.integers(0, 100 * SECOND)),
        st.tuples(st.sampled_from(list(SOURCES)), st.integers(0, 10_000_000)),
    ),
    max_size=40,
)


@dataclass
class Site:
    """One host, its leases and the meters of its site."""

    sharing: Sharing
    state: MeterState = field(default_factory=MeterState)
    at: Instant = field(default_factory=lambda: Instant(0, 0, 10**18, "boot-1"))
    registers: dict[SensorId, int] = field(default_factory=dict)
    epochs: dict[SensorId, int] = field(default_factory=dict)
    units: dict[str, int] = field(default_factory=dict)
    usage: dict[str, int] = field(default_factory=dict)
    busy: int = 0
    began: int = 0
    ended: list[LeaseMeter] = field(default_factory=list)

    def act(self, action: tuple[object, int]) -> None:
        what, amount = action
        if isinstance(what, SensorId):
            self.read(what, amount)
        elif isinstance(amount, SensorId):
            self.registers[amount] = 0
            self.epochs[amount] = self.epochs.get(amount, 0) + 1
        else:
            getattr(self, f"_{what}")(amount)

    def _pass(self, span: int) -> None:
        at = self.at
        self.at = Instant(
            at.boottime_ns + span, at.monotonic_ns + span, at.wall_ns + span, at.boot_id
        )
        self._sample()

    def _reboot(self, off: int) -> None:
        self.at = Instant(0, 0, self.at.wall_ns + off, self.at.boot_id + "+")
        self.usage = dict.fromkeys(self.usage, 0)
        self._sample()

    def _sample(self) -> None:
        leases = {
            name: advance(
                meter,
                LeaseSample(1, self.usage[name], None, None, None, False, True),
                self.at,
                VCPUS,
            )
            for name, meter in self.state.leases.items()
        }
        self.state = msgspec.structs.replace(self.state, leases=leases)

    def _begin(self, vcpus: int) -> None:
        if sum(self.units.values()) + vcpus > VCPUS:
            return
        self.began += 1
        name = f"lease-{self.began}"
        self.units[name], self.usage[name] = vcpus, 0
        leases = {**self.state.leases, name: open_meter(self.at)}
        self.state = msgspec.structs.replace(self.state, leases=leases)

    def _end(self, place: int) -> None:
        if place < len(self.units):
            name = list(self.units)[place]
            del self.units[name], self.usage[name]
            leases = dict(self.state.leases)
            self.ended.append(last_attribution(self.state, name, leases.pop(name)))
            self.state = msgspec.structs.replace(self.state, leases=leases)

    def _use(self, used_us: int) -> None:
        """The host's own figure is read at another moment: it may lag behind the leases'."""
        self.busy += used_us // 2
        for name in self.usage:
            self.usage[name] += used_us // len(self.usage)

    def read(self, sensor: SensorId, grown_mj: int) -> None:
        source, unit = SOURCES[sensor]
        self.registers[sensor] = self.registers.get(sensor, 0) + grown_mj
        total = self.registers[sensor] * (1000 if unit is Unit.MICROJOULE else 1)
        counter = Counter(total, unit, epoch=str(self.epochs.get(sensor, 0)))
        reading = Reading(sensor, self.at, counter, source)
        self.state = take_readings(self.state, [reading], self.busy, self.units, self.sharing)

    def everyone(self) -> list[LeaseMeter]:
        return [*self.state.leases.values(), *self.ended]


SHARINGS = st.builds(
    Sharing,
    vcpus=st.just(VCPUS),
    site_share_ppm=st.integers(0, 1_000_000),
    idle_milliwatts=st.one_of(st.none(), st.integers(0, 1_000_000)),
)


@settings(max_examples=300)
@given(SHARINGS, ACTIONS)
def test_leases_never_get_more_than_was_metered(
    sharing: Sharing, actions: list[tuple[object, int]]
) -> None:
    site = Site(sharing)
    for action in actions:
        before = site.state
        site.act(action)
        energy = sum(meter.energy_mj or 0 for meter in site.everyone())
        heat = sum(meter.heat_mj or 0 for meter in site.everyone())
        assert 0 <= energy <= site.state.host_energy_mj
        assert 0 <= heat <= site.state.host_heat_mj
        for name, meter in site.state.leases.items():
            assert 0 <= meter.energy_missing_ns <= meter.reserved_ns
            was = before.leases.get(name)
            if was is not None:
                for total in ("energy_mj", "heat_mj", "heat_reverse_mj", "energy_missing_ns"):
                    assert (getattr(meter, total) or 0) >= (getattr(was, total) or 0)
    for meter in site.ended:
        assert 0 <= meter.energy_missing_ns <= meter.reserved_ns


@given(ACTIONS)
def test_the_host_counts_what_the_meter_counted(actions: list[tuple[object, int]]) -> None:
    """A site's only host, without a reset or a reboot: not one millijoule gets lost."""
    site = Site(Sharing(vcpus=VCPUS))
    first: dict[SensorId, int] = {}
    for action in actions:
        if action[0] in ("reboot", "reset", PACKAGE, FEED_B):
            continue
        if isinstance(action[0], SensorId):
            site._pass(SECOND)  # a meter cannot count ten kilojoules in no time
            first.setdefault(action[0], site.registers.get(action[0], 0) + action[1])
        site.act(action)
    if POWER in first:
        assert site.state.host_energy_mj == site.registers[POWER] - first[POWER]


@settings(max_examples=200)
@given(SHARINGS, ACTIONS, st.integers(0, 39))
def test_a_crash_replays_to_no_more_than_was_metered(
    sharing: Sharing, actions: list[tuple[object, int]], crash: int
) -> None:
    """The state of the last receipt, and readings that go on: nothing is divided twice."""
    site = Site(sharing)
    durable = msgspec.msgpack.encode(site.state)
    for place, action in enumerate(actions):
        if place == crash:
            lost = set(site.state.leases)
            site.state = msgspec.msgpack.decode(durable, type=MeterState)
            site.ended = []
            kept = lost & set(site.state.leases)
            site.units = {name: count for name, count in site.units.items() if name in kept}
            site.usage = {name: count for name, count in site.usage.items() if name in kept}
            leases = {name: site.state.leases[name] for name in site.units}
            site.state = msgspec.structs.replace(site.state, leases=leases)
        if place == crash // 2:
            durable = msgspec.msgpack.encode(site.state)
        site.act(action)
    assert sum(meter.energy_mj or 0 for meter in site.everyone()) <= site.state.host_energy_mj
    assert sum(meter.heat_mj or 0 for meter in site.everyone()) <= site.state.host_heat_mj


@given(st.lists(st.integers(1, VCPUS), min_size=1, max_size=8), st.integers(0, 10**9))
def test_more_leases_than_processors_share_what_there_is(units: list[int], grown: int) -> None:
    """Processors went offline and the leases stand: their parts are still parts of one whole."""
    site = Site(Sharing(vcpus=2))
    site.units = {f"lease-{place}": count for place, count in enumerate(units)}
    site.usage = dict.fromkeys(site.units, 0)
    site.state = MeterState(leases={name: open_meter(site.at) for name in site.units})
    site.read(POWER, 0)
    site._pass(60 * SECOND)
    site.read(POWER, grown)
    energy = sum(meter.energy_mj or 0 for meter in site.everyone())
    assert energy <= site.state.host_energy_mj == grown
