"""Which run a command speaks of."""

from __future__ import annotations

from pathlib import Path

from taxi_nb.cli.stopping import USAGE, stop
from taxi_nb.project import project_root


def run_folder(run: str) -> Path:
    """Find a run by its folder or by its id below ``runs/``."""
    from taxi_nb.pipeline.record import RUN_FILE

    runs = project_root() / "runs"
    for folder in (Path(run), runs / run):
        if (folder / RUN_FILE).is_file():
            return folder.resolve()
    stop(f"{run} is not a run, nor the folder of one; make run-notebooks makes runs", USAGE)
