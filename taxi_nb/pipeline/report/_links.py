"""Where the links of a page lead: to files of a run's folder, or to places in one file."""

from __future__ import annotations

import base64
from collections.abc import Collection, Iterable
from pathlib import Path

from taxi_nb.pipeline.record import StepResult
from taxi_nb.pipeline.report.figures import Figure
from taxi_nb.pipeline.report.past import RunOnDisk

PAGE = "index.html"
FIGURES = "figures"
COMPARISONS = "against"
SEARCH = "search.html"


class Links:
    """The addresses that a page of ``runs/<id>`` uses.

    `base` leads from the page to the run's folder, `compared` has the ids of the runs that there
    is a comparison with, and the run's folder `elsewhere` may have a figure already. With
    `one_file` all pages are in one file, which can be sent to somebody: links lead to places in
    it, and pictures are in its text.
    """

    def __init__(
        self,
        steps: Iterable[StepResult],
        *,
        base: str = "",
        compared: Collection[str] = (),
        elsewhere: Path | None = None,
        one_file: bool = False,
    ) -> None:
        self.steps = {step.name: step for step in steps}
        self.base = base
        self.compared = compared
        self.elsewhere = elsewhere
        self.one_file = one_file
        self.pictures: dict[str, Figure] = {}

    def front(self) -> str:
        return "#content" if self.one_file else f"{self.base}{PAGE}"

    def page(self, step: str, cell: int | None = None) -> str:
        """Return a step's page, or a cell on it."""
        result = self.steps[step]
        if result.html is None:
            return "#steps" if self.one_file else f"{self.front()}#steps"
        place = f"{cell_prefix(result)}cell-{cell}" if cell else ""
        if self.one_file:
            return f"#{place or page_place(result)}"
        return f"{self.base}{result.html}" + (f"#{place}" if place else "")

    def search(self) -> str:
        """Return where all pages of the run can be searched."""
        return "#search" if self.one_file else f"{self.base}{SEARCH}"

    def page_of(self, other: RunOnDisk, step: str, cell: int) -> str | None:
        """Return a cell on a page of another run; None if there is no such page."""
        result = other.steps[step]
        if self.one_file or not result.html or not (other.folder / result.html).is_file():
            return None
        place = f"{cell_prefix(result)}cell-{cell}"
        return f"{self.base}../{other.folder.name}/{result.html}#{place}"

    def picture(self, figure: Figure) -> str:
        if self.one_file:
            return f"data:{figure.kind};base64,{base64.b64encode(figure.data).decode()}"
        there = self.elsewhere and self.elsewhere / FIGURES / figure.file_name
        if there and there.is_file():
            return f"{self.base}../{there.parent.parent.name}/{FIGURES}/{figure.file_name}"
        self.pictures[figure.file_name] = figure
        return f"{self.base}{FIGURES}/{figure.file_name}"

    def run(self, other: RunOnDisk) -> str:
        if self.one_file:
            return self.comparison(other) or "#history"
        return f"{self.base}../{other.folder.name}/{PAGE}"

    def comparison(self, other: RunOnDisk) -> str | None:
        if other.record.id not in self.compared:
            return None
        return "#comparison" if self.one_file else f"{self.base}{comparison_page(other.folder)}"

    def notebook(self, step: StepResult) -> str | None:
        """Return the executed notebook's file, if it is beside the page."""
        if self.one_file or not step.executed_notebook:
            return None
        return f"{self.base}{step.executed_notebook}"


def comparison_page(other: Path) -> str:
    """Return the file of a comparison with another run's folder, below the run's own."""
    return f"{COMPARISONS}/{other.name}.html"


def cell_prefix(step: StepResult) -> str:
    """Return the beginning of all ids of a notebook's page."""
    return f"{Path(step.executed_notebook or step.notebook).stem}--"


def page_place(step: StepResult) -> str:
    """Return the id of a notebook's page where all pages are in one file."""
    return f"{cell_prefix(step)}page"
