"""Lays wheels side by side into the private folder of a Debian package.

    make_site.py requirements core|lightning|source LOCK        the locked requirements of that part
    make_site.py site core|lightning SITE NOTICE WHEELS...      unpack that part's wheels into SITE

Wheels of several CPythons share the folder: an extension's name carries the interpreter it is for,
and everything else must be the same in all of them, which is looked at. What is left out, and why,
stands in packaging/debian/site.toml. NOTICE gets the licences of all that is unpacked.
"""

from __future__ import annotations

import fnmatch
import re
import sys
import tomllib
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

PLAN = tomllib.loads((Path(__file__).parent / "debian" / "site.toml").read_text("utf-8"))
# Debian has this text once for all (Debian Policy 12.5).
APACHE = re.compile(
    r"^ *Apache License\n *Version 2\.0, January 2004\n.*?"
    r"any such warranty or\s+additional liability\.(\s*END OF TERMS AND CONDITIONS)?$",
    re.DOTALL | re.MULTILINE,
)
LICENCE = re.compile(r"(licen[cs]e|copying|notice|authors)[^/]*$", re.IGNORECASE)
SCHEMES = ("purelib", "platlib")  # the only parts of a wheel's .data folder that are modules


def canonical(name: str) -> str:
    """A distribution's name as PEP 503 writes it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def part_of(name: str) -> str | None:
    """Which binary package a distribution belongs to; None: to none."""
    if name in PLAN["left_out"]:
        return None
    return "lightning" if name in PLAN["lightning"] else "core"


def requirements(lock: str) -> Iterator[tuple[str, str]]:
    """Each requirement of a hashed lock: its canonical name, its lines."""
    for match in re.finditer(r"^([A-Za-z0-9._-]+)==(?:.*\\\n)*.*\n", lock, re.MULTILINE):
        yield canonical(match[1]), match[0]


def wanted(lock: str, part: str) -> str:
    """The lines of a lock that belong to a part; `source` is what has no wheels."""
    chosen = []
    for name, lines in requirements(lock):
        source = name in PLAN["source_only"]
        if (source and part == "source") or (not source and part_of(name) == part):
            chosen.append(lines)
    return "".join(chosen)


def module_path(entry: str) -> str | None:
    """Where a wheel's entry goes within the folder; None: nowhere."""
    top, _, rest = entry.partition("/")
    if top.endswith(".data"):
        scheme, _, rest = rest.partition("/")
        return rest if scheme in SCHEMES else None
    return entry


def kept(path: str) -> bool:
    """Whether a file is wanted in the folder."""
    parts = PurePosixPath(path).parts
    if parts[0].endswith(".dist-info"):
        return len(parts) == 2 and parts[1] == "METADATA"  # tells scanners which versions are here
    return not any(fnmatch.fnmatchcase(path, pattern) for pattern in PLAN["dropped"])


def unpack(wheel: Path, site: Path) -> None:
    """Unpack one wheel.

    :raises SystemExit: when a file is there already and is another one.
    """
    with zipfile.ZipFile(wheel) as archive:
        for entry in sorted(archive.namelist()):
            path = None if entry.endswith("/") else module_path(entry)
            if path is None or not kept(path):
                continue
            target, content = site / path, archive.read(entry)
            if content.startswith(b"#!"):  # a module is not run by its name
                content = b"# " + content[2:]
            if target.exists() and target.read_bytes() != content:
                raise SystemExit(f"{wheel.name}: {path} is not as in another wheel")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)


def licences(wheel: Path) -> str:
    """Who made a wheel's content, and on which terms, in its own words."""
    with zipfile.ZipFile(wheel) as archive:
        names = sorted(archive.namelist())
        (about,) = (name for name in names if re.fullmatch(r"[^/]+\.dist-info/METADATA", name))
        head = archive.read(about).decode("utf-8").partition("\n\n")[0]
        facts = re.findall(
            r"^(?:Name|Version|Author(?:-email)?|License(?:-Expression)?|Home-page): .*(?:\n .*)*",
            head,
            re.MULTILINE,
        )
        texts = [
            archive.read(name).decode("utf-8", "replace")
            for name in names
            if ".dist-info/" in name and LICENCE.search(name)
        ]
    text = "\n".join(facts) + "\n\n" + "\n\n".join(text.strip() for text in texts)
    return APACHE.sub("Apache License 2.0: /usr/share/common-licenses/Apache-2.0", text)


def make_site(part: str, site: Path, notice: Path, folders: Sequence[str]) -> None:
    """Unpack a part's wheels and write down their licences."""
    said: dict[str, str] = {}
    for wheel in sorted(wheel for folder in folders for wheel in Path(folder).rglob("*.whl")):
        name = canonical(wheel.name.split("-")[0])
        if part_of(name) == part:
            unpack(wheel, site)
            said[name] = licences(wheel)
    line = "=" * 78
    text = "".join(f"{line}\n{said[name].strip()}\n\n" for name in sorted(said))
    notice.write_text(text, "utf-8")


def main(arguments: list[str]) -> None:
    """Run one of the two acts."""
    match arguments:
        case ["requirements", part, lock]:
            sys.stdout.write(wanted(Path(lock).read_text("utf-8"), part))
        case ["site", part, site, notice, *folders]:
            make_site(part, Path(site), Path(notice), folders)
        case _:
            raise SystemExit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
