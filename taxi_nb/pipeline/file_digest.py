"""Digests of files, read again only when a stamp says that they may have changed."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from taxi_nb.pipeline._code_digest import asks_mlflow, cell_digests, definition_digests
from taxi_nb.pipeline._notebook_file import read_notebook
from taxi_nb.pipeline.parameters import default_values
from taxi_nb.plain_data import plain
from taxi_nb.project import private_folder, write_whole
from taxi_nb.tracking.environment import installed_versions

# A file that changes twice within one tick of a clock has one stamp for two contents:
# stamps younger than this are not trusted. Two seconds are FAT's tick, the longest.
TICK_SECONDS = 2.0

# This process has no newer code than of then.
_STARTED = time.time()
# Kept stamps are of this form of digests; another form starts anew.
VERSION = 1


class FileDigests:
    """Digests of files, folders, modules and notebooks; remembers them in a file.

    Digests decide what changed. Stamps (size, times of change, inode) only save reading a
    file that cannot have changed; the time of the inode's change is one that no program sets.
    The file `memory` may be deleted at any time.
    """

    def __init__(self, memory: Path) -> None:
        self._memory = memory
        self._known: dict[str, dict[str, Any]] = {}
        self._asked: set[str] = set()
        self._seen: dict[Any, Any] | None = None
        self._is_new = False
        with suppress(OSError, ValueError, KeyError, TypeError):
            kept = json.loads(memory.read_bytes())
            self._known = dict(kept["files"]) if kept["version"] == VERSION else {}

    @contextmanager
    def one_moment(self) -> Iterator[None]:
        """Look at each file once in a block: many steps have read the same ones."""
        self._seen = {}
        try:
            yield
        finally:
            self._seen = None

    def said_of(self, of: object, kind: str, say: Callable[[], Iterable[str]]) -> Sequence[str]:
        """Return what is said of a value; in one moment the same object is looked at once."""
        # Beside the value itself: as long as that is here no other one can get its id.
        said: Sequence[str] = self._once((kind, id(of)), lambda: (of, tuple(say())))[1]
        return said

    def save(self) -> None:
        """Remember what was learned."""
        if self._is_new:
            # Every run leaves files: those of runs that nobody asks for any more are forgotten.
            of_runs = f" {self._memory.parent.parent}{os.sep}"
            self._known = {
                key: known
                for key, known in self._known.items()
                if key in self._asked or of_runs not in key
            }
            private_folder(self._memory.parent.parent)
            private_folder(self._memory.parent)
            write_whole(self._memory, json.dumps({"version": VERSION, "files": self._known}))
            self._is_new = False

    def content(self, path: Path) -> str | None:
        """Return the sha256 of a file's content, or None if there is no such file."""
        return self._look_up("content", path, _content)

    def is_json(self, path: Path) -> bool:
        """Whether a file is there, and JSON."""
        return bool(self._look_up("json", path, _is_json))

    def definitions(self, path: Path) -> dict[str, str] | None:
        """Return the digests of a module's definitions, or None if there is no such file."""
        return self._look_up(
            "definitions", path, lambda file: definition_digests(file.read_text("utf-8", "replace"))
        )

    def notebook(self, path: Path) -> dict[str, Any]:
        """Return the parts of a notebook that decide its results.

        ``cells``: number as text -> digest; ``defaults``: parameter -> value;
        ``asks_mlflow``: whether its code reads runs or models from MLflow itself.
        """
        return self._look_up("notebook", path, _notebook) or {}

    def form(self, path: Path, parse: Callable[[Path], str | None]) -> str | None:
        """Return what `parse` made of a pipeline file, with this code; None if it was nothing."""
        code = _code()
        found = self._look_up("form", path, lambda file: {"code": code, "said": parse(file)})
        if found and found.get("code") != code:
            del self._known[f"form {path}"]
            return self.form(path, parse)
        return found["said"] if found and code else None

    def names(self, folder: Path, ignored: tuple[Path, ...]) -> str | None:
        """Return a digest of the names in a folder, or None if there is no such folder."""
        try:
            there = sorted(entry.name for entry in os.scandir(folder))
        except OSError:
            return None
        visible = (name for name in there if not name.startswith((".", "__pycache__")))
        shown = [name for name in visible if folder / name not in ignored]
        return hashlib.sha256("\0".join(shown).encode()).hexdigest()

    def stamp(self, path: Path) -> list[int] | None:
        """Return size and times of change, as a recorder notes them."""
        try:
            found = path.stat()
        except OSError:
            return None
        return [found.st_size, found.st_mtime_ns, found.st_ctime_ns]

    def _look_up(self, kind: str, path: Path, work_out: Callable[[Path], Any]) -> Any:
        key = f"{kind} {path}"
        return self._once(key, lambda: self._looked_up(key, path, work_out))

    def _once(self, key: object, work_out: Callable[[], Any]) -> Any:
        """Work something out; in one moment that was worked out before is taken from there."""
        if self._seen is None:
            return work_out()
        if key not in self._seen:
            self._seen[key] = work_out()
        return self._seen[key]

    def _looked_up(self, key: str, path: Path, work_out: Callable[[Path], Any]) -> Any:
        self._asked.add(key)
        try:
            found = path.stat()
            if not stat.S_ISREG(found.st_mode):  # Reading a pipe would wait for ever.
                return None
            stamp = [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino]
            known = self._known.get(key)
            if isinstance(known, dict) and known.get("stamp") == stamp and "digest" in known:
                return known["digest"]
            digest = work_out(path)
            after = path.stat()
        except OSError:
            return None
        is_old = time.time() - max(found.st_mtime, found.st_ctime) > TICK_SECONDS
        if is_old and (after.st_size, after.st_mtime_ns) == (found.st_size, found.st_mtime_ns):
            self._known[key] = {"stamp": stamp, "digest": digest}
            self._is_new = True
        return digest


@cache
def _code() -> str | None:
    """Return a digest of all that decides how files are read: this package, and its libraries.

    None if a file of the package may have changed since this process imported it.
    """
    stamps = []
    newest = (_STARTED - TICK_SECONDS) * 1e9
    for folder, _, names in os.walk(Path(__file__).parents[1]):
        for name in names:
            if not name.endswith(".py"):
                continue
            try:
                found = os.stat(os.path.join(folder, name))
            except OSError:  # It is being replaced.
                return None
            if max(found.st_mtime_ns, found.st_ctime_ns) > newest:
                return None
            stamps.append((folder, name, found.st_size, found.st_mtime_ns, found.st_ctime_ns))
    installed = installed_versions()
    versions = [installed.get(name) for name in ("python", "ruamel-yaml", "pydantic")]
    return hashlib.sha256(repr((sorted(stamps), versions)).encode()).hexdigest()


def _content(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is_json(path: Path) -> bool:
    try:
        json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return False
    return True


def _notebook(path: Path) -> dict[str, Any]:
    notebook = read_notebook(path)
    return {
        "cells": {str(number): digest for number, digest in cell_digests(notebook).items()},
        "defaults": plain(default_values(notebook)),
        "asks_mlflow": asks_mlflow(notebook),
    }
