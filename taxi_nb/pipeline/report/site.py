"""The page that lists a run's notebooks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

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
    shared = shared_parameters(record)
    template = templates.get_template("index.html")
    write_aside(page, template.render(run=record, sources=sources, shared=shared))
    return page


def shared_parameters(record: RunRecord) -> dict[str, Any]:
    """Return the parameters that have one value in all the steps that have them."""
    values: dict[str, list[Any]] = {}
    for step in record.steps:
        for name, value in step.parameters.items():
            values.setdefault(name, []).append(value)
    return {
        name: given[0]
        for name, given in values.items()
        if len(given) > 1 and all(value == given[0] for value in given)
    }


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    return f"{seconds:.1f} s" if seconds < 60 else f"{int(seconds // 60)} min {seconds % 60:.0f} s"
