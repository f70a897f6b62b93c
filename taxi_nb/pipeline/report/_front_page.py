"""The content of a run's front page: what comes first, its steps, and the runs before it."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any

from markupsafe import Markup, escape

from taxi_nb.pipeline.record import RunRecord, StepResult
from taxi_nb.pipeline.report._chart import line_chart, most_recent_series
from taxi_nb.pipeline.report._comparison import Comparison
from taxi_nb.pipeline.report._first_screen import first_screen, ranked
from taxi_nb.pipeline.report._graph import Graph
from taxi_nb.pipeline.report._metrics import by_importance, lower_is_better, main_metric
from taxi_nb.pipeline.report._page_summary import PageSummary
from taxi_nb.pipeline.report._pages import moment
from taxi_nb.pipeline.report._untrusted import Held
from taxi_nb.pipeline.report.executed import ExecutedNotebook
from taxi_nb.pipeline.report.figures import Figure
from taxi_nb.pipeline.report.past import RunOnDisk
from taxi_nb.pipeline.reviewed import kept_reviews, reviewed_digest
from taxi_nb.plain_data import plain, shortened
from taxi_nb.tracking.run_reviews import RunReview

_MODEL_METRICS = 6
_LONGEST_CONCLUSION = 1_500


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
    conclusion: Markup | None
    parameters: dict[str, Any]
    metrics: list[str]
    figures: tuple[Figure, ...]
    held: Held
    hidden: Counter[str]
    bar: Bar | None


@dataclass(frozen=True)
class Card:
    """Steps that are shown as one: those of a matrix."""

    name: str
    title: str | None
    steps: tuple[StepView, ...]
    # Whether each of them trained a model.
    trained: bool


def front_page(
    run: RunOnDisk,
    earlier: Sequence[RunOnDisk],
    summaries: Mapping[str, PageSummary],
    comparison: Comparison | None = None,
) -> dict[str, Any]:
    """Return the content of the front page's template.

    `earlier` are runs of the same pipeline, oldest first; `summaries` those of the steps' pages;
    `comparison` that with the last of them that ended well.
    """
    shared = shared_parameters(run.record)
    views = [_step(run, step, summaries.get(step.name), shared) for step in run.record.steps]
    return {
        "run": run.record,
        "on_disk": run,
        "earlier": {other.record.id: other for other in earlier},
        "comparison": comparison,
        "shared": shared,
        "held": sum((summary.held for summary in summaries.values()), Counter[str]()),
        "steps": views,
        "cards": _cards(views, {model.step for model in run.record.models}),
        "graph": Graph.of(run.record.steps),
        "reviews": _reviews(run),
        **first_screen(run.record, comparison),
        **ranked(run.record, _MODEL_METRICS),
        **_history([*earlier, run]),
    }


def _step(
    run: RunOnDisk, step: StepResult, page: PageSummary | None, shared: Mapping[str, Any]
) -> StepView:
    notebook = run.notebooks.get(step.name)
    shown = notebook if page else None
    return StepView(
        result=step,
        title=page.title if page else None,
        # One that failed came to none, whatever its prose says.
        conclusion=_with_emphasis(shown.conclusion) if shown and step.status.is_good else None,
        parameters={k: v for k, v in step.parameters.items() if k not in shared},
        metrics=by_importance(step.metrics),
        figures=shown.figures if shown else (),
        held=page.held if page else Counter(),
        hidden=page.hidden if page else Counter(),
        bar=_bar(run.record, step, notebook) if notebook and not step.reused_from else None,
    )


def _with_emphasis(markdown: str | None) -> Markup | None:
    """Return a text with what Markdown makes bold, italic or code; all else stands as text."""
    if markdown is None:
        return None
    text = str(escape(" ".join(shortened(markdown, _LONGEST_CONCLUSION).split())))
    text = re.sub(r"`([^`]+)`", r"<code>\1</code>", text)
    text = re.sub(r"\*\*(\S(?:[^*]*\S)?)\*\*", r"<strong>\1</strong>", text)
    return Markup(re.sub(r"\*(\S(?:[^*<]*\S)?)\*", r"<em>\1</em>", text))  # noqa: S704 - escaped


def _cards(views: Sequence[StepView], trained: set[str]) -> list[Card]:
    def of_one_matrix(view: StepView) -> tuple[str, str]:
        return view.result.name.partition("[")[0], view.result.notebook

    cards = []
    for (name, _), group in groupby(views, of_one_matrix):
        steps = tuple(group)
        titles = dict.fromkeys(view.title for view in steps)
        title = steps[0].title if len(titles) == 1 else None
        names = [view.result.name for view in steps]
        shown = name if len(steps) > 1 else names[0]
        cards.append(Card(shown, title, steps, trained.issuperset(names)))
    return cards


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


def _reviews(run: RunOnDisk) -> list[tuple[RunReview, bool]]:
    """Return the decisions about a run, the last first, and whether each is about it as it is."""
    if not (found := kept_reviews(run.folder)):
        return []
    now = reviewed_digest(run.folder, run.record)
    return [(one, one.reviewed == now) for one in reversed(found)]


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
    """Return the parameters that all steps have, with one value."""
    if len(record.steps) < 2:
        return {}
    first, *others = (step.parameters for step in record.steps)
    return {
        name: value
        for name, value in first.items()
        if all(name in other and plain(other[name]) == plain(value) for other in others)
    }
