"""Two runs compared: the causes that differ, and the metrics that changed with them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from taxi_nb.pipeline.record import StepResult
from taxi_nb.pipeline.report._metrics import better, by_importance
from taxi_nb.pipeline.report._same_data import on_same_data
from taxi_nb.pipeline.report.past import RunOnDisk
from taxi_nb.plain_data import plain, shortened
from taxi_nb.tracking.measuring import measures_the_machine


@dataclass(frozen=True)
class Change:
    """A thing that changed; a side that does not have it is None."""

    what: str
    before: str | None
    after: str | None
    steps: tuple[str, ...] = ()


@dataclass(frozen=True)
class MetricChange:
    """A metric of a step in both runs."""

    step: str
    metric: str
    before: float
    after: float
    # Whether it is known that both were measured on the same data.
    same_data: bool = False

    @property
    def difference(self) -> float:
        """How much more it is now; of equal values 0, infinite ones and two NaN among them."""
        both = self.before, self.after
        is_same = self.before == self.after or all(map(math.isnan, both))
        return 0.0 if is_same else self.after - self.before

    @property
    def is_of_the_machine(self) -> bool:
        """Whether it measures the machine, and is never quite the same."""
        return measures_the_machine(self.metric)

    @property
    def better(self) -> bool | None:
        """Whether it improved, where its name tells and both are of the same data."""
        return better(self.metric, self.before, self.after) if self.same_data else None


@dataclass(frozen=True)
class Comparison:
    before: RunOnDisk
    after: RunOnDisk
    steps: tuple[Change, ...]
    parameters: tuple[Change, ...]
    data: tuple[Change, ...]
    # Read beside the data: files that nothing calls data.
    files: tuple[Change, ...]
    code: tuple[Change, ...]
    environment: tuple[Change, ...]
    # Parts that could not be compared, and why.
    unknown: tuple[str, ...]
    metrics: tuple[MetricChange, ...]
    # How many have the same value in both, the machine's left out.
    same_metrics: int
    # The steps of both runs that are known to have used the same data.
    on_same_data: frozenset[str]

    @property
    def causes(self) -> list[tuple[str, tuple[Change, ...]]]:
        """Return the changes that may explain a number's, by kind."""
        return [
            ("Steps", self.steps),
            ("Parameters", self.parameters),
            ("Data", self.data),
            ("Files", self.files),
            ("Code", self.code),
            ("Environment", self.environment),
        ]

    @property
    def code_says(self) -> str | None:
        """Say that no code changed; None if some did, or nothing is known."""
        old, new = self.before.record, self.after.record
        if self.code:
            return None
        if _same_state(self.before, self.after):
            return f"No code changed: both ran commit {str(new.commit)[:10]} as it is."
        if self.unknown or old.commit != new.commit:
            return None
        return "No change in the code that both ran, as far as both noted it."

    @property
    def metrics_by_step(self) -> list[tuple[str, list[MetricChange]]]:
        """Return what changed of each step, the machine's left out; steps as the run has them."""
        found: dict[str, list[MetricChange]] = {name: [] for name in self.after.steps}
        for change in self.metrics:
            if not change.is_of_the_machine:
                found[change.step].append(change)
        return [(name, changes) for name, changes in found.items() if changes]


def as_written(value: Any) -> str:
    """Return a parameter's value on one line, of a long one the beginning."""
    text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return shortened(text, 500)


def compare(before: RunOnDisk, after: RunOnDisk) -> Comparison:
    """Compare two runs by their records and by what their steps read."""
    both = [name for name in after.steps if name in before.steps]
    pairs = [(before.steps[name], after.steps[name]) for name in both]
    same_data = frozenset(name for name in both if on_same_data(name, before, after))
    metrics = [
        MetricChange(new.name, name, old.metrics[name], new.metrics[name], new.name in same_data)
        for old, new in pairs
        for name in by_importance(new.metrics)
        if name in old.metrics
    ]
    ranks = {name: rank for rank, name in enumerate(by_importance(c.metric for c in metrics))}
    metrics.sort(key=lambda change: ranks[change.metric])
    parameters = (
        change
        for old, new in pairs
        for change in _differences(old.parameters, new.parameters, new.name, as_written)
    )
    kept = [(step, before.inputs.get(step, {}), after.inputs.get(step, {})) for step in both]
    return Comparison(
        before=before,
        after=after,
        steps=tuple(_step_changes(before, after)),
        parameters=_grouped(parameters),
        data=tuple(_data_changes(before, after, kept)),
        files=_input_changes(kept, ("files",), _other_digests, _beginning),
        code=tuple(_code_changes(before, after, kept)),
        environment=_input_changes(kept, ("packages", "variables"), dict, _setting),
        unknown=tuple(_unknown(before, after)),
        metrics=tuple(change for change in metrics if change.difference),
        same_metrics=sum(not c.difference and not c.is_of_the_machine for c in metrics),
        on_same_data=same_data,
    )


# For each step that both runs have: its name, and its recorded inputs before and after.
_Inputs = Sequence[tuple[str, Mapping[str, Any], Mapping[str, Any]]]


def _step_changes(before: RunOnDisk, after: RunOnDisk) -> Iterator[Change]:
    for name in {**after.steps, **before.steps}:
        old, new = _ending(before.steps.get(name)), _ending(after.steps.get(name))
        if old != new:
            yield Change(name, old, new)


def _ending(step: StepResult | None) -> str | None:
    """Return how a step ended; a reused one ended well."""
    if step is None:
        return None
    return "ok" if step.status.is_good else str(step.status)


def _data_changes(before: RunOnDisk, after: RunOnDisk, inputs: _Inputs) -> Iterator[Change]:
    if before.sources != after.sources:
        yield Change("source", ", ".join(before.sources), ", ".join(after.sources))
    # What was made of the files counts, where both runs know a digest of that.
    read = [file for _, *sides in inputs for side in sides for file in _data_files(side)]
    kind = "content" if all(file.get("content") for file in read) else "digest"
    yield from _input_changes(inputs, ("files",), partial(_data_digests, kind=kind), _beginning)


def _code_changes(before: RunOnDisk, after: RunOnDisk, inputs: _Inputs) -> Iterator[Change]:
    old, new = before.record, after.record
    if old.commit and new.commit and old.commit != new.commit:
        yield Change("commit", old.commit[:10], new.commit[:10])
    if new.dirty and not old.dirty:
        yield Change("changes that are not committed", "none", "some")
    yield from _grouped(_cell_changes(after, inputs))
    yield from _input_changes(_of_both(inputs), ("modules",), _module_digests, _beginning)
    # Of one commit's files a run may import more; code from elsewhere has no commit here.
    is_same = _same_state(before, after)
    yield from _grouped(_imported(inputs, from_elsewhere=is_same))


def _same_state(before: RunOnDisk, after: RunOnDisk) -> bool:
    """Whether both ran the same commit, and nothing that is not committed."""
    old, new = before.record, after.record
    is_clean = old.dirty is False and new.dirty is False
    return is_clean and old.commit is not None and old.commit == new.commit


def _modules(inputs: Mapping[str, Any]) -> Mapping[str, Any] | None:
    found = inputs.get("modules")
    return found if isinstance(found, dict) else None


def _of_both(inputs: _Inputs) -> _Inputs:
    """Return the modules that both imported: that one imported more is no change of code."""
    found = []
    for step, *sides in inputs:
        old, new = map(_modules, sides)
        if old is not None and new is not None:
            kept = [
                {"modules": {path: side[path] for path in side if path in other}}
                for side, other in ((old, new), (new, old))
            ]
            found.append((step, kept[0], kept[1]))
    return found


def _imported(inputs: _Inputs, *, from_elsewhere: bool) -> Iterator[Change]:
    for step, *sides in inputs:
        old, new = map(_modules, sides)
        if old is None or new is None:
            continue
        gone, more = (
            [path for path in sorted(these) if not from_elsewhere or Path(path).is_absolute()]
            for these in (set(old) - set(new), set(new) - set(old))
        )
        if gone or more:
            yield Change("modules that one of them imported", _listed(gone), _listed(more), (step,))


def _listed(paths: Sequence[str]) -> str:
    return shortened(f"{len(paths)}: {', '.join(paths)}", 200) if paths else "none"


def _cell_changes(after: RunOnDisk, inputs: _Inputs) -> Iterator[Change]:
    for step, before_step, after_step in inputs:
        old, new = before_step.get("cells"), after_step.get("cells")
        if not (isinstance(old, dict) and isinstance(new, dict)):
            continue
        changed = sum(digest not in old.values() for digest in new.values())
        gone = sum(digest not in new.values() for digest in old.values())
        if changed or gone:
            title = f"{after.steps[step].notebook}: code cells"
            yield Change(title, f"{gone} of them", f"{changed} new", (step,))


def _input_changes(
    inputs: _Inputs,
    kinds: Sequence[str],
    flat: Callable[[Mapping[str, Any]], Mapping[str, Any]],
    shown: Callable[[Any], str],
) -> tuple[Change, ...]:
    """Compare inputs of some kinds, where both runs have kept them."""
    return _grouped(
        change
        for step, before, after in inputs
        for kind in kinds
        if isinstance(old := before.get(kind), dict) and isinstance(new := after.get(kind), dict)
        if old != new  # Of most steps all is the same, and each has thousands of digests.
        for change in _differences(flat(old), flat(new), step, shown)
    )


def _data_files(inputs: Mapping[str, Any]) -> list[dict[str, Any]]:
    files = inputs.get("files")
    found = files.values() if isinstance(files, dict) else ()
    return [file for file in found if isinstance(file, dict) and file.get("name")]


def _data_digests(files: Mapping[str, Any], kind: str) -> dict[str, str]:
    return {str(file["name"]): str(file.get(kind)) for file in _data_files({"files": files})}


def _other_digests(files: Mapping[str, Any]) -> dict[str, str]:
    found = {path: file for path, file in files.items() if isinstance(file, dict)}
    # One without a digest was looked for, and not there.
    return {
        path: str(file["digest"])
        for path, file in found.items()
        if file.get("digest") and not file.get("name")
    }


def _module_digests(modules: Mapping[str, Any]) -> dict[str, str]:
    return {
        f"{path}: {part}": str(digest)
        for path, parts in modules.items()
        for part, digest in (parts.items() if isinstance(parts, dict) else [("all", parts)])
    }


def _differences(
    old: Mapping[str, Any], new: Mapping[str, Any], step: str, shown: Callable[[Any], str]
) -> Iterator[Change]:
    for name in {**new, **old}:
        if name in old and name in new:
            was, is_now = old[name], new[name]
            if was == is_now or plain(was) == plain(is_now):
                continue
        before, after = (shown(side[name]) if name in side else None for side in (old, new))
        yield Change(name, before, after, (step,))


def _grouped(changes: Iterable[Change]) -> tuple[Change, ...]:
    """Make one change of those that several steps have alike."""
    found: dict[tuple[str, str | None, str | None], list[str]] = {}
    for change in changes:
        found.setdefault((change.what, change.before, change.after), []).extend(change.steps)
    return tuple(Change(*key, tuple(steps)) for key, steps in found.items())


def _unknown(before: RunOnDisk, after: RunOnDisk) -> Iterator[str]:
    without = [run.record.id for run in (before, after) if not run.inputs]
    if without:
        yield f"Files, modules and packages: {' and '.join(without)} kept no list of them."
    if not (before.record.commit and after.record.commit):
        yield "The commit: it is not known for both runs."


def _setting(value: Any) -> str:
    return "not set" if value is None else str(value)


def _beginning(digest: Any) -> str:
    return str(digest)[:12]
