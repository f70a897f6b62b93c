"""The page that lists a run's notebooks."""

from __future__ import annotations

from pathlib import Path

from taxi_nb.pipeline.record import RUN_FILE, RunRecord, write_aside

PAGE = "index.html"


def write_site(folder: Path) -> Path:
    """Write `index.html` into a run's folder from its `run.json`; return its path."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    record = RunRecord.from_json((folder / RUN_FILE).read_text("utf-8"))
    templates = Environment(
        loader=PackageLoader("taxi_nb.pipeline.report"), autoescape=True, undefined=StrictUndefined
    )
    templates.filters["duration"] = _duration
    page = folder / PAGE
    sources = sorted({step.data_source for step in record.steps if step.data_source})
    write_aside(page, templates.get_template("index.html").render(run=record, sources=sources))
    return page


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    return f"{seconds:.1f} s" if seconds < 60 else f"{int(seconds // 60)} min {seconds % 60:.0f} s"
