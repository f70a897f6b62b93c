"""A run's pages: the front page, a page for each notebook, comparisons with earlier runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from markupsafe import escape

from taxi_nb.pipeline.record import RunRecord, StepResult
from taxi_nb.pipeline.report._comparison import Comparison, compare
from taxi_nb.pipeline.report._front_page import front_page
from taxi_nb.pipeline.report._links import (
    FIGURES,
    PAGE,
    SEARCH,
    Links,
    comparison_page,
    page_place,
)
from taxi_nb.pipeline.report._notebook_diff import NotebookChange, notebook_change
from taxi_nb.pipeline.report._page_summary import PageSummary, neighbours, read_summary
from taxi_nb.pipeline.report._pages import render, templates
from taxi_nb.pipeline.report._search import MOST_CHARACTERS, index_of
from taxi_nb.pipeline.report.figures import Figure
from taxi_nb.pipeline.report.past import RunOnDisk, last_good, runs_before
from taxi_nb.project import file_inside, require_replaceable, write_whole

# Earlier runs that get a comparison of their own without being asked for.
_MOST_COMPARISONS = 8
# Of the page of a run that goes on.
_SECONDS_BETWEEN_LOADS = 5
# How pages of any age begin.
_BEGINNING, _MARK, _HEAD = b"<!doctype html>", b"Content-Security-Policy", 1_000


def write_site(
    folder: Path,
    against: Sequence[Path] = (),
    *,
    anew: bool = False,
    record: RunRecord | None = None,
) -> Path:
    """Write all pages of a run from its ``run.json``, or `record`, and its executed notebooks.

    The page of a reused step, if the step's folder has it, stays unless it is made `anew`: it
    tells how its notebook was made, and making it again would take longer than all else.

    `against` are folders of further runs to compare it with, outputs included. Returns the front
    page. Raises FileNotFoundError if a folder has no ``run.json``, and ValueError if that is not
    a run's record.
    """
    run = RunOnDisk(record, folder) if record else RunOnDisk.read(folder)
    site = _Site(run, [RunOnDisk.read(other) for other in against])
    return site.write(anew=anew)


def write_live_page(folder: Path, record: RunRecord) -> None:
    """Write the front page of a run that goes on, from the pages that its steps have by now.

    The page loads itself again, until the one that `write_site` writes takes its place.
    """
    run = RunOnDisk(record, folder)
    pages = ((step.name, step.html and folder / step.html) for step in record.steps)
    read = ((name, page and read_summary(page)) for name, page in pages)
    front = front_page(run, [], {name: summary for name, summary in read if summary})
    links = Links(record.steps)
    now = f"{datetime.now(UTC):%H:%M:%S} UTC"
    page = render(
        "index.html", site=links, **front, broken=[], live=_SECONDS_BETWEEN_LOADS, now=now
    )
    _write_pictures(folder, links.pictures)
    write_whole(file_inside(folder, PAGE), page)


def write_comparisons(folder: Path, against: Sequence[Path]) -> list[Path]:
    """Write a run's pages anew as `write_site` does; return the comparisons with these runs."""
    front = write_site(folder, against, anew=True)
    return [front.parent / comparison_page(other) for other in against]


def write_single_file(folder: Path, file: Path, *, overwrite: bool = False) -> Path:
    """Write a run's pages, one comparison among them, into a file; raises as `write_site` does.

    FileExistsError if something is there that is no report, unless `overwrite`; never is anything
    replaced but a regular file.
    """
    require_replaceable(file, "report", _is_report, overwrite=overwrite)
    write_whole(file, _Site(RunOnDisk.read(folder), []).single_file())
    return file


def page_policy() -> str:
    """Return what a page of this code may do, for a server that shows some: it runs our scripts."""
    return str(templates().globals["policy"])


def page_of(folder: Path) -> Path:
    """Return the front page of a run; all are written again where this code did not write it.

    Raises as `write_site` does.
    """
    page = file_inside(folder, PAGE)
    escaped = str(escape(page_policy()))
    if page.is_file() and escaped in page.read_bytes()[: 2 * _HEAD].decode("utf-8", "replace"):
        return page
    return write_site(folder, anew=True)


def _is_report(file: Path) -> bool:
    with file.open("rb") as opened:
        return opened.read(len(_BEGINNING)) == _BEGINNING and _MARK in opened.read(_HEAD)


def _write_pictures(folder: Path, pictures: Mapping[str, Figure]) -> None:
    for name, figure in pictures.items():
        if not (file := file_inside(folder, f"{FIGURES}/{name}")).exists():
            write_whole(file, figure.data)


# A page's file below the run's folder; its template, links and content.
_Page = tuple[str, str, Links, dict[str, Any]]


class _Site:
    def __init__(self, run: RunOnDisk, asked_for: Sequence[RunOnDisk]) -> None:
        for one in (run, *asked_for):
            one.require_own_files()
        self.run = run
        self.record = run.record
        self.earlier, self.broken = runs_before(run)
        good = last_good(self.earlier)
        self.last = compare(good, run) if good else None
        fully_compared = (*asked_for, *filter(None, [good]))
        self.fully_compared = {other.record.id: other for other in fully_compared}

    def write(self, *, anew: bool) -> Path:
        folder = self.run.folder
        pictures: dict[str, Figure] = {}
        for name, template, links, context in self._pages({} if anew else self._kept()):
            write_whole(file_inside(folder, name), render(template, site=links, **context))
            pictures |= links.pictures
        _write_pictures(folder, pictures)
        return folder / PAGE

    def _kept(self) -> dict[str, PageSummary]:
        """Return the pages of reused steps that lead to the right neighbours."""
        found = {}
        for step in self.record.steps:
            summary = step.html and step.reused_from and read_summary(self.run.folder / step.html)
            around = neighbours(self.record.steps, step)
            sources = self.run.sources_of(step.name)
            if summary and (summary.previous, summary.next, summary.sources) == (*around, sources):
                found[step.name] = summary
        return found

    def _pages(self, kept: Mapping[str, PageSummary]) -> Iterator[_Page]:
        summaries = dict(kept)
        for step in self._with_page():
            if step.name not in kept:
                context = self._notebook(step)
                summaries[step.name] = context["summary"]
                yield str(step.html), "notebook.html", Links(self.record.steps), context
        recent = {other.record.id: other for other in self.earlier[-_MOST_COMPARISONS:]}
        compared = {**recent, **self.fully_compared}
        for id_, other in compared.items():
            full = id_ in self.fully_compared
            elsewhere = None if full else other.folder
            links = Links(self.record.steps, base="../", compared=compared, elsewhere=elsewhere)
            context = self._comparison(compare(other, self.run), full)
            yield comparison_page(other.folder), "comparison.html", links, context
        yield SEARCH, "search.html", Links(self.record.steps), self._search()
        links = Links(self.record.steps, compared=compared)
        yield PAGE, "index.html", links, self._front(summaries)

    def single_file(self) -> str:
        """Return all pages as one: links become places, pictures are in the text."""
        compared = [self.last.before.record.id] if self.last else []
        links = Links(self.record.steps, compared=compared, one_file=True)
        summaries, pages = {}, []
        for step in self._with_page():
            notebook = self._notebook(step, alone=True)
            summaries[step.name] = notebook["summary"]
            part = render("notebook_part.html", site=links, **notebook)
            pages.append((page_place(step), part))
        if self.last:
            context = self._comparison(self.last, full=True)
            pages.append(("comparison", render("comparison_part.html", site=links, **context)))
        pages.append(("search", render("search_part.html", site=links, **self._search())))
        front = render("run_part.html", site=links, **self._front(summaries))
        return render("single.html", run=self.record, site=links, front=front, pages=pages)

    def _with_page(self) -> list[StepResult]:
        """Return the steps whose executed notebooks are there and are to have a page."""
        steps = self.record.steps
        return [step for step in steps if step.name in self.run.notebooks and step.html is not None]

    def _notebook(self, step: StepResult, *, alone: bool = False) -> dict[str, Any]:
        # Imported where a page is made: nbconvert takes a second.
        from taxi_nb.pipeline.report.notebook_page import notebook_context

        notebook = self.run.notebooks[step.name]
        sources = self.run.sources_of(step.name)
        folder = self.run.folder
        return notebook_context(notebook, folder, step, self.record, sources=sources, alone=alone)

    def _comparison(self, comparison: Comparison, full: bool) -> dict[str, Any]:
        changes = list(self._changes(comparison.before, figures_alone=not full))
        return {
            "run": self.record,
            "comparison": comparison,
            "sources": sorted({*comparison.before.sources, *self.run.sources}),
            "notebooks": [change for change in changes if change.differs],
            "same_notebooks": sum(not change.differs for change in changes),
            "same_figures": sum(change.same_figures for change in changes),
            "full": full,
        }

    def _changes(self, other: RunOnDisk, *, figures_alone: bool) -> Iterator[NotebookChange]:
        for step in {**self.run.notebooks, **other.notebooks}:
            sides = [(run, run.notebooks.get(step)) for run in (other, self.run)]
            for run, notebook in sides:
                if notebook is None or not notebook.is_readable:
                    why = "has none" if notebook is None else "has one that cannot be read"
                    yield NotebookChange(step, note=f"the run {run.record.id} {why}")
                    break
            else:
                before, after = (notebook for _, notebook in sides if notebook)
                yield notebook_change(step, before, after, figures_alone=figures_alone)

    def _search(self) -> dict[str, Any]:
        return {
            "run": self.record,
            "sources": self.run.sources,
            "entries": index_of(self.run),
            "most": MOST_CHARACTERS,
        }

    def _front(self, summaries: Mapping[str, PageSummary]) -> dict[str, Any]:
        front = front_page(self.run, self.earlier, summaries, self.last)
        return {"broken": self.broken, "live": None, **front}
