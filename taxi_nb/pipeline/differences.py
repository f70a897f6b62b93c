"""The differences between a kept result and the present, each in words."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from taxi_nb.pipeline.inputs import CHANGED_MEANWHILE, AskedRuns, Inputs, UsedFile
from taxi_nb.pipeline.memory import Memory
from taxi_nb.pipeline.planned import OfSteps, PlannedStep
from taxi_nb.pipeline.record import SharedFile, StepResult
from taxi_nb.pipeline.remote_file import is_remote, remote_digest, remote_stamp
from taxi_nb.pipeline.spec import Step
from taxi_nb.plain_data import restored
from taxi_nb.secrets.addresses import variable_without_credentials
from taxi_nb.tracking.names import CHECKS_VARIABLE, PROMOTE_VARIABLE

TITLES = ("store", "experiment", "notebook")
_UNNAMED = "of the folder's name"
# What the pipeline hands its steps: why one runs again where it is another now, and none.
_HANDED = {
    CHECKS_VARIABLE: ("the checks of the data are others", "the data are no longer checked"),
    PROMOTE_VARIABLE: ("it may no longer promote", "it may promote now"),
}


@dataclass(frozen=True)
class Present:
    """A step at this moment, with which its kept results are compared."""

    step: Step
    memory: Memory
    # The decision for each step that comes before it.
    before: Mapping[str, PlannedStep]
    # Path -> step, of the files that steps will write which have yet to run.
    writers: Mapping[str, str]

    @cached_property
    def inputs(self) -> Inputs:
        """The inputs that are known before it runs."""
        return self.memory.inputs_before(self.step)

    @cached_property
    def every_run_counts(self) -> bool:
        """Whether every upstream run counts, and not only those that it asked for."""
        notebook = self.memory.digests.notebook(self.step.notebook)
        return self.step.needs_are_declared or notebook.get("asks_mlflow", False)

    @cached_property
    def arriving(self) -> dict[str, SharedFile]:
        """Path -> file that comes with the shared results of the steps before."""
        if self.memory.shared is None:
            return {}
        results = (planned.result for planned in self.before.values())
        shared = [result.shared for result in results if result and result.is_away]
        return {path: file for sharing in shared if sharing for path, file in sharing.files.items()}

    def content(self, shown: str, with_it: Mapping[str, SharedFile]) -> str | None:
        """Return the digest that a file will have when the step would run.

        `with_it` are the files that come with the result that it is asked for.
        """
        arriving = self.arriving.get(shown) or with_it.get(shown)
        here = self.memory.digests.content(self.path(shown))
        return arriving.digest if arriving and (here is None or arriving.is_output) else here

    def path(self, shown: str) -> Path:
        """Return the file of a path that is relative to the project."""
        return self.memory.path(shown)


def differences(result: StepResult, present: Present) -> Iterator[str]:
    """Say everything for which a result cannot be used again."""
    used = result.used
    assert used is not None
    with_it = dict(result.shared.files) if result.shared and result.is_away else {}
    # A shared one is of this store if its run is there.
    for title in ("experiment", "notebook") if result.is_away else TITLES:
        old, new = getattr(used, title), getattr(present.inputs, title)
        if old != new:
            yield f"{title} {old or _UNNAMED} -> {new or _UNNAMED}"
    yield from _parameters(used.parameters, present.inputs.parameters)
    yield from _cells(used.cells, present.inputs.cells)
    digests, modules, packages = present.memory.digests, used.modules, used.packages
    yield from digests.said_of(modules, "modules", lambda: _modules(modules, present))
    yield from _files(used.files, present, with_it)
    yield from _folders(used.folders, present)
    versions = present.memory.versions
    yield from digests.said_of(packages, "packages", lambda: _packages(packages, versions))
    yield from _variables(used.variables, present.memory.pipeline.variables)
    yield from _needs(used, present)
    if result.mlflow_run_id not in present.memory.finished:
        is_elsewhere = f"its MLflow run is not in {present.memory.store}"
        yield is_elsewhere if result.is_away else "its MLflow run is gone"
    if result.is_away:  # What else belongs to it comes with it.
        return
    yield from _outputs(used.outputs, present)
    if result.artifacts is None and not present.memory.has_artifacts:
        yield "its artifacts are gone"
    yield from present.memory.results.damage(result, present.memory.digests)


def _parameters(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    for name in sorted({*old, *new}):
        if name not in new:
            yield f"params.{name} is no longer there"
        elif name not in old:
            yield f"params.{name} is new: {_abbreviated(new[name])}"
        elif json.dumps(old[name]) != json.dumps(new[name]):
            yield f"params.{name} {_abbreviated(old[name])} -> {_abbreviated(new[name])}"


def _abbreviated(value: Any) -> str:
    if isinstance(value, str):
        text = value
    else:
        shown = restored(value)
        text = json.dumps(value, ensure_ascii=False) if shown == value else str(shown)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _cells(old: Mapping[str, str], new: Mapping[str, str]) -> Iterator[str]:
    from difflib import SequenceMatcher

    before, after, numbers = list(old.values()), list(new.values()), list(new)
    if before == after:
        return
    matcher = SequenceMatcher(a=before, b=after, autojunk=False)
    for change, start, end, first, last in matcher.get_opcodes():
        if change == "equal":
            continue
        if change == "delete":
            yield f"notebook cell {', '.join(list(old)[start:end])} removed"
            continue
        cells = ", ".join(numbers[first:last])
        plural = "s" if last - first > 1 else ""
        yield f"notebook cell{plural} {cells} {'added' if change == 'insert' else 'changed'}"


def _modules(modules: Mapping[str, Mapping[str, str]], present: Present) -> Iterator[str]:
    for shown, old in modules.items():
        new = present.memory.digests.definitions(present.path(shown))
        if new != old:
            yield _module_difference(shown, old, new)


def _files(
    files: Mapping[str, UsedFile], present: Present, with_it: Mapping[str, SharedFile]
) -> Iterator[str]:
    for shown, old in files.items():
        if shown in present.writers and present.writers[shown] != present.step.name:
            writer = present.writers[shown]
            yield OfSteps(f"needs {writer}, which will run", [writer])
        elif is_remote(shown):
            yield from _remote_difference(shown, old)
        else:
            new = present.content(shown, with_it)
            if new != old.digest:
                yield file_difference(shown, old, new)


def _folders(folders: Mapping[str, str | None], present: Present) -> Iterator[str]:
    for shown, old in folders.items():
        if present.memory.digests.names(present.path(shown), present.memory.made_by_runs) != old:
            yield f"the files in {shown or '.'} are others"


def _packages(packages: Mapping[str, str], versions: Mapping[str, str]) -> Iterator[str]:
    for package, old in packages.items():
        new = versions.get(package)
        if new is None:
            yield f"{package} {old} is no longer installed"
        elif new != old:
            yield f"{package} {old} -> {new}"


def _variables(
    variables: Mapping[str, str | None], handed: Mapping[str, str | None]
) -> Iterator[str]:
    for name, old in variables.items():
        if name in handed:
            if handed[name] != old:
                yield _HANDED[name][handed[name] is None]
            continue
        new = variable_without_credentials(name)
        if new != old:
            yield f"{name} {old or 'unset'} -> {new or 'unset'}"


def _needs(used: Inputs, present: Present) -> Iterator[str]:
    """Compare the runs that it could ask for, those that matter to it."""
    if not used.asked and not present.every_run_counts:
        return
    # A run that there is not yet is another one.
    others = [
        name
        for name in present.step.needs
        if present.before[name].run_id != used.upstream.get(name, "none")
        and _matters(name, used.asked, present)
    ]
    will_run = [name for name in others if present.before[name].will_run]
    if will_run:
        yield OfSteps(f"needs {_listed(will_run)}, which will run", will_run)
    if left_out := [name for name in others if present.before[name].is_left_out]:
        yield OfSteps(f"needs {_listed(left_out)}, which is left out", left_out)
    if ran := [name for name in others if name not in (*will_run, *left_out)]:
        yield OfSteps(f"needs {_listed(ran)}, which ran since", ran)
    chosen = {name for asked in used.asked for name in asked.used}
    for name in used.upstream if present.every_run_counts else sorted(chosen):
        if name not in present.step.needs:
            yield f"no longer needs {name}"


def _matters(name: str, asked: Iterable[AskedRuns], present: Present) -> bool:
    kind = present.before[name].kind
    return present.every_run_counts or any(
        name in runs.used or runs.kind is None or kind in (None, runs.kind) for runs in asked
    )


def _outputs(outputs: Mapping[str, str], present: Present) -> Iterator[str]:
    for shown, old in outputs.items():
        if present.memory.last_writers.get(shown) != present.step.name:
            continue
        new = present.memory.digests.content(present.path(shown))
        if new != old:
            yield f"{shown}, which it wrote, " + ("is gone" if new is None else "changed")


def _listed(names: Sequence[str]) -> str:
    shown = names if len(names) <= 4 else [*names[:3], f"{len(names) - 3} others"]
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)


def _remote_difference(location: str, old: UsedFile) -> Iterator[str]:
    if old.stamp is not None and remote_stamp(location) == old.stamp:
        return
    try:
        new = remote_digest(location)
    except OSError as error:
        yield f"data {old.name or location} cannot be compared: {error}"
        return
    if new != old.digest:
        yield file_difference(location, old, new)


def _module_difference(path: str, old: Mapping[str, str], new: Mapping[str, str] | None) -> str:
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
    if old.digest is None:
        return f"{shown} is new"
    # What is made of it may be the same. Still the step may have read more of it by other means,
    # which nobody heard: the file decides.
    return f"the file of {shown} changed" if old.name else f"{shown} changed"
