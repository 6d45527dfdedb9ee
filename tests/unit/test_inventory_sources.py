"""Each source on small made-up machines: what it lists, what it leaves out and why."""

from __future__ import annotations

import inspect
from pathlib import Path

import os_resource_classes
import os_traits
import pytest

from probes import block, cpu, ids, memory, nic, pci, tpmdev, traits, usb, virt
from probes.component import Component, ComponentKind, Health, clean
from probes.errors import Absent, Denied, Malformed, ProbeError
from probes.host import Host
from probes.inventory import Inventory, resources, take


def grow(root: Path, files: dict[str, str | bytes], links: dict[str, str] | None = None) -> Host:
    """Write a machine: files with a newline as sysfs has it, and symbolic links."""
    for name, content in files.items():
        path = root / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else f"{content}\n".encode())
    for name, target in (links or {}).items():
        path = root / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(target)
    return Host(root)


# processors


def hybrid(root: Path) -> Host:
    """Two performance cores of two threads, one core of one; one socket."""
    files: dict[str, str | bytes] = {"/sys/devices/system/cpu/online": "0-4"}
    for number, siblings in enumerate(("0-1", "0-1", "2-3", "2-3", "4")):
        base = f"/sys/devices/system/cpu/cpu{number}"
        files[f"{base}/topology/physical_package_id"] = "0"
        files[f"{base}/topology/core_cpus_list"] = siblings
        for index, kind, level, size, shared in (
            (0, "Data", 1, "48K" if number < 4 else "32K", siblings),
            (1, "Instruction", 1, "32K", siblings),
            (2, "Unified", 2, "1280K", siblings),
            (3, "Unified", 3, "12288K", "0-4"),
        ):
            cache = f"{base}/cache/index{index}"
            files |= {
                f"{cache}/type": kind,
                f"{cache}/level": str(level),
                f"{cache}/size": size,
                f"{cache}/shared_cpu_list": shared,
            }
    blocks = "\n".join(
        f"processor\t: {n}\nvendor_id\t: GenuineIntel\nmodel name\t: Some  CPU @ 2 GHz \n"
        f"cpu family\t: 6\nmodel\t\t: 154\nstepping\t: 3\nmicrocode\t: 0x421\n"
        f"cpu MHz\t\t: {1000 + n}.000\nflags\t\t: fpu lm sse vmx {'amx_tile' if n < 4 else ''}\n"
        for n in range(5)
    )
    files["/proc/cpuinfo"] = blocks
    return grow(root, files)


def test_cores_threads_and_every_cache_once(tmp_path: Path) -> None:
    host = hybrid(tmp_path)
    processors = cpu.read_processors(host)
    (package,) = cpu.components(cpu.read_topology(host, processors), processors, None)
    assert package.model == "Some CPU @ 2 GHz"
    assert package.firmware == "0x421"
    assert dict(package.properties) == {
        "cores": "3",
        "threads": "5",
        "family": "6",
        "model_number": "154",
        "stepping": "3",
        "cache_l1d_bytes": str((48 + 48 + 32) << 10),
        "cache_l1i_bytes": str(96 << 10),
        "cache_l2_bytes": str(3 * 1280 << 10),
        "cache_l3_bytes": str(12288 << 10),
    }


def test_a_flag_that_not_every_core_has_is_no_trait(tmp_path: Path) -> None:
    found = take(hybrid(tmp_path)).traits
    assert "HW_CPU_X86_AMXTILE" not in found
    assert set(found) == {
        *("HW_ARCH_X86_64", "HW_CPU_HYPERTHREADING", "HW_CPU_X86_SSE"),
        *("HW_CPU_X86_INTEL_VMX", "HW_CPU_X86_VMX"),
    }


def test_an_offline_thread_is_not_counted(tmp_path: Path) -> None:
    host = hybrid(tmp_path)
    (tmp_path / "sys/devices/system/cpu/online").write_text("0-2\n")
    assert dict(resources(take(host)))["VCPU"] == 3


def test_topology_from_cpuinfo_alone(tmp_path: Path) -> None:
    lines = "\n".join(
        f"processor : {n}\nphysical id : {n // 4}\ncore id : {n % 4 // 2}\n" for n in range(8)
    )
    host = grow(tmp_path, {"/proc/cpuinfo": lines})
    topology = cpu.read_topology(host, cpu.read_processors(host))
    assert topology.packages == {"0": (0, 1, 2, 3), "1": (4, 5, 6, 7)}
    assert topology.cores == {"0": 2, "1": 2}
    assert topology.numa_nodes == 1


def test_arm_processors() -> None:
    found = cpu.parse_cpuinfo(
        b"processor\t: 0\nBogoMIPS\t: 50.00\nFeatures\t: fp asimd aes atomics sve\n"
        b"CPU implementer\t: 0xc0\nCPU architecture: 8\nCPU variant\t: 0x0\nCPU part\t: 0xac3\n"
        b"CPU revision\t: 0\n\nHardware\t: Some board\nSerial\t: 12345678\n"
    )
    assert found[0].vendor == "Ampere"
    assert dict(found[0].identity) == {"part": "0xac3", "revision": "0", "variant": "0x0"}
    assert traits.of_flags(found[0].vendor, found[0].flags) == {
        "HW_ARCH_AARCH64",
        *(f"HW_CPU_AARCH64_{name}" for name in ("FP", "ASIMD", "AES", "ATOMICS", "SVE")),
    }


def test_no_processor_anywhere_is_absent(tmp_path: Path) -> None:
    with pytest.raises(Absent):
        cpu.read_topology(Host(tmp_path), {})


# traits and resource classes


def test_every_trait_is_a_standard_one() -> None:
    standard = set(os_traits.get_traits())
    ours = {trait for several in traits.X86.values() for trait in several}
    ours |= set(traits.X86_WITH_AVX512.values()) | set(traits.X86_BY_VENDOR.values())
    ours |= set(traits.AARCH64.values())
    source = inspect.getsource(traits)
    ours |= {word.strip('",})') for word in source.split() if word.startswith(('"HW_', '{"HW_'))}
    ours = {trait.strip('{}()",') for trait in ours}
    assert ours <= standard
    assert len(ours) > 80


def test_wide_instructions_of_narrow_processors() -> None:
    """Zen 3 has vaes on 256 bits; the trait is named after the 512-bit form."""
    assert traits.of_flags("AuthenticAMD", frozenset({"vaes", "avx2"})) == {"HW_CPU_X86_AVX2"}
    wide = traits.of_flags("AuthenticAMD", frozenset({"vaes", "avx512f"}))
    assert "HW_CPU_X86_AVX512VAES" in wide


def accelerator(locator: str, health: Health, **properties: str) -> Component:
    return Component(
        ComponentKind.ACCELERATOR,
        locator,
        properties=tuple(sorted(properties.items())),
        health=health,
    )


def test_what_can_be_sold() -> None:
    inventory = Inventory(
        components=(
            Component(ComponentKind.SYSTEM, "system", properties=(("memory_bytes", "3145727"),)),
            Component(ComponentKind.PROCESSOR, "package0", properties=(("threads", "16"),)),
            Component(ComponentKind.PROCESSOR, "package1", properties=(("threads", "16"),)),
            accelerator("a", Health.OK, mig="0"),
            accelerator("b", Health.OK),
            accelerator("c", Health.OK, mig="1"),
            accelerator("c/gi1/ci0", Health.OK, parent="c"),
            accelerator("c/gi2/ci0", Health.OK, parent="c"),
            accelerator("d", Health.FAILED),
            accelerator("e", Health.DEGRADED),
            accelerator("f", Health.UNSPECIFIED),
        ),
        traits=(),
        kernel_release="",
        virtualization="none",
    )
    assert resources(inventory) == (("MEMORY_MB", 2), ("PGPU", 2), ("VCPU", 32), ("VGPU", 2))
    assert {name for name, _ in resources(inventory)} <= set(os_resource_classes.STANDARDS)
    assert resources(Inventory((), (), "", "none")) == ()


# disks


def test_disks(tmp_path: Path) -> None:
    page = b"\0\x80\0\x08" + b"  Z1D2  "
    host = grow(
        tmp_path,
        {
            "/sys/block/nvme0n1/size": "2000409264",
            "/sys/block/nvme0n1/wwid": "eui.0025385b91b0c1d2",
            "/sys/block/nvme0n1/queue/rotational": "0",
            "/sys/block/nvme0n1/device/model": "SAMSUNG MZVL21T0HCLR-00B00              ",
            "/sys/block/nvme0n1/device/serial": "S676NX0R123456      ",
            "/sys/block/nvme0n1/device/firmware_rev": "GXA7601Q",
            "/sys/block/nvme0c0n1/hidden": "1",
            "/sys/block/sda/size": "7814037168",
            "/sys/block/sda/queue/rotational": "1",
            "/sys/block/sda/device/type": "0",
            "/sys/block/sda/device/vendor": "ATA     ",
            "/sys/block/sda/device/model": "ST4000DM004-2CV1",
            "/sys/block/sda/device/rev": "0001",
            "/sys/block/sda/device/wwid": "naa.5000c500c0ffee00",
            "/sys/block/sda/device/vpd_pg80": page,
            "/sys/block/sdb/size": "7814037168",
            "/sys/block/sdb/device/type": "0",
            "/sys/block/sdb/device/wwid": "naa.5000c500c0ffee00",
            "/sys/block/sdc/size": "61440",
            "/sys/block/sdc/removable": "1",
            "/sys/block/sdc/device/type": "0",
            "/sys/block/sr0/device/type": "5",
            "/sys/block/loop0/size": "1",
            "/sys/block/mmcblk0boot0/size": "8192",
        },
        {
            "/sys/block/nvme0n1/device/subsystem": "../../../class/nvme",
            **{f"/sys/block/{n}/device/subsystem": "../bus/scsi" for n in ("sda", "sdb", "sdc")},
            "/sys/block/sr0/device/subsystem": "../bus/scsi",
            "/sys/block/mmcblk0boot0/device/subsystem": "../bus/mmc",
        },
    )
    nvme, sda, sdc = sorted(block.read(host), key=lambda c: c.get("name"))
    assert (nvme.locator, nvme.model, nvme.serial, nvme.firmware) == (
        "eui.0025385b91b0c1d2",
        "SAMSUNG MZVL21T0HCLR-00B00",
        "S676NX0R123456",
        "GXA7601Q",
    )
    assert nvme.get("size_bytes") == str(2000409264 * 512)
    assert (nvme.get("transport"), nvme.get("rotational")) == ("nvme", "0")
    assert (sda.locator, sda.get("name"), sda.vendor) == ("naa.5000c500c0ffee00", "sda", "ATA")
    assert sda.serial == "Z1D2"
    assert sdc.get("removable") == "1"
    assert sdc.get("size_bytes") == ""  # the medium's, and that is exchanged
    assert take(host).traits == ("STORAGE_DISK_HDD", "STORAGE_DISK_SSD")


@pytest.mark.parametrize("page", [b"", b"\0\x83\0\0", b"\0\x80\0\x09short"])
def test_another_page_or_a_short_one(page: bytes) -> None:
    with pytest.raises(Malformed):
        block.parse_serial_page(page)


# network interfaces


def test_interfaces(tmp_path: Path) -> None:
    host = grow(
        tmp_path,
        {
            "/sys/class/net/bonding_masters": "bond0",
            "/sys/class/net/lo/address": "00:00:00:00:00:00",
            "/sys/class/net/br0/address": "02:00:00:00:00:01",
            "/sys/class/net/eno1/address": "02:00:00:00:00:99",
            "/sys/class/net/eno1/bonding_slave/perm_hwaddr": "AC:1F:6B:00:00:01",
            "/sys/class/net/eno1/type": "1",
            "/sys/class/net/eno1/speed": "1000",
            "/sys/devices/pci0/0000:01:00.0/vendor": "0x8086",
            "/sys/devices/pci0/0000:01:00.0/device": "0x1521",
            "/sys/devices/pci0/0000:01:00.0/sriov_totalvfs": "7",
            "/sys/class/net/p0/address": "ac:1f:6b:00:00:10",
            "/sys/class/net/p0/dev_port": "0",
            "/sys/class/net/p1/address": "ac:1f:6b:00:00:11",
            "/sys/class/net/p1/dev_port": "1",
            "/sys/class/net/q0/address": "ac:1f:6b:00:00:12",
            "/sys/class/net/q0/dev_port": "0",
            "/sys/class/net/q0/addr_assign_type": "3",
            "/sys/devices/pci0/0000:02:00.0/vendor": "0x15b3",
        },
        {
            "/sys/class/net/eno1/device": "../../../devices/pci0/0000:01:00.0",
            "/sys/devices/pci0/0000:01:00.0/driver": "../../../bus/pci/drivers/igb",
            "/sys/class/net/p0/device": "../../../devices/pci0/0000:02:00.0",
            "/sys/class/net/p1/device": "../../../devices/pci0/0000:02:00.0",
            "/sys/class/net/q0/device": "../../../devices/pci0/0000:02:00.0",
        },
    )
    found = {c.get("name"): c for c in nic.read(host)}
    assert set(found) == {"eno1", "p0", "p1", "q0"}
    assert found["eno1"].locator == "0000:01:00.0"
    assert found["eno1"].serial == "ac:1f:6b:00:00:01"  # its own, not the bond's
    assert (found["eno1"].vendor, found["eno1"].model) == ("8086", "1521")
    assert dict(found["eno1"].properties) == {
        "name": "eno1",
        "driver": "igb",
        "type": "ethernet",
        "virtual_functions": "7",
    }
    assert [found[n].locator for n in ("p0", "p1", "q0")] == [
        "0000:02:00.0",
        "0000:02:00.0/1",
        "0000:02:00.0/q0",
    ]
    assert found["q0"].serial == ""  # somebody set that address
    assert "HW_NIC_SRIOV" in take(host).traits


def test_a_cable_that_is_pulled_changes_nothing(tmp_path: Path) -> None:
    links = {"/sys/class/net/eth0/device": "../../../devices/pci0/0000:01:00.0"}
    host = grow(
        tmp_path, {"/sys/class/net/eth0/carrier": "1", "/proc/meminfo": "MemTotal: 9 kB"}, links
    )
    (tmp_path / "sys/class/net/eth0/speed").write_text("10000\n")
    before = take(host)
    (tmp_path / "sys/class/net/eth0/speed").write_text("-1\n")
    (tmp_path / "sys/class/net/eth0/carrier").write_text("0\n")
    (tmp_path / "proc/meminfo").write_text("MemTotal: 9 kB\nMemFree: 1 kB\n")
    assert take(host) == before


# PCI, USB, TPM, memory


@pytest.mark.parametrize(
    ("vendor", "code", "answer"),
    [
        ("10de", "030200", True),  # NVIDIA 3D controller
        ("10de", "030000", True),
        ("10de", "040300", False),  # its sound
        ("1a03", "030000", False),  # the VGA of a management controller
        ("8086", "030000", False),  # graphics of a mini-PC
        ("1002", "038000", True),  # AMD Instinct
        ("1da3", "120000", True),  # processing accelerator
    ],
)
def test_accelerators(vendor: str, code: str, answer: bool) -> None:
    assert pci.is_accelerator(vendor, code) is answer


def test_pci_functions(tmp_path: Path) -> None:
    base = "/sys/bus/pci/devices/0000:03:00.0"
    host = grow(
        tmp_path,
        {
            f"{base}/vendor": "0x1002",
            f"{base}/device": "0x740f",
            f"{base}/class": "0x038000",
            f"{base}/revision": "0x02",
            f"{base}/subsystem_vendor": "0x1002",
            f"{base}/subsystem_device": "0x0c34",
            f"{base}/numa_node": "-1",
            f"{base}/max_link_speed": "16.0 GT/s PCIe",
            f"{base}/current_link_speed": "2.5 GT/s PCIe",
            f"{base}/max_link_width": "16",
            f"{base}/unique_id": "9246b1f0",
            f"{base}/mem_info_vram_total": "68702699520",
            "/sys/bus/pci/devices/0000:00:00.0/vendor": "0x8086",
            "/sys/bus/pci/devices/0000:00:00.0/class": "0x060000",
            "/sys/bus/pci/devices/0000:00:00.0/max_link_width": "255",
            "/sys/bus/pci/devices/0000:00:00.0/max_link_speed": "Unknown",
        },
        {f"{base}/driver": "../drivers/amdgpu"},
    )
    bridge, gpu = pci.read(host)
    assert bridge.kind is ComponentKind.PCI_DEVICE
    assert bridge.properties == (("class", "060000"),)
    assert (gpu.kind, gpu.serial, gpu.health) == (
        ComponentKind.ACCELERATOR,
        "9246b1f0",
        Health.UNSPECIFIED,
    )
    assert dict(gpu.properties) == {
        "class": "038000",
        "driver": "amdgpu",
        "max_link_speed": "16.0 GT/s PCIe",
        "max_link_width": "16",
        "memory_bytes": "68702699520",
        "revision": "02",
        "subsystem": "1002:0c34",
    }


def test_names_of_pci_devices(tmp_path: Path) -> None:
    text = (
        "# comment\n10de  NVIDIA Corporation\n\t20b0  GA100 [A100 SXM4 40GB]\n"
        "\t\t10de 144e  A100\n8086  Intel Corporation\n\t20b0  Other\nC 03  Display controller\n"
        "\t00  VGA\n"
    )
    host = grow(tmp_path, {"/usr/share/hwdata/pci.ids": text})
    assert ids.names(
        host, [("10de", "20b0"), ("8086", "ffff"), ("03", "00"), ("dead", "beef")]
    ) == {
        ("10de", "20b0"): ("NVIDIA Corporation", "GA100 [A100 SXM4 40GB]"),
        ("8086", "ffff"): ("Intel Corporation", "ffff"),
    }
    assert ids.names(Host(tmp_path / "nothing"), [("10de", "20b0")]) == {}


def test_usb(tmp_path: Path) -> None:
    host = grow(
        tmp_path,
        {
            "/sys/bus/usb/devices/usb1/manufacturer": "Linux 6.1.0 xhci-hcd",
            "/sys/bus/usb/devices/1-1/idVendor": "0403",
            "/sys/bus/usb/devices/1-1/idProduct": "6001",
            "/sys/bus/usb/devices/1-1/manufacturer": "FTDI",
            "/sys/bus/usb/devices/1-1/product": "FT232R USB UART",
            "/sys/bus/usb/devices/1-1/serial": "A9007UX1",
            "/sys/bus/usb/devices/1-1:1.0/bInterfaceClass": "ff",
            "/sys/bus/usb/devices/1-1.4/idVendor": "1d6b",
            "/sys/bus/usb/devices/1-1.4/idProduct": "0002",
        },
    )
    uart, hub = usb.read(host)
    assert (uart.vendor, uart.model, uart.serial) == ("FTDI", "FT232R USB UART", "A9007UX1")
    assert uart.get("id") == "0403:6001"
    assert (hub.locator, hub.vendor, hub.model) == ("1-1.4", "1d6b", "0002")


def test_tpm(tmp_path: Path) -> None:
    host = grow(
        tmp_path,
        {
            "/sys/class/tpm/tpm0/tpm_version_major": "2",
            "/sys/class/tpm/tpm0/device/description": "TPM 2.0 Device",
            "/sys/class/tpm/tpm0/pcr-sha256/0": "00",
            "/sys/class/tpm/tpm0/pcr-sha1/0": "00",
        },
        {"/sys/class/tpm/tpm0/device/driver": "../bus/tpm_crb"},
    )
    (tpm,) = tpmdev.read(host)
    assert (tpm.locator, tpm.model) == ("tpm0", "TPM 2.0 Device")
    assert dict(tpm.properties) == {
        "banks": "sha1,sha256",
        "driver": "tpm_crb",
        "version_major": "2",
    }


def test_modules_through_edac_where_the_table_is_closed(tmp_path: Path) -> None:
    mc = "/sys/devices/system/edac/mc/mc0"
    host = grow(
        tmp_path,
        {
            f"{mc}/mc_name": "Skylake Socket#0 IMC#0",
            f"{mc}/dimm0/size": "32768",
            f"{mc}/dimm0/dimm_mem_type": "Registered-DDR4",
            f"{mc}/dimm0/dimm_edac_mode": "SECDED",
            f"{mc}/dimm0/dimm_label": "CPU_SrcID#0_MC#0_Chan#0_DIMM#0",
            f"{mc}/dimm1/size": "0",
        },
    )
    (module,) = take(host).of(ComponentKind.MEMORY_MODULE)
    assert module.get("size_bytes") == str(32 << 30)
    assert module.get("ecc") == "SECDED"
    assert memory.read_controllers(host) == ("Skylake Socket#0 IMC#0",)


# virtualisation


@pytest.mark.parametrize(
    ("dmi", "hypervisor", "flag", "clocks", "tree", "answer"),
    [
        ({}, "", False, "tsc hpet acpi_pm", "", "none"),
        ({"sys_vendor": "Dell Inc."}, "", False, "tsc", "", "none"),
        ({"sys_vendor": "QEMU"}, "", True, "kvm-clock tsc", "", "kvm"),
        ({"sys_vendor": "QEMU"}, "", True, "tsc", "", "qemu"),
        ({"sys_vendor": "VMware, Inc."}, "", True, "tsc", "", "vmware"),
        ({"bios_vendor": "Amazon EC2"}, "", True, "kvm-clock", "", "amazon"),
        ({"sys_vendor": "Amazon EC2", "product_name": "c5.metal"}, "", False, "tsc", "", "none"),
        ({}, "xen", True, "xen tsc", "", "xen"),
        ({}, "", True, "kvm-clock tsc", "", "kvm"),  # Firecracker: no DMI at all
        ({}, "", True, "hyperv_clocksource_tsc_page", "", "microsoft"),
        ({}, "", True, "tsc", "", "vm-other"),
        ({}, "", False, "arch_sys_counter", "linux,kvm", "kvm"),
        ({}, "", False, "arch_sys_counter", "xen,xen-4.17\0xen,xen", "xen"),
        ({}, "", False, "arch_sys_counter", "someone,else", "vm-other"),
    ],
)
def test_hypervisors(
    dmi: dict[str, str], hypervisor: str, flag: bool, clocks: str, tree: str, answer: str
) -> None:
    assert virt.detect(dmi, hypervisor, flag, clocks, tree) == answer


def test_dom0_has_the_hardware(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {"/sys/hypervisor/type": "xen"}
    host = grow(tmp_path, files)
    assert virt.read(host, {}, frozenset()) == "xen"
    grow(tmp_path, {"/proc/xen/capabilities": "control_d"})
    assert virt.read(host, {}, frozenset()) == "none"


# the whole


def test_nothing_at_all_is_an_inventory_too(tmp_path: Path) -> None:
    told: list[tuple[str, ProbeError]] = []
    found = take(Host(tmp_path), lambda source, error: told.append((source, error)))
    assert [c.locator for c in found.components] == ["system"]
    assert found.virtualization == "none"
    assert resources(found) == ()
    assert {type(error) for _, error in told} == {Absent}
    assert {"cpu", "meminfo", "block", "net", "pci", "usb", "tpm", "nvml", "smbios"} <= {
        source for source, _ in told
    }


def test_a_broken_table_takes_nothing_else(tmp_path: Path) -> None:
    told: dict[str, ProbeError] = {}
    host = grow(
        tmp_path,
        {
            "/sys/firmware/dmi/tables/smbios_entry_point": b"_SM3_" + bytes(19),
            "/sys/firmware/dmi/tables/DMI": b"\x11\x5c\x00\x00\x01",
            "/sys/class/dmi/id/product_name": "PowerEdge R6515",
            "/proc/meminfo": "MemTotal:       1048576 kB",
        },
    )
    found = take(host, told.setdefault)
    assert isinstance(told["smbios"], Malformed)
    assert found.components[0].model == "PowerEdge R6515"
    assert resources(found) == (("MEMORY_MB", 1024),)


class Closed(Host):
    """What a process that is not root meets in /sys."""

    def read(self, path: str | Path, limit: int = 4096) -> bytes:
        if str(path).endswith(("product_serial", "product_uuid", "/DMI", "smbios_entry_point")):
            raise Denied(f"{path}: Permission denied")
        return super().read(path, limit)


def test_what_only_root_may_read_is_told(tmp_path: Path) -> None:
    grow(
        tmp_path,
        {
            "/sys/class/dmi/id/product_name": "X10SRA",
            "/sys/class/dmi/id/product_serial": "0123",
            "/sys/firmware/dmi/tables/smbios_entry_point": b"_SM3_" + bytes(19),
        },
    )
    told: dict[str, ProbeError] = {}
    found = take(Closed(tmp_path), told.setdefault)
    assert isinstance(told["smbios"], Denied)
    assert (found.components[0].model, found.components[0].serial) == ("X10SRA", "")


@pytest.mark.parametrize(
    ("raw", "answer"),
    [
        ("  Crucial   CT16G4  ", "Crucial CT16G4"),
        ("To Be Filled By O.E.M.", ""),
        ("Default string", ""),
        ("00000000", ""),
        ("A\x00B\xff", "A Bÿ"),
        ("\ufffd\ufffd", ""),
        ("0000A", "0000A"),
    ],
)
def test_names_as_people_read_them(raw: str, answer: str) -> None:
    assert clean(raw) == answer
