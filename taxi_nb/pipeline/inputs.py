"""What a step used: its code, parameters, modules, files, packages and upstream runs."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from taxi_nb.pipeline.code_digest import digest, named_in
from taxi_nb.pipeline.file_digest import FileDigests
from taxi_nb.pipeline.parameters import read_notebook
from taxi_nb.pipeline.remote_file import is_remote, remote_stamp
from taxi_nb.pipeline.spec import Pipeline, Step
from taxi_nb.project import path_within
from taxi_nb.tracking.environment import canonical, installed_versions

# Stands for the digest of what changed between its use and the step's end: equal to none.
CHANGED_MEANWHILE = "changed while it was used"


class InputsLostError(RuntimeError):
    """What a step used could not be recorded, so its results cannot be used again."""


@dataclass(frozen=True)
class UsedFile:
    """A file that a step read.

    Attributes
    ----------
    digest : str or None
        sha256 of its content; None: it was looked for and not there.
    name : str or None
        What the code that read it calls it.
    stamp : str or None
        Of a remote file: what its server says of its version.
    """

    digest: str | None
    name: str | None = None
    stamp: str | None = None


@dataclass(frozen=True)
class AskedRuns:
    """Upstream runs that a step asked for: all of a kind (None: of any), and those it chose."""

    kind: str | None
    used: Mapping[str, str]


@dataclass(frozen=True)
class Inputs:
    """Everything that decides whether a step's results still hold.

    Paths are relative to the project where they are inside.

    Attributes
    ----------
    cells : mapping
        Number of a code cell -> digest.
    modules : mapping
        Path -> definition -> digest, of code that was imported.
    upstream : mapping
        Step -> run id: the runs that it could have asked for.
    outputs : mapping
        Path -> digest of the files that it wrote.
    """

    step: str
    notebook: str
    cells: Mapping[str, str]
    parameters: Mapping[str, Any]
    store: str
    experiment: str
    modules: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    files: Mapping[str, UsedFile] = field(default_factory=dict)
    folders: Mapping[str, str | None] = field(default_factory=dict)
    packages: Mapping[str, str] = field(default_factory=dict)
    variables: Mapping[str, str | None] = field(default_factory=dict)
    upstream: Mapping[str, str] = field(default_factory=dict)
    asked: tuple[AskedRuns, ...] = ()
    outputs: Mapping[str, str] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """A digest of what is known before the step runs."""
        known = [
            self.step,
            self.notebook,
            list(self.cells.values()),
            self.parameters,
            self.store,
            self.experiment,
        ]
        return digest(json.dumps(known, sort_keys=True))

    def to_dict(self) -> dict[str, Any]:
        """Return the content of a step's inputs file."""
        return asdict(self)

    @classmethod
    def from_dict(cls, known: Mapping[str, Any]) -> Inputs:
        """Read what `to_dict` gave."""
        files = {path: UsedFile(**used) for path, used in known["files"].items()}
        asked = tuple(AskedRuns(**asked) for asked in known["asked"])
        return cls(**{**known, "files": files, "asked": asked})


def known_before(
    step: Step, pipeline: Pipeline, digests: FileDigests, store: str, experiment: str
) -> Inputs:
    """Return the inputs that are known before a step runs."""
    notebook = digests.notebook(step.notebook)
    given = json.loads(json.dumps(dict(step.parameters), default=repr))
    return Inputs(
        step=step.name,
        notebook=path_within(pipeline.root, step.notebook),
        cells=notebook["cells"],
        parameters={**notebook["defaults"], **given},
        store=store,
        experiment=experiment,
    )


class RecordedInputs:
    """Reads what `input_recorder` noted in one step's kernel."""

    def __init__(self, record: Path, root: Path, digests: FileDigests) -> None:
        self._root = root
        self._digests = digests
        self._modules: set[str] = set()
        self._reads: dict[Path, list[int] | None] = {}
        self._writes: set[Path] = set()
        self._folders: set[Path] = set()
        self._data: dict[str, tuple[str, str]] = {}
        self._variables: dict[str, str | None] = {}
        self._asked: list[AskedRuns] = []
        self._read_record(record)

    def _read_record(self, record: Path) -> None:
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
            case {"data": [name, location, sha256]}:
                self._data[location] = (name, sha256)
            case {"variable": [name, value]}:
                self._variables[name] = value
            case {"runs": [kind, used]}:
                self._asked.append(AskedRuns(kind, used))

    def complete(
        self, before: Inputs, step: Step, upstream: Mapping[str, str], ignored: tuple[Path, ...]
    ) -> Inputs:
        """Add what was recorded to what was known before."""
        self._add_named_files(step, before.parameters, ignored)
        code = {path for path in self._reads if path.suffix == ".py"}
        return Inputs(
            **{
                **{name: getattr(before, name) for name in before.__dataclass_fields__},
                "modules": {self._shown(path): self._module(path) for path in sorted(code)},
                "files": self._files(code),
                "folders": {
                    self._shown(folder): self._digests.names(folder, ignored)
                    for folder in sorted(self._folders)
                },
                "packages": versions_of(self._modules),
                "variables": self._variables,
                "upstream": dict(upstream),
                "asked": tuple(self._asked),
                "outputs": self._outputs(),
            }
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
        return path.is_file() and not hidden and not any(map(path.is_relative_to, ignored))

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
            if is_remote(location):
                files[location] = UsedFile(sha256, name, remote_stamp(location))
            else:
                files[self._shown(Path(location))] = UsedFile(sha256, name)
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
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, Iterable):
        for item in value:
            yield from _texts(item)


def versions_of(modules: Iterable[str]) -> dict[str, str]:
    """Return the versions of Python and of the packages that have some top-level modules."""
    installed = installed_versions()
    packages = {canonical(package) for module in modules for package in _packages().get(module, ())}
    found = {package: installed[package] for package in sorted(packages) if package in installed}
    return {"python": platform.python_version(), **found}


@cache
def _packages() -> Mapping[str, list[str]]:
    from importlib.metadata import packages_distributions

    return packages_distributions()


def static_differences(old: Inputs, new: Inputs) -> Iterator[str]:
    """Say what differs in what is known before a step runs."""
    for title in ("store", "experiment", "notebook"):
        if getattr(old, title) != getattr(new, title):
            yield f"{title} {getattr(old, title)} -> {getattr(new, title)}"
    yield from _parameter_differences(old.parameters, new.parameters)
    yield from _cell_differences(old.cells, new.cells)


def _parameter_differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    for name in sorted({*old, *new}):
        if name not in new:
            yield f"params.{name} is no longer there"
        elif name not in old:
            yield f"params.{name} is new: {_short(new[name])}"
        elif json.dumps(old[name]) != json.dumps(new[name]):
            yield f"params.{name} {_short(old[name])} -> {_short(new[name])}"


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _cell_differences(old: Mapping[str, str], new: Mapping[str, str]) -> Iterator[str]:
    from difflib import SequenceMatcher

    before, after, numbers = list(old.values()), list(new.values()), list(new)
    if before == after:
        return
    matcher = SequenceMatcher(a=before, b=after, autojunk=False)
    for change, start, end, first, last in matcher.get_opcodes():
        if change == "equal":
            continue
        if change == "delete":
            removed = ", ".join(list(old)[start:end])
            yield f"notebook cell {removed} removed"
            continue
        cells = ", ".join(numbers[first:last])
        plural = "s" if last - first > 1 else ""
        yield f"notebook cell{plural} {cells} {'added' if change == 'insert' else 'changed'}"


def module_difference(path: str, old: Mapping[str, str], new: Mapping[str, str] | None) -> str:
    """Say which definitions of a module differ."""
    if new is None:
        return f"{path} is gone"
    if CHANGED_MEANWHILE in old:
        return f"{path} {CHANGED_MEANWHILE}"
    names = sorted(name for name in {*old, *new} if old.get(name) != new.get(name))
    return f"{path}: {', '.join(names)} changed"


def file_difference(path: str, old: UsedFile, new: str | None) -> str:
    """Say how a file differs."""
    shown = f"data {old.name}" if old.name else path
    if old.digest == CHANGED_MEANWHILE:
        return f"{shown} {CHANGED_MEANWHILE}"
    if new is None:
        return f"{shown} is gone"
    return f"{shown} is new" if old.digest is None else f"{shown} changed"
