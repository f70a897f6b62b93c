"""An executed notebook as HTML that neither runs nor loads anything, by nbconvert."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from threading import Lock
from types import CodeType
from typing import Any
from urllib.parse import quote

import nbformat
from jinja2.bccache import Bucket, BytecodeCache
from nbconvert.exporters import TemplateExporter
from nbconvert.filters.highlight import Highlight2HTML

from taxi_nb.pipeline.record import RunRecord, StepResult
from taxi_nb.pipeline.report._links import PAGE, Links, cell_prefix
from taxi_nb.pipeline.report._outputs import OutputHtml
from taxi_nb.pipeline.report._page_summary import PageSummary, neighbours
from taxi_nb.pipeline.report._pages import render
from taxi_nb.pipeline.report._prose import Heading, Prose
from taxi_nb.pipeline.report._untrusted import Held
from taxi_nb.pipeline.report._words import Words, words_of
from taxi_nb.pipeline.report.executed import ExecutedNotebook, hidden_parts, last_heading
from taxi_nb.project import write_whole

_TEMPLATES = Path(__file__).parent / "templates"
_HIDDEN = {
    "cell": "cell",
    "code": "cell without its code",
    "outputs": "cell without its outputs",
}
_LABELS = {
    "injected-parameters": "parameters given by the pipeline",
    "parameters": "default parameters",
}


def write_notebook_page(
    notebook: Path, page: Path, *, step: StepResult, sources: Sequence[str] = ()
) -> None:
    """Render a step's executed notebook, before much is known of the run around it.

    `sources` are labels of the data that it or what it builds on used.
    """
    context = notebook_context(ExecutedNotebook(notebook), page.parent, step, sources=sources)
    write_whole(page, render("notebook.html", site=Links([step]), **context))


def notebook_context(
    executed: ExecutedNotebook,
    folder: Path,
    step: StepResult,
    record: RunRecord | None = None,
    *,
    sources: Sequence[str] = (),
    alone: bool = False,
) -> dict[str, Any]:
    """Return the content of its template; a page that is `alone` has no notebook beside it."""
    source = folder.parent.parent / step.notebook
    words = words_of(source.parent)
    failed_cell = step.error.cell if step.error else None
    cells = _cells(executed, _Asked(cell_prefix(step), source.parent, words, failed_cell, alone))
    previous, following = neighbours(record.steps if record else (step,), step)
    summary = PageSummary(
        cells.title, cells.held, previous, following, cells.hidden, tuple(sources)
    )
    return {
        "run": record,
        "step": step,
        "sources": sources,
        "html": cells.html,
        "title": cells.title,
        "headings": cells.headings,
        "held_back": cells.held,
        "hidden": cells.hidden,
        "prefix": cell_prefix(step),
        "previous": previous,
        "next": following,
        "summary": summary,
        # By its name: a later run that reuses the step has this page in its folder, too.
        "run_address": f"../{folder.name}/{PAGE}",
        "source_address": quote(os.path.relpath(source, folder)) if source.is_file() else None,
        "python": cells.python,
        "words_problem": words.problem,
    }


@dataclass(frozen=True)
class _Asked:
    """What the cells of a page depend on, besides their notebook's file."""

    prefix: str
    folder: Path
    words: Words
    failed_cell: int | None
    alone: bool


@dataclass(frozen=True)
class _Cells:
    """A notebook's cells as HTML, and what is known of them by then."""

    html: str
    title: str | None
    headings: list[Heading]
    held: Held
    hidden: Counter[str]
    python: str | None
    # Of files beside the notebook nobody knows whether they are the same later.
    reads_files: bool


# A run writes the page of a step twice: when that ends, and when all is known of the run around.
_WRITTEN: dict[tuple[object, ...], _Cells] = {}
_WRITING = Lock()
_MOST_WRITTEN, _LONGEST_WRITTEN = 64, 1_000_000


def _cells(executed: ExecutedNotebook, asked: _Asked) -> _Cells:
    """Return a notebook's cells as HTML; of what was made before, the next call gets that."""
    found = executed.path.stat()
    key = (asked, executed.path, found.st_size, found.st_mtime_ns, found.st_ino)
    with _WRITING:
        if (written := _WRITTEN.pop(key, None)) is not None:
            return written
    written = _as_html(executed, asked)
    if len(written.html) <= _LONGEST_WRITTEN and not written.reads_files:
        with _WRITING:
            _WRITTEN[key] = written
            while len(_WRITTEN) > _MOST_WRITTEN:
                del _WRITTEN[next(iter(_WRITTEN))]
    return written


def _as_html(executed: ExecutedNotebook, asked: _Asked) -> _Cells:
    prose = Prose(asked.prefix, asked.folder)
    cells = _annotated(executed, asked.prefix, asked.failed_cell)
    places = {
        cell.execution_count: (cell.metadata.number, cell.metadata.anchor)
        for cell in cells.cells
        if cell.get("execution_count")
    }
    beside = None if asked.alone else executed.path.name
    outputs = OutputHtml(prose, beside, asked.words.by_name, places)
    html, _ = _exporter(prose, outputs, executed.language).from_notebook_node(cells)
    first = prose.headings[0] if prose.headings else None
    return _Cells(
        prose.with_links(html),
        first.text if first and first.level == 1 else None,
        prose.headings,
        outputs.held,
        Counter(_HIDDEN[part] for cell in cells.cells for part in cell.metadata.hides),
        executed.python,
        prose.reads_files,
    )


def _annotated(executed: ExecutedNotebook, prefix: str, failed_cell: int | None) -> Any:
    """Give each cell the anchor, label and so on that the template shows."""
    annotated = nbformat.from_dict(executed.content)
    title = executed.path.stem
    for number, cell in enumerate(annotated.cells, start=1):
        title = last_heading(cell) or title
        tags = cell.metadata.setdefault("tags", [])
        label = next((_LABELS[tag] for tag in tags if tag in _LABELS), "code")
        seconds = (cell.metadata.get("papermill") or {}).get("duration")
        # Why a step failed is not hidden.
        hides = [] if number == failed_cell else sorted(hidden_parts(cell))
        is_long = isinstance(seconds, float) and seconds >= 0.05
        cell.metadata.update(
            number=number,
            anchor=f"{prefix}cell-{number}",
            label=f"Cell {number}, {label}",
            time=f"{seconds:.1f} s" if is_long else None,
            failed=number == failed_cell,
            above=title,
            hides=hides,
        )
    return annotated


def _exporter(prose: Prose, outputs: OutputHtml, language: str) -> Any:
    filters = {
        "highlight_code": partial(_highlighted, language),
        "prose": lambda cell: outputs.noted(prose.cell(cell.source, cell.get("attachments", {}))),
        "shown_outputs": lambda cell: outputs.cell(cell.outputs, cell.metadata.above),
    }
    exporter = TemplateExporter(
        template_name="cells",
        template_extension=".html.j2",
        extra_template_basedirs=[str(_TEMPLATES)],
        filters=filters,
        default_preprocessors=[],  # They would do nothing, and it is validated after each.
    )
    exporter.environment.bytecode_cache = _COMPILED
    return exporter


@lru_cache(maxsize=1000)
def _highlighted(language: str, code: str) -> str:
    """Colour code once: many steps of a run execute the same cells."""
    return str(Highlight2HTML(pygments_lexer=language)(code))


class _Compiled(BytecodeCache):
    """Keeps templates for the next page: each exporter would compile nbconvert's again."""

    def __init__(self) -> None:
        self._code: dict[tuple[str, str], CodeType] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        bucket.code = self._code.get((bucket.key, bucket.checksum))

    def dump_bytecode(self, bucket: Bucket) -> None:
        if bucket.code is not None:
            self._code[bucket.key, bucket.checksum] = bucket.code


_COMPILED = _Compiled()
