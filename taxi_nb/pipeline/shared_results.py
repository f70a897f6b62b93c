"""Results of steps that machines share: `results` in the pipeline file, or ``TAXI_NB_RESULTS``.

A result is one small object below ``results/<key>/``. What it consists of lies below ``files/``,
each under the sha256 of its content, and is written first: a result that can be read is whole,
and two machines that finish the same step write the same files. Nothing is ever replaced.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from taxi_nb.pipeline._results import FOLDER, result_of, written
from taxi_nb.pipeline.file_digest import FileDigests
from taxi_nb.pipeline.inputs import Inputs
from taxi_nb.pipeline.object_store import ObjectStore
from taxi_nb.pipeline.record import SharedFile, Sharing, StepResult, cut_name
from taxi_nb.pipeline.remote_file import is_remote
from taxi_nb.plain_data import from_plain, to_json
from taxi_nb.project import file_inside, part_file, publish

RESULTS, FILES = "results", "files"
_AT_ONCE = 8
_UPLOAD_SECONDS = 24 * 3600
# A result brings data and what its step wrote. Code comes from the checkout alone.
_CODE = {".py", ".ipynb", ".pth", ".so", ".pyd", ".dll", ".sh", ".toml"}


class NotSharedError(RuntimeError):
    """A result cannot be shared; the message says why."""


class DamagedResultError(RuntimeError):
    """A shared result is not as it was kept; the message says what of it."""


@dataclass(frozen=True)
class Entry:
    """A shared result as it is listed, and what is wrong with it, if it cannot be read."""

    name: str
    result: StepResult | None
    problem: str | None = None

    @property
    def files(self) -> dict[str, SharedFile]:
        """What it consists of: its name -> digest and bytes."""
        return dict(self.result.shared.files) if self.result and self.result.shared else {}

    def __str__(self) -> str:
        if self.result is None or self.result.shared is None:
            return f"{self.name}: {self.problem}"
        size = sum(file.size for file in self.files.values()) / 1e6
        return f"{self.result.name}  {size:.1f} MB  {self.result.shared}"


class SharedResults:
    """The results below one address; ObjectStoreError where it cannot be used."""

    def __init__(self, address: str, root: Path) -> None:
        self._address = address if is_remote(address) else str(root / Path(address).expanduser())
        self._root = root
        # Digests of files that are known to be damaged there: they are written again.
        self._damaged: set[str] = set()

    @cached_property
    def store(self) -> ObjectStore:
        """The place, connected when it is first asked."""
        return ObjectStore(self._address)

    @cached_property
    def _who(self) -> dict[str, Any]:
        from taxi_nb.tracking.context import authorship

        return authorship()

    def of_steps(self, steps: Iterable[Inputs]) -> dict[str, list[Entry]]:
        """Find the results of steps by what is known before they run: name of step -> results.

        The oldest comes first, on every machine: of two that were made at once all go on with
        the same one.
        """
        asked = list(steps)
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="results") as threads:
            found = list(threads.map(lambda one: self._entries(one.shared_key), asked))
            # Many results may hold the same file, such as a month: it is asked for once.
            every = {file for listed in found for entry in listed for file in entry.files.values()}
            names = sorted({_object(file) for file in every})
            sizes = dict(zip(names, threads.map(self.store.size, names), strict=True))
        return {
            inputs.step: [_with_what_is_missing(entry, sizes) for entry in listed]
            for inputs, listed in zip(asked, found, strict=True)
        }

    def _entries(self, key: str) -> list[Entry]:
        return [self.entry(name) for name in sorted(self.store.sizes(f"{RESULTS}/{key}"))]

    def entry(self, name: str) -> Entry:
        """Read what is kept of a result; a result that cannot be read says why."""
        content = self.store.read(name)
        if content is None:
            return Entry(name, None, "is gone")
        try:
            known = json.loads(content)
            result = result_of(known)
            sharing = from_plain(Sharing, {**known["shared"], "entry": name})
            for path, file in sharing.files.items():
                _require_harmless(self._root, path, file)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            return Entry(name, None, f"cannot be read: {str(error).splitlines()[0]}")
        return Entry(name, replace(result, shared=sharing))

    def share(self, result: StepResult, files: Mapping[str, Path], digests: FileDigests) -> None:
        """Share a result with its files in the run's folder, named as in a record.

        With it go the files that the step wrote and the data in the project that it read, which
        a fresh checkout has not. Raises NotSharedError if one of them cannot go with it.
        """
        assert result.used is not None
        kept = {f"run:{key}": (files[key], digest) for key, digest in result.digests.items()}
        made = result.used.outputs
        read = {
            path: used.digest
            for path, used in result.used.files.items()
            if used.name and used.digest and not is_remote(path) and not os.path.isabs(path)
        }
        inside = {path: sha for path, sha in made.items() if not os.path.isabs(path)}
        kept |= {path: (self._root / path, sha) for path, sha in (read | inside).items()}
        shared: dict[str, SharedFile] = {}
        for name, (path, digest) in kept.items():
            if digests.content(path) != digest:
                raise NotSharedError(f"{name} has changed since the step used it")
            file = SharedFile(digest, path.stat().st_size, is_output=name in made)
            try:
                _require_harmless(self._root, name, file)
            except ValueError as error:
                raise NotSharedError(str(error)) from None
            is_whole = digest not in self._damaged
            if not (is_whole and self.store.size(_object(file)) == file.size):
                self.store.write(_object(file), path)
            shared[name] = file
        sharing = Sharing(
            by=str(self._who["developer"]),
            commit=self._who["commit"],
            when=datetime.now(UTC).isoformat(timespec="seconds"),
            files=shared,
        )
        name = cut_name(f"{result.executed_in}-{secrets.token_hex(3)}.json")
        entry = f"{RESULTS}/{result.used.shared_key}/{name}"
        self.store.write(entry, to_json({**written(result), "shared": sharing}).encode())

    def fetch(self, result: StepResult, runs: Path) -> StepResult:
        """Bring a result and its files to this machine; return it as one that is here.

        Raises DamagedResultError if a file is gone or is not as it was kept.
        """
        sharing = result.shared
        assert sharing is not None
        place = f"{FOLDER}/shared/{hashlib.sha256(sharing.entry.encode()).hexdigest()[:16]}"
        problems = []
        for name, file in sharing.files.items():
            if name.startswith("run:"):
                path = runs / place / (getattr(result, name.removeprefix("run:")) or "")
            else:
                path = self._root / name
                if path.exists() and not file.is_output:
                    continue  # Data that are here were compared already, and are not replaced.
            if problem := self._bring(file, path):
                problems.append(f"{name} {problem} in {self.store.address}")
                self._damaged.add(file.digest)
        if problems:
            raise DamagedResultError("; ".join(problems))
        return replace(result, html=None, shared=replace(sharing, place=place))

    def _bring(self, file: SharedFile, path: Path) -> str | None:
        with part_file(path) as part:
            if not self.store.fetch(_object(file), part):
                return "is gone"
            with part.open("rb") as opened:
                if hashlib.file_digest(opened, "sha256").hexdigest() != file.digest:
                    return "is damaged"
            publish(part, path)
        return None

    def entries(self) -> Iterator[Entry]:
        """Read all results, in the order of their keys."""
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="results") as threads:
            yield from threads.map(self.entry, sorted(self.store.sizes(RESULTS)))

    def damage(self, entry: Entry) -> str | None:
        """Read all files of a result; say what is wrong with it."""
        if entry.problem:
            return entry.problem
        for name, file in entry.files.items():
            if self.store.digest(_object(file)) != file.digest:
                return f"is not whole: {name} is gone or damaged"
        return None

    def prune(self, before: datetime | None, *, damaged: bool) -> tuple[int, int]:
        """Remove results, and files that none has any more; return how many of both.

        Results go first. A file without one may be part of a result that is being written: it
        stays for a day after it was written.
        """
        removed, needed = 0, set()
        for entry in self.entries():
            shared = entry.result.shared if entry.result else None
            is_old = before and shared and datetime.fromisoformat(shared.when) < before
            if is_old or (damaged and self.damage(entry)):
                self.store.delete(entry.name)
                removed += 1
            else:
                needed |= {_object(file) for file in entry.files.values()}
        young = datetime.now(UTC).timestamp() - _UPLOAD_SECONDS
        unneeded = [name for name in self.store.sizes(FILES) if name not in needed]
        unneeded = [name for name in unneeded if (self.store.written(name) or young) < young]
        for name in unneeded:
            self.store.delete(name)
        return removed, len(unneeded)


def _with_what_is_missing(entry: Entry, sizes: Mapping[str, int | None]) -> Entry:
    for path, file in entry.files.items():
        if sizes[_object(file)] != file.size:
            return replace(entry, problem=f"is not whole: {path} is gone or cut short")
    return entry


def _object(file: SharedFile) -> str:
    return f"{FILES}/{file.digest[:2]}/{file.digest}"


def _require_harmless(root: Path, path: str, file: SharedFile) -> None:
    """Raise a ValueError if a result would bring what can act by itself, or lies elsewhere."""
    if len(file.digest) != 64 or not set(file.digest) <= set("0123456789abcdef"):
        raise ValueError(f"{path}: {file.digest!r:.100} is no digest")
    if path in ("run:executed_notebook", "run:inputs"):
        return
    inside = file_inside(root, path)
    parts = Path(path).parts
    hidden = any(part.startswith((".", "__")) for part in parts) or parts[0] == "params"
    if hidden or inside.suffix.lower() in _CODE:
        raise ValueError(f"{path} is no file that a result may bring: hidden, settings or code")
