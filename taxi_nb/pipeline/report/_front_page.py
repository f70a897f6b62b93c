"""The content of a run's front page: its steps, models, and the runs before it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from taxi_nb.pipeline.record import RunRecord, StepResult
from taxi_nb.pipeline.report._chart import line_chart, most_recent_series
from taxi_nb.pipeline.report._metrics import TEST, by_importance, lower_is_better, main_metric
from taxi_nb.pipeline.report._page_summary import PageSummary
from taxi_nb.pipeline.report._pages import moment
from taxi_nb.pipeline.report._untrusted import Held
from taxi_nb.pipeline.report.executed import ExecutedNotebook
from taxi_nb.pipeline.report.figures import Figure
from taxi_nb.pipeline.report.past import RunOnDisk
from taxi_nb.pipeline.reviewed import kept_reviews, reviewed_digest
from taxi_nb.plain_data import plain
from taxi_nb.tracking.judgements import Judgement
from taxi_nb.tracking.outcomes import TrainedModel
from taxi_nb.tracking.run_reviews import RunReview

_MODEL_METRICS = 6


@dataclass(frozen=True)
class Bar:
    """A step's place on the run's time line, in percent; its start-up in percent of itself."""

    offset: float
    width: float
    startup: float


@dataclass(frozen=True)
class StepView:
    result: StepResult
    title: str | None
    parameters: dict[str, Any]
    metrics: list[str]
    figures: tuple[Figure, ...]
    held: Held
    hidden: Counter[str]
    bar: Bar | None


def front_page(
    run: RunOnDisk, earlier: Sequence[RunOnDisk], summaries: Mapping[str, PageSummary]
) -> dict[str, Any]:
    """Return the content of the front page's template.

    `earlier` are runs of the same pipeline, oldest first; `summaries` those of the steps' pages.
    """
    shared = shared_parameters(run.record)
    return {
        "run": run.record,
        "on_disk": run,
        "earlier": {other.record.id: other for other in earlier},
        "shared": shared,
        "held": sum((summary.held for summary in summaries.values()), Counter[str]()),
        "steps": [_step(run, step, summaries.get(step.name), shared) for step in run.record.steps],
        "checks": _checks(run.record.checks),
        **_models(run.record.models),
        "reported": _reported(run.record),
        "reviews": _reviews(run),
        **_history([*earlier, run]),
    }


def _step(
    run: RunOnDisk, step: StepResult, page: PageSummary | None, shared: Mapping[str, Any]
) -> StepView:
    notebook = run.notebooks.get(step.name)
    return StepView(
        result=step,
        title=page.title if page else None,
        parameters={k: v for k, v in step.parameters.items() if k not in shared},
        metrics=by_importance(step.metrics),
        figures=notebook.figures if notebook and page else (),
        held=page.held if page else Counter(),
        hidden=page.hidden if page else Counter(),
        bar=_bar(run.record, step, notebook) if notebook and not step.reused_from else None,
    )


def _bar(record: RunRecord, step: StepResult, notebook: ExecutedNotebook) -> Bar | None:
    times = notebook.started_and_ended
    if times is None or not record.seconds:
        return None
    started, ended = times
    before = (started - datetime.fromisoformat(record.started)).total_seconds()
    width = min(100.0, 100 * (ended - started).total_seconds() / record.seconds)
    offset = min(max(0.0, 100 * before / record.seconds), 100 - width)
    startup = 100 * (step.startup_seconds or 0) / (step.seconds or 1)
    return Bar(offset, width, min(startup, 100.0))


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


def _reviews(run: RunOnDisk) -> list[tuple[RunReview, bool]]:
    """Return the decisions about a run, the last first, and whether each is about it as it is."""
    if not (found := kept_reviews(run.folder)):
        return []
    now = reviewed_digest(run.folder, run.record)
    return [(one, one.reviewed == now) for one in reversed(found)]


def _models(models: Sequence[TrainedModel]) -> dict[str, Any]:
    names = by_importance(name for model in models for name in model.metrics)
    main = names[0] if names else ""
    ascend = lower_is_better(main)

    def rank(model: TrainedModel) -> float:
        value = model.metrics.get(main, math.nan)
        return math.inf if math.isnan(value) else (value if ascend else -value)

    return {
        "models": sorted(models, key=rank),
        "models_ascend": ascend,
        "model_metrics": names[:_MODEL_METRICS],
    }


def _reported(record: RunRecord) -> dict[str, Mapping[str, float]]:
    """Return what steps that trained no model measured on records kept for after the choice."""
    trained = {model.step for model in record.models}
    measured = {
        step.name: {n: step.metrics[n] for n in by_importance(step.metrics) if n.startswith(TEST)}
        for step in record.steps
        if step.name not in trained
    }
    return {name: metrics for name, metrics in measured.items() if metrics}


def _history(runs: Sequence[RunOnDisk]) -> dict[str, Any]:
    metric = main_metric([step.metrics for run in runs for step in run.record.steps])
    values = [{step.name: step.metrics for step in run.record.steps} for run in runs]
    series = most_recent_series(values, metric) if metric else []
    labels = [moment(run.record.started) for run in runs]
    return {
        "metric": metric,
        "series": series,
        "chart": line_chart(series, labels, metric) if metric and len(runs) > 1 else None,
        "history": [(run, _best(run.record, metric)) for run in reversed(runs)],
    }


def _best(record: RunRecord, metric: str | None) -> float | None:
    if metric is None:
        return None
    values = [step.metrics[metric] for step in record.steps if metric in step.metrics]
    choose = min if lower_is_better(metric) else max
    # NaN is better than nothing: that a step has none to show is not said otherwise.
    return choose((v for v in values if not math.isnan(v)), default=values[0] if values else None)


def shared_parameters(record: RunRecord) -> dict[str, Any]:
    """Return the parameters that have one value in all the steps that have them."""
    values: dict[str, list[Any]] = {}
    for step in record.steps:
        for name, value in step.parameters.items():
            values.setdefault(name, []).append(value)
    return {
        name: given[0]
        for name, given in values.items()
        if len(given) > 1 and all(plain(value) == plain(given[0]) for value in given)
    }
