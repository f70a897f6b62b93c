"""The front desk: `taxi-nb run | plan | report`."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from taxi_nb.project import project_root

if TYPE_CHECKING:
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
) -> None:
    """Execute the notebooks of a pipeline file in order, each in a fresh kernel."""
    from rich.console import Console

    from taxi_nb.pipeline.kernels import KernelPool, default_kind
    from taxi_nb.pipeline.progress import LiveProgress, PlainProgress
    from taxi_nb.pipeline.run import Interrupted, run_pipeline
    from taxi_nb.tracking import TrackingError

    if kernel not in ("auto", "fork", "spawn"):
        _stop(f"--kernel must be one of auto, fork, spawn, got: {kernel!r}", USAGE)
    pipeline = _read(params, overrides)
    _share_cores(jobs)
    console = Console()
    kind = default_kind() if kernel == "auto" else kernel
    show = LiveProgress if console.is_terminal else PlainProgress
    try:
        with (
            _signals_interrupt(),
            KernelPool(kind) as pool,  # type: ignore[arg-type]
            show(console) as progress,
        ):
            record, folder = run_pipeline(pipeline, pool=pool, jobs=jobs, listener=progress)
    except Interrupted as interrupted:
        _stop("interrupted: kernels ended, runs closed", 128 + interrupted.signal_number)
    except TrackingError as error:
        _stop(str(error), FAILURE)
    except OSError as error:
        _stop(f"the run could not be finished: {error}", FAILURE)
    _tell(record, folder)


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
def plan(params: ParameterFile = DEFAULT_FILE, overrides: Overrides = None) -> None:
    """Check a pipeline file and list its steps, without running anything."""
    pipeline = _read(params, overrides)
    for step in pipeline.steps:
        values = ", ".join(f"{name}={value}" for name, value in step.parameters.items())
        print(f"{step.name}  {values}")


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


def _stop(message: str, code: int) -> NoReturn:
    print(message, file=sys.stderr)
    raise typer.Exit(code)


@contextmanager
def _signals_interrupt() -> Iterator[None]:
    """Let SIGINT and SIGTERM end the run in order; a second one is not heard."""
    from taxi_nb.pipeline.run import Interrupted

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
    app()
