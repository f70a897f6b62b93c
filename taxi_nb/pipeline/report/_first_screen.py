"""What a run's front page says first: decision, best model, what changed, champion, checks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from taxi_nb.pipeline.record import RunRecord, Status, StepResult
from taxi_nb.pipeline.report._comparison import Comparison
from taxi_nb.pipeline.report._metrics import TEST, by_importance, lower_is_better
from taxi_nb.pipeline.report.headline import Best, Since
from taxi_nb.tracking.judgements import Judgement
from taxi_nb.tracking.outcomes import TrainedModel


@dataclass(frozen=True)
class Measured:
    """A metric with its standard error, where a step logged one."""

    name: str
    value: float
    error: float | None


def first_screen(record: RunRecord, comparison: Comparison | None) -> dict[str, Any]:
    """Return what the template of the first screen needs."""
    best = Best.of(record) if record.status.is_good else None
    since = Since.of(comparison, best) if comparison and best else None
    return {
        "best": best,
        "best_chose": _may_have_chosen(best),
        "since": since,
        "deciding": record.deciding,
        "reported": reported(record),
        "checks": _checks(record.checks),
        "bad": [s for s in record.steps if s.error and s.status is not Status.SKIPPED],
        "skipped": sum(s.status is Status.SKIPPED for s in record.steps),
        "done": sum(s.status.is_good for s in record.steps),
        "at_work": [s for s in record.steps if s.status is Status.RUNNING],
    }


def _may_have_chosen(best: Best | None) -> bool:
    """Whether the best model's number may be the one by which it was chosen among others."""
    return best is not None and best.among > 1 and not best.metric.startswith(TEST)


def reported(record: RunRecord) -> dict[str, list[Measured]]:
    """Return what steps that trained no model measured on records kept for after the choice."""
    trained = {model.step for model in record.models}
    found = {s.name: _measured(s) for s in record.steps if s.name not in trained}
    return {name: measured for name, measured in found.items() if measured}


def _measured(step: StepResult) -> list[Measured]:
    names = [name for name in by_importance(step.metrics) if name.startswith(TEST)]
    errors = {f"{name}{end}": name for name in names for end in ("_day_error", "_error")}
    of = {errors[name]: step.metrics[name] for name in names if name in errors}
    return [Measured(n, step.metrics[n], of.get(n)) for n in names if n not in errors]


def _checks(found: Sequence[Judgement]) -> list[tuple[Judgement, int]]:
    """Return what asks for attention, and of each check that passes everywhere one, with how many.

    That is the one whose number is nearest to its limit.
    """
    passed: dict[str, list[Judgement]] = {}
    for one in found:
        if one.verdict == "pass":
            passed.setdefault(one.check, []).append(one)
    shown = [(one, 1) for one in found if one.verdict != "pass"]
    for every in passed.values():
        nearest = max(every, key=lambda one: abs(one.value or 0) * (-1 if one.is_least else 1))
        shown.append((nearest, len(every)))
    return shown


def ranked(record: RunRecord, most: int) -> dict[str, Any]:
    """Return the models, the best first, and the metrics that their table shows."""
    names = by_importance(name for model in record.models for name in model.metrics)
    main = names[0] if names else ""
    ascend = lower_is_better(main)

    def rank(model: TrainedModel) -> tuple[float, bool]:
        value = model.metrics.get(main, math.nan)
        place = math.inf if math.isnan(value) else (value if ascend else -value)
        return place, not model.champion

    return {
        "models": sorted(record.models, key=rank),
        "models_ascend": ascend,
        "model_metrics": names[:most],
    }
