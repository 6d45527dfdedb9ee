"""Another version of a package that is built: the same files under another number."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path


def repack(package: Path, version: str, folder: Path) -> Path:
    """Unpack, renumber (control file and modules), pack again, uncompressed."""
    tree = folder / "tree"
    subprocess.run(["dpkg-deb", "--raw-extract", package, tree], check=True)
    control = tree / "DEBIAN" / "control"
    old = re.search(r"^Version: (.*)$", control.read_text(), re.MULTILINE)
    assert old
    control.write_text(control.read_text().replace(f"Version: {old[1]}", f"Version: {version}"))
    (metadata,) = tree.rglob("hearth_agent-*.dist-info/METADATA")
    for file, line in (
        (metadata, "\nVersion: {}\n"),
        (metadata.parents[1] / "agent" / "version.py", '\nVERSION = "{}"\n'),
    ):
        text = file.read_text()
        assert line.format(old[1]) in text
        file.write_text(text.replace(line.format(old[1]), line.format(version)))
    renumbered = folder / package.name.replace(f"_{old[1]}_", f"_{version}_")
    subprocess.run(["dpkg-deb", "-Znone", "--build", tree, renumbered], check=True)
    return renumbered
