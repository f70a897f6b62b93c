"""What differs between two runs, and what that did to their numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from taxi_nb.pipeline.record import StepResult
from taxi_nb.pipeline.report.figures import Figure
from taxi_nb.pipeline.report.metrics import better, by_importance, is_time
from taxi_nb.pipeline.report.past import RunOnDisk

_ABSENT = object()


@dataclass(frozen=True)
class Change:
    """One thing that is not what it was; a side that was not there is None."""

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

    @property
    def difference(self) -> float:
        """Return after minus before."""
        return self.after - self.before

    @property
    def is_time(self) -> bool:
        """Whether it is a duration, which is never quite the same."""
        return is_time(self.metric)

    @property
    def better(self) -> bool | None:
        """Whether it improved, where its name tells."""
        return better(self.metric, self.before, self.after)


@dataclass(frozen=True)
class FigurePair:
    """A figure of a step in both runs; a side that has none is None."""

    step: str
    key: str
    before: Figure | None
    after: Figure | None

    @property
    def changed(self) -> bool:
        """Whether a single pixel differs."""
        return self.before is None or self.after is None or self.before.digest != self.after.digest


@dataclass(frozen=True)
class Comparison:
    """What differs between an earlier run and a later one.

    Attributes
    ----------
    unknown : tuple of str
        What could not be compared, and why.
    same_metrics : int
        How many metrics have the same value in both, times left out.
    """

    before: RunOnDisk
    after: RunOnDisk
    steps: tuple[Change, ...]
    parameters: tuple[Change, ...]
    data: tuple[Change, ...]
    code: tuple[Change, ...]
    environment: tuple[Change, ...]
    unknown: tuple[str, ...]
    metrics: tuple[MetricChange, ...]
    same_metrics: int

    @property
    def causes(self) -> list[tuple[str, tuple[Change, ...]]]:
        """Return what may explain a number's change, by kind."""
        return [
            ("Steps", self.steps),
            ("Parameters", self.parameters),
            ("Data", self.data),
            ("Code", self.code),
            ("Environment", self.environment),
        ]


def compare(before: RunOnDisk, after: RunOnDisk) -> Comparison:
    """Compare two runs by their records and by what their steps read."""
    both = [name for name in after.steps if name in before.steps]
    pairs = [(before.steps[name], after.steps[name]) for name in both]
    metrics = [change for pair in pairs for change in _metric_changes(*pair)]
    ranks = {name: rank for rank, name in enumerate(by_importance(c.metric for c in metrics))}
    metrics.sort(key=lambda change: ranks[change.metric])
    return Comparison(
        before=before,
        after=after,
        steps=tuple(_step_changes(before, after)),
        parameters=_grouped(_parameter_changes(pairs)),
        data=tuple(_data_changes(before, after, both)),
        code=tuple(_code_changes(before, after, both)),
        environment=_grouped(_environment_changes(before, after, both)),
        unknown=tuple(_unknown(before, after)),
        metrics=tuple(change for change in metrics if change.difference),
        same_metrics=sum(not c.difference and not is_time(c.metric) for c in metrics),
    )


def figure_pairs(before: RunOnDisk, after: RunOnDisk) -> list[FigurePair]:
    """Pair the figures of two runs by step and title."""
    found = []
    for step in after.notebooks:
        new = {figure.key: figure for figure in after.notebooks[step].figures}
        earlier = before.notebooks.get(step)
        if earlier and earlier.path.samefile(after.notebooks[step].path):
            earlier = after.notebooks[step]  # Reused: there is nothing to read again.
        old = {figure.key: figure for figure in earlier.figures} if earlier else {}
        keys = [*new, *(key for key in old if key not in new)]
        found += [FigurePair(step, key, old.get(key), new.get(key)) for key in keys]
    return found


def _step_changes(before: RunOnDisk, after: RunOnDisk) -> Iterator[Change]:
    for name in dict.fromkeys([*after.steps, *before.steps]):
        old, new = before.steps.get(name), after.steps.get(name)
        old_status = _ending(old) if old else None
        new_status = _ending(new) if new else None
        if old_status != new_status:
            yield Change(name, old_status, new_status)


def _ending(step: StepResult) -> str:
    """Return how a step ended; a reused one ended well."""
    return "ok" if step.status.is_good else str(step.status)


def _parameter_changes(pairs: list[tuple[StepResult, StepResult]]) -> Iterator[Change]:
    for old, new in pairs:
        yield from _differences(old.parameters, new.parameters, new.name, _as_written)


def _metric_changes(old: StepResult, new: StepResult) -> Iterator[MetricChange]:
    for name in by_importance(new.metrics):
        if name in old.metrics:
            yield MetricChange(new.name, name, old.metrics[name], new.metrics[name])


def _data_changes(before: RunOnDisk, after: RunOnDisk, both: list[str]) -> Iterator[Change]:
    if before.sources != after.sources:
        yield Change("source", ", ".join(before.sources), ", ".join(after.sources))
    yield from _input_changes(before, after, both, "files", _data_digests, _short)


def _code_changes(before: RunOnDisk, after: RunOnDisk, both: list[str]) -> Iterator[Change]:
    old, new = before.record, after.record
    if old.commit and new.commit and old.commit != new.commit:
        yield Change("commit", old.commit[:10], new.commit[:10])
    if new.dirty and not old.dirty:
        yield Change("changes that are not committed", "none", "some")
    yield from _grouped(_cell_changes(before, after, both))
    yield from _input_changes(before, after, both, "modules", _module_digests, _short)
    yield from _input_changes(before, after, both, "files", _other_digests, _short)


def _cell_changes(before: RunOnDisk, after: RunOnDisk, both: list[str]) -> Iterator[Change]:
    for step in both:
        old, new = _cells(before.inputs.get(step)), _cells(after.inputs.get(step))
        if old is None or new is None:
            continue
        notebook = after.steps[step].notebook
        changed = sum(digest not in old for digest in new)
        gone = sum(digest not in new for digest in old)
        if changed or gone:
            yield Change(f"{notebook}: code cells", f"{gone} of them", f"{changed} new", (step,))


def _cells(inputs: Mapping[str, Any] | None) -> list[str] | None:
    cells = (inputs or {}).get("cells")
    return list(map(str, cells.values())) if isinstance(cells, dict) else None


def _environment_changes(before: RunOnDisk, after: RunOnDisk, both: list[str]) -> Iterator[Change]:
    for step in both:
        for kind in ("packages", "variables"):
            old, new = _mapping(before, step, kind), _mapping(after, step, kind)
            if old is not None and new is not None:
                yield from _differences(old, new, step, _setting)


def _input_changes(
    before: RunOnDisk,
    after: RunOnDisk,
    both: list[str],
    kind: str,
    flat: Callable[[Mapping[str, Any]], dict[str, str]],
    shown: Callable[[Any], str],
) -> tuple[Change, ...]:
    def changes() -> Iterator[Change]:
        for step in both:
            old, new = _mapping(before, step, kind), _mapping(after, step, kind)
            if old is not None and new is not None:
                yield from _differences(flat(old), flat(new), step, shown)

    return _grouped(changes())


def _mapping(run: RunOnDisk, step: str, kind: str) -> Mapping[str, Any] | None:
    found = run.inputs.get(step, {}).get(kind)
    return found if isinstance(found, dict) else None


def _data_digests(files: Mapping[str, Any]) -> dict[str, str]:
    """Return the digests of the files that are known as data, by that name."""
    return {
        str(file["name"]): str(file.get("digest"))
        for file in files.values()
        if isinstance(file, dict) and file.get("name")
    }


def _other_digests(files: Mapping[str, Any]) -> dict[str, str]:
    return {
        path: str(file.get("digest"))
        for path, file in files.items()
        if isinstance(file, dict) and not file.get("name")
    }


def _module_digests(modules: Mapping[str, Any]) -> dict[str, str]:
    """Return the digest of each part of each module."""
    return {
        f"{path}: {part}": str(digest)
        for path, parts in modules.items()
        for part, digest in (parts.items() if isinstance(parts, dict) else [("all", parts)])
    }


def _differences(
    old: Mapping[str, Any], new: Mapping[str, Any], step: str, shown: Callable[[Any], str]
) -> Iterator[Change]:
    for name in dict.fromkeys([*new, *old]):
        was, is_ = old.get(name, _ABSENT), new.get(name, _ABSENT)
        if was != is_:
            yield Change(
                name,
                None if was is _ABSENT else shown(was),
                None if is_ is _ABSENT else shown(is_),
                (step,),
            )


def _grouped(changes: Iterator[Change]) -> tuple[Change, ...]:
    """Tell a change once that happened to several steps."""
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


def _as_written(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _setting(value: Any) -> str:
    return "not set" if value is None else str(value)


def _short(digest: Any) -> str:
    return str(digest)[:12]
