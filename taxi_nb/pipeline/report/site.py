"""A run's pages: the front page, a page for each notebook, comparisons with earlier runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from taxi_nb.pipeline.record import RunRecord, StepResult
from taxi_nb.pipeline.report.chart import line_chart, most_recent_series
from taxi_nb.pipeline.report.comparison import Comparison, compare, figure_pairs
from taxi_nb.pipeline.report.figures import Figure
from taxi_nb.pipeline.report.links import (
    COMPARISONS,
    FIGURES,
    PAGE,
    FolderLinks,
    SingleFileLinks,
    cell_prefix,
)
from taxi_nb.pipeline.report.metrics import by_importance, lower_is_better, main_metric
from taxi_nb.pipeline.report.notebook_diff import NotebookDiff, notebook_diff
from taxi_nb.pipeline.report.page_summary import PageSummary, neighbours, read_summary
from taxi_nb.pipeline.report.pages import moment, render
from taxi_nb.pipeline.report.past import RunOnDisk, runs_before
from taxi_nb.pipeline.report.untrusted import Held
from taxi_nb.project import write_whole

# Earlier runs that get a comparison of their own without being asked for.
_MOST_COMPARISONS = 8
_MODEL_METRICS = 6


def write_site(folder: Path, against: Sequence[Path] = (), *, anew: bool = False) -> Path:
    """Write all pages of a run from its ``run.json`` and its executed notebooks.

    The page of a reused step, if the step's folder has it, stays: it tells how
    its notebook was made, and making it again would take longer than all else.

    Parameters
    ----------
    folder : Path
        ``runs/<id>``.
    against : sequence of Path
        Folders of further runs to compare it with, outputs included.
    anew : bool
        Make the pages of reused steps, too.

    Returns
    -------
    Path
        The front page.

    Raises
    ------
    FileNotFoundError
        If a folder has no ``run.json``.
    ValueError
        If that is not a run's record.
    """
    site = _Site(RunOnDisk.read(folder), [RunOnDisk.read(other) for other in against])
    return site.write(anew=anew)


def write_single_file(folder: Path, file: Path) -> Path:
    """Write a run's pages, and the comparison with the run before it, into one file.

    Raises as `write_site` does.
    """
    write_whole(file, _Site(RunOnDisk.read(folder), []).single_file())
    return file


@dataclass(frozen=True)
class Bar:
    """A step's place on the run's time line, in percent; its start-up in percent of itself."""

    offset: float
    width: float
    startup: float


@dataclass(frozen=True)
class StepView:
    """What the front page shows of a step."""

    result: StepResult
    title: str | None
    parameters: dict[str, Any]
    metrics: list[str]
    figures: tuple[Figure, ...]
    held: Held
    bar: Bar | None

    @property
    def has_page(self) -> bool:
        """Whether there is a notebook to look at."""
        return self.result.html is not None


@dataclass(frozen=True)
class HistoryRow:
    """A run in the history; `on_disk` is None for the one that the page is about."""

    record: RunRecord
    sources: list[str]
    best: float | None
    on_disk: RunOnDisk | None


# A page's file below the run's folder; its template, links and what it shows.
_Page = tuple[str, tuple[str, FolderLinks, dict[str, Any]]]


class _Site:
    """The pages of one run."""

    def __init__(self, run: RunOnDisk, asked_for: Sequence[RunOnDisk]) -> None:
        self.run = run
        self.record = run.record
        self.earlier = runs_before(run)
        self.fully_compared = {other.record.id: other for other in asked_for}
        if self.earlier:
            self.fully_compared[self.earlier[-1].record.id] = self.earlier[-1]

    def write(self, *, anew: bool) -> Path:
        folder = self.run.folder
        pictures: dict[str, Figure] = {}
        kept = {} if anew else self._kept()
        for name, (template, links, context) in self._pages(kept):
            _write(folder / name, render(template, site=links, **context))
            pictures |= links.pictures
        for name, figure in pictures.items():
            if not (folder / FIGURES / name).exists():
                _write(folder / FIGURES / name, figure.data)
        return folder / PAGE

    def _kept(self) -> dict[str, PageSummary]:
        """Return the pages of reused steps that lead to the right neighbours."""
        found = {}
        for step in self.record.steps:
            summary = step.html and step.reused_from and read_summary(self.run.folder / step.html)
            around = neighbours(self.record.steps, step)
            if summary and (summary.previous, summary.next) == around:
                found[step.name] = summary
        return found

    def _pages(self, kept: Mapping[str, PageSummary]) -> Iterator[_Page]:
        summaries = dict(kept)
        for name, result in self.run.steps.items():
            if name in self.run.notebooks and result.html is not None and name not in kept:
                context = self._notebook(name, alone=False)
                summaries[name] = context["summary"]
                yield result.html, ("notebook.html", FolderLinks(self.record.steps), context)
        compared = self._compared()
        for other in compared.values():
            full = other.record.id in self.fully_compared
            links = FolderLinks(
                self.record.steps,
                base="../",
                compared=frozenset(compared),
                elsewhere=None if full else other.folder,
            )
            context = self._comparison(compare(other, self.run), full)
            yield f"{COMPARISONS}/{other.folder.name}.html", ("comparison.html", links, context)
        links = FolderLinks(self.record.steps, compared=frozenset(compared))
        yield PAGE, ("index.html", links, self._front(summaries))

    def single_file(self) -> str:
        """Return all pages as one: links become places, pictures are in the text."""
        last = self._last()
        links = SingleFileLinks(
            self.record.steps, frozenset([last.before.record.id] if last else [])
        )
        summaries, pages = {}, []
        for name, result in self.run.steps.items():
            if name in self.run.notebooks and result.html is not None:
                notebook = self._notebook(name, alone=True)
                summaries[name] = notebook["summary"]
                part = render("notebook_part.html", site=links, **notebook)
                pages.append((f"{cell_prefix(result)}page", part))
        if last:
            context = self._comparison(last, full=True)
            pages.append(("comparison", render("comparison_part.html", site=links, **context)))
        front = render("run_part.html", site=links, **self._front(summaries))
        return render("single.html", run=self.record, site=links, front=front, pages=pages)

    def _notebook(self, step: str, *, alone: bool) -> dict[str, Any]:
        # Imported where a page is made: nbconvert takes a second.
        from taxi_nb.pipeline.report.notebook_page import notebook_context, rendered_notebook

        notebook, result = self.run.notebooks[step], self.run.steps[step]
        rendered = rendered_notebook(notebook, self.run.folder, result, alone=alone)
        return notebook_context(notebook, rendered, self.run.folder, self.record, result)

    def _compared(self) -> dict[str, RunOnDisk]:
        recent = {other.record.id: other for other in self.earlier[-_MOST_COMPARISONS:]}
        return {**recent, **self.fully_compared}

    def _last(self) -> Comparison | None:
        return compare(self.earlier[-1], self.run) if self.earlier else None

    def _comparison(self, comparison: Comparison, full: bool) -> dict[str, Any]:
        return {
            "run": self.record,
            "comparison": comparison,
            "figures": figure_pairs(comparison.before, self.run),
            "diffs": list(self._diffs(comparison.before)) if full else None,
        }

    def _diffs(self, other: RunOnDisk) -> Iterator[NotebookDiff]:
        for step, notebook in self.run.notebooks.items():
            before = other.notebooks.get(step)
            found = before and notebook_diff(step, before, notebook)
            if found:
                yield found

    def _front(self, summaries: Mapping[str, PageSummary]) -> dict[str, Any]:
        shared = shared_parameters(self.record)
        held: Held = Counter()
        for summary in summaries.values():
            held += summary.held
        return {
            "run": self.record,
            "on_disk": self.run,
            "earlier": {other.record.id: other for other in self.earlier},
            "shared": shared,
            "held": held,
            "steps": [
                self._step(step, summaries.get(step.name), shared) for step in self.record.steps
            ],
            "comparison": self._last(),
            **self._models(),
            **self._history(),
        }

    def _step(self, step: StepResult, page: PageSummary | None, shared: dict[str, Any]) -> StepView:
        notebook = self.run.notebooks.get(step.name)
        return StepView(
            result=step,
            title=page.title if page else None,
            parameters={k: v for k, v in step.parameters.items() if k not in shared},
            metrics=by_importance(step.metrics),
            figures=notebook.figures if notebook and page else (),
            held=page.held if page else Counter(),
            bar=self._bar(step),
        )

    def _bar(self, step: StepResult) -> Bar | None:
        notebook = self.run.notebooks.get(step.name)
        times = notebook.started_and_ended if notebook and not step.reused_from else None
        if times is None or not self.record.seconds:
            return None
        started, ended = times
        before = (started - datetime.fromisoformat(self.record.started)).total_seconds()
        width = min(100.0, 100 * (ended - started).total_seconds() / self.record.seconds)
        offset = min(max(0.0, 100 * before / self.record.seconds), 100 - width)
        startup = 100 * (step.startup_seconds or 0) / (step.seconds or 1)
        return Bar(offset, width, min(startup, 100.0))

    def _models(self) -> dict[str, Any]:
        models = self.record.models
        names = by_importance(name for model in models for name in model.metrics)
        main = names[0] if names else ""
        ascend = lower_is_better(main)
        worst = float("inf") if ascend else float("-inf")
        return {
            "models": sorted(models, key=lambda m: m.metrics.get(main, worst), reverse=not ascend),
            "models_ascend": ascend,
            "model_metrics": names[:_MODEL_METRICS],
        }

    def _history(self) -> dict[str, Any]:
        runs = [*self.earlier, self.run]
        metric = main_metric([step.metrics for run in runs for step in run.record.steps])
        values = [{step.name: step.metrics for step in run.record.steps} for run in runs]
        series = most_recent_series(values, metric) if metric else []
        labels = [moment(run.record.started) for run in runs]
        return {
            "metric": metric,
            "series": series,
            "chart": line_chart(series, labels, metric) if metric and len(runs) > 1 else None,
            "history": [
                HistoryRow(
                    record=run.record,
                    sources=run.sources,
                    best=_best(run.record, metric),
                    on_disk=None if run is self.run else run,
                )
                for run in reversed(runs)
            ],
        }


def _write(path: Path, content: str | bytes) -> None:
    path.parent.mkdir(exist_ok=True)
    write_whole(path, content)


def _best(record: RunRecord, metric: str | None) -> float | None:
    if metric is None:
        return None
    values = [step.metrics[metric] for step in record.steps if metric in step.metrics]
    choose = min if lower_is_better(metric) else max
    return choose(values, default=None)


def shared_parameters(record: RunRecord) -> dict[str, Any]:
    """Return the parameters that have one value in all the steps that have them."""
    values: dict[str, list[Any]] = {}
    for step in record.steps:
        for name, value in step.parameters.items():
            values.setdefault(name, []).append(value)
    return {
        name: given[0]
        for name, given in values.items()
        if len(given) > 1 and all(value == given[0] for value in given)
    }
