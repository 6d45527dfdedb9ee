"""Dividing what meters counted: worked examples, each of one rule."""

from __future__ import annotations

import dataclasses

import msgspec

from agent.core.account import MeterState, last_attribution, take_readings
from agent.core.energy import Sharing
from agent.core.meter import LeaseMeter, LeaseSample, Quality, advance, open_meter
from probes.reading import Counter, Gauge, Instant, Reading, SensorId, SourceClass, Unit

SECOND = 1_000_000_000
MAIN = SensorId("modbus", "main", "energy")
FEED_B = SensorId("modbus", "feed-b", "energy")
PACKAGE = SensorId("rapl", "package-0", "energy")
DRAM = SensorId("rapl", "package-0/dram", "energy")
HEAT = SensorId("mbus", "pool", "heat")
REVERSE = SensorId("mbus", "pool", "heat_reverse")
RAPL_MODULUS = 262_143_328_850  # max_energy_range_uj of an Intel package
ALL = Sharing(vcpus=8)


class Host:
    """A host with 8 threads; its leases use what the test says."""

    def __init__(self, sharing: Sharing = ALL) -> None:
        self.sharing = sharing
        self.state = MeterState()
        self.at = Instant(SECOND, SECOND, 10**18, "boot-1")
        self.units: dict[str, int] = {}
        self.usage: dict[str, int] = {}
        self.busy = 0

    def begin(self, name: str, vcpus: int) -> None:
        self.units[name], self.usage[name] = vcpus, 0
        first = msgspec.structs.replace(open_meter(self.at), cgroup_id=1)  # its first reading
        self._set(name, first)

    def _set(self, name: str, meter: LeaseMeter) -> None:
        leases = {**self.state.leases, name: meter}
        self.state = msgspec.structs.replace(self.state, leases=leases)

    def let(self, seconds: int, **used_us: int) -> None:
        """So many seconds pass, in which leases use CPU time."""
        span, at = seconds * SECOND, self.at
        self.at = Instant(
            at.boottime_ns + span, at.monotonic_ns + span, at.wall_ns + span, at.boot_id
        )
        for name, meter in self.state.leases.items():
            self.usage[name] += used_us.get(name, 0)
            self.busy += used_us.get(name, 0)
            reading = LeaseSample(1, self.usage[name], None, None, None, False, True)
            self._set(name, advance(meter, reading, self.at, 8))

    def reboot(self, off_s: int) -> None:
        self.at = Instant(SECOND, SECOND, self.at.wall_ns + off_s * SECOND, "boot-2")
        for name, meter in self.state.leases.items():
            self._set(name, advance(meter, None, self.at, 8))

    def read(
        self,
        sensor: SensorId,
        total: int,
        source: SourceClass = SourceClass.BILLING_METER,
        unit: Unit = Unit.MILLIJOULE,
        modulus: int | None = None,
    ) -> None:
        reading = Reading(sensor, self.at, Counter(total, unit, modulus), source, 10)
        self.state = take_readings(self.state, [reading], self.busy, self.units, self.sharing)

    def rapl(self, microjoules: int) -> None:
        source, unit = SourceClass.RAPL_NVML, Unit.MICROJOULE
        self.read(PACKAGE, microjoules % RAPL_MODULUS, source, unit, RAPL_MODULUS)

    def energy(self, name: str) -> int | None:
        return self.state.leases[name].energy_mj

    def missing_s(self, name: str) -> int:
        return self.state.leases[name].energy_missing_ns // SECOND


def test_a_first_reading_divides_nothing() -> None:
    host = Host()
    host.begin("a", 8)
    host.let(10)
    host.read(MAIN, 1_000_000)
    assert (host.energy("a"), host.state.host_energy_mj) == (None, 0)
    assert host.missing_s("a") == 10  # the lease ran before anything was metered


def test_without_a_known_idle_power_all_is_split_by_reserved_share() -> None:
    host = Host()
    host.begin("a", 4)
    host.begin("b", 2)
    host.read(MAIN, 0)
    host.let(10, a=40_000_000)
    host.read(MAIN, 8000)
    assert (host.energy("a"), host.energy("b")) == (4000, 2000)
    assert host.state.host_energy_mj == 8000  # the operator keeps the unsold quarter


def test_idle_by_reserved_share_and_the_rest_by_cpu_time() -> None:
    host = Host(Sharing(vcpus=8, idle_milliwatts=400))
    host.begin("a", 4)
    host.begin("b", 2)
    host.read(MAIN, 0)
    host.let(10, a=3_000_000, b=1_000_000)
    host.read(MAIN, 12_000)  # 4 J idle, 8 J dynamic
    assert (host.energy("a"), host.energy("b")) == (2000 + 6000, 1000 + 2000)


def test_what_the_operator_runs_beside_leases_is_the_operators() -> None:
    host = Host(Sharing(vcpus=8, idle_milliwatts=0))
    host.begin("a", 4)
    host.read(MAIN, 0)
    host.let(10, a=3_000_000)
    host.busy += 9_000_000
    host.read(MAIN, 12_000)
    assert host.energy("a") == 3000


def test_a_meter_that_stands_is_no_gap() -> None:
    host = Host()
    host.begin("a", 8)
    host.read(MAIN, 700)
    host.let(10)
    host.read(MAIN, 700)
    assert (host.energy("a"), host.missing_s("a")) == (0, 0)
    assert host.state.host_energy_ns == 10 * SECOND


def test_how_sure_a_meter_is_goes_with_what_it_counted() -> None:
    host = Host()
    host.read(MAIN, 0)
    host.read(HEAT, 0)
    assert host.state.energy_uncertainty_permille == 10
    assert host.state.heat_uncertainty_permille == 10


def test_a_lease_that_came_late_gets_its_part_of_the_time() -> None:
    host = Host()
    host.read(MAIN, 0)
    host.let(5)
    host.begin("a", 8)
    host.let(5)
    host.read(MAIN, 1000)
    assert host.energy("a") == 500


def test_a_site_meter_is_this_hosts_by_its_share_and_its_own_is_not() -> None:
    site = Host(Sharing(vcpus=8, site_share_ppm=250_000))
    site.read(MAIN, 0)
    site.let(10)
    site.read(MAIN, 4000)
    assert site.state.host_energy_mj == 1000
    own = Host(Sharing(vcpus=8, site_share_ppm=250_000))
    own.rapl(0)
    own.let(1)
    own.rapl(4_000_000)
    assert own.state.host_energy_mj == 4000


def test_a_processors_counter_wraps_and_nothing_is_lost() -> None:
    """262 kJ are 17 minutes at 250 W; read once a second the wrap is certain."""
    host = Host()
    host.begin("a", 8)
    host.rapl(RAPL_MODULUS - 100_000_000)
    host.let(1)
    host.rapl(RAPL_MODULUS + 150_000_000)
    assert host.state.host_energy_mj in (249_999, 250_000)  # whole mJ of both readings
    assert host.missing_s("a") == 0


def test_a_wrap_after_a_long_silence_is_a_gap() -> None:
    host = Host()
    host.begin("a", 8)
    host.rapl(RAPL_MODULUS - 100_000_000)
    host.let(3600)
    host.rapl(RAPL_MODULUS + 150_000_000)
    assert host.state.host_energy_mj == 0
    assert host.missing_s("a") == 3600
    assert host.state.leases["a"].quality is Quality.PARTIAL


def test_a_silence_that_the_meter_counted_through_is_no_gap() -> None:
    host = Host()
    host.begin("a", 8)
    host.read(MAIN, 0)
    host.let(3600)
    host.read(MAIN, 900_000_000)
    assert (host.energy("a"), host.missing_s("a")) == (900_000_000, 0)


def test_two_meters_that_miss_the_same_time_miss_it_once() -> None:
    host = Host()
    host.begin("a", 8)
    for sensor in (MAIN, FEED_B):
        host.read(sensor, 1000)
    host.let(60)
    for sensor in (MAIN, FEED_B):
        host.read(sensor, 0)  # both fell: reset
    assert host.missing_s("a") == 60
    host.let(60)
    for sensor in (MAIN, FEED_B):
        host.read(sensor, 500)
    assert (host.energy("a"), host.missing_s("a")) == (1000, 60)


def test_an_outage_is_missing_whatever_the_boot_clocks_say() -> None:
    host = Host()
    host.begin("a", 8)
    host.let(100_000)
    host.read(MAIN, 1000)
    host.reboot(7200)
    host.read(MAIN, 2000)
    assert host.missing_s("a") == 100_000 + 7200
    assert host.energy("a") is None


def test_a_better_class_takes_over_and_a_worse_one_is_not_added() -> None:
    host = Host()
    host.begin("a", 8)
    host.rapl(0)
    host.let(1)
    host.rapl(1_000_000)
    host.read(MAIN, 0)
    host.let(5)
    host.rapl(9_000_000)
    host.read(MAIN, 700)
    assert host.energy("a") == 1000 + 700
    assert host.state.energy_class is SourceClass.BILLING_METER
    assert host.missing_s("a") == 0


def test_a_worse_class_takes_over_when_the_better_one_has_gone() -> None:
    host = Host()
    host.begin("a", 8)
    host.read(MAIN, 0)
    host.let(899)
    host.rapl(0)
    assert host.state.energy_class is SourceClass.BILLING_METER
    host.let(1)
    host.rapl(7_000_000)
    assert host.state.energy_class is SourceClass.RAPL_NVML
    host.let(10)
    host.rapl(9_000_000)
    assert (host.energy("a"), host.missing_s("a")) == (2000, 900)
    host.read(MAIN, 50_000)  # it is back: nothing of the time without it is invented
    host.let(1)
    host.read(MAIN, 50_100)
    assert (host.energy("a"), host.missing_s("a")) == (2100, 900)


def test_energy_of_two_classes_is_as_good_as_the_worse() -> None:
    """The receipt adds up what the meter and, while it was gone, the processor said."""
    host = Host()
    host.begin("a", 8)
    host.read(MAIN, 0)
    host.let(10)
    host.read(MAIN, 1000)
    assert host.state.leases["a"].energy_class is SourceClass.BILLING_METER
    host.let(900)
    host.rapl(0)
    assert host.state.leases["a"].energy_class is SourceClass.BILLING_METER  # of what it is so far
    host.let(10)
    host.rapl(2_000_000)
    host.read(MAIN, 50_000)
    host.let(1)
    host.read(MAIN, 50_100)
    assert host.energy("a") == 3100
    assert host.state.energy_class is SourceClass.BILLING_METER
    assert host.state.leases["a"].energy_class is SourceClass.RAPL_NVML


def test_a_meter_that_was_not_asked_has_not_gone() -> None:
    """While the agent is down a meter counts on, and is read after RAPL."""
    host = Host()
    host.begin("a", 8)
    host.read(MAIN, 0)
    host.let(3600)
    host.sharing = Sharing(vcpus=8, asking_since_ns=host.at.monotonic_ns)
    host.rapl(0)
    host.read(MAIN, 3_600_000)
    assert (host.energy("a"), host.missing_s("a")) == (3_600_000, 0)
    host.let(899)
    host.rapl(0)
    assert host.state.energy_class is SourceClass.BILLING_METER


def test_a_meter_has_not_gone_while_the_host_slept() -> None:
    host = Host()
    host.begin("a", 8)
    host.read(MAIN, 0)
    awake = host.at.monotonic_ns + SECOND
    host.let(3600)
    host.at = dataclasses.replace(host.at, monotonic_ns=awake)
    host.rapl(0)
    host.read(MAIN, 5000)
    assert (host.energy("a"), host.state.energy_class) == (5000, SourceClass.BILLING_METER)


def test_after_a_boot_the_better_class_has_as_long_to_come_back() -> None:
    host = Host()
    host.begin("a", 8)
    host.read(MAIN, 0)
    host.reboot(60)
    host.let(890)
    host.rapl(0)
    assert host.state.energy_class is SourceClass.BILLING_METER
    host.let(20)
    host.rapl(0)
    assert host.state.energy_class is SourceClass.RAPL_NVML


def test_what_another_class_never_measured_is_missing() -> None:
    host = Host()
    host.begin("a", 8)
    host.rapl(0)
    host.let(30)  # RAPL went silent
    host.read(MAIN, 0)
    assert host.missing_s("a") == 30


def test_what_a_worse_class_measured_until_then_is_not_missing() -> None:
    host = Host()
    host.begin("a", 8)
    for sensor in (PACKAGE, DRAM):
        host.read(sensor, 0, SourceClass.RAPL_NVML)
    host.let(10)
    host.read(PACKAGE, 1000, SourceClass.RAPL_NVML)
    host.let(5)
    host.read(DRAM, 1000, SourceClass.RAPL_NVML)
    host.let(7)
    host.read(MAIN, 0)
    assert host.missing_s("a") == 7


def test_a_bmcs_power_is_better_than_what_the_processor_says() -> None:
    host = Host()
    board = SensorId("ipmi", "board", "energy")
    host.begin("a", 8)
    host.rapl(0)
    host.read(board, 0, SourceClass.BMC)
    host.let(10)
    host.rapl(900_000_000)
    host.read(board, 2_300_000, SourceClass.BMC)
    assert host.energy("a") == 2_300_000
    assert host.state.energy_class is SourceClass.BMC


def test_what_hwmon_repeats_and_what_is_no_energy_is_passed_over() -> None:
    host = Host()
    before = host.state
    host.read(SensorId("hwmon", "package", "energy"), 5)
    host.read(SensorId("modbus", "main", "energy"), 5, unit=Unit.BYTE)
    gauge = Reading(MAIN, host.at, Gauge(5, Unit.MILLIWATT), SourceClass.BILLING_METER)
    assert take_readings(host.state, [gauge], 0, {}, ALL) == before == host.state


# --- heat follows energy ---


def test_heat_is_divided_as_energy_was() -> None:
    host = Host()
    host.begin("a", 4)
    host.begin("b", 2)
    host.read(MAIN, 0)
    host.read(HEAT, 0)
    host.read(REVERSE, 0)
    host.let(60)
    host.read(MAIN, 8000)
    host.read(HEAT, 4000)
    host.read(REVERSE, 80)
    leases = host.state.leases
    assert (leases["a"].heat_mj, leases["b"].heat_mj) == (2000, 1000)
    assert (leases["a"].heat_reverse_mj, leases["b"].heat_reverse_mj) == (40, 20)
    assert host.state.host_heat_mj == 4000


def test_heat_is_divided_by_the_energy_since_it_was_read_the_last() -> None:
    host = Host()
    host.begin("a", 8)
    host.read(MAIN, 0)
    host.read(HEAT, 0)
    for second in (1, 2):
        host.let(60)
        host.read(MAIN, 8000 * second)
        host.read(HEAT, 4000 * second)
    assert host.state.leases["a"].heat_mj == 8000
    assert host.state.host_heat_ns == 120 * SECOND


def test_heat_waits_for_the_energy_it_follows() -> None:
    host = Host()
    host.begin("a", 8)
    host.read(MAIN, 0)
    host.read(HEAT, 0)
    host.let(60)
    host.read(HEAT, 1000)  # no energy was read since
    assert host.state.leases["a"].heat_mj is None
    host.let(60)
    host.read(MAIN, 5000)
    host.read(HEAT, 2000)
    assert host.state.leases["a"].heat_mj == 2000


def test_heat_without_energy_for_too_long_stays_with_the_operator() -> None:
    host = Host()
    host.begin("a", 8)
    host.read(HEAT, 0)
    host.let(301)
    host.read(HEAT, 1000)
    assert host.state.leases["a"].heat_mj is None
    assert host.state.host_heat_mj == 1000


# --- the end of a lease ---


def test_a_lease_that_ends_misses_what_is_not_divided_yet() -> None:
    host = Host()
    host.begin("a", 8)
    host.read(MAIN, 0)
    host.let(10)
    host.read(MAIN, 1000)
    host.let(4)
    ended = last_attribution(host.state, "a", host.state.leases["a"])
    assert (ended.energy_mj, ended.energy_missing_ns) == (1000, 4 * SECOND)


def test_a_lease_that_ends_misses_what_no_meter_has_divided_yet() -> None:
    host = Host()
    host.begin("a", 8)
    host.read(MAIN, 0)
    host.read(FEED_B, 0)
    host.let(10)
    host.read(MAIN, 1000)
    host.let(3)
    host.read(FEED_B, 1000)
    host.let(4)
    ended = last_attribution(host.state, "a", host.state.leases["a"])
    assert ended.energy_missing_ns == 4 * SECOND


def test_a_lease_that_ends_without_any_meter_misses_nothing() -> None:
    host = Host()
    host.begin("a", 8)
    host.let(10)
    assert last_attribution(host.state, "a", host.state.leases["a"]).energy_missing_ns == 0


def test_a_lease_that_ended_during_an_outage_misses_it() -> None:
    host = Host()
    host.begin("a", 8)
    host.read(MAIN, 0)
    host.let(10)
    host.read(MAIN, 1000)
    host.reboot(3600)
    ended = last_attribution(host.state, "a", host.state.leases["a"])
    assert ended.energy_missing_ns == 3600 * SECOND
