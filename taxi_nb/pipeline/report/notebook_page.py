"""An executed notebook as one HTML file that loads nothing from anywhere."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from taxi_nb.pipeline.record import RunRecord, StepResult
from taxi_nb.pipeline.report.cells import rendered_cells
from taxi_nb.pipeline.report.executed import ExecutedNotebook
from taxi_nb.pipeline.report.links import PAGE, Links, cell_prefix
from taxi_nb.pipeline.report.page_summary import PageSummary, neighbours
from taxi_nb.pipeline.report.pages import render
from taxi_nb.project import write_whole


def write_notebook_page(notebook: Path, page: Path, *, step: StepResult) -> None:
    """Render an executed notebook on its own, before anything is known of the run around it.

    Parameters
    ----------
    notebook : Path
        The executed notebook.
    page : Path
        The HTML file; written aside and renamed.
    step : StepResult
        The step that executed it, as it ended.
    """
    context = notebook_context(ExecutedNotebook(notebook), page.parent, step)
    write_whole(page, render("notebook.html", site=Links([step]), **context))


def notebook_context(
    executed: ExecutedNotebook,
    folder: Path,
    step: StepResult,
    record: RunRecord | None = None,
    *,
    alone: bool = False,
) -> dict[str, Any]:
    """Return the content of a notebook's template.

    Parameters
    ----------
    folder : Path
        The run's, ``runs/<id>`` in the project.
    alone : bool
        Whether the page will be without the notebook's file beside it.
    """
    source = folder.parent.parent / step.notebook
    rendered = rendered_cells(
        executed,
        prefix=cell_prefix(step),
        folder=source.parent,
        failed_cell=step.error.cell if step.error else None,
        alone=alone,
    )
    previous, following = neighbours(record.steps if record else (step,), step)
    return {
        "run": record,
        "step": step,
        "notebook": rendered,
        "prefix": cell_prefix(step),
        "previous": previous,
        "next": following,
        "summary": PageSummary(rendered.title, rendered.held, previous, following),
        # By its name: a later run that reuses the step has this page in its folder, too.
        "run_address": f"../{folder.name}/{PAGE}",
        "source_address": os.path.relpath(source, folder) if source.is_file() else None,
        "python": executed.python,
    }
