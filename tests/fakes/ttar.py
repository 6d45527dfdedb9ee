"""Unpack ttar, the text archive of Prometheus fixtures (ideaship/ttar), into a folder."""

from __future__ import annotations

from pathlib import Path


def unpack(archive: bytes, folder: Path) -> None:
    """Write the archive's directories, files and links below `folder`.

    The format: `Directory: P` or `Path: P` followed by `SymlinkTo: T` or by `Lines: N` and N lines;
    in those `NULLBYTE` stands for a zero byte and `EOF` for the missing newline at the end.
    """
    lines = iter(archive.splitlines(keepends=True))
    path = folder
    for line in lines:
        key, _, value = line.rstrip(b"\n").partition(b": ")
        match key:
            case b"Directory":
                (folder / value.decode()).mkdir(parents=True, exist_ok=True)
            case b"Path":
                path = folder / value.decode()
                path.parent.mkdir(parents=True, exist_ok=True)
            case b"SymlinkTo":
                path.symlink_to(value.decode())
            case b"Lines":
                content = b"".join(next(lines) for _ in range(int(value)))
                content = content.replace(b"NULLBYTE", b"\0")
                path.write_bytes(content.removesuffix(b"EOF\n"))
            case _:
                assert key == b"Mode" or line.startswith(b"#") or not line.strip(), line
