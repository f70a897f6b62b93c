"""An executed notebook as one HTML file that loads nothing from anywhere."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from taxi_nb.pipeline.record import RunRecord, StepResult
from taxi_nb.pipeline.report.cells import Rendered, rendered_cells
from taxi_nb.pipeline.report.executed import ExecutedNotebook
from taxi_nb.pipeline.report.links import PAGE, FolderLinks, cell_prefix
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
    executed = ExecutedNotebook(notebook)
    rendered = rendered_notebook(executed, page.parent, step)
    context = notebook_context(executed, rendered, page.parent, None, step)
    write_whole(page, render("notebook.html", site=FolderLinks([step]), **context))


def rendered_notebook(
    executed: ExecutedNotebook, folder: Path, step: StepResult, *, alone: bool = False
) -> Rendered:
    """Turn a step's notebook into HTML; `alone` for a page with no files beside it."""
    return rendered_cells(
        executed,
        prefix=cell_prefix(step),
        folder=source_notebook(folder, step).parent,
        failed_cell=step.error.cell if step.error else None,
        alone=alone,
    )


def notebook_context(
    executed: ExecutedNotebook,
    rendered: Rendered,
    folder: Path,
    record: RunRecord | None,
    step: StepResult,
) -> dict[str, Any]:
    """Return what a notebook's template shows."""
    previous, following = neighbours(record.steps if record else (step,), step)
    summary = PageSummary(rendered.title, rendered.held, previous, following)
    source = source_notebook(folder, step)
    return {
        "run": record,
        "step": step,
        "notebook": rendered,
        "prefix": cell_prefix(step),
        "previous": previous,
        "next": following,
        "summary": summary,
        # By its name: a later run that reuses the step has this page in its folder, too.
        "run_address": f"../{folder.name}/{PAGE}",
        "source_address": os.path.relpath(source, folder) if source.is_file() else None,
        "python": executed.python,
    }


def source_notebook(folder: Path, step: StepResult) -> Path:
    """Return where a step's notebook comes from: the project holds ``runs/<id>``."""
    return folder.parent.parent / step.notebook
