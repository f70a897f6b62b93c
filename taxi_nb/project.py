"""Where the project is on disk, what it is called and typed in it, and files that are whole."""

from __future__ import annotations

import errno
import glob
import os
import re
import secrets
import shutil
import stat
import sys
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from itertools import chain
from pathlib import Path
from threading import RLock
from typing import Any

_SETTINGS = "pyproject.toml"
# A rule of a Makefile, with its targets.
_RULE = re.compile(r"^([\w .-]+?)\s*:(?!=)", re.MULTILINE)

_PRIVATELY = RLock()


def project_root() -> Path:
    """Return the folder that the project's relative paths start from, as absolute.

    It is the one in the environment variable ``TAXI_NB_ROOT``; else the nearest, from the current
    one upwards, with ``params/`` and ``notebooks/``; else the nearest with a ``pyproject.toml``;
    else the current folder. A variable that names no folder is a `NotADirectoryError`.
    """
    if given := os.environ.get("TAXI_NB_ROOT"):
        folder = Path(given).expanduser().absolute()
        if not folder.is_dir():
            raise NotADirectoryError(f"`TAXI_NB_ROOT` must be an existing folder, got: {given!r}")
        return folder
    here = Path.cwd()
    candidates = (here, *here.parents)
    ours = (folder for folder in candidates if is_project(folder))
    others = (f for f in candidates if (f / _SETTINGS).is_file())
    return next(chain(ours, others), here)


def is_project(folder: Path) -> bool:
    """Return whether a folder is one that pipelines can be run in."""
    return (folder / "params").is_dir() and (folder / "notebooks").is_dir()


class SettingsError(ValueError):
    """The project's ``pyproject.toml`` cannot be used; the message says where and why."""


def default_experiment() -> str:
    """Return the experiment of runs that name no other: the project's name, or its folder's."""
    return project_name() or project_root().name or "project"


def project_name() -> str | None:
    """Return the name that every checkout of the project has; None if it has none.

    It is ``experiment`` of ``[tool.taxi-nb]`` in ``pyproject.toml``, or else the name of the
    project there. Raises SettingsError if the file cannot be read.
    """
    file = project_root() / _SETTINGS
    try:
        said: Any = tomllib.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise SettingsError(f"{file} cannot be read: {error}") from None
    for keys in (("tool", "taxi-nb", "experiment"), ("project", "name")):
        found = said
        for key in keys:
            found = found.get(key) if isinstance(found, dict) else None
        if found is not None and not (isinstance(found, str) and found.strip()):
            raise SettingsError(f"{file}: {'.'.join(keys)} must be a name, got {found!r:.100}")
        if found:
            return str(found)
    return None


def command(arguments: str, target: str | None = None) -> str:
    """Return what a person types here for ``taxi-nb ARGUMENTS``.

    That is ``make TARGET`` in a project whose Makefile has the target, and else the command; where
    that is not on PATH, from ``.venv/bin/`` if it is there, or as it was called.

    >>> command("ui", target="no-such-target").endswith("taxi-nb ui")
    True
    """
    root = project_root()
    if target and target in make_targets(root):
        return f"make {target}"
    own, called = Path(".venv", "bin", "taxi-nb"), Path(sys.argv[0])
    if shutil.which("taxi-nb"):
        own = Path("taxi-nb")
    elif not (root / own).is_file():
        own = called if called.name == own.name else Path("taxi-nb")
    return f"{own} {arguments}".rstrip()


def make_targets(root: Path) -> set[str]:
    """Return the targets of a folder's Makefile; none without one."""
    for name in ("GNUmakefile", "makefile", "Makefile"):  # The first is make's.
        if (root / name).is_file():
            rules = _RULE.findall((root / name).read_text("utf-8", "replace"))
            return {target for rule in rules for target in rule.split()} - {".PHONY"}
    return set()


def data_dir() -> Path:
    """Return the folder that made and downloaded months are kept in; it may not exist yet."""
    return project_root() / "data"


@lru_cache(maxsize=4096)
def path_within(root: Path, path: Path) -> str:
    """Return a path as people know it: relative to the project where it is inside."""
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)


def project_file(file: Path) -> Path:
    """Return a file named from the current folder, or else from the project's, as absolute."""
    # `Path.exists` raises where a name is too long for any file.
    return (file if os.path.exists(file) else project_root() / file).absolute()


@lru_cache(maxsize=4096)
def is_inside(name: str) -> bool:
    """Return whether a name, as it is written, leads to something in the folder it starts from."""
    path = Path(name)
    parts = path.parts
    return bool(parts) and not path.is_absolute() and ".." not in parts and "\0" not in name


def file_inside(folder: Path, name: str) -> Path:
    """Return the file of a folder that a record names; it need not be there.

    ValueError if the name leads out of the folder, be it through a link, or to what is no file:
    a record that somebody sent must neither be written over other files nor show them.
    """
    path = folder / name
    if not is_inside(name):
        raise ValueError(f"{name!r} is no file in the folder {folder}")
    with suppress(OSError):
        if path.parent == folder and stat.S_ISREG(os.lstat(path).st_mode):
            return path  # As most are: there is no link on the way.
    if not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder)):
        raise ValueError(f"{path} is a link that leads out of the folder {folder}")
    if path.exists() and not path.is_file():
        raise ValueError(f"{path} is not a regular file")
    return path


def private_folder(path: Path) -> Path:
    """Return a folder; one that has to be made only its owner can look into."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.mkdir(mode=0o700, exist_ok=True)
    return path


@contextmanager
def private_files() -> Iterator[None]:
    """Let only their owner read and write the files and folders that libraries make in a block.

    It holds for the whole process, so that such blocks wait for each other.
    """
    with _PRIVATELY:
        before = os.umask(0o077)
        try:
            yield
        finally:
            os.umask(before)


def read_regular(path: Path) -> bytes:
    """Return a file's content; OSError if it is a folder, a pipe or a device.

    Reading these could wait for ever.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
    return path.read_bytes()


@contextmanager
def part_file(path: Path) -> Iterator[Path]:
    """Give a hidden name beside `path` to write to; `publish` gives what is whole its own.

    The name is new for each use in each process. What is still there at the end is removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.part")
    try:
        yield part
    finally:
        part.unlink(missing_ok=True)


def part_files_of(path: Path) -> Iterator[Path]:
    """Return the part files of `path` that are there now, whoever writes them."""
    return path.parent.glob(f".{glob.escape(path.name)}.*.part")


def publish(part: Path, path: Path, *, replace: bool = True) -> bool:
    """Give a whole part file its name, and return whether it got it; all is on the disk then.

    Unless `replace`, a file that is there stays, as others may read it.
    """
    _sync(part, os.O_RDWR)
    if replace:
        os.replace(part, path)
    elif not _link(part, path):
        return False
    if os.name == "posix":  # Elsewhere a folder cannot be opened.
        _sync(path.parent, os.O_RDONLY)
    return True


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file so that a reader sees the old or the new one, never half of it."""
    with part_file(path) as part:
        part.write_bytes(content.encode() if isinstance(content, str) else content)
        publish(part, path)


def require_replaceable(
    file: Path, what: str, is_one: Callable[[Path], bool], *, overwrite: bool
) -> None:
    """Raise FileExistsError if a file that is there must not be replaced.

    Only a regular file may be, and, unless `overwrite`, only `what` we wrote: `is_one` tells.
    """
    if not os.path.lexists(file):
        return
    if file.is_symlink() or not file.is_file():
        raise FileExistsError(f"{file} is there, and is not a regular file: name another")
    if not (overwrite or is_one(file)):
        raise FileExistsError(
            f"{file} is there, and is no {what}: name another, or replace it with --overwrite"
        )


def _link(part: Path, path: Path) -> bool:
    try:
        os.link(part, path)
    except FileExistsError:
        return False
    except OSError:  # Not every file system has links.
        os.replace(part, path)
    return True


def _sync(path: Path, flags: int) -> None:
    opened = os.open(path, flags)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
