"""`taxi-nb run`."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from taxi_nb.cli._arguments import (
    DEFAULT_FILE,
    Accept,
    Force,
    Jobs,
    Kernel,
    Month,
    NoPromote,
    Only,
    Overrides,
    ParameterFile,
    Since,
    Until,
    data_errors_stop,
    make_plan,
    notifier_of,
    read,
)
from taxi_nb.cli._ending import ending
from taxi_nb.cli._stopping import FAILURE, USAGE, errors_stop, say, signals_stop
from taxi_nb.project import project_root

if TYPE_CHECKING:
    from taxi_nb.pipeline.kernels.pool import KernelPool
    from taxi_nb.pipeline.memory import Memory
    from taxi_nb.pipeline.notify import Notifier
    from taxi_nb.pipeline.part import Part
    from taxi_nb.pipeline.planned import Plan
    from taxi_nb.pipeline.record import RunRecord, StepResult
    from taxi_nb.pipeline.spec import Pipeline


def run(
    params: ParameterFile = DEFAULT_FILE,
    overrides: Overrides = None,
    month: Month = None,
    jobs: Jobs = 1,
    kernel: Kernel = "auto",
    force: Force = None,
    only: Only = None,
    until: Until = None,
    since: Since = None,
    accept: Accept = None,
    no_promote: NoPromote = False,
) -> None:
    """Execute the notebooks that have to run, in order.

    Each has a fresh kernel. What is up to date is not executed again; `taxi-nb plan` says what
    would run, and why. The exit code is 0 if all is good, 1 if a step did not end well, 2 for
    wrong usage or a wrong file, 130 after Ctrl-C.

    Examples:
      taxi-nb run
      taxi-nb run params/green-2021.yaml --jobs 2
      taxi-nb run --set seed=7 --set sample_rows=100000
      taxi-nb run --set max_evals=50 --no-promote
      taxi-nb run --until 05_evaluate
    """
    from taxi_nb.pipeline.part import Part

    part = Part(only or (), until or (), since or ())
    pipeline = _in_project_run(read(params, overrides, month, accept=accept, no_promote=no_promote))
    notifier = notifier_of(pipeline)
    with (
        signals_stop("interrupted: kernels ended, runs closed"),
        data_errors_stop(pipeline),
    ):
        record, folder, is_new = carried_out(pipeline, jobs, kernel, force, part=part)
    if is_new:
        show_end(record, folder, notifier)
        return
    print(f"{pipeline.name}: nothing changed, all {len(pipeline.steps)} steps are up to date")
    print("\n".join(ending(record, folder, is_new=False)))


def carried_out(
    pipeline: Pipeline,
    jobs: int,
    kernel: Kernel,
    force: list[str] | None = None,
    parent: str | None = None,
    part: Part | None = None,
) -> tuple[RunRecord, Path, bool]:
    """Carry out a pipeline in this project; return its record, its folder, and whether it ran.

    Where nothing has changed they are those of the run that has all the results. Where that is so
    of the `part` alone that was chosen, it is said, and the program ends.
    """
    from taxi_nb.pipeline.killed_run import clear_half_files, close_killed_run
    from taxi_nb.pipeline.memory import RUNS
    from taxi_nb.pipeline.project_lock import project_lock
    from taxi_nb.pipeline.record import RUN_FILE, RunRecord, require_latest

    with (
        errors_stop({OSError: FAILURE}, "the run could not be finished: "),
        project_lock(pipeline.root / RUNS, say),
    ):
        require_latest(pipeline.root / RUNS)
        close_killed_run(pipeline.root / RUNS, say)
        clear_half_files(pipeline.root / RUNS)
        planned = make_plan(pipeline, force, part)
        if planned[1].left_out and not planned[1].will_run and not pipeline.mlflow_run:
            print(f"{planned[1]}\n{pipeline.name}: {part} is up to date")
            raise typer.Exit
        # A run that is open already has to be filled, if only with what is used again.
        if not pipeline.mlflow_run and (former := _same_run(*planned)):
            return RunRecord.read(former / RUN_FILE), former, False
        return *_carry_out(pipeline, planned, jobs, kernel, parent), True


def _in_project_run(pipeline: Pipeline) -> Pipeline:
    """Let the run that `mlflow run` has opened be the pipeline's, in its experiment and store."""
    from taxi_nb.tracking.project_run import take_project_run

    if handed := take_project_run():
        run_id, experiment = handed
        return replace(pipeline, mlflow_run=run_id, experiment=experiment, tracking_uri=None)
    return pipeline


def _same_run(memory: Memory, plan: Plan) -> Path | None:
    """Point at the run that has all the results, if there is one, and return its folder."""
    from taxi_nb.pipeline.record import point_latest_at

    folder = None if plan.will_run else memory.results.same_run(plan.results, memory.digests)
    if folder is not None:
        point_latest_at(folder)
    return folder


def _carry_out(
    pipeline: Pipeline,
    planned: tuple[Memory, Plan],
    jobs: int,
    kernel: Kernel,
    parent: str | None,
) -> tuple[RunRecord, Path]:
    from rich.console import Console

    from taxi_nb.pipeline.expected import Expected
    from taxi_nb.pipeline.object_store import ObjectStoreError
    from taxi_nb.pipeline.progress import LiveProgress, PlainProgress
    from taxi_nb.pipeline.resources import ResourceError, require_resources
    from taxi_nb.pipeline.run import run_pipeline
    from taxi_nb.tracking.store_errors import StoreError

    memory, plan = planned
    console = Console()
    show = LiveProgress if console.is_terminal else PlainProgress
    expected = Expected.of(plan, memory, jobs)
    with errors_stop({StoreError: FAILURE, ObjectStoreError: FAILURE, ResourceError: USAGE}):
        require_resources(pipeline.steps)
        if memory.shared:  # Before hours of work of which nobody else would hear.
            memory.shared.store.require_writing()
        with started_pool(pipeline, kernel, jobs) as pool, show(console, expected) as progress:
            made = run_pipeline(
                pipeline, pool=pool, jobs=jobs, listener=progress, planned=planned, parent=parent
            )
    for step, problem in memory.not_shared.items():
        say(f"{step}: its result is kept here and could not be shared: {problem}")
    for result in made[0].steps:
        show_failure(result, made[1])
    if pipeline.checks and made[0].status.is_good and not made[0].checks:
        say(f"note: no step of {pipeline.name} loaded data that its checks could judge")
    return made


def started_pool(pipeline: Pipeline, kernel: Kernel, jobs: int) -> KernelPool:
    """Return kernels of a kind for a pipeline's steps, `jobs` of them at a time."""
    from taxi_nb.pipeline.kernels.pool import KernelPool, default_kind, in_one_order
    from taxi_nb.pipeline.preload import modules_to_preload

    _share_cores(jobs)
    kind = default_kind() if kernel == "auto" else kernel
    return KernelPool(kind, modules_to_preload(pipeline), env=in_one_order(os.environ))


def _share_cores(jobs: int) -> None:
    """Give each of the kernels that run together its share of the cores.

    OpenMP's threads spin while they wait: with more threads than cores that
    made a fit of 6 s take 33 s. Both variables are read when a library loads.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // jobs)))


def show_failure(step: StepResult, folder: Path) -> None:
    """Say why a step did not end well, and where its notebook is."""
    if step.error and step.status != "skipped":
        say(f"\n{step.notebook} ({step.name}) {step.status}: {step.error}")
        if there := _from_its_folder(step):
            say(
                "  note: a notebook's working folder is its own, as in JupyterLab: from there "
                f"the project's file is {there!r}"
            )
        if step.executed_notebook:
            say(f"  executed notebook: {folder / step.executed_notebook}")


def _from_its_folder(step: StepResult) -> str | None:
    """Return the path of a file that a notebook looked for as if it were in the project's."""
    message, root = step.error.message if step.error else "", project_root()
    found = re.search(r"No such file or directory: '([^']+)'$", message)
    if found is None or os.path.isabs(found[1]) or not (root / found[1]).exists():
        return None
    return os.path.relpath(root / found[1], (root / step.notebook).parent)


def show_end(record: RunRecord, folder: Path, notifier: Notifier | None) -> None:
    """Say how a run ended, and where to look; stop if not all is good."""
    from taxi_nb.pipeline.expected import duration
    from taxi_nb.pipeline.notify import message_of_run

    print(f"\n{record.pipeline}: {record.status} in {duration(record.seconds)}")
    print("\n".join(ending(record, folder)), flush=True)
    if notifier:
        notifier.tell(message_of_run(record, folder), say)
    if not record.status.is_good:
        raise typer.Exit(FAILURE)
