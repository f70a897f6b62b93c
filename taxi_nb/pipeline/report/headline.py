"""What a run and its steps came to, in the few facts that come first."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from taxi_nb.pipeline.record import RunRecord, StepResult
from taxi_nb.pipeline.report._metrics import better, by_importance, is_judged, lower_is_better
from taxi_nb.plain_data import shortened
from taxi_nb.tracking.outcomes import TrainedModel

_CONCLUSION = re.compile(r"^\W*conclusion\W+", re.IGNORECASE)
_LONGEST = 300


@dataclass(frozen=True)
class Best:
    """The best of the models that a run's steps trained, and by which of its metrics."""

    model: TrainedModel
    metric: str
    value: float
    # Its standard error, where a step measured it.
    error: float | None

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
        choose = min if lower_is_better(metric) else max
        value, model = choose(judged, key=lambda pair: pair[0])
        return cls(model, metric, value, _error_of(value, record))


@dataclass(frozen=True)
class Since:
    """The best model of the last good run before one, by the same metric."""

    run: str
    value: float
    # Whether the newer one is better; None where they are alike, or on other data.
    is_better: bool | None
    same_data: bool

    @classmethod
    def last_good_run(cls, folder: Path, best: Best) -> Since | None:
        """Compare the best of the run in `folder`; None where no run before it ended well."""
        from taxi_nb.pipeline.report._comparison import compare
        from taxi_nb.pipeline.report.past import RunOnDisk, runs_before

        run = RunOnDisk.read(folder)
        for earlier in reversed(runs_before(run)[0]):
            former = Best.of(earlier.record) if earlier.record.status.is_good else None
            if former and former.metric == best.metric:
                same = not compare(earlier, run).data
                is_better = better(best.metric, former.value, best.value) if same else None
                return cls(earlier.record.id, former.value, is_better, same)
        return None


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
    """Return the text of an executed notebook's last output, if it begins with "Conclusion"."""
    from taxi_nb.pipeline.report.executed import notebook_content

    try:
        cells = notebook_content(notebook.read_bytes())["cells"]
        outputs = [output for cell in cells for output in cell.get("outputs") or ()]
        last = outputs[-1]["data"]["text/markdown"]
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None
    text = " ".join((last if isinstance(last, str) else "".join(last)).split())
    said, found = _CONCLUSION.subn("", text)
    return shortened(re.sub(r"[*`]", "", said), _LONGEST) if found else None
