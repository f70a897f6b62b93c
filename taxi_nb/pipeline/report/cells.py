"""The cells of an executed notebook -> HTML, by nbconvert and a template of ours."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from taxi_nb.pipeline.report.executed import ExecutedNotebook, last_heading
from taxi_nb.pipeline.report.outputs import OutputHtml
from taxi_nb.pipeline.report.prose import Heading, Prose
from taxi_nb.pipeline.report.untrusted import Held

_TEMPLATES = Path(__file__).parent / "templates"
_LABELS = {
    "injected-parameters": "parameters given by the pipeline",
    "parameters": "default parameters",
}


@dataclass(frozen=True)
class Rendered:
    """A notebook's cells as HTML; its title is the first heading, if that is of level 1."""

    html: str
    title: str | None
    headings: tuple[Heading, ...]
    held: Held


def rendered_cells(
    notebook: ExecutedNotebook,
    *,
    prefix: str,
    folder: Path,
    failed_cell: int | None = None,
    alone: bool = False,
) -> Rendered:
    """Turn the cells into HTML that neither runs nor loads anything.

    Parameters
    ----------
    prefix : str
        Before each id; several notebooks may share a page.
    folder : Path
        Of the source notebook.
    alone : bool
        Whether the page will be without the notebook's file beside it.
    """
    prose = Prose(prefix, folder)
    outputs = OutputHtml(prose, None if alone else notebook.path.name)
    exporter = _exporter(prose, outputs, notebook.language)
    html, _ = exporter.from_notebook_node(_annotated(notebook, prefix, failed_cell))
    first = prose.headings[0] if prose.headings else None
    title = first.text if first and first.level == 1 else None
    return Rendered(html, title, tuple(prose.headings), outputs.held)


def _annotated(notebook: ExecutedNotebook, prefix: str, failed_cell: int | None) -> Any:
    """Give each cell what the template shows of it."""
    import nbformat

    annotated = nbformat.from_dict(notebook.content)
    title = notebook.path.stem
    for number, cell in enumerate(annotated.cells, start=1):
        title = last_heading(cell) or title
        tags = cell.metadata.setdefault("tags", [])
        label = next((_LABELS[tag] for tag in tags if tag in _LABELS), "code")
        cell.metadata.update(
            anchor=f"{prefix}cell-{number}",
            label=f"Cell {number}, {label}",
            time=_seconds(cell),
            failed=number == failed_cell,
            above=title,
        )
    return annotated


def _exporter(prose: Prose, outputs: OutputHtml, language: str) -> Any:
    from nbconvert.exporters import TemplateExporter
    from nbconvert.filters.highlight import Highlight2HTML

    filters = {
        "highlight_code": Highlight2HTML(pygments_lexer=language),
        "prose": lambda cell: outputs.noted(prose.cell(cell.source, cell.get("attachments", {}))),
        "shown_outputs": lambda cell: outputs.cell(cell.outputs, cell.metadata.above),
    }
    exporter = TemplateExporter(
        template_name="cells",
        template_extension=".html.j2",
        extra_template_basedirs=[str(_TEMPLATES)],
    )
    for name, render in filters.items():
        exporter.register_filter(name, render)
    return exporter


def _seconds(cell: Any) -> str | None:
    seconds = (cell.metadata.get("papermill") or {}).get("duration")
    return f"{seconds:.1f} s" if isinstance(seconds, float) and seconds >= 0.05 else None
