"""TPM devices as the kernel shows them: /sys/class/tpm (ABI/stable/sysfs-class-tpm).

Manufacturer and firmware of a TPM 2.0 are asked of the TPM itself; that is `attest`'s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from probes import attribute
from probes.component import Component, ComponentKind, properties

if TYPE_CHECKING:
    from probes.host import Host

TPM = "/sys/class/tpm"


def read(host: Host) -> tuple[Component, ...]:
    """Return the TPMs. Properties: `version_major`, `driver`, `banks` (hash algorithms of PCRs).

    :raises Absent: where there is no such class.
    """
    return tuple(_tpm(host, name) for name in host.names(TPM) if name.startswith("tpm"))


def _tpm(host: Host, name: str) -> Component:
    base = f"{TPM}/{name}"
    banks = (n.removeprefix("pcr-") for n in host.names(base) if n.startswith("pcr-"))
    return Component(
        ComponentKind.TPM,
        name,
        model=attribute.name(host, f"{base}/device/description"),
        properties=properties(
            version_major=attribute.name(host, f"{base}/tpm_version_major"),
            driver=attribute.target(host, f"{base}/device/driver"),
            banks=",".join(sorted(banks)),
        ),
    )
