"""The inputs of a step as its kernel noted them; see `kernels/input_recorder.py`."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from taxi_nb.pipeline._code_digest import named_in
from taxi_nb.pipeline._notebook_file import read_notebook
from taxi_nb.pipeline.file_digest import FileDigests
from taxi_nb.pipeline.inputs import CHANGED_MEANWHILE, AskedRuns, Inputs, UsedFile
from taxi_nb.pipeline.remote_file import is_remote, remote_stamp
from taxi_nb.pipeline.spec import Step
from taxi_nb.project import path_within
from taxi_nb.tracking.environment import installed_versions, packages_with_modules


class InputsLostError(RuntimeError):
    """The inputs of a step could not be recorded, so its results cannot be used again."""


class RecordedInputs:
    """The record that `input_recorder` left of a kernel; InputsLostError if it is not whole."""

    def __init__(self, record: Path, root: Path, digests: FileDigests) -> None:
        self._root = root
        self._digests = digests
        self._modules: set[str] = set()
        self._reads: dict[Path, list[int] | None] = {}
        self._writes: set[Path] = set()
        self._folders: set[Path] = set()
        self._data: dict[str, tuple[str, str]] = {}
        # By several rules several things may be made of one file.
        self._contents: dict[str, set[str]] = {}
        self._variables: dict[str, str | None] = {}
        self._asked: list[AskedRuns] = []
        try:
            lines = [json.loads(line) for line in record.read_text("utf-8").splitlines()]
        except (OSError, ValueError) as error:
            raise InputsLostError(f"what the step read is not known: {error}") from None
        for line in lines:
            self._take(line)
        if not self._modules:
            raise InputsLostError("what the step read is not known: its record is empty")

    def _take(self, line: dict[str, Any]) -> None:
        match line:
            case {"modules": modules}:
                self._modules.update(modules)
            case {"read": path, "stamp": stamp}:
                self._reads.setdefault(Path(path), stamp)
            case {"write": path}:
                self._writes.add(Path(path))
            case {"list": path}:
                self._folders.add(Path(path))
            case {"data": [name, location, sha256, content]}:
                self._data[location] = (name, sha256)
                self._contents.setdefault(location, set()).update([content] if content else [])
            case {"variable": [name, value]}:
                self._variables[name] = value
            case {"runs": [kind, used]}:
                self._asked.append(AskedRuns(kind, used))

    def complete(
        self, before: Inputs, step: Step, upstream: Mapping[str, str], ignored: tuple[Path, ...]
    ) -> Inputs:
        self._add_named_files(step, before.parameters, ignored)
        code = {path for path in self._reads if path.suffix == ".py"}
        return replace(
            before,
            modules={self._shown(path): self._module(path) for path in sorted(code)},
            files=self._files(code),
            folders={
                self._shown(f): self._digests.names(f, ignored) for f in sorted(self._folders)
            },
            packages=versions_of(self._modules),
            variables=self._variables,
            upstream=dict(upstream),
            asked=tuple(self._asked),
            outputs=self._outputs(),
        )

    def _shown(self, path: Path) -> str:
        return path_within(self._root, path)

    def _add_named_files(
        self, step: Step, parameters: Mapping[str, Any], ignored: tuple[Path, ...]
    ) -> None:
        """Add files that code or parameters name: a reader in C++ cannot be heard."""
        names = {*named_in(read_notebook(step.notebook)), *_texts(parameters)}
        for name in names:
            if not 0 < len(name) < 500 or "\n" in name or "\0" in name:
                continue
            for folder in (step.notebook.parent, self._root):
                path = Path(os.path.abspath(folder / name))
                if path.is_relative_to(self._root) and self._is_visible(path, ignored):
                    self._reads.setdefault(path, self._digests.stamp(path))

    def _is_visible(self, path: Path, ignored: tuple[Path, ...]) -> bool:
        hidden = any(part.startswith(".") for part in path.relative_to(self._root).parts)
        # A text may be too long for the name of a file, which `Path.is_file` takes for an error.
        return os.path.isfile(path) and not hidden and not any(map(path.is_relative_to, ignored))

    def _module(self, path: Path) -> dict[str, str]:
        if self._has_changed(path):
            return {CHANGED_MEANWHILE: CHANGED_MEANWHILE}
        return self._digests.definitions(path) or {}

    def _files(self, code: set[Path]) -> dict[str, UsedFile]:
        files = {
            self._shown(path): UsedFile(self._file(path))
            for path in sorted(self._reads.keys() - code - self._writes)
        }
        for location, (name, sha256) in self._data.items():
            content = " ".join(sorted(self._contents[location])) or None
            if is_remote(location):
                files[location] = UsedFile(sha256, name, remote_stamp(location), content)
            else:
                files[self._shown(Path(location))] = UsedFile(sha256, name, content=content)
        return files

    def _file(self, path: Path) -> str | None:
        return CHANGED_MEANWHILE if self._has_changed(path) else self._digests.content(path)

    def _has_changed(self, path: Path) -> bool:
        return path not in self._writes and self._reads[path] != self._digests.stamp(path)

    def _outputs(self) -> dict[str, str]:
        data = {Path(location) for location in self._data if not is_remote(location)}
        return {
            self._shown(path): found
            for path in sorted(self._writes - data)
            if path.is_file() and (found := self._digests.content(path)) is not None
        }


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Iterable):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(item)


def versions_of(modules: Iterable[str]) -> dict[str, str]:
    """Return the versions of Python and of the packages that have some top-level modules."""
    installed, having = installed_versions(), packages_with_modules()
    packages = {package for module in modules for package in having.get(module, ())}
    found = {package: installed[package] for package in sorted(packages)}
    return {"python": platform.python_version(), **found}
