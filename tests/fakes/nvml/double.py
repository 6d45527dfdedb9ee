"""Build the double of libnvidia-ml and write the boards it shows."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

HERE = Path(__file__).parent
RECORDINGS = HERE / "recordings"

# Element of `nvidia-smi -q -x` below <gpu> -> key of the specification, and its factor or map.
TEXTS = {
    "product_name": "name",
    "uuid": "uuid",
    "serial": "serial",
    "vbios_version": "vbios",
    "board_part_number": "board_part",
    "minor_number": "minor",
    "pci/pci_bus_id": "pci_bus_id",
}
NUMBERS = {
    "pci/pci_device_id": ("pci_device_id", "hex"),
    "pci/pci_sub_system_id": ("pci_subsystem_id", "hex"),
    "fb_memory_usage/total": ("memory_total", "MiB"),
    "fb_memory_usage/reserved": ("memory_reserved", "MiB"),
    "fb_memory_usage/used": ("memory_used", "MiB"),
    "gpu_power_readings/instant_power_draw": ("power_mw", "W"),
    "gpu_power_readings/average_power_draw": ("power_average_mw", "W"),
    "gpu_power_readings/current_power_limit": ("power_limit_mw", "W"),
    "gpu_power_readings/min_power_limit": ("power_min_mw", "W"),
    "gpu_power_readings/max_power_limit": ("power_max_mw", "W"),
    "utilization/gpu_util": ("utilization_gpu", "%"),
    "utilization/memory_util": ("utilization_memory", "%"),
    "temperature/gpu_temp": ("temperature_c", "C"),
    "ecc_mode/current_ecc": ("ecc_current", "enabled"),
    "ecc_mode/pending_ecc": ("ecc_pending", "enabled"),
    "mig_mode/current_mig": ("mig_current", "enabled"),
    "mig_mode/pending_mig": ("mig_pending", "enabled"),
    "remapped_rows/remapped_row_corr": ("remapped_correctable", ""),
    "remapped_rows/remapped_row_unc": ("remapped_uncorrectable", ""),
    "remapped_rows/remapped_row_pending": ("remapped_pending", "enabled"),
    "remapped_rows/remapped_row_failure": ("remapped_failure", "enabled"),
}
TRUE = {"Enabled": 1, "Yes": 1, "Disabled": 0, "No": 0}


def _number(text: str, form: str) -> int:
    if form == "hex":
        return int(text, 16)
    if form == "enabled":
        return TRUE[text]
    number = text.removesuffix(form).strip()
    if form == "W":
        whole, _, part = number.partition(".")
        return int(whole) * 1000 + int((part + "000")[:3])
    return int(number) << 20 if form == "MiB" else int(number)


def spec_of(xml: bytes) -> dict[str, str]:
    """Return the specification that `nvidia-smi -q -x` describes; what is N/A there is left out."""
    log = ElementTree.fromstring(xml)  # noqa: S314 - a recording that lies beside this file
    major, minor = (log.findtext("cuda_version") or "").split(".")
    spec = {
        "driver": log.findtext("driver_version") or "",
        "nvml": f"{major}.{log.findtext('driver_version')}",
        "cuda": str(int(major) * 1000 + int(minor) * 10),
    }
    for index, gpu in enumerate(log.findall("gpu")):
        for path, key in TEXTS.items():
            if (text := gpu.findtext(path, "N/A").strip()) != "N/A":
                spec[f"gpu.{index}.{key}"] = text
        for path, (key, form) in NUMBERS.items():
            if (text := gpu.findtext(path, "N/A").strip()) != "N/A":
                spec[f"gpu.{index}.{key}"] = str(_number(text, form))
    return spec


def recorded(name: str) -> dict[str, str]:
    """Return the specification of one recording: `a100`, `h100` (eight boards) or `t4`."""
    return spec_of((RECORDINGS / f"qx-{name}.xml").read_bytes())


@dataclass(frozen=True)
class NvmlDouble:
    """A built library in a folder, and the file that says which boards it shows."""

    directory: Path

    @classmethod
    def build(cls, directory: Path, *defines: str) -> NvmlDouble:
        """Compile into `directory`; `WITHOUT_ENERGY` leaves that symbol out."""
        compiler = shutil.which("cc") or shutil.which("gcc")
        assert compiler, "a C compiler is needed (Debian: gcc, libc6-dev)"
        directory.mkdir(parents=True, exist_ok=True)
        subprocess.run(
            [
                *(compiler, "-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror"),
                *("-fvisibility=hidden", "-Wl,-soname,libnvidia-ml.so.1"),
                *(f"-D{define}" for define in defines),
                *("-o", str(directory / "libnvidia-ml.so.1"), str(HERE / "libnvidia_ml.c")),
            ],
            check=True,
        )
        double = cls(directory)
        double.show({})
        return double

    @property
    def spec(self) -> Path:
        return self.directory / "boards.spec"

    def show(self, spec: Mapping[str, str | int]) -> None:
        """Show these boards from the next call on, all of them at once."""
        new = self.spec.with_suffix(".new")
        new.write_text("".join(f"{key}={value}\n" for key, value in spec.items()))
        new.rename(self.spec)

    @property
    def environment(self) -> dict[str, str]:
        """This process's environment with the double in it, for a process that is to be started."""
        return {
            **os.environ,
            "LD_LIBRARY_PATH": str(self.directory),
            "HEARTH_NVML_SPEC": str(self.spec),
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        }

    def run(self, program: str, *arguments: str) -> str:
        """Run a Python program that finds the double as its libnvidia-ml; return what it prints."""
        return subprocess.run(
            [sys.executable, "-W", "error", "-c", program, *arguments],
            env=self.environment,
            check=True,
            capture_output=True,
            text=True,
            timeout=60,
        ).stdout
