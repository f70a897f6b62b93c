"""Two executions of one pipeline, compared step by step."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from taxi_nb.pipeline.report.past import RunOnDisk
from taxi_nb.plain_data import plain
from taxi_nb.review.verify._cells import CellComparison, Normalise, compare_cells
from taxi_nb.tracking.measuring import measures_the_machine
from taxi_nb.tracking.run_tree import find_run, nested_runs

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

# ``<Legend object at 0x7f3a5c1e90>``: where an object lay in memory.
_ADDRESS = re.compile(r"\bat 0x[0-9a-fA-F]{6,16}\b")
# The time that a line of a log begins with; in a line without a level it may be a result.
_CLOCK = r"\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?"
_TIME = rf"(?:\d{{4}}[-/]\d\d[-/]\d\d[ T])?{_CLOCK}|\d{{6}} {_CLOCK}"
_LEVEL = r"(?:DEBUG|INFO|NOTICE|WARN|WARNING|ERROR|CRITICAL|FATAL)"
_LOG_TIME = re.compile(
    rf"^(\[[DIWEC] |{_LEVEL}:?\s+\[?)(?:{_TIME})"
    rf"|^(\[?)(?:{_TIME})(?=[\]\s:,-].*\b{_LEVEL}\b)",
    re.MULTILINE,
)


@dataclass(frozen=True)
class StepVerdict:
    """Whether a step is the same, and how many metrics, figures and outputs were compared."""

    name: str
    differences: tuple[str, ...] = ()  # Each with what differs and by how much.
    left_out: tuple[str, ...] = ()  # What was not compared, by which rule.
    metrics: int = 0
    figures: int = 0
    outputs: int = 0
    reused_from: str | None = None  # The pipeline run that had made the recorded results.

    @property
    def is_same(self) -> bool:
        """Whether nothing differs."""
        return not self.differences


@dataclass(frozen=True)
class Execution:
    """A pipeline run, where it was made, and for each step its run in MLflow and all below it."""

    run: RunOnDisk
    root: Path
    trees: Mapping[str, Sequence[Run]]

    @classmethod
    def of(cls, run: RunOnDisk, root: Path, client: MlflowClient) -> Execution:
        """Read the runs from a store; where it has one no longer, there is no tree."""
        steps = [step for step in run.record.steps if not step.is_left_out]
        runs = {step.name: find_run(client, step.mlflow_run_id or "") for step in steps}
        trees = {
            name: [found, *nested_runs(client, found)] if found is not None else []
            for name, found in runs.items()
        }
        return cls(run, root, trees)


def compare_executions(recorded: Execution, again: Execution) -> Iterator[StepVerdict]:
    """Compare two executions; yield a verdict for each step that the first has."""
    names = _common_names(recorded), _common_names(again)
    for step in recorded.run.record.steps:
        if step.is_left_out:
            continue
        new = again.run.steps.get(step.name)
        if new is None or not new.status.is_good:
            why = f"{new.status}: {new.error}" if new else "this state has no such step"
            yield StepVerdict(step.name, (why,), reused_from=step.reused_from)
            continue
        found = _Findings()
        if plain(step.parameters) != plain(new.parameters):
            found.differences.append(f"parameters {step.parameters} -> {new.parameters}")
        found.compare_metrics("", step.metrics, new.metrics)
        if recorded.trees[step.name]:
            found.compare_trees(recorded.trees[step.name], again.trees[step.name])
        if step.name in recorded.run.notebooks:
            notebooks = recorded.run.notebooks[step.name], again.run.notebooks[step.name]
            cells = compare_cells(*notebooks, names)
        else:
            cells = CellComparison(["its executed notebook is gone"])
        left_out = (
            *(f"metric {name}: measures the machine" for name in found.left_out),
            *(f"cell {left.cell} varies: {left.what}" for left in cells.left_out),
        )
        differences = (*found.differences, *cells.differences)
        counts = found.metrics, cells.figures, cells.outputs
        yield StepVerdict(step.name, differences, left_out, *counts, step.reused_from)


@dataclass
class _Findings:
    """The differences between metrics, those left out, and how many were compared."""

    differences: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    metrics: int = 0

    def compare_metrics(
        self, where: str, old: Mapping[str, float], new: Mapping[str, float]
    ) -> None:
        for name in dict.fromkeys([*old, *new]):
            if measures_the_machine(name):
                self.left_out.append(where + name)
                continue
            self.metrics += 1
            before, after = old.get(name), new.get(name)
            if before is None or after is None:
                gone = "is new" if before is None else "is no longer logged"
                self.differences.append(f"metric {where}{name} {gone}")
            elif before != after and not (math.isnan(before) and math.isnan(after)):
                change = f"{before!r} -> {after!r} ({after - before:+.3g})"
                self.differences.append(f"metric {where}{name} {change}")

    def compare_trees(self, old: Sequence[Run], new: Sequence[Run]) -> None:
        """Compare runs nested in a step's; the first of each is the step's own."""
        before, after = [[str(run.info.run_name) for run in tree[1:]] for tree in (old, new)]
        if before != after:
            self.differences.append(f"nested runs {before} -> {after}")
            return
        for name, one, other in zip(before, old[1:], new[1:], strict=True):
            self.compare_metrics(f"{name}: ", one.data.metrics, other.data.metrics)


def _common_names(execution: Execution) -> Normalise:
    """Replace names that differ between executions: of folders, runs and models."""
    record, trees = execution.run.record, execution.trees
    ids = {record.mlflow_run_id, *(step.mlflow_run_id for step in record.steps)}
    ids |= {run.info.run_id for tree in trees.values() for run in tree}
    names = {known: "<run id>" for known in ids if known}
    runs = {record.id, *(step.reused_from for step in record.steps if step.reused_from)}
    names |= dict.fromkeys(runs, "<pipeline run>") | {str(execution.root): "<project>"}
    pattern = re.compile("|".join(map(re.escape, sorted(names, key=len, reverse=True))))

    def normalise(text: str) -> str:
        text = _LOG_TIME.sub(lambda found: f"{found[1] or found[2] or ''}<time>", text)
        text = _ADDRESS.sub("at <address>", text)
        text = pattern.sub(lambda found: names[found[0]], text)
        text = re.sub(r"\bm-[0-9a-f]{32}\b", "<model id>", text)
        return re.sub(r"/\S*/ipykernel_\d+/\d+\.py", "<cell>", text)

    return normalise
