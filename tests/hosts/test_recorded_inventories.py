"""Recorded machines give what they gave; a recording gives what its machine gives."""

from __future__ import annotations

import json
import shutil
import uuid
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from probes import nvml
from probes.capture import capture, secrets
from probes.component import ComponentKind
from probes.errors import Malformed
from probes.host import Host
from probes.inventory import Inventory, resources, take
from tests.fakes.smbios import encode, entry_point, read_dump, release
from tests.fakes.ttar import unpack

HERE = Path(__file__).parent
FIRECRACKER = HERE / "firecracker"


@pytest.fixture(scope="module")
def node_exporter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("node_exporter")
    unpack((HERE / "node_exporter_sys/sys.ttar").read_bytes(), root)
    return root


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, node_exporter: Path) -> Path:
    """node_exporter's /sys with a Dell's SMBIOS table, disks and two A100 boards put in."""
    root = tmp_path_factory.mktemp("server") / "root"
    shutil.copytree(node_exporter, root, symlinks=True)
    text = next((HERE / "dmidecode").glob("Dell_PowerEdge_R6515*")).read_text()
    table = encode(read_dump(text), release(text))
    folder = root / "sys/firmware/dmi/tables"
    folder.mkdir(parents=True)
    (folder / "DMI").write_bytes(table)
    (folder / "smbios_entry_point").write_bytes(entry_point(release(text), len(table)))
    disk = root / "sys/devices/pci0000:00/0000:00:02.1/0000:01:00.0/nvme/nvme9/nvme9n1"
    disk.mkdir(parents=True)
    (disk / "size").write_text("2000409264\n")
    (disk / "wwid").write_text("eui.0025385b91b0c1d2\n")
    (disk / "device").symlink_to("../../nvme9")
    (disk.parent / "serial").write_text("S676NX0R123456\n")
    (disk.parent / "subsystem").symlink_to("../../../../../../class/nvme")
    block = root / "sys/block/nvme9n1"
    block.symlink_to("../devices/pci0000:00/0000:00:02.1/0000:01:00.0/nvme/nvme9/nvme9n1")
    boards = nvml.Boards(
        "570.148.08",
        (
            nvml.Board("0000:06:00.0", f"GPU-{uuid.UUID(int=1)}", "A100", serial="1650000000001"),
            nvml.Board("0000:07:00.0", f"GPU-{uuid.UUID(int=2)}", "A100", serial="1650000000002"),
        ),
    )
    (root / "nvml.json").write_bytes(msgspec.json.encode(boards))
    return root


def test_firecracker_is_the_golden_one() -> None:
    from agent.cli.inventory import _json

    assert _json(take(Host(FIRECRACKER / "root"))) == (
        FIRECRACKER / "inventory.json"
    ).read_text().rstrip("\n")


def test_firecracker_in_words() -> None:
    found = take(Host(FIRECRACKER / "root"))
    assert found.virtualization == "kvm"
    assert resources(found) == (("MEMORY_MB", 24105), ("VCPU", 2))
    (processor,) = found.of(ComponentKind.PROCESSOR)
    assert (processor.vendor, processor.model) == ("AuthenticAMD", "AMD EPYC")
    assert [c.get("name") for c in found.of(ComponentKind.DISK)] == ["vda"]
    assert [c.get("name") for c in found.of(ComponentKind.NETWORK_INTERFACE)] == ["eth0"]
    assert len(found.of(ComponentKind.PCI_DEVICE)) == 6
    assert "STORAGE_DISK_HDD" not in found.traits  # virtio knows nothing of what turns


def test_node_exporters_machine(node_exporter: Path) -> None:
    """Expected are the values of node_dmi_info and node_pcidevice_info in its own e2e output."""
    found = take(Host(node_exporter))
    by_locator = {(c.kind, c.locator): c for c in found.components}
    system = by_locator[ComponentKind.SYSTEM, "system"]
    assert (system.vendor, system.model, system.serial) == (
        "Dell Inc.",
        "PowerEdge R6515",
        "7N62AI2",
    )
    assert system.get("uuid") == "83340ca8-cb49-4474-8c29-d2088ca84dd9"
    assert system.get("sku") == "SKU=NotProvided;ModelName=PowerEdge R6515"
    assert system.get("memory_controllers") == "mc0"
    board = by_locator[ComponentKind.BOARD, "board"]
    assert (board.model, board.serial) == ("07PXPY", ".7N62AI2.GRTCL6944100GP.")
    bios = by_locator[ComponentKind.FIRMWARE, "bios"]
    assert (bios.firmware, bios.get("date")) == ("2.2.4", "04/12/2021")
    assert len(found.of(ComponentKind.PROCESSOR)) == 2
    nic = by_locator[ComponentKind.PCI_DEVICE, "0000:45:00.0"]
    assert (nic.vendor, nic.model, nic.get("class")) == ("8086", "1521", "020000")
    assert (nic.get("subsystem"), nic.get("numa_node")) == ("8086:00a3", "0")
    assert nic.get("max_link_width") == "4"


def test_a_take_is_repeatable(server: Path) -> None:
    assert take(Host(server)) == take(Host(server))


def test_components_are_sorted_and_named_once(server: Path) -> None:
    found = take(Host(server))
    places = [(c.kind, c.locator) for c in found.components]
    assert places == sorted(set(places))
    assert {c.kind for c in found.components} >= {
        *(ComponentKind.MEMORY_MODULE, ComponentKind.POWER_SUPPLY, ComponentKind.DISK),
        ComponentKind.ACCELERATOR,
    }


# capture


def test_a_recording_gives_the_same_inventory(server: Path, tmp_path: Path) -> None:
    found = capture(Host(server), tmp_path / "recorded")
    assert found == take(Host(server))
    # nvml.json is among what a recorded machine is read from, so it is recorded again
    assert take(Host(tmp_path / "recorded")) == found


def test_a_recording_stays_inside_its_folder(server: Path, tmp_path: Path) -> None:
    target = tmp_path / "recorded"
    capture(Host(server), target)
    links = [path for path in target.rglob("*") if path.is_symlink()]
    assert links
    for link in links:
        assert not link.readlink().is_absolute()
        assert link.resolve().is_relative_to(target.resolve())


def test_a_recording_of_this_machine(tmp_path: Path) -> None:
    found = capture(Host("/"), tmp_path / "here")
    assert take(Host(tmp_path / "here")) == found == take(Host("/"))


def everything(folder: Path) -> bytes:
    parts = []
    for path in sorted(folder.rglob("*")):
        parts.append(str(path.relative_to(folder)).encode())
        if path.is_symlink():
            parts.append(str(path.readlink()).encode())
        elif path.is_file():
            parts.append(path.read_bytes())
    return b"\0".join(parts)


def test_anonymised_recordings_name_no_machine(server: Path, tmp_path: Path) -> None:
    found = take(Host(server))
    told = secrets(found)
    assert {"7N62AI2", "S676NX0R123456", "eui.0025385b91b0c1d2", "1650000000002"} <= told
    assert len([c for c in found.of(ComponentKind.MEMORY_MODULE) if c.serial in told]) == 8
    capture(Host(server), tmp_path / "anonymous", anonymise=True)
    content = everything(tmp_path / "anonymous").lower()
    for secret in told:
        assert secret.lower().encode() not in content
    raw = uuid.UUID(next(c for c in found.components if c.locator == "system").get("uuid"))
    assert raw.bytes not in content
    assert raw.bytes_le not in content


def test_an_anonymised_recording_is_the_same_machine_otherwise(
    server: Path, tmp_path: Path
) -> None:
    found = capture(Host(server), tmp_path / "anonymous", anonymise=True)
    again = take(Host(tmp_path / "anonymous"))
    assert resources(again) == resources(found)
    assert again.traits == found.traits
    assert shape(again) == shape(found)
    assert again != found


def shape(inventory: Inventory) -> list[tuple[object, ...]]:
    return sorted(
        (c.kind, c.vendor, c.model, len(c.serial), tuple(name for name, _ in c.properties))
        for c in inventory.components
    )


def test_one_serial_has_one_pseudonym(server: Path, tmp_path: Path) -> None:
    """The Dell's service tag is its chassis' as well, and part of its board's serial."""
    capture(Host(server), tmp_path / "anonymous", anonymise=True)
    again = {c.locator: c for c in take(Host(tmp_path / "anonymous")).components}
    assert again["system"].serial == again["chassis"].serial != "7N62AI2"


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("kept")
    with pytest.raises(Malformed):
        capture(Host(FIRECRACKER / "root"), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


# the command


def run(*arguments: str) -> tuple[int, str, str]:
    import typer

    from agent.cli.inventory import inventory

    app = typer.Typer()
    app.command()(inventory)
    result = CliRunner().invoke(app, arguments)
    return result.exit_code, result.stdout, result.stderr


def test_json_is_canonical_and_complete(server: Path) -> None:
    code, out, _ = run("--json", "--root", str(server))
    assert code == 0
    value = json.loads(out)
    assert (
        json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False) + "\n" == out
    )
    assert set(value) == {
        *("digest", "components", "traits", "kernel_release", "virtualization", "resources"),
    }
    assert len(bytes.fromhex(value["digest"])) == 32
    assert len(value["components"]) == len(take(Host(server)).components)
    assert run("--json", "--root", str(server))[1] == out


def test_the_table_names_what_there_is(server: Path) -> None:
    code, out, _ = run("--root", str(server))
    assert code == 0
    for word in ("PowerEdge R6515", "7N62AI2", "A100", "PGPU 2", "psu0", "virtualization none"):
        assert word in out


def test_capture_from_the_command_line(server: Path, tmp_path: Path) -> None:
    target = tmp_path / "sent"
    code, out, err = run("--json", "--root", str(server), "--capture", str(target))
    assert (code, out) == (0, run("--json", "--root", str(server))[1])
    assert f"recorded in {target}" in err
    code, _, err = run("--root", str(server), "--capture", str(target))
    assert code == 1
    assert "is not empty" in err


def test_anonymise_belongs_to_capture(server: Path) -> None:
    assert run("--anonymise", "--root", str(server))[0] == 2
