"""The arguments that several commands take, and what is read from the files they name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from taxi_nb.cli._completion import (
    complete_file,
    complete_run,
    complete_step,
    pipeline_files,
    run_names,
)
from taxi_nb.cli._stopping import FAILURE, USAGE, errors_stop, stop
from taxi_nb.project import is_project, project_file, project_root

if TYPE_CHECKING:
    from taxi_nb.pipeline.file_digest import FileDigests
    from taxi_nb.pipeline.memory import Memory
    from taxi_nb.pipeline.notify import Notifier
    from taxi_nb.pipeline.part import Part
    from taxi_nb.pipeline.pipeline_file import NewestMonth
    from taxi_nb.pipeline.planned import Plan
    from taxi_nb.pipeline.spec import Pipeline

DEFAULT_FILE = Path("params/default.yaml")

ParameterFile = Annotated[
    Path,
    typer.Argument(metavar="FILE", help="The pipeline file.", autocompletion=complete_file),
]
RequiredFile = Annotated[
    Path, typer.Argument(metavar="FILE", help="The pipeline file.", autocompletion=complete_file)
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="Give a parameter another value, as YAML: --set train_months=[2021-03].",
    ),
]


def _steps(told: str, *names: str, metavar: str = "STEP") -> Any:
    """Return an option that names steps, and may be repeated."""
    return typer.Option(*names, metavar=metavar, help=told, autocompletion=complete_step)


Force = Annotated[
    list[str] | None,
    _steps(
        "Run a step though it is up to date; without a name, all steps.",
        "--force",
        metavar="[STEP]",
    ),
]
Only = Annotated[
    list[str] | None,
    _steps(
        "Run no other step than this; may be repeated. What else is not up to date is left out, "
        "and that is said."
    ),
]
Until = Annotated[list[str] | None, _steps("Run this step and what it needs.")]
Since = Annotated[list[str] | None, _steps("Run this step and what needs it.", "--from")]
Kernel = Annotated[
    Literal["auto", "fork", "spawn"],
    typer.Option(
        metavar="auto|fork|spawn", help="How kernels start; auto picks what is safe here."
    ),
]
Jobs = Annotated[
    int,
    typer.Option("--jobs", "-j", metavar="NUMBER", min=1, help="Steps at the same time, at most."),
]
ChosenRun = Annotated[
    str | None,
    typer.Argument(
        metavar="RUN",
        help="A run's id or folder; the newest if left out.",
        autocompletion=complete_run,
    ),
]


Month = Annotated[
    str | None,
    typer.Option(
        metavar="MONTH",
        help="What {month-1} and the like in the file are relative to, such as 2023-03; "
        "latest: the newest month that the source has.",
    ),
]


Accept = Annotated[
    list[str] | None,
    typer.Option(
        "--accept",
        metavar="CHECK[=REASON]",
        help="Let data pass this time though they fail a check; the reason is kept.",
    ),
]


NoPromote = Annotated[
    bool,
    typer.Option(
        "--no-promote",
        help="For what-ifs: decisions are made and kept, and no champion changes.",
    ),
]


def read(
    file: Path,
    overrides: list[str] | None,
    month: str | None = None,
    newest: NewestMonth | None = None,
    accept: list[str] | None = None,
    *,
    no_promote: bool = False,
) -> Pipeline:
    """Read the pipeline file; every mistake in it is told before anything runs."""
    _require_there(file)
    from taxi_nb.pipeline.pipeline_file import MONTH, read_pipeline
    from taxi_nb.pipeline.spec import PipelineFileError
    from taxi_nb.training.notebook_parameters import PARAMETERS

    try:
        given = [*(overrides or []), *([f"{MONTH}={month}"] if month else [])]
        pipeline = read_pipeline(
            project_file(file),
            project_root(),
            given,
            newest or _newest_month,
            subject=PARAMETERS,
            accept=accept or (),
            digests=_digests(project_root()),
        )
        return replace(pipeline, promotes=not no_promote)
    except PipelineFileError as error:
        count = len(error.problems)
        heading = f"{file}: {count} mistake{'s' if count > 1 else ''}; nothing has been run"
        stop("\n".join([heading, *(f"  {problem}" for problem in error.problems)]), USAGE)


def _require_there(file: Path) -> None:
    """Stop where there is no such file, and name the one that was probably meant."""
    if project_file(file).exists():
        return
    from difflib import get_close_matches  # By the stem: what all have in common says nothing.

    there = {Path(name).stem: name for name in pipeline_files()}
    close = get_close_matches(file.stem, there, n=1)
    hint = f"; there are {', '.join(there.values())}" if there else ""
    if close:
        hint = f"; did you mean {there[close[0]]!r}?"
    stop(f"there is no file {str(file)[:300]}{hint}{outside()}", USAGE)


def outside() -> str:
    """Return what to add to a message where there is no project; nothing inside of one."""
    if is_project(project_root()):
        return ""
    return (
        f". This is no project: neither {project_root()} nor a folder above has params/ and "
        "notebooks/. Go to one, name it in TAXI_NB_ROOT, or make one: taxi-nb init"
    )


def notifier_of(pipeline: Pipeline) -> Notifier:
    """Return those who are to be told of a run; stop if they could not be."""
    from taxi_nb.pipeline.notify import Notifier, NotifyError

    with errors_stop({NotifyError: USAGE}):
        return Notifier.of(pipeline)


def name_and_value(option: str, text: str, *, may_be_secret: bool = False) -> tuple[str, str]:
    """Split the text of an option; what is wrong is told without a text that may be a secret."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        stop(f"{option} must be NAME=VALUE" + ("" if may_be_secret else f", got: {text!r}"), USAGE)
    return name, value


@cache
def _digests(root: Path) -> FileDigests:
    """Return a project's digests: what the file says is looked up here, and saved by the plan."""
    from taxi_nb.pipeline.memory import known_digests

    return known_digests(root)


def _newest_month(settings: Mapping[str, Any]) -> str:
    # Only where it is asked for: planning needs no pyarrow.
    from taxi_nb.trips.errors import DownloadError
    from taxi_nb.trips.newest_month import newest_month_of

    with errors_stop({DownloadError: FAILURE}):  # Nobody's mistake: later it may go well.
        return newest_month_of(settings)


def make_plan(
    pipeline: Pipeline, force: list[str] | None, part: Part | None = None
) -> tuple[Memory, Plan]:
    """Plan the pipeline: which steps must run, and why.

    Raises `TripsError` if there are no data for those: see `data_errors_stop`.
    """
    from taxi_nb.pipeline.memory import Memory
    from taxi_nb.pipeline.object_store import ObjectStoreError
    from taxi_nb.pipeline.part import UnknownStepError
    from taxi_nb.pipeline.plan import WHOLE, LeftOutError, plan
    from taxi_nb.tracking.store_errors import StoreError

    try:
        with errors_stop({StoreError: FAILURE, ObjectStoreError: FAILURE}):
            memory = Memory(pipeline, _digests(pipeline.root))
            made = plan(pipeline, memory, force or [], part or WHOLE)
            memory.digests.save()
            _require_data(pipeline, made)
            return memory, made
    except (UnknownStepError, LeftOutError) as error:
        stop(str(error), USAGE)


def _require_data(pipeline: Pipeline, made: Plan) -> None:
    """Ask once whether there is what the steps that will run read; `TripsError` if there is not."""
    from taxi_nb.pipeline.parameters import declared_parameters
    from taxi_nb.training.notebook_parameters import PARAMETERS, source_and_months

    declared = cache(lambda notebook: declared_parameters(notebook, PARAMETERS.types))
    asked = set()
    for step in (planned.step for planned in made.will_run):
        found = declared(step.notebook)
        types = {name: one.described for name, one in found.items()}
        values = {name: step.parameters.get(name, one.default) for name, one in found.items()}
        data = source_and_months(types, values)
        if data and data not in asked:
            from taxi_nb.trips.availability import require_months  # It brings pyarrow along.

            asked.add(data)
            require_months(*data)


@contextmanager
def data_errors_stop(pipeline: Pipeline) -> Iterator[None]:
    """Stop where `make_plan` finds that there are no data for the steps."""
    from taxi_nb.trips.errors import TripsError, UnreachableError

    try:
        yield
    except TripsError as error:
        code = FAILURE if isinstance(error, UnreachableError) else USAGE
        stop(f"{pipeline.file.name}: {error}; nothing has been run", code)


def run_folder(run: str | None) -> Path:
    """Find a run by its folder or by its id below ``runs/``; the newest if none is named."""
    from taxi_nb.close_names import close_to
    from taxi_nb.pipeline.report.past import find_run

    if (folder := find_run(project_root() / "runs", run)) is not None:
        return folder
    run = run or "latest"
    close = close_to(run, run_names())
    makes = "" if close else "; `taxi-nb run` makes runs"
    stop(f"{run} is not a run, nor the folder of one{close}{makes}{outside()}", USAGE)
