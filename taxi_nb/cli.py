"""The front desk: `taxi-nb run | plan | report`."""

from __future__ import annotations

import atexit
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from taxi_nb.pipeline.interrupted import Interrupted
from taxi_nb.project import project_root

if TYPE_CHECKING:
    from taxi_nb.pipeline.plan import Plan, Planner
    from taxi_nb.pipeline.record import RunRecord
    from taxi_nb.pipeline.spec import Pipeline

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Run numbered notebooks as a tracked pipeline.",
)

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

DEFAULT_FILE = Path("params/default.yaml")
USAGE, FAILURE = 2, 1


@app.command()
def run(
    params: ParameterFile = DEFAULT_FILE,
    overrides: Overrides = None,
    jobs: Annotated[
        int, typer.Option("--jobs", "-j", min=1, help="Steps at the same time, at most.")
    ] = 1,
    kernel: Annotated[
        str, typer.Option(help="How kernels start: fork, spawn; auto picks what is safe here.")
    ] = "auto",
    force: Force = None,
) -> None:
    """Execute the notebooks that have to run, in order, each in a fresh kernel.

    What is up to date is not executed again; `taxi-nb plan` says what would run, and why.
    """
    from taxi_nb.pipeline.plan import RUNS
    from taxi_nb.pipeline.project_lock import project_lock

    if kernel not in ("auto", "fork", "spawn"):
        _stop(f"--kernel must be one of auto, fork, spawn, got: {kernel!r}", USAGE)
    pipeline = _read(params, overrides)
    try:
        with _signals_interrupt(), project_lock(pipeline.root / RUNS, _say):
            planned = _plan(pipeline, force or [])
            if not _nothing_to_do(pipeline, *planned):
                _carry_out(pipeline, planned, jobs, kernel)
    except Interrupted as interrupted:
        _stop("interrupted: kernels ended, runs closed", 128 + interrupted.signal_number)
    except OSError as error:
        _stop(f"the run could not be finished: {error}", FAILURE)


def _nothing_to_do(pipeline: Pipeline, planner: Planner, plan: Plan) -> bool:
    """Point at the run that has all the results, if there is one."""
    from taxi_nb.pipeline.record import point_latest_at

    folder = None if plan.will_run else planner.results.same_run(plan.results)
    if folder is None:
        return False
    point_latest_at(folder)
    print(f"{pipeline.name}: nothing changed, all {len(plan.steps)} steps are up to date")
    print(f"page:   {folder / 'index.html'}")
    return True


def _carry_out(pipeline: Pipeline, planned: tuple[Planner, Plan], jobs: int, kernel: str) -> None:
    from rich.console import Console

    from taxi_nb.pipeline.kernels import KernelPool, default_kind
    from taxi_nb.pipeline.preload import modules_to_preload
    from taxi_nb.pipeline.progress import LiveProgress, PlainProgress
    from taxi_nb.pipeline.run import run_pipeline
    from taxi_nb.tracking import TrackingError

    _share_cores(jobs)
    console = Console()
    kind = default_kind() if kernel == "auto" else kernel
    show = LiveProgress if console.is_terminal else PlainProgress
    try:
        with (
            KernelPool(kind, modules_to_preload(pipeline)) as pool,  # type: ignore[arg-type]
            show(console) as progress,
        ):
            record, folder = run_pipeline(
                pipeline, pool=pool, jobs=jobs, listener=progress, planned=planned
            )
    except TrackingError as error:
        _stop(str(error), FAILURE)
    _tell(record, folder)


def _plan(pipeline: Pipeline, force: list[str]) -> tuple[Planner, Plan]:
    from taxi_nb.pipeline.plan import UnknownStepError, planner_of
    from taxi_nb.stored_runs import StoreError

    planner = planner_of(pipeline)
    try:
        return planner, planner.plan(force)
    except UnknownStepError as error:
        _stop(f"--force: {error}", USAGE)
    except StoreError as error:
        _stop(str(error), FAILURE)


def _share_cores(jobs: int) -> None:
    """Give each of the kernels that run together its share of the cores.

    OpenMP's threads spin while they wait: with more threads than cores that
    made a fit of 6 s take 33 s. Both variables are read when a library loads.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // jobs)))


def _tell(record: RunRecord, folder: Path) -> None:
    bad = [step for step in record.steps if step.error and step.status != "skipped"]
    for step in bad:
        print(f"\n{step.notebook} ({step.name}) {step.status}: {step.error}", file=sys.stderr)
        if step.executed_notebook:
            print(f"  executed notebook: {folder / step.executed_notebook}", file=sys.stderr)
    print(f"\n{record.pipeline}: {record.status} in {record.seconds:.1f} s")
    print(f"page:   {folder / 'index.html'}")
    print(f"MLflow: {record.experiment}, run {record.mlflow_run_id} (make ui)")
    if not record.status.is_good:
        raise typer.Exit(FAILURE)


@app.command()
def plan(
    params: ParameterFile = DEFAULT_FILE, overrides: Overrides = None, force: Force = None
) -> None:
    """Say which steps would run, and why, without running anything."""
    pipeline = _read(params, overrides)
    _, made = _plan(pipeline, force or [])
    print(made)


@app.command()
def report(
    chosen: Annotated[
        str | None,
        typer.Argument(metavar="[RUN]", help="A run's id or folder; the newest if left out."),
    ] = None,
    against: Annotated[
        list[str] | None,
        typer.Option(metavar="RUN", help="Compare it with this run, too, line by line."),
    ] = None,
    single_file: Annotated[
        bool, typer.Option("--single-file", help="Write all pages into one file, to send.")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Where that file goes; runs/<id>/report.html if left out."
        ),
    ] = None,
) -> None:
    """Write a run's pages again and print the path of the first."""
    from taxi_nb.pipeline.report.site import write_single_file, write_site

    if output and not single_file:
        _stop("--output says where --single-file writes; give both", USAGE)
    folder = _run_folder(chosen or "latest")
    try:
        if single_file:
            print(write_single_file(folder, (output or folder / "report.html").absolute()))
        else:
            others = [_run_folder(other) for other in against or []]
            print(write_site(folder, others, anew=True))
    except ValueError as error:
        _stop(f"{folder / 'run.json'}: {error}", USAGE)
    except OSError as error:
        _stop(f"the report could not be written: {error}", FAILURE)


def _run_folder(run: str) -> Path:
    """Find a run by its folder or by its id below ``runs/``."""
    from taxi_nb.pipeline.record import RUN_FILE

    runs = project_root() / "runs"
    for folder in (Path(run), runs / run):
        if (folder / RUN_FILE).is_file():
            return folder.resolve()
    _stop(f"{run} is not a run, nor the folder of one; make run-notebooks makes runs", USAGE)


def _read(file: Path, overrides: list[str] | None) -> Pipeline:
    from taxi_nb.pipeline.spec import PipelineFileError, read_pipeline

    # From a folder below, `params/default.yaml` is still the project's.
    found = file if file.exists() else project_root() / file
    try:
        return read_pipeline(found.absolute(), project_root(), overrides or [])
    except PipelineFileError as error:
        count = len(error.problems)
        heading = f"{file}: {count} mistake{'s' if count > 1 else ''}; nothing has been run"
        _stop("\n".join([heading, *(f"  {problem}" for problem in error.problems)]), USAGE)


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def _stop(message: str, code: int) -> NoReturn:
    print(message, file=sys.stderr)
    raise typer.Exit(code)


@contextmanager
def _signals_interrupt() -> Iterator[None]:
    """Let SIGINT and SIGTERM end the run in order; a second one is not heard."""

    def interrupt(number: int, _: object) -> None:
        for heard in (signal.SIGINT, signal.SIGTERM):
            signal.signal(heard, signal.SIG_IGN)
        raise Interrupted(number)

    before = {
        number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def main() -> None:
    """Run the command line."""
    # Every process that a command starts inherits these.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    try:
        app(_forced_all(sys.argv[1:]))
    except SystemExit as ending:
        _leave(ending.code)


def _leave(code: str | int | None) -> NoReturn:
    """End as the interpreter ends, but for taking its objects apart: a second after MLflow."""
    if isinstance(code, str):
        raise SystemExit(code)
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        # A reader that has gone, such as `head`, is not this program's mistake.
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code or 0)


def _forced_all(arguments: list[str]) -> list[str]:
    """Let `--force` without a name mean all steps: Typer's options always take a value."""
    from taxi_nb.pipeline.plan import EVERY_STEP

    given = []
    for argument, following in zip(arguments, [*arguments[1:], "-"], strict=True):
        is_bare = argument == "--force" and (following.startswith("-") or ".y" in following)
        given.append(f"--force={EVERY_STEP}" if is_bare else argument)
    return given
