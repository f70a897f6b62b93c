"""An executed notebook as one HTML file that loads nothing from anywhere."""

from __future__ import annotations

from pathlib import Path

from taxi_nb.pipeline.record import write_aside


def write_notebook_page(notebook: Path, page: Path, *, title: str) -> None:
    """Render an executed notebook.

    Parameters
    ----------
    notebook : Path
        The executed notebook.
    page : Path
        The HTML file; written aside and renamed.
    title : str
        Of the page.
    """
    from nbconvert import HTMLExporter

    # nbconvert's templates fetch MathJax and require.js unless told otherwise.
    exporter = HTMLExporter(
        template_name="lab",
        mathjax_url="",
        require_js_url="",
        jquery_url="",
        mermaid_js_url="",
        embed_images=True,
    )
    body, _ = exporter.from_filename(str(notebook), resources={"metadata": {"name": title}})
    write_aside(page, body)
