"""`%report`: a run's page inside JupyterLab."""

from __future__ import annotations

import os
from dataclasses import dataclass
from html import escape
from pathlib import Path
from urllib.parse import quote

from taxi_nb.lab._words import usage
from taxi_nb.project import path_within, project_root
from taxi_nb.tracking.names import PAGES_VARIABLE

USAGE = "%report [RUN], such as %report 20260203-140501-default; the newest run if left out"


@dataclass(frozen=True)
class Report:
    """The front page of a run, which shows itself where the Jupyter server serves it."""

    run: str
    page: Path
    address: str | None  # A path on the Jupyter server; None where that shows no pages.

    def __repr__(self) -> str:
        return str(self.page)

    def _repr_html_(self) -> str:
        name = escape(self.run)
        if self.address is None:
            shown = escape(path_within(project_root(), self.page))
            return (
                f"<p>The page of {name} is <code>{shown}</code>, for a browser. It is not shown "
                "here: the Jupyter server of this kernel has not loaded "
                "<code>taxi_nb.lab.server</code>, or the run is not in <code>runs/</code>.</p>"
            )
        # Lab rewrites links to places on its server, as if they were files: a form it leaves.
        address = escape(self.address)
        return (
            f"<form action='{address}' target='_blank' style='margin: 0 0 .4em'>{name} "
            "<button>Open in a tab of the browser</button></form>"
            f"<iframe src='{address}' title='The page of {name}' "
            "style='width: 100%; height: 75vh; border: 1px solid #8888'></iframe>"
        )


def folder_of(run: str | None) -> Path:
    """Return the folder of a run, of the newest if none is named; a `UsageError` without such."""
    from taxi_nb.pipeline.report.past import find_run

    runs = project_root() / "runs"
    folder = find_run(runs, run)
    if folder is None:
        named = f"there is no run {run!r} in" if run else "no run yet in"
        raise usage(f"{named} {runs}; `taxi-nb run` makes runs")
    return folder


def report_of(line: str) -> Report:
    """Return the page of the run that the line after ``%report`` names, or of the newest."""
    from taxi_nb.pipeline.report.site import page_of

    words = line.split()
    if len(words) > 1:
        raise usage(USAGE)
    runs, folder = project_root() / "runs", folder_of(words[0] if words else None)
    try:
        page = page_of(folder)
    except (OSError, ValueError) as error:
        raise usage(f"{folder}: {error}") from None
    place, address = os.environ.get(PAGES_VARIABLE), None
    if place and folder.is_relative_to(runs.resolve()):
        address = f"{place}/{quote(folder.name)}/{page.name}"
    return Report(folder.name, page, address)
