"""An executed notebook, read once: its cells as HTML, its figures, its times."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from taxi_nb.pipeline.report.outputs import IMAGES, OutputHtml, alt_text, encoded_image
from taxi_nb.pipeline.report.prose import Heading, Prose
from taxi_nb.pipeline.report.untrusted import Held

TEMPLATES = Path(__file__).parent / "templates"
_SUFFIXES = {
    "image/png": ".png",
    "image/svg+xml": ".svg",
    "image/jpeg": ".jpg",
    "image/gif": ".gif",
    "image/webp": ".webp",
}
_LABELS = {
    "injected-parameters": "parameters given by the pipeline",
    "parameters": "default parameters",
}


@dataclass(frozen=True)
class Figure:
    """A picture that a cell showed.

    Attributes
    ----------
    key : str
        What makes it the same figure in another run: its title, numbered where
        several have it.
    digest : str
        Of its bytes; the name of its file.
    """

    cell: int
    title: str
    key: str
    kind: str
    data: bytes = field(repr=False)

    @cached_property
    def digest(self) -> str:
        """Return what the same picture has in another run."""
        return hashlib.sha256(self.data).hexdigest()[:16]

    @property
    def file_name(self) -> str:
        """Return its name below ``figures/``."""
        return self.digest + _SUFFIXES[self.kind]


@dataclass(frozen=True)
class Rendered:
    """A notebook's cells as HTML.

    Attributes
    ----------
    title : str or None
        Its first heading, if that is one of level 1.
    held : Counter
        What was held back, by kind.
    """

    html: str
    title: str | None
    headings: tuple[Heading, ...]
    held: Held


class ExecutedNotebook:
    """One executed notebook.

    Parameters
    ----------
    path : Path
        The file; it is read when something is asked for, once.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def content(self) -> Any:
        """The notebook; without papermill's banners, so that cells count as they ran."""
        import nbformat

        found = nbformat.read(self.path, as_version=4)
        found.cells = [
            cell
            for cell in found.cells
            if "papermill-error-cell-tag" not in cell.metadata.get("tags", [])
        ]
        return found

    @cached_property
    def figures(self) -> tuple[Figure, ...]:
        """Return every picture, in order."""
        found: list[Figure] = []
        counts: dict[str, int] = {}
        for number, title, output in self._displayed():
            kind = next((kind for kind in IMAGES if kind in output.get("data", {})), None)
            data = kind and _decoded(kind, output.data[kind])
            if not kind or not data:
                continue
            name = alt_text(output, kind) or title
            counts[name] = counts.get(name, 0) + 1
            key = name if counts[name] == 1 else f"{name} ({counts[name]})"
            found.append(Figure(number, name, key, kind, data))
        return tuple(found)

    def _displayed(self) -> Any:
        """Yield each output with its cell's number and the heading above it."""
        title = self.path.stem
        for number, cell in enumerate(self.content.cells, start=1):
            title = _last_heading(cell) or title
            for output in cell.get("outputs", []):
                yield number, title, output

    @cached_property
    def started_and_ended(self) -> tuple[datetime, datetime] | None:
        """Return when papermill began and finished, if it says so."""
        told: Mapping[str, Any] = self.content.metadata.get("papermill", {})
        try:
            return (
                datetime.fromisoformat(told["start_time"]),
                datetime.fromisoformat(told["end_time"]),
            )
        except (KeyError, TypeError, ValueError):
            return None

    @property
    def python(self) -> str | None:
        """Return the version of Python that its kernel had."""
        return self.content.metadata.get("language_info", {}).get("version")

    @property
    def language(self) -> str:
        """Return the language of its code, as Pygments calls it."""
        told = self.content.metadata.get("language_info", {})
        return str(told.get("pygments_lexer") or told.get("name") or "ipython3")

    def rendered(
        self, *, prefix: str, folder: Path, failed_cell: int | None = None, alone: bool = False
    ) -> Rendered:
        """Turn the cells into HTML that neither runs nor loads anything.

        Parameters
        ----------
        prefix : str
            Before each id; several notebooks may share a page.
        folder : Path
            Of the source notebook.
        failed_cell : int, optional
            The number of the cell that ended the execution.
        alone : bool
            Whether the page will be without the notebook's file beside it.
        """
        prose = Prose(prefix, folder)
        outputs = OutputHtml(prose, None if alone else self.path.name)
        exporter = _exporter(prose, outputs, self.language)
        html, _ = exporter.from_notebook_node(self._annotated(prefix, failed_cell))
        first = prose.headings[0] if prose.headings else None
        title = first.text if first and first.level == 1 else None
        return Rendered(html, title, tuple(prose.headings), outputs.held)

    def _annotated(self, prefix: str, failed_cell: int | None) -> Any:
        """Give each cell what the template shows of it; `nbconvert` works on a copy."""
        title = self.path.stem
        for number, cell in enumerate(self.content.cells, start=1):
            title = _last_heading(cell) or title
            tags = cell.metadata.setdefault("tags", [])
            label = next((_LABELS[tag] for tag in tags if tag in _LABELS), "code")
            cell.metadata.update(
                anchor=f"{prefix}cell-{number}",
                label=f"Cell {number}, {label}",
                time=_seconds(cell),
                failed=number == failed_cell,
                above=title,
            )
        return self.content


def _exporter(prose: Prose, outputs: OutputHtml, language: str) -> Any:
    from nbconvert.exporters import TemplateExporter
    from nbconvert.filters.highlight import Highlight2HTML

    def render_prose(cell: Any) -> str:
        return outputs.noted(prose.cell(cell.source, cell.get("attachments", {})))

    def shown_outputs(cell: Any) -> str:
        return outputs.cell(cell.outputs, cell.metadata.above)

    exporter = TemplateExporter(
        template_name="cells",
        template_extension=".html.j2",
        extra_template_basedirs=[str(TEMPLATES)],
    )
    exporter.register_filter("highlight_code", Highlight2HTML(pygments_lexer=language))
    exporter.register_filter("prose", render_prose)
    exporter.register_filter("shown_outputs", shown_outputs)
    return exporter


def _last_heading(cell: Any) -> str | None:
    if cell.cell_type != "markdown":
        return None
    found = re.findall(r"^#{1,6}\s+(.+?)\s*#*$", cell.source, re.MULTILINE)
    return str(found[-1]) if found else None


def _seconds(cell: Any) -> str | None:
    seconds = (cell.metadata.get("papermill") or {}).get("duration")
    return f"{seconds:.1f} s" if isinstance(seconds, float) and seconds >= 0.05 else None


def _decoded(kind: str, data: Any) -> bytes | None:
    encoded = encoded_image(kind, data if isinstance(data, str) else "".join(data))
    return None if encoded is None else base64.b64decode(encoded)
