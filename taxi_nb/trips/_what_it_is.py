"""What stands where a month's parquet file should be, in words."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

# What other files begin with, and what they are called.
_BEGINNINGS = {
    b"version https://git-lfs.github.com/spec/": (
        "a Git LFS pointer, which stands for the file: `git lfs pull` fetches it"
    ),
    b"PARE": "an encrypted one",
    b"ARROW1": "an Arrow file (Feather)",
    b"FEA1": "an Arrow file (Feather)",
    b"ORC": "an ORC file",
    b"Obj\x01": "an Avro file",
    b"\x1f\x8b": "data packed by gzip",
    b"PK\x03\x04": "a zip archive (or an Excel sheet)",
    b"\x28\xb5\x2f\xfd": "data packed by zstd",
    b"BZh": "data packed by bzip2",
    b"\xfd7zXZ": "data packed by xz",
    b"7z\xbc\xaf": "a 7z archive",
    b"\x89HDF": "an HDF5 file",
    b"SQLite format 3": "an SQLite database",
    b"%PDF": "a PDF",
    b"\x80\x04": "a Python pickle",
    b"\x80\x05": "a Python pickle",
}
_PLACES = {
    stat.S_ISFIFO: "a named pipe, not a file",
    stat.S_ISCHR: "a device, not a file",
    stat.S_ISBLK: "a device, not a file",
    stat.S_ISSOCK: "a socket, not a file",
}


def no_file(path: Path) -> str | None:
    """Say what is at a path if it is no file that can be read; `OSError` if nobody can tell."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        if path.is_symlink():
            return f"a link to {os.readlink(path)}, which is not there"
        raise
    if stat.S_ISDIR(mode):
        return _folder(path)
    return next((what for is_one, what in _PLACES.items() if is_one(mode)), None)


def _folder(path: Path) -> str:
    names = sorted(os.listdir(path))
    if not names:
        return "a folder without files"
    suffixes = {Path(name).suffix for name in names}
    kind = f"{suffixes.pop().removeprefix('.').upper()} files" if len(suffixes) == 1 else "files"
    return f"a folder of {len(names):,} {kind.strip()}, such as {names[0]}"


def kind_of(head: bytes) -> str | None:
    """Say what a file is that begins with some bytes and is not parquet; None if unknown."""
    for beginning, what in _BEGINNINGS.items():
        if head.startswith(beginning):
            return what
    if not head.strip(b"\0"):
        return "nothing but zeros"
    encoding = "utf-16" if head.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    text = head.decode(encoding, "ignore").lstrip()
    if not text or len(re.sub(r"[^\x00-\x08\x0e-\x1f]", "", text)):
        return None
    line = text.splitlines()[0].strip()
    if re.match(r"<(!doctype html|html|head|body)", text, re.IGNORECASE):
        return "an HTML page, such as a server's error or a sign-in"
    if text.startswith("<"):
        return f"XML, such as a server's error, beginning with {line[:60]!r}"
    if text.startswith(("{", "[")):
        return f"JSON, beginning with {line[:60]!r}"
    if any(line.count(mark) for mark in ",;\t|"):
        return f"CSV, beginning with {line[:60]!r}"
    return f"text, beginning with {line[:60]!r}"
