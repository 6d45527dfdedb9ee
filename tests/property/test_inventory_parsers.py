"""Foreign bytes: whatever firmware, kernel or disk says, only our own error comes out."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from hypothesis import example, given
from hypothesis import strategies as st

from probes import block, cpu, ids, memory, smbios
from probes.component import clean
from probes.errors import Malformed
from tests.fakes.smbios import encode, read_dump, release

MACHINES = sorted((Path(__file__).parents[1] / "hosts/dmidecode").glob("*.txt"))
TEXTS = [path.read_text() for path in MACHINES]
TABLES = [encode(read_dump(text), release(text)) for text in TEXTS]

CPUINFO = (Path(__file__).parents[1] / "hosts/firecracker/root/proc/cpuinfo").read_bytes()


@given(st.binary(max_size=2048), st.sampled_from([(2, 0), (2, 5), (2, 6), (3, 7)]))
@example(b"\x01\x04\x00\x00\x00\x00", (3, 0))
@example(b"\x7f\x04\x00\x00", (3, 0))
def test_smbios_takes_any_bytes(raw: bytes, version: tuple[int, int]) -> None:
    with suppress(Malformed):
        smbios.parse(raw, version)


@given(
    st.sampled_from(TABLES),
    st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=8),
    st.floats(0, 1),
)
def test_smbios_takes_broken_tables(
    table: bytes, changes: list[tuple[float, int]], end: float
) -> None:
    broken = bytearray(table[: max(1, int(len(table) * end))])
    for where, value in changes:
        broken[int(where * (len(broken) - 1))] = value
    try:
        found = smbios.parse(bytes(broken))
    except Malformed:
        return
    components = memory.modules(found)
    assert len({c.locator for c in components}) <= len(found.modules)


@given(st.sampled_from(TABLES), st.floats(0, 1, exclude_max=True))
def test_a_table_cut_off_inside_a_structure_is_malformed(table: bytes, end: float) -> None:
    """No half of a structure is ever believed: what parses is whole structures from the start."""
    cut = table[: int(len(table) * end)]
    whole = list(smbios.structures(table))
    try:
        found = list(smbios.structures(cut))
    except Malformed:
        return
    assert found == whole[: len(found)]


@given(st.binary(max_size=64))
@example(b"_SM_" + bytes(27))
@example(b"_SM3_")
def test_entry_point_takes_any_bytes(raw: bytes) -> None:
    try:
        major, minor = smbios.version(raw)
    except Malformed:
        return
    assert 0 <= major <= 255
    assert 0 <= minor <= 255


@given(st.binary(max_size=4096))
@example(b"processor : 0\n\nprocessor : 0\n")
@example("processor : \u0663\n".encode())
@example(b"processor: 0\nCPU implementer : nothing\n")
def test_cpuinfo_takes_any_bytes(raw: bytes) -> None:
    with suppress(Malformed):
        assert cpu.parse_cpuinfo(raw)


@given(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=8), st.floats(0, 1))
def test_cpuinfo_takes_broken_files(changes: list[tuple[float, int]], end: float) -> None:
    broken = bytearray(CPUINFO[: max(1, int(len(CPUINFO) * end))])
    for where, value in changes:
        broken[int(where * (len(broken) - 1))] = value
    with suppress(Malformed):
        assert cpu.parse_cpuinfo(bytes(broken))


@given(st.text(max_size=80))
@example("0-99999999")
@example("3-1")
@example("\u0661")
def test_cpulist_takes_any_text(text: str) -> None:
    try:
        numbers = cpu.parse_list(text)
    except Malformed:
        return
    assert list(numbers) == sorted(set(numbers))


@given(st.sets(st.integers(0, 300)))
def test_cpulist_round_trip(numbers: set[int]) -> None:
    assert cpu.parse_list(",".join(map(str, numbers))) == tuple(sorted(numbers))


@given(st.text(max_size=200))
@example("MemTotal: \u0661\u0662 kB")
@example("MemTotal: " + "9" * 5000 + " kB")
def test_meminfo_takes_any_text(text: str) -> None:
    with suppress(Malformed):
        assert memory.parse_total(text) >= 0


@given(st.integers(0, 1 << 45))
def test_meminfo_total(kib: int) -> None:
    assert memory.parse_total(f"MemTotal:  {kib} kB\nMemFree: 1 kB\n") == kib * 1024


@given(st.binary(max_size=300))
def test_serial_page_takes_any_bytes(raw: bytes) -> None:
    with suppress(Malformed):
        block.parse_serial_page(raw)


@given(st.binary(max_size=600), st.lists(st.tuples(st.text(max_size=4), st.text(max_size=4))))
def test_pci_ids_takes_any_bytes(raw: bytes, wanted: list[tuple[str, str]]) -> None:
    found = ids.parse(raw, wanted)
    assert set(found) <= set(wanted)


@given(st.text(max_size=100))
def test_cleaning_is_done_once(text: str) -> None:
    assert clean(clean(text)) == clean(text)
    assert all(c.isprintable() for c in clean(text))
