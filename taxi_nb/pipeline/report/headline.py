"""What a run and its steps came to, in the few facts that come first."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from taxi_nb.pipeline.record import RunRecord, StepResult
from taxi_nb.pipeline.report._metrics import better, by_importance, is_judged, lower_is_better
from taxi_nb.plain_data import shortened
from taxi_nb.tracking.outcomes import TrainedModel

if TYPE_CHECKING:
    from taxi_nb.pipeline.report._comparison import Comparison

_LONGEST = 300


@dataclass(frozen=True)
class Best:
    """The best of the models that a run's steps trained, and by which of its metrics."""

    model: TrainedModel
    metric: str
    value: float
    # Its standard error, where a step measured it.
    error: float | None
    # How many models have that metric.
    among: int

    @classmethod
    def of(cls, record: RunRecord) -> Best | None:
        """Find it; None where nothing was trained, or nothing judged."""
        names = by_importance(name for model in record.models for name in model.metrics)
        metric = next((name for name in names if is_judged(name)), None)
        if metric is None:
            return None
        known = [(one.metrics.get(metric, math.nan), one) for one in record.models]
        judged = [pair for pair in known if math.isfinite(pair[0])]
        if not judged:
            return None
        sign = 1 if lower_is_better(metric) else -1
        # Of equally good ones that which is in use, or was registered.
        value, model = min(
            judged, key=lambda pair: (sign * pair[0], not pair[1].champion, not pair[1].version)
        )
        return cls(model, metric, value, _error_of(value, record), len(judged))


@dataclass(frozen=True)
class Since:
    """The best model of the last good run before one, by the same metric."""

    run: str
    value: float
    # Whether the newer one is better; None where they are alike, or perhaps of other data.
    is_better: bool | None
    # Whether it is known that both are of the same data.
    same_data: bool

    @classmethod
    def last_good_run(cls, folder: Path, best: Best) -> Since | None:
        """Compare the best of the run in `folder`; None where no run before it ended well."""
        from taxi_nb.pipeline.report._comparison import compare
        from taxi_nb.pipeline.report.past import RunOnDisk, runs_before

        run = RunOnDisk.read(folder)
        for earlier in reversed(runs_before(run)[0]):
            if earlier.record.status.is_good and (since := cls.of(compare(earlier, run), best)):
                return since
        return None

    @classmethod
    def of(cls, comparison: Comparison, best: Best) -> Since | None:
        """Compare with the earlier run of a comparison; None where it has no such metric."""
        record = comparison.before.record
        former = Best.of(record)
        if former is None or former.metric != best.metric:
            return None
        same = {former.model.step, best.model.step} <= comparison.on_same_data
        is_better = better(best.metric, former.value, best.value) if same else None
        return cls(record.id, former.value, is_better, same)


def _error_of(value: float, record: RunRecord) -> float | None:
    """Return the standard error that a step logged beside a number: ``x`` and ``x_error``."""
    for step in record.steps:
        for name, number in step.metrics.items():
            error = step.metrics.get(f"{name}_error", math.nan)
            if math.isclose(number, value, rel_tol=1e-9) and math.isfinite(error):
                return error
    return None


def result_of(step: StepResult, folder: Path) -> str:
    """Say in one line what a step that ended well came to: what it judged, or its conclusion."""
    return _judged(step.metrics) or conclusion(folder / (step.executed_notebook or "")) or ""


def _judged(metrics: Mapping[str, float]) -> str | None:
    name = next((name for name in by_importance(metrics) if is_judged(name)), None)
    return f"{name} {metrics[name]:.4g}" if name else None


def conclusion(notebook: Path) -> str | None:
    """Return an executed notebook's conclusion in a line, if it has one."""
    from taxi_nb.pipeline.report.executed import ExecutedNotebook

    executed = ExecutedNotebook(notebook)
    found = executed.conclusion if executed.is_readable else None
    return found and shortened(re.sub(r"[*`]", "", found), _LONGEST)
