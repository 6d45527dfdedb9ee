"""The configuration: what is meant is read, what cannot be meant says file, key and remedy."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import config_file as configuration
from agent.accepted import accepted
from agent.config import Config, Offer, Price, Reserve
from agent.config_file import load
from agent.config_rules import LARGEST_HOST, contradictions, overreserved, prices, unpriced
from agent.core.bounds import MOST_MSAT, writable
from agent.errors import ConfigError
from agent.offering import terms_of


def write(directory: Path, text: str, name: str = "hearth.toml") -> Path:
    file = directory / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def test_an_empty_file_is_a_configuration(tmp_path: Path) -> None:
    assert load(write(tmp_path, "")) == Config()


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    text = """
    [site]
    id = "cellar"
    country_code = "FI"
    subdivision_code = "FI-18"
    heat_sink = "pool"
    share_ppm = 250_000
    [reserve]
    vcpu = 2
    [[offer.prices]]
    unit = "delivered-unit-second"
    resource_class = "PGPU"
    msat = 7
    per = 3
    [[sensors.modbus]]
    name = "main"
    host = "meter.example"
    map = "sdm630"
    [energy]
    idle_milliwatts = 60_000
    """
    found = load(write(tmp_path, text))
    assert (found.site.id, found.site.share_ppm, found.reserve.vcpu) == ("cellar", 250_000, 2)
    assert found.reserve.memory_mb == Config().reserve.memory_mb
    assert found.energy.idle_milliwatts == 60_000
    [price] = terms_of(found).prices
    assert (price.resource_class, price.numerator, price.denominator) == ("PGPU", 7, 3)
    assert found.sensors.modbus[0].port == 502


WRONG = {
    "a key that there is not": ("stat_dir = '/x'", "top level", "`stat_dir`", "state_dir"),
    "a key of another table": ("[offer]\nlifetime = 5", "offer", "`lifetime`", "lifetime_seconds"),
    "a key in a list": (
        '[[sensors.modbus]]\nname="a"\nhost="h"\nmap="m"\nprot=1',
        "sensors.modbus[0]",
        "`prot`",
        "name, host, map, port",
    ),
    "a key that is missing": (
        '[[sensors.mbus]]\nname = "a"',
        "sensors.mbus[0]",
        "lacks the required key `host`",
        "the keys name, host",
    ),
    "a text for a number": (
        '[offer]\nlifetime_seconds = "600"',
        "offer.lifetime_seconds",
        "got `str`",
        "an integer from 10 to 900",
    ),
    "a fraction for a number": (
        "[offer]\nlifetime_seconds = 600.0",
        "offer.lifetime_seconds",
        "got `float`",
        "an integer from 10 to 900",
    ),
    "too little": (
        "[offer]\nlifetime_seconds = 9",
        "offer.lifetime_seconds",
        ">= 10",
        "an integer from 10 to 900",
    ),
    "too much": (
        "[offer]\nlifetime_seconds = 901",
        "offer.lifetime_seconds",
        "<= 900",
        "an integer from 10 to 900",
    ),
    "less than nothing": ("[reserve]\nvcpu = -1", "reserve.vcpu", ">= 0", "an integer from 0"),
    "no such choice": (
        '[site]\nheat_sink = "swimming"',
        "site.heat_sink",
        "",
        'one of "none", "space-heating"',
    ),
    "no such name": ('[site]\nid = "My Site"', "site.id", "", "text that matches"),
    "a word for a switch": ('[logging]\njson = "yes"', "logging.json", "", "true or false"),
    "a number for a table": ("offer = 3", "offer", "got `int`", "the keys lifetime_seconds"),
    "a table for a list": ("[sensors.modbus]\nname = 'a'", "sensors.modbus", "", "a list"),
    "a meter that would be taken to be gone": (
        '[[sensors.modbus]]\nname="a"\nhost="h"\nmap="eastron-sdm630"\ninterval_seconds=301',
        "sensors.modbus[0].interval_seconds",
        "<= 300",
        "an integer from 1 to 300",
    ),
    "a second figure of one board": (
        '[[sensors.modbus]]\nname="a"\nhost="h"\nmap="eastron-sdm630"\nsource="bmc"',
        "sensors.modbus[0].source",
        "",
        'one of "billing-meter", "pdu", "model", "declared"',
    ),
    "a date for a text": ("state_dir = 1979-05-27", "state_dir", "got `date`", "text"),
    "a price of no class": (
        '[[offer.prices]]\nunit = "delivered-unit-second"\nmsat = 1',
        "offer.prices[0].resource_class",
        "''",
        "VCPU",
    ),
    "a price of one class too many": (
        '[[offer.prices]]\nunit = "joule"\nmsat = 1\nresource_class = "VCPU"',
        "offer.prices[0].resource_class",
        "'VCPU'",
        "none with the unit 'joule'",
    ),
    "a division by nothing": (
        '[[offer.prices]]\nunit = "joule"\nmsat = 1\nper = 0',
        "offer.prices[0].per",
        ">= 1",
        "an integer from 1",
    ),
    "a price of a class that is not sold": (
        '[[offer.prices]]\nunit = "delivered-unit-second"\nmsat = 1\nresource_class = "DISK_GB"',
        "offer.prices[0].resource_class",
        "",
        'one of "", "VCPU", "MEMORY_MB", "PGPU", "VGPU"',
    ),
    "a price that a receipt could not say": (
        '[[offer.prices]]\nunit = "delivered-unit-second"\nmsat = 2\nresource_class = "VCPU"\n'
        '[[offer.prices]]\nunit = "delivered-unit-second"\nmsat = 1_000_000_000\n'
        'resource_class = "MEMORY_MB"',
        "offer.prices[1].msat",
        "could owe",
        "2100000000000000000 at most",
    ),
    "a price above all there is": (
        '[[offer.prices]]\nunit = "joule"\nmsat = 9_000_000_000_000_000_000',
        "offer.prices[0].msat",
        "<= 2100000000000000000",
        "an integer from 0 to 2100000000000000000",
    ),
    "more credit than there is": (
        "[offer]\ncredit_limit_msat = 9_000_000_000_000_000_000",
        "offer.credit_limit_msat",
        "<=",
        "an integer from 0 to 2100000000000000000",
    ),
    "a rebate that is never given": (
        "[offer]\nrebates = [{below_ppm = 990000, permille = 300},"
        " {below_ppm = 900000, permille = 300}]",
        "offer.rebates[1]",
        "no effect",
        "more for less availability",
    ),
    "one rebate twice": (
        "[offer]\nrebates = [{below_ppm = 9, permille = 3}, {below_ppm = 9, permille = 4}]",
        "offer.rebates[0]",
        "no effect: offer.rebates[1] gives 4",
        "",
    ),
    "a rebate below nothing": (
        "[offer]\nrebates = [{below_ppm = 0, permille = 3}]",
        "offer.rebates[0].below_ppm",
        ">= 1",
        "an integer from 1",
    ),
    "paid ahead to nobody": (
        '[offer]\nmode = "prepaid"',
        "offer.mode",
        "without a rail",
        "set settlement.rail",
    ),
    "paid ahead with nothing": (
        '[offer]\nmode = "prepaid"\nadvance_msat = 0\n[settlement]\nrail = "statement"\n'
        'directory = "/s"',
        "offer.advance_msat",
        '0 with the mode "prepaid"',
        "accepted: what is invoiced ahead",
    ),
    "ahead of what is paid afterwards": (
        "[offer]\nadvance_msat = 7",
        "offer.advance_msat",
        "no effect",
        'set offer.mode = "prepaid"',
    ),
    "a prepayment that could not be given back": (
        '[offer]\nmode = "prepaid"\nadvance_msat = 1_000_000\n'
        '[settlement]\nrail = "cln"\nsocket = "/s"',
        "settlement.caps.payment_msat",
        "1000000 is less than 1005000",
        "lower offer.advance_msat",
    ),
    "a setting of another rail": (
        '[settlement]\nrail = "cln"\nsocket = "/s"\npay_rune_file = "/r"',
        "settlement.pay_rune_file",
        "no effect with the rail 'cln'",
        "this rail reads socket",
    ),
    "a folder that the rail has no use for": (
        '[settlement]\nrail = "cln-commando"\ndirectory = "/d"',
        "settlement.directory",
        "no effect with the rail 'cln-commando'",
        "leave it out",
    ),
    "caps of a rail that never pays": (
        '[settlement]\nrail = "statement"\ndirectory = "/d"\n[settlement.caps]\nday_msat = 1',
        "settlement.caps",
        "nothing is ever paid",
        "leave them out",
    ),
    "a place in another country": (
        '[site]\ncountry_code = "DE"\nsubdivision_code = "CH-ZH"',
        "site.subdivision_code",
        "not in site.country_code = 'DE'",
        "the country 'CH'",
    ),
    "heat that nobody measures": (
        '[site]\nheat_sink = "pool"',
        "site.heat_sink",
        "no effect without a meter",
        "[[sensors.mbus]]",
    ),
    "a share of no meter": (
        "[site]\nshare_ppm = 5",
        "site.share_ppm",
        "no effect without a meter",
        "[[sensors.modbus]]",
    ),
    "a share that is nothing": ("[site]\nshare_ppm = 0", "site.share_ppm", ">= 1", "from 1"),
    "a relative folder for leases": (
        '[lease]\ncgroup_root = "hearth"',
        "lease.cgroup_root",
        "",
        "text that matches ^(auto|/.+)$",
    ),
    "a relative state directory": ("state_dir = 'state'", "state_dir", "", "text that matches ^/."),
    "a relative socket": ("admin_socket = 'a'", "admin_socket", "", "text that matches ^/."),
    "a relative rune": (
        '[settlement]\ninvoice_rune_file = "a.rune"',
        "settlement.invoice_rune_file",
        "",
        "text that matches",
    ),
    "no TPM to ask": ('[tpm]\ntcti = ""', "tpm.tcti", "", "text"),
    "one name twice": (
        '[[sensors.modbus]]\nname="a"\nhost="h"\nmap="m"\n[[sensors.mbus]]\nname="a"\nhost="h"',
        "sensors",
        "'a' is used twice",
        "unique",
    ),
    "no TOML": ("[offer\n", "not TOML", "line 1", ""),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_file_says_where_and_what_instead(tmp_path: Path, case: str) -> None:
    text, key, what, remedy = WRONG[case]
    file = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load(file)
    said = str(caught.value)
    assert said.startswith(f"{file}: {key}: ")
    assert what in said
    assert remedy in said
    assert "\n" not in said
    assert caught.value.exit_code == 2


def test_no_file_is_an_error_where_one_was_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.toml: no such file; give --config"):
        load(tmp_path / "absent.toml")


def test_no_file_at_the_default_place_is_the_defaults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(configuration, "DEFAULT_PATH", tmp_path / "hearth.toml")
    assert load(tmp_path / "hearth.toml") == Config()
    write(tmp_path, "[log]\ncheckpoint_seconds = 5", "conf.d/own.toml")
    assert load(tmp_path / "hearth.toml").log.checkpoint_seconds == 5


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "hearth.toml").mkdir()
    with pytest.raises(ConfigError, match="Is a directory"):
        load(tmp_path / "hearth.toml")


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "hearth.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not TOML"):
        load(tmp_path / "hearth.toml")


# --- conf.d ---


def test_later_files_go_over_earlier_ones_key_by_key(tmp_path: Path) -> None:
    main = write(tmp_path, "[offer]\nlifetime_seconds = 100\navailable_days = 3\n")
    write(tmp_path, "[offer]\nlifetime_seconds = 200\n", "conf.d/20.toml")
    write(tmp_path, "[offer]\nlifetime_seconds = 300\n[site]\nid = 'x'\n", "conf.d/10.toml")
    write(tmp_path, "[offer]\nlifetime_seconds = 9\n", "conf.d/30.toml.disabled")
    found = load(main)
    assert (found.offer.lifetime_seconds, found.offer.available_days) == (200, 3)
    assert found.site.id == "x"


def test_a_later_list_replaces_the_earlier_one(tmp_path: Path) -> None:
    price = '[[offer.prices]]\nunit = "joule"\nmsat = {}\n'
    main = write(tmp_path, price.format(1) + price.format(2))
    write(tmp_path, price.format(3), "conf.d/10.toml")
    assert [item.msat for item in load(main).offer.prices] == [3]


def test_the_file_that_is_wrong_is_the_one_that_is_named(tmp_path: Path) -> None:
    main = write(tmp_path, "")
    wrong = write(tmp_path, "[offer]\nlifetime_seconds = 9\n", "conf.d/10.toml")
    with pytest.raises(ConfigError) as caught:
        load(main)
    assert str(caught.value).startswith(f"{wrong}: offer.lifetime_seconds: ")


def test_what_two_files_make_together_is_checked_too(tmp_path: Path) -> None:
    main = write(tmp_path, '[[sensors.modbus]]\nname="a"\nhost="h"\nmap="m"')
    write(tmp_path, '[[sensors.mbus]]\nname="a"\nhost="h"', "conf.d/10.toml")
    with pytest.raises(ConfigError, match="used twice"):
        load(main)


def test_what_two_files_say_is_held_against_each_other_only_together(tmp_path: Path) -> None:
    main = write(tmp_path, '[offer]\nmode = "prepaid"')
    write(tmp_path, '[settlement]\nrail = "statement"\ndirectory = "/s"', "conf.d/10.toml")
    assert load(main).offer.mode == "prepaid"


def test_a_rail_may_be_prepared_before_it_is_switched_on(tmp_path: Path) -> None:
    text = '[settlement]\nkey_file = "/k"\nnode = "x"\n[settlement.caps]\nday_msat = 1'
    assert load(write(tmp_path, text)).settlement.rail == "none"


def test_what_has_no_price_is_not_for_sale() -> None:
    classes = ["MEMORY_MB", "PGPU", "VCPU"]
    assert unpriced(Offer(), classes) == ["PGPU"]
    assert unpriced(Offer(prices=()), classes) == classes
    assert unpriced(Offer(prices=(Price(unit="joule", msat=1),)), classes) == classes
    assert not unpriced(Offer(prices=(Price(unit="delivered-lease-second", msat=0),)), classes)
    free = Price(unit="delivered-unit-second", resource_class="PGPU", msat=0)
    assert not unpriced(Offer(prices=(*Offer().prices, free)), classes)


def test_what_is_reserved_must_be_there() -> None:
    config = Config(reserve=Reserve(vcpu=3, memory_mb=1000, pgpu=9))
    assert not list(overreserved(config, {"VCPU": 3, "MEMORY_MB": 1000}))
    assert not list(overreserved(config, {}))  # what could not be counted is not judged
    assert list(overreserved(config, {"VCPU": 2, "MEMORY_MB": 999})) == [
        ("reserve.vcpu", "3; accepted: at most the 2 VCPU of this host"),
        ("reserve.memory_mb", "1000; accepted: at most the 999 MEMORY_MB of this host"),
    ]
    assert not list(overreserved(Config(), {"VCPU": 1, "MEMORY_MB": 256}))  # a very small host


@given(st.lists(st.tuples(st.integers(0, MOST_MSAT), st.integers(1, 1 << 62)), max_size=4))
def test_no_price_that_is_accepted_can_burst_a_receipt(pairs: list[tuple[int, int]]) -> None:
    kinds = [("delivered-unit-second", "VCPU"), ("delivered-unit-second", "MEMORY_MB")]
    kinds += [("joule", ""), ("delivered-lease-second", "")]
    offer = Offer(
        prices=tuple(
            Price(unit=unit, resource_class=name, msat=msat, per=per)
            for (unit, name), (msat, per) in zip(kinds, pairs, strict=False)
        ),
        available_days=365,
    )
    year = 365 * 86_400 * 1_000_000_000
    if not list(contradictions(Config(offer=offer))):
        assert writable(prices(offer), LARGEST_HOST, year)


# --- what is accepted ---


def test_what_is_accepted_where_nothing_is() -> None:
    assert accepted(Config, "offer.nothing") == ""
    assert accepted(Config, "offer.prices[...].unit").startswith("one of")
    assert accepted(Config, "").startswith("the keys state_dir")


SCALARS = st.one_of(st.booleans(), st.integers(-(1 << 62), 1 << 62), st.text("abc xyz", max_size=5))


@given(
    st.dictionaries(
        st.sampled_from(["offer", "site", "reserve", "sensors", "log", "nonsense"]),
        st.one_of(
            SCALARS,
            st.dictionaries(
                st.sampled_from(["id", "vcpu", "prices", "modbus", "lifetime_seconds", "x"]),
                st.one_of(SCALARS, st.lists(SCALARS, max_size=2)),
                max_size=3,
            ),
        ),
        max_size=4,
    )
)
def test_whatever_is_written_is_read_or_refused(raw: dict[str, object]) -> None:
    try:
        configuration._decode(raw, Path("hearth.toml"))
    except ConfigError as error:
        assert str(error).startswith("hearth.toml: ")
