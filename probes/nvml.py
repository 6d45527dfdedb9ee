"""NVIDIA's boards through NVML: the library's session, what the boards are, and what can fail.

`nvidia-ml-py` loads `libnvidia-ml.so.1`, which comes with the driver. This module loads neither
before somebody asks, and then first looks whether the library is there at all: the Python half
alone weighs 4 MiB. Power and energy are read in `nvml_meter.py`.
"""

from __future__ import annotations

import ctypes
import re
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from probes.component import Component, ComponentKind, Health, properties
from probes.errors import Absent, Denied, Malformed, ProbeError, TimedOut

if TYPE_CHECKING:
    from probes.host import Host

LIBRARY = "libnvidia-ml.so.1"
RECORDED = "/nvml.json"  # where a recorded machine keeps what the library said
MAX_RECORDED = 1 << 20
MAX_BOARDS = 64


class DriverMismatch(ProbeError):
    """Library and kernel module are of different versions: an upgrade that awaits a reboot."""

    retryable = False
    kind: ClassVar[str] = "driver-mismatch"


class BoardLost(ProbeError):
    """The board fell off the bus, or wants a reset. The others go on."""

    kind: ClassVar[str] = "gpu-lost"


# nvmlReturn_t (nvml.h) -> what it means here. Everything else is Malformed.
ERRORS: dict[int, type[ProbeError]] = {
    3: Absent,  # NOT_SUPPORTED
    4: Denied,  # NO_PERMISSION
    6: Absent,  # NOT_FOUND
    9: Absent,  # DRIVER_NOT_LOADED
    10: TimedOut,  # TIMEOUT
    12: Absent,  # LIBRARY_NOT_FOUND
    13: Absent,  # FUNCTION_NOT_FOUND
    15: BoardLost,  # GPU_IS_LOST
    16: BoardLost,  # RESET_REQUIRED
    18: DriverMismatch,  # LIB_RM_VERSION_MISMATCH
    19: TimedOut,  # IN_USE
    28: BoardLost,  # GPU_NOT_FOUND
}


@dataclass(frozen=True, slots=True)
class Slice:
    """One MIG device of a board."""

    uuid: str
    name: str
    memory_bytes: int | None
    gpu_instance: int
    compute_instance: int


@dataclass(frozen=True, slots=True)
class Board:
    """One board. None means that this board or driver does not tell."""

    address: str  # as sysfs writes it: 0000:06:00.0
    uuid: str
    name: str
    serial: str | None = None
    vbios: str | None = None
    part: str | None = None
    memory_bytes: int | None = None
    ecc: bool | None = None
    mig: bool | None = None
    power_limit_mw: int | None = None  # the most that may be configured
    remapping_failed: bool | None = None  # a memory row that could not be replaced
    slices: tuple[Slice, ...] = ()


@dataclass(frozen=True, slots=True)
class Boards:
    """What one look at the library gave. `lost` are addresses, empty strings where unknown."""

    driver: str
    boards: tuple[Board, ...]
    lost: tuple[str, ...] = ()


class Session:
    """The initialised library. Sessions nest: NVML counts them."""

    def __init__(self, library: ModuleType) -> None:
        self.library: Any = library  # the module pynvml, which has no types

    @classmethod
    def open(cls) -> Session:
        """Load and initialise the library.

        :raises Absent: where there is no NVIDIA driver.
        :raises DriverMismatch: after a driver upgrade without a reboot; a new process is needed
            once the module is the new one, because the old library stays loaded in this one.
        """
        try:
            ctypes.CDLL(LIBRARY)
        except OSError as error:
            raise Absent(f"nvml: {error}") from error
        import pynvml  # noqa: PLC0415 - 4 MiB that a host without NVIDIA boards does not pay

        session = cls(pynvml)
        session.ask("nvmlInit")
        return session

    def ask(self, function: str, *arguments: object) -> Any:
        """Call one function of the library.

        :raises ProbeError: one of `ERRORS`, or Malformed.
        """
        try:
            return getattr(self.library, function)(*arguments)
        except self.library.NVMLError as error:
            raise ERRORS.get(error.value, Malformed)(f"{function}: {error}") from error
        except UnicodeDecodeError as error:
            raise Malformed(f"{function}: text that is not UTF-8") from error

    def maybe(self, function: str, *arguments: object) -> Any:
        """Call one function; None where this board or driver does not have the answer."""
        try:
            return self.ask(function, *arguments)
        except Absent:
            return None

    def count(self) -> int:
        """Return how many boards the library lists, lost ones included."""
        return min(int(self.ask("nvmlDeviceGetCount")), MAX_BOARDS)

    def close(self) -> None:
        """Give the library back."""
        self.ask("nvmlShutdown")

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def sysfs_address(bus_id: str) -> str:
    """Return NVML's 00000000:06:00.0 as sysfs writes it, 0000:06:00.0.

    :raises Malformed: when it is no PCI address.
    """
    found = re.fullmatch(r"([0-9a-f]{4,8}):([0-9a-f]{2}:[0-9a-f]{2}\.[0-7])", bus_id.lower())
    if found is None:
        raise Malformed(f"nvml: {bus_id[:40]!r} is no PCI address")
    return f"{int(found[1], 16):04x}:{found[2]}"


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _slices(session: Session, handle: Any) -> tuple[Slice, ...]:
    found = []
    for index in range(session.maybe("nvmlDeviceGetMaxMigDeviceCount", handle) or 0):
        mig = session.maybe("nvmlDeviceGetMigDeviceHandleByIndex", handle, index)
        if mig is not None:  # indices have holes
            found.append(
                Slice(
                    uuid=_text(session.ask("nvmlDeviceGetUUID", mig)),
                    name=_text(session.ask("nvmlDeviceGetName", mig)),
                    memory_bytes=_memory(session, mig),
                    gpu_instance=int(session.ask("nvmlDeviceGetGpuInstanceId", mig)),
                    compute_instance=int(session.ask("nvmlDeviceGetComputeInstanceId", mig)),
                )
            )
    return tuple(found)


def _memory(session: Session, handle: Any) -> int | None:
    memory = session.maybe("nvmlDeviceGetMemoryInfo", handle)
    return None if memory is None else int(memory.total)


def _board(session: Session, handle: Any, address: str) -> Board:
    def text(function: str) -> str | None:
        value = session.maybe(function, handle)
        return None if value is None else _text(value)

    ecc = session.maybe("nvmlDeviceGetEccMode", handle)
    mig = session.maybe("nvmlDeviceGetMigMode", handle)
    limits = session.maybe("nvmlDeviceGetPowerManagementLimitConstraints", handle)
    remapped = session.maybe("nvmlDeviceGetRemappedRows", handle)
    return Board(
        address=address,
        uuid=_text(session.ask("nvmlDeviceGetUUID", handle)),
        name=_text(session.ask("nvmlDeviceGetName", handle)),
        serial=text("nvmlDeviceGetSerial"),
        vbios=text("nvmlDeviceGetVbiosVersion"),
        part=text("nvmlDeviceGetBoardPartNumber"),
        memory_bytes=_memory(session, handle),
        ecc=None if ecc is None else bool(ecc[0]),
        mig=None if mig is None else bool(mig[0]),
        power_limit_mw=None if limits is None else int(limits[1]),
        remapping_failed=None if remapped is None else bool(remapped[3]),
        slices=_slices(session, handle) if mig and mig[0] else (),
    )


def ask(session: Session) -> Boards:
    """Return what the library says of the boards; a lost one never hides the others."""
    boards, lost = [], []
    for index in range(session.count()):
        address = ""
        try:
            handle = session.ask("nvmlDeviceGetHandleByIndex", index)
            address = sysfs_address(_text(session.ask("nvmlDeviceGetPciInfo", handle).busId))
            boards.append(_board(session, handle, address))
        except BoardLost:
            lost.append(address)
    driver = _text(session.ask("nvmlSystemGetDriverVersion"))
    return Boards(driver, tuple(sorted(boards, key=lambda b: b.address)), tuple(sorted(lost)))


def read(host: Host) -> Boards:
    """Ask the library; on a recorded machine take what it said then.

    :raises Absent: where there is no NVIDIA driver.
    :raises DriverMismatch: when the boards are there and cannot be asked.
    """
    if host.root == Path("/"):
        with Session.open() as session:
            return ask(session)
    try:
        return msgspec.json.decode(host.read(RECORDED, MAX_RECORDED), type=Boards)
    except msgspec.DecodeError as error:
        raise Malformed(f"{RECORDED}: {error}") from error


def overlay(found: tuple[Component, ...], boards: Boards) -> tuple[Component, ...]:
    """Return the accelerators among `found` with what NVML knows, and those that only it knows.

    Properties added: `memory_bytes`, `ecc`, `mig` (0 or 1), `part`, `board_serial`,
    `power_limit_mw`, `driver_version`; a MIG device is a component of its own at
    `ADDRESS/giN/ciM` with `parent`. The serial is the UUID. A board that the library has lost, and
    an NVIDIA accelerator that it does not list, are FAILED: they are there and do not work.
    """
    by_address = {board.address: board for board in boards.boards}
    result = []
    for component in found:
        board = by_address.pop(component.locator, None)
        if board is not None:
            result += _components(component, board, boards.driver)
        elif component.get("driver") == "nvidia" or component.locator in boards.lost:
            result.append(replace(component, health=Health.FAILED))
        else:
            result.append(component)
    for address, board in by_address.items():
        bare = Component(ComponentKind.ACCELERATOR, address, vendor="10de")
        result += _components(bare, board, boards.driver)
    return tuple(result)


def _components(seat: Component, board: Board, driver: str) -> list[Component]:
    """Return a board at its place on the bus, and its MIG devices."""
    health = Health.DEGRADED if board.remapping_failed else Health.OK
    known: dict[str, str | int | None] = dict(seat.properties)
    card = replace(
        seat,
        model=board.name,
        serial=board.uuid,
        firmware=board.vbios or "",
        properties=properties(
            **known
            | {
                "id": f"{seat.vendor}:{seat.model}" if seat.model else None,
                "memory_bytes": board.memory_bytes,
                "ecc": None if board.ecc is None else int(board.ecc),
                "mig": None if board.mig is None else int(board.mig),
                "part": board.part,
                "board_serial": board.serial,
                "power_limit_mw": board.power_limit_mw,
                "driver_version": driver,
            },
        ),
        health=health,
    )
    return [
        card,
        *(
            Component(
                ComponentKind.ACCELERATOR,
                f"{seat.locator}/gi{mig.gpu_instance}/ci{mig.compute_instance}",
                vendor=seat.vendor,
                model=mig.name,
                serial=mig.uuid,
                properties=properties(memory_bytes=mig.memory_bytes, parent=seat.locator),
                health=health,
            )
            for mig in board.slices
        ),
    ]
