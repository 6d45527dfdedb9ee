"""Record a machine: exactly the files that its inventory reads, as a folder.

`Host(folder)` then gives the same inventory. Symbolic links are kept as they are and files are put
where they really lie, so the folder looks like the machine's own /sys and /proc. The folder may
hold serial numbers; with `anonymise` each of them is replaced, by one of the same length and
alphabet, wherever it occurs: in files, in the SMBIOS table, in names.
"""

from __future__ import annotations

import hashlib
import os
import string
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import msgspec

from probes import nvml
from probes.component import ComponentKind
from probes.errors import Malformed, ProbeError
from probes.host import MAX_ATTRIBUTE, Host
from probes.inventory import Inventory, take

MAX_LINKS = 40  # as the kernel's own limit (path_resolution(7))
IDENTIFYING = (
    "uuid",
    "asset_tag",
    "board_serial",
)  # properties that tell one machine from its twins
SHORTEST = 4  # a shorter serial number would be found in everything


class Recorder(Host):
    """A host that remembers what was read of it."""

    def __init__(self, root: str | Path = "/") -> None:
        super().__init__(root)
        self.files: dict[str, bytes] = {}
        self.folders: dict[str, tuple[str, ...]] = {}
        self.present: set[str] = set()
        self.links: set[str] = set()

    def read(self, path: str | Path, limit: int = MAX_ATTRIBUTE) -> bytes:
        """Read and remember the bytes."""
        content = super().read(path, limit)
        self.files[str(path)] = content
        return content

    def names(self, path: str | Path) -> tuple[str, ...]:
        """List and remember the names."""
        names = super().names(path)
        self.folders[str(path)] = names
        return names

    def exists(self, path: str | Path) -> bool:
        """Look and remember that it is there."""
        there = super().exists(path)
        if there:
            self.present.add(str(path))
        return there

    def link(self, path: str | Path) -> str:
        """Read a link and remember that it was."""
        name = super().link(path)
        self.links.add(str(path))
        return name


def capture(host: Host, folder: Path, anonymise: bool = False) -> Inventory:
    """Write what the inventory of `host` reads into `folder`, and return that inventory.

    :param folder: is made; it must not exist or be empty.
    :raises Malformed: when it holds something.
    """
    if folder.exists() and any(folder.iterdir()):
        raise Malformed(f"{folder}: is not empty")
    recorder = Recorder(host.root)
    inventory = take(recorder)
    pseudonyms = _pseudonyms(inventory) if anonymise else {}
    writer = _Writer(host, folder, pseudonyms)
    folder.mkdir(parents=True, exist_ok=True)
    for path, names in sorted(recorder.folders.items()):
        writer.folder(path, names)
    for path in sorted(recorder.links):
        writer.link(path)
    for path in sorted(recorder.present):
        writer.place(path)
    for path, content in sorted(recorder.files.items()):
        writer.file(path, content)
    if host.root == Path("/"):
        try:
            boards = msgspec.json.encode(nvml.read(host))
        except ProbeError:
            return inventory
        writer.file(nvml.RECORDED, boards)
    return inventory


class _Writer:
    """Puts things where they lie on the machine, links followed one by one."""

    def __init__(self, host: Host, folder: Path, pseudonyms: Mapping[bytes, bytes]) -> None:
        self.host = host
        self.target = folder
        self.pseudonyms = pseudonyms

    def renamed(self, content: bytes) -> bytes:
        for secret, pseudonym in self.pseudonyms.items():
            content = content.replace(secret, pseudonym)
        return content

    def where(self, path: PurePosixPath) -> Path:
        name = self.renamed(str(path.relative_to("/")).encode()).decode()
        return self.target / name

    def real(self, path: str, follow_last: bool = True) -> PurePosixPath:
        """Return where `path` really lies, and write the links on the way."""
        parts = list(PurePosixPath(path).parts[1:])
        at = PurePosixPath("/")
        links = 0
        while parts:
            part = parts.pop(0)
            if part == "..":
                at = at.parent
                continue
            there = self.host.path(str(at / part))
            if there.is_symlink() and (parts or follow_last):
                links += 1
                if links > MAX_LINKS:
                    raise Malformed(f"{path}: too many links")
                target = PurePosixPath(there.readlink())
                self.symlink(at / part, target)
                parts = [p for p in target.parts if p != "/"] + parts
                at = PurePosixPath("/") if target.is_absolute() else at
                continue
            at /= part
        return at

    def symlink(self, path: PurePosixPath, target: PurePosixPath) -> None:
        where = self.where(path)
        if where.is_symlink():
            return
        where.parent.mkdir(parents=True, exist_ok=True)
        if target.is_absolute():  # relative, so that it stays inside the folder
            target = PurePosixPath(os.path.relpath(target, path.parent))
        where.symlink_to(self.renamed(str(target).encode()).decode())

    def folder(self, path: str, names: tuple[str, ...]) -> None:
        real = self.real(path)
        self.where(real).mkdir(parents=True, exist_ok=True)
        for name in names:
            there = self.host.path(str(real / name))
            if there.is_symlink():
                self.symlink(real / name, PurePosixPath(there.readlink()))
            elif there.is_dir():
                self.where(real / name).mkdir(exist_ok=True)

    def link(self, path: str) -> None:
        real = self.real(path, follow_last=False)
        self.symlink(real, PurePosixPath(self.host.path(str(real)).readlink()))

    def place(self, path: str) -> None:
        real = self.real(path)
        where = self.where(real)
        if self.host.path(str(real)).is_dir():
            where.mkdir(parents=True, exist_ok=True)
        else:
            where.parent.mkdir(parents=True, exist_ok=True)
            where.touch()

    def file(self, path: str, content: bytes) -> None:
        where = self.where(self.real(path))
        where.parent.mkdir(parents=True, exist_ok=True)
        where.write_bytes(self.renamed(content))


def secrets(inventory: Inventory) -> frozenset[str]:
    """Return every text in an inventory that tells this machine from another of its model."""
    found = set()
    for component in inventory.components:
        found.add(component.serial)
        found.update(component.get(key) for key in IDENTIFYING)
        if component.kind is ComponentKind.DISK and component.locator != component.get("name"):
            found.add(component.locator)  # a WWN
    return frozenset(text for text in found if len(text) >= SHORTEST)


def _pseudonyms(inventory: Inventory) -> dict[bytes, bytes]:
    """Return secret -> pseudonym in every spelling that occurs, longest first.

    A fresh random key makes pseudonyms of one recording agree with each other and with no other.
    """
    key = os.urandom(32)
    spellings: dict[bytes, bytes] = {}
    for secret in secrets(inventory):
        pseudonym = _disguise(secret, key)
        for spell in (str, str.upper, str.lower, lambda s: s.replace(":", "")):
            spellings[spell(secret).encode()] = spell(pseudonym).encode()
        if component_uuid := _uuid_bytes(secret):
            spellings |= dict(zip(component_uuid, _uuid_bytes(pseudonym), strict=True))
    return dict(sorted(spellings.items(), key=lambda item: -len(item[0])))


def _uuid_bytes(text: str) -> tuple[bytes, ...]:
    """Return a UUID in the two byte orders in which an SMBIOS table holds it."""
    digits = text.replace("-", "")
    if len(text) != 36 or len(digits) != 32 or not set(digits) <= set(string.hexdigits):
        return ()
    raw = bytes.fromhex(digits)
    return raw, raw[3::-1] + raw[5:3:-1] + raw[7:5:-1] + raw[8:]


def _disguise(secret: str, key: bytes) -> str:
    """Return another text of the same shape: digits for digits, letters for letters."""
    stream = hashlib.shake_256(key + secret.encode()).digest(len(secret))
    hexadecimal = set(secret) <= set(string.hexdigits + "-:. ")
    out = []
    for character, byte in zip(secret, stream, strict=True):
        if character in string.digits:
            out.append(string.digits[byte % 10])
        elif character in string.ascii_letters:
            letters = "abcdef" if hexadecimal else string.ascii_lowercase
            letter = letters[byte % len(letters)]
            out.append(letter.upper() if character.isupper() else letter)
        else:
            out.append(character)
    return "".join(out)
