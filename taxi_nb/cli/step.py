"""`taxi-nb open`, `step` and `close`: a run whose steps an engine calls one by one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from taxi_nb.cli._arguments import (
    Accept,
    Kernel,
    Month,
    NoPromote,
    Overrides,
    RequiredFile,
    data_errors_stop,
    make_plan,
    name_and_value,
    notifier_of,
    outside,
    read,
)
from taxi_nb.cli._completion import complete_run, complete_step
from taxi_nb.cli._stopping import FAILURE, USAGE, errors_stop, say, signals_stop, stop
from taxi_nb.cli.run import show_end, show_failure, started_pool
from taxi_nb.project import project_root

if TYPE_CHECKING:
    from taxi_nb.pipeline.coordinated import CoordinatedRun
    from taxi_nb.pipeline.memory import Memory
    from taxi_nb.pipeline.planned import PlannedStep
    from taxi_nb.pipeline.record import StepResult
    from taxi_nb.pipeline.spec import Pipeline, Step

RunId = Annotated[
    str,
    typer.Option(
        "--run", metavar="RUN", help="The run, as `open` printed it.", autocompletion=complete_run
    ),
]


def open_run(
    params: RequiredFile,
    overrides: Overrides = None,
    month: Month = None,
    run: Annotated[
        str | None,
        typer.Option(metavar="RUN", help="Its name; one that is open already is the run."),
    ] = None,
    tag: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="A tag for the run in MLflow; may be repeated."),
    ] = None,
    accept: Accept = None,
    no_promote: NoPromote = False,
) -> None:
    """Open a run for `taxi-nb step`, and print its id.

    Example:
      RUN=$(taxi-nb open params/smoke.yaml)
    """
    from taxi_nb.pipeline.coordinated import open_coordinated
    from taxi_nb.pipeline.memory import RUNS
    from taxi_nb.pipeline.record import require_latest

    tags = dict(name_and_value("--tag", text) for text in tag or [])
    pipeline = read(params, overrides, month, accept=accept, no_promote=no_promote)
    notifier_of(pipeline)  # Before hours of work of which nobody would hear.
    with _errors("the run could not be opened: "):
        require_latest(pipeline.root / RUNS)
        with data_errors_stop(pipeline):
            memory, made = make_plan(pipeline, None)
        if memory.shared:
            memory.shared.store.require_writing()
        print(open_coordinated(pipeline, made, memory, run, tags))


def step(
    params: RequiredFile,
    name: Annotated[
        str,
        typer.Argument(
            metavar="STEP", help="Such as '03_train[lasso]'.", autocompletion=complete_step
        ),
    ],
    run: RunId,
    force: Annotated[bool, typer.Option("--force", help="Run it though it is up to date.")] = False,
    retries: Annotated[
        int | None,
        typer.Option(
            metavar="NUMBER",
            min=0,
            help="Tries after the first, in place of the file's; an engine's own.",
        ),
    ] = None,
    kernel: Kernel = "auto",
    accept: Accept = None,
    no_promote: NoPromote = False,
) -> None:
    """Carry out one step of a run that `taxi-nb open` has opened.

    A step that is up to date is not executed again. Exit codes: 0 it is done, 1 it failed or a
    step that it needs did, 2 it cannot be begun, and as for `taxi-nb run` after a signal.

    Example:
      taxi-nb step params/smoke.yaml '03_train[linear]' --run 20260203-140501-smoke
    """
    from taxi_nb.pipeline.coordinated import bring_needs, require_needs, require_same
    from taxi_nb.pipeline.memory import Memory
    from taxi_nb.pipeline.plan import decide_in_run
    from taxi_nb.pipeline.planned import PlannedStep
    from taxi_nb.pipeline.record import Status
    from taxi_nb.pipeline.resources import require_resources

    opened, pipeline = _opened(run, params, accept, no_promote=no_promote)
    chosen = _step(pipeline, name)
    if retries is not None:
        chosen = replace(chosen, retries=retries)
    with _errors("the step could not be finished: "):
        if opened.opened.status is not Status.RUNNING:
            stop(f"run {run} is closed: {opened.opened.status}", USAGE)
        require_same(pipeline, opened)
        if opened[name].status.is_good:
            print(f"{name}  {opened[name].status.in_words}: it is done already in this run")
            return
        require_resources([chosen])
        require_needs(chosen, opened)
        memory = Memory(pipeline)
        bring_needs(chosen, pipeline, memory, opened)
        steps = {known.name: known for known in pipeline.steps}
        planned = (
            PlannedStep(chosen, ("forced",))
            if force
            else decide_in_run(chosen, steps, memory, opened)
        )
        result = _carried_out(pipeline, chosen, memory, planned, opened, kernel)
    if not result.status.is_good:
        show_failure(result, opened.folder)
        raise typer.Exit(FAILURE)
    print(f"MLflow: {opened.opened.experiment}, run {result.mlflow_run_id}", flush=True)


def close(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN", help="The run, as `open` printed it.", autocompletion=complete_run
        ),
    ],
) -> None:
    """Close a run: record, page and MLflow say how it ended.

    What has not run is skipped. A run that is closed already is told again. The exit code is 1 if
    not all is good.

    Example:
      taxi-nb close 20260203-140501-smoke
    """
    from taxi_nb.pipeline.coordinated import close_coordinated
    from taxi_nb.pipeline.notify import Notifier, NotifyError
    from taxi_nb.pipeline.record import Status

    opened, pipeline = _opened(run)
    # Of a run that is closed already all were told.
    is_open = opened.opened.status is Status.RUNNING
    notifier = None
    if is_open:
        try:
            notifier = Notifier.of(pipeline)
        except NotifyError as error:  # The run is closed for all that.
            say(f"nobody is told: {error}")
    with _errors("the run could not be closed: "), signals_stop("interrupted"):
        record = close_coordinated(pipeline, opened)
    show_end(record, opened.folder, notifier)


def _carried_out(
    pipeline: Pipeline,
    chosen: Step,
    memory: Memory,
    planned: PlannedStep,
    opened: CoordinatedRun,
    kernel: Kernel,
) -> StepResult:
    from rich.console import Console

    from taxi_nb.pipeline.expected import Expected
    from taxi_nb.pipeline.planned import Plan
    from taxi_nb.pipeline.progress import PlainProgress
    from taxi_nb.pipeline.run import run_step

    expected = Expected.of(Plan((planned,)), memory)
    kernels = started_pool(replace(pipeline, steps=(chosen,)), kernel, 1)
    with (
        signals_stop("interrupted: kernel ended, the step's run closed"),
        # What is up to date needs no kernel; the first that is asked for starts the pool.
        kernels if planned.will_run else closing(kernels) as pool,
        PlainProgress(Console(), expected, opened.folder) as progress,
    ):
        result = run_step(
            pipeline,
            chosen,
            pool=pool,
            listener=progress,
            memory=memory,
            planned=planned,
            keeper=opened,
            folder=opened.folder,
        )
    for problem in memory.not_shared.values():
        stop(f"{chosen.name}: its result is kept here and could not be shared: {problem}", FAILURE)
    return result


def _opened(
    run: str,
    params: Path | None = None,
    accept: list[str] | None = None,
    *,
    no_promote: bool = False,
) -> tuple[CoordinatedRun, Pipeline]:
    """Find the run, and read the pipeline file as it was opened with; `accept` goes before."""
    from taxi_nb.pipeline.coordinated import CoordinatedRun
    from taxi_nb.pipeline.memory import RESULTS_VARIABLE, RUNS
    from taxi_nb.pipeline.shared_results import SharedResults

    root = project_root()

    def found(address: str | None) -> CoordinatedRun:
        store = SharedResults(address, root).store if address else None
        return CoordinatedRun(root / RUNS, run, store)

    given = os.environ.get(RESULTS_VARIABLE)
    with _errors("the run could not be found: "):
        pipeline = read(params, None) if params else None
        opened = found((pipeline and pipeline.results) or given)
        before = opened.opened
        own = {text.partition("=")[0] for text in accept or []}
        kept = ["=".join(one) for one in before.accepted.items() if one[0] not in own]
        file = params or Path(before.parameter_file)
        pipeline = read(
            file,
            [*before.overrides],
            accept=[*kept, *(accept or [])],
            no_promote=no_promote or not before.promotes,
        )
        if pipeline.results and not (params or given):
            opened = found(pipeline.results)
    return opened, pipeline


def _step(pipeline: Pipeline, name: str) -> Step:
    from taxi_nb.close_names import close_to

    for chosen in pipeline.steps:
        if chosen.name == name:
            return chosen
    hint = close_to(name, [known.name for known in pipeline.steps])
    stop(f"{pipeline.file.name} has no step {name!r}{hint}", USAGE)


@contextmanager
def _errors(before: str) -> Iterator[None]:
    from taxi_nb.pipeline.coordinated import CoordinationError
    from taxi_nb.pipeline.object_store import ObjectStoreError
    from taxi_nb.pipeline.resources import ResourceError
    from taxi_nb.tracking.store_errors import StoreError

    failures = dict.fromkeys((StoreError, ObjectStoreError, OSError), FAILURE)
    codes = {CoordinationError: USAGE, ResourceError: USAGE, **failures}
    with errors_stop(codes, before, outside()):
        yield
