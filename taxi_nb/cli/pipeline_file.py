"""The options that name a pipeline file, and what is read and planned from it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from taxi_nb.cli.stopping import FAILURE, USAGE, stop
from taxi_nb.project import project_root

if TYPE_CHECKING:
    from taxi_nb.pipeline.memory import Memory
    from taxi_nb.pipeline.planned import Plan
    from taxi_nb.pipeline.spec import Pipeline

DEFAULT_FILE = Path("params/default.yaml")

ParameterFile = Annotated[Path, typer.Argument(help="The pipeline file.", show_default=True)]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="Give a parameter another value, as YAML: --set train_months=[2021-03].",
    ),
]

Force = Annotated[
    list[str] | None,
    typer.Option(
        "--force",
        metavar="[STEP]",
        help="Run a step though it is up to date; without a name, all steps.",
    ),
]


def read(file: Path, overrides: list[str] | None) -> Pipeline:
    """Read the pipeline file; every mistake in it is told before anything runs."""
    from taxi_nb.pipeline.spec import PipelineFileError, read_pipeline

    # From a folder below, `params/default.yaml` is still the project's.
    found = file if file.exists() else project_root() / file
    try:
        return read_pipeline(found.absolute(), project_root(), overrides or [])
    except PipelineFileError as error:
        count = len(error.problems)
        heading = f"{file}: {count} mistake{'s' if count > 1 else ''}; nothing has been run"
        stop("\n".join([heading, *(f"  {problem}" for problem in error.problems)]), USAGE)


def make_plan(pipeline: Pipeline, force: list[str]) -> tuple[Memory, Plan]:
    """Plan the pipeline: which steps must run, and why."""
    from taxi_nb.pipeline.memory import Memory
    from taxi_nb.pipeline.plan import UnknownStepError, plan
    from taxi_nb.tracking.store_errors import StoreError

    try:
        memory = Memory(pipeline)
        made = plan(pipeline, memory, force)
        memory.digests.save()
        return memory, made
    except UnknownStepError as error:
        stop(f"--force: {error}", USAGE)
    except StoreError as error:
        stop(str(error), FAILURE)
