"""What a shell offers where a pipeline file, a step or a run is to be named."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from taxi_nb.project import project_file, project_root

PIPELINE_FILES = ("*.yaml", "*.yml")


def pipeline_files() -> list[str]:
    """Return the project's pipeline files, by the names that commands take."""
    folder = project_root() / "params"
    found = {file.name for kind in PIPELINE_FILES for file in folder.glob(kind)}
    return [f"params/{name}" for name in sorted(found)]


def run_names() -> list[str]:
    """Return the project's runs, the newest first."""
    runs = project_root() / "runs"
    found = {file.parent.name for file in runs.glob("*/run.json")} - {"latest"}
    return sorted(found, reverse=True)


def complete_file(incomplete: str) -> list[str]:
    """Offer pipeline files, and what else is there by that beginning."""
    names = [*pipeline_files(), *_files_from_here(incomplete)]
    return [name for name in dict.fromkeys(names) if name.startswith(incomplete)]


def _files_from_here(incomplete: str) -> Iterator[str]:
    start = Path(incomplete)
    folder = start if incomplete.endswith("/") else start.parent
    with suppress(OSError):
        for path in sorted(folder.iterdir()):
            if path.is_dir() or path.suffix in (".yaml", ".yml"):
                yield f"{path}/" if path.is_dir() else str(path)


def complete_step(incomplete: str) -> Iterator[str]:
    """Offer the steps of the pipeline file that was named before, and what groups them."""
    from taxi_nb.pipeline.pipeline_file import read_pipeline
    from taxi_nb.pipeline.spec import PipelineFileError
    from taxi_nb.training.notebook_parameters import PARAMETERS

    # Typer cannot read a line that ends in an option without its value; shells hand it whole.
    line = os.environ.get("_TYPER_COMPLETE_ARGS") or os.environ.get("COMP_WORDS", "")
    named = (word for word in line.split() if word.endswith((".yaml", ".yml")))
    file = project_file(Path(next(named, "params/default.yaml")))
    try:
        pipeline = read_pipeline(
            file, project_root(), newest_month=lambda _: "2021-01", subject=PARAMETERS
        )
    except PipelineFileError:
        return
    names = dict.fromkeys(name for step in pipeline.steps for name in (step.group, step.name))
    yield from (name for name in names if name.startswith(incomplete))


def complete_run(incomplete: str) -> Iterator[str]:
    """Offer the runs below ``runs/``."""
    yield from (name for name in ("latest", *run_names()) if name.startswith(incomplete))
