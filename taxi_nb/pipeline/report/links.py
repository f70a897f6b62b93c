"""Where the links of a page lead: to files of a run's folder, or to places in one file."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from pathlib import Path

from taxi_nb.pipeline.record import StepResult
from taxi_nb.pipeline.report.figures import Figure
from taxi_nb.pipeline.report.past import RunOnDisk

PAGE = "index.html"
FIGURES = "figures"
COMPARISONS = "against"


class FolderLinks:
    """Links between the files of ``runs/<id>``.

    Parameters
    ----------
    base : str
        From the page to the run's folder.
    compared : collection of str
        Ids of the runs that there is a comparison with.
    elsewhere : Path, optional
        Another run's folder that may have a figure already.
    """

    def __init__(
        self,
        steps: Iterable[StepResult],
        *,
        base: str = "",
        compared: frozenset[str] = frozenset(),
        elsewhere: Path | None = None,
    ) -> None:
        self.steps = {step.name: step for step in steps}
        self.base = base
        self.compared = compared
        self.elsewhere = elsewhere
        self.pictures: dict[str, Figure] = {}

    def front(self) -> str:
        """Return the run's first page."""
        return f"{self.base}{PAGE}"

    def page(self, step: str, cell: int | None = None) -> str:
        """Return a step's page, or a cell on it."""
        result = self.steps[step]
        if result.html is None:
            return f"{self.front()}#steps"
        return f"{self.base}{result.html}" + (f"#{cell_prefix(result)}cell-{cell}" if cell else "")

    def picture(self, figure: Figure) -> str:
        """Return a figure's image."""
        there = self.elsewhere and self.elsewhere / FIGURES / figure.file_name
        if there and there.is_file():
            return f"{self.base}../{there.parent.parent.name}/{FIGURES}/{figure.file_name}"
        self.pictures[figure.file_name] = figure
        return f"{self.base}{FIGURES}/{figure.file_name}"

    def run(self, other: RunOnDisk) -> str:
        """Return another run's first page."""
        return f"{self.base}../{other.folder.name}/{PAGE}"

    def comparison(self, other: RunOnDisk) -> str | None:
        """Return the comparison with another run, if there is one."""
        if other.record.id not in self.compared:
            return None
        return f"{self.base}{COMPARISONS}/{other.folder.name}.html"

    def notebook(self, step: StepResult) -> str | None:
        """Return the executed notebook's file, if it is beside the page."""
        return step.executed_notebook and f"{self.base}{step.executed_notebook}"


class SingleFileLinks:
    """Links within one file that can be sent to somebody."""

    def __init__(self, steps: Iterable[StepResult], compared: frozenset[str] = frozenset()) -> None:
        self.steps = {step.name: step for step in steps}
        self.compared = compared

    def front(self) -> str:
        """Return the run's first page."""
        return "#content"

    def page(self, step: str, cell: int | None = None) -> str:
        """Return a step's page, or a cell on it."""
        result = self.steps[step]
        if result.html is None:
            return "#steps"
        return f"#{cell_prefix(result)}" + (f"cell-{cell}" if cell else "page")

    def picture(self, figure: Figure) -> str:
        """Return a figure's image."""
        return f"data:{figure.kind};base64,{base64.b64encode(figure.data).decode()}"

    def run(self, other: RunOnDisk) -> str:
        """Return another run's first page."""
        return self.comparison(other) or "#history"

    def comparison(self, other: RunOnDisk) -> str | None:
        """Return the comparison with another run, if there is one."""
        return "#comparison" if other.record.id in self.compared else None

    def notebook(self, step: StepResult) -> str | None:
        """Return the executed notebook's file, if it is beside the page."""
        return None


def cell_prefix(step: StepResult) -> str:
    """Return what comes before the ids of a notebook's page."""
    return f"{Path(step.executed_notebook or step.notebook).stem}--"
