"""The index of a run's pages: what every cell says and shows, as text, with its place."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from taxi_nb.pipeline.report._texts import shown_text
from taxi_nb.pipeline.report.executed import ExecutedNotebook, hidden_parts, last_heading
from taxi_nb.pipeline.report.past import RunOnDisk

# Of a cell's source and of what it shows; the index stays smaller than the pages.
MOST_CHARACTERS = 4_000


@dataclass(frozen=True)
class Entry:
    """A place on a run's pages; one without a cell is of the step as a whole."""

    step: str
    cell: int | None
    heading: str
    text: str


def index_of(run: RunOnDisk) -> Iterator[Entry]:
    """Yield what can be found on the pages of a run, in their order, nothing that is hidden."""
    for step in run.record.steps:
        of_step = {**step.parameters, **step.metrics}
        facts = [f"{name} = {value}" for name, value in of_step.items()]
        error = [str(step.error)] if step.error else []
        text = "\n".join([step.notebook, str(step.status), *error, *facts])
        yield Entry(step.name, None, "parameters and metrics", text[:MOST_CHARACTERS])
        notebook = run.notebooks.get(step.name)
        if notebook is not None and step.html is not None and notebook.is_readable:
            yield from _of_cells(step.name, notebook)


def _of_cells(step: str, notebook: ExecutedNotebook) -> Iterator[Entry]:
    heading = ""
    for number, cell in enumerate(notebook.content["cells"], start=1):
        heading = last_heading(cell) or heading
        hides = hidden_parts(cell)
        texts = [] if hides & {"cell", "code"} else [cell["source"]]
        if not hides & {"cell", "outputs"}:
            texts.append(shown_text(cell.get("outputs", ())))
        if found := [text[:MOST_CHARACTERS] for text in texts if text.strip()]:
            yield Entry(step, number, heading, "\n".join(found))
