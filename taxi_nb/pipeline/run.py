"""Carries out a pipeline: which step when, its run in MLflow, what is kept of it."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from taxi_nb.pipeline._execution import KernelHandle
from taxi_nb.pipeline._record_keeper import RecordKeeper, books_of, open_run
from taxi_nb.pipeline._step_run import RunFolder, StepRunner
from taxi_nb.pipeline.interrupted import GATE, Interrupted
from taxi_nb.pipeline.kernels.pool import KernelPool
from taxi_nb.pipeline.killed_run import ended
from taxi_nb.pipeline.memory import RUNS, Memory
from taxi_nb.pipeline.plan import Outcomes, decide_in_run, plan
from taxi_nb.pipeline.planned import Plan, PlannedStep
from taxi_nb.pipeline.record import RunRecord, Status, StepError, StepResult, make_run_folder
from taxi_nb.pipeline.resources import fitting
from taxi_nb.pipeline.spec import Pipeline, Step
from taxi_nb.project import part_file
from taxi_nb.tracking.pipeline_runs import PipelineTracking
from taxi_nb.tracking.store_errors import StoreError

# Seconds between tries: 1, 2, 4 and so on, up to these.
_LONGEST_WAIT = 60


class Listener(Protocol):
    """Hears how a run goes on; called from several threads."""

    def run_started(self, record: RunRecord, folder: Path) -> None:
        """All steps are known; none has started."""

    def step_started(self, begun: StepResult) -> None:
        """A step's kernel is being started."""

    def cell_started(self, name: str, cell: int, cells: int) -> None:
        """A step is at a cell."""

    def progressed(self, name: str, says: str) -> None:
        """A step says how far the work of its cell has come: ``3 of 10 trials``."""

    def step_ended(self, result: StepResult) -> None:
        """A step has ended, or will not run."""

    def run_ended(self, record: RunRecord) -> None:
        """The books are closed, also of a run that a signal has ended."""


class Keeper(Outcomes, Protocol):
    """Keeps the books of a run."""

    run_id: str

    @property
    def record(self) -> RunRecord:
        """The run's record, as far as it goes."""
        ...

    def update(self, *results: StepResult) -> None:
        """Note what steps have come to."""


def run_pipeline(
    pipeline: Pipeline,
    *,
    pool: KernelPool,
    jobs: int = 1,
    listener: Listener,
    planned: tuple[Memory, Plan] | None = None,
    parent: str | None = None,
) -> tuple[RunRecord, Path]:
    """Execute those of a pipeline's steps that have to run; keep what a reviewer needs.

    The caller holds the project's lock (`project_lock`), and has started the pool. `jobs` steps
    may run at the same time, where none needs the other. `planned` is the plan, where the caller
    has made it already, and the memory that it was made from. The run in MLflow is below the run
    `parent`, if there is one.

    Returns the record, which is also in ``run.json``, and the folder ``runs/<id>``, which
    ``runs/latest`` points at. Raises StoreError if the MLflow store cannot be used, and
    Interrupted, if a signal handler raised it, after kernels have been ended and all runs closed.
    """
    memory, made = planned or (memory := Memory(pipeline), plan(pipeline, memory))
    with books_of(pipeline) as tracking:
        folder = make_run_folder(pipeline.root / RUNS, pipeline.name, memory.results.speak_of)
        record = open_run(pipeline, made, folder, tracking, parent=parent)
        keeper = RecordKeeper(record, pipeline.file, folder, tracking)
        run = _Run(pipeline, pool, listener, memory, made, keeper, folder, tracking)
        try:
            return run.carry_out(jobs, keeper), folder
        except StoreError as error:
            kept = f"What notebooks made is kept in {run.folder.path}"
            raise StoreError(f"{error}. {kept}") from error
        except Interrupted as signal:
            signal.add_note(f"page: {folder / 'index.html'}")
            raise


def run_step(
    pipeline: Pipeline,
    step: Step,
    *,
    pool: KernelPool,
    listener: Listener,
    memory: Memory,
    planned: PlannedStep,
    keeper: Keeper,
    folder: Path,
) -> StepResult:
    """Carry out one step of a run that is open; the steps that it needs are done.

    Raises what `run_pipeline` does. The step's run in MLflow is closed then.
    """
    with books_of(pipeline, keeper.record.experiment) as tracking:
        made = Plan((planned,))
        run = _Run(pipeline, pool, listener, memory, made, keeper, folder, tracking)
        import papermill  # noqa: F401  # As below.

        try:
            with GATE.opened():
                run.execute(1, [step])
        finally:
            if keeper[step.name].status is Status.RUNNING:
                keeper.update(ended(keeper[step.name], Status.INTERRUPTED))
                listener.step_ended(keeper[step.name])
            memory.digests.save()
        return keeper[step.name]


class _Run:
    """Carries out steps of a run that is open."""

    def __init__(
        self,
        pipeline: Pipeline,
        pool: KernelPool,
        listener: Listener,
        memory: Memory,
        made: Plan,
        keeper: Keeper,
        folder: Path,
        tracking: PipelineTracking,
    ) -> None:
        self.pipeline = pipeline
        self.memory = memory
        self.planned = {planned.step.name: planned for planned in made.steps}
        self.listener = listener
        self.lock = threading.Lock()
        # No step is tried again then.
        self.is_ending = threading.Event()
        self.handles: dict[str, KernelHandle] = {}
        # What steps said last of how far they have come.
        self.said: dict[str, str] = {}
        self.steps = {step.name: step for step in pipeline.steps}
        self.open_needs = {step.name: list(step.needs) for step in pipeline.steps}
        self.folder = RunFolder(folder, list(self.steps))
        self.keeper = keeper
        self.runner = StepRunner(pipeline, pool, memory, tracking, self.keeper.run_id, self.folder)

    def carry_out(self, jobs: int, keeper: RecordKeeper) -> RunRecord:
        """Open the books, carry out all steps, close the books."""
        status = Status.FAILED
        try:
            keeper.begin()
            import papermill  # noqa: F401  # While the kernels' server imports what they need.

            with GATE.opened():
                self.listener.run_started(keeper.record, self.folder.path)
                self.execute(jobs, list(self.pipeline.steps))
            if all(step.status.is_good or step.is_left_out for step in keeper.record.steps):
                status = Status.OK
        except (Interrupted, KeyboardInterrupt):
            status = Status.INTERRUPTED
            raise
        finally:
            try:
                keeper.finish(status)
            finally:
                self.listener.run_ended(keeper.record)
        self.memory.digests.save()
        steps = keeper.record.steps
        if all(step.executed_in for step in steps):
            self.memory.results.note_run(steps, self.folder.path.name)
        return keeper.record

    def execute(self, jobs: int, waiting: list[Step]) -> None:
        """Carry out steps, those that are up to date by using their results again."""
        running: dict[Future[StepResult], str] = {}
        left_out = [step for step in waiting if self.planned[step.name].is_left_out]
        for step in left_out:
            waiting.remove(step)
        self._settle(*map(self._left_out, left_out))
        with self._worker_threads(jobs, running) as threads:
            while waiting or running:
                self._reuse(waiting)
                for step in self._next(waiting, jobs, running.values()):
                    waiting.remove(step)
                    running[threads.submit(self._carry_out_step, step)] = step.name
                self._skip_hopeless(waiting)
                done, _ = wait(running, timeout=0.5, return_when=FIRST_COMPLETED)
                self._tell_progress(running.values())
                for future in done:
                    self._settle(future.result())
                    del running[future]

    @contextmanager
    def _worker_threads(
        self, jobs: int, running: Mapping[Future[StepResult], str]
    ) -> Iterator[ThreadPoolExecutor]:
        """Give threads that end with the run: on a signal their kernels are ended first.

        What a step has come to by then counts, as its run in MLflow has it.
        """
        threads = ThreadPoolExecutor(jobs, thread_name_prefix="step")
        try:
            yield threads
        except BaseException:
            self.is_ending.set()
            with self.lock:
                handles = list(self.handles.values())
            for handle in handles:
                handle.kill(Status.INTERRUPTED)
            threads.shutdown(wait=True, cancel_futures=True)
            self.keeper.update(*(step.result() for step in running if not step.cancelled()))
            raise
        finally:
            threads.shutdown(wait=True, cancel_futures=True)

    def _tell_progress(self, running: Collection[str]) -> None:
        for name in running:
            with suppress(OSError):  # Most steps have nothing to say.
                says = self.folder.progress(name).read_text("utf-8").strip()
                if says and says != self.said.get(name):
                    self.said[name] = says
                    self.listener.progressed(name, says)

    def _next(self, waiting: list[Step], jobs: int, running: Collection[str]) -> list[Step]:
        """Return the steps that start now: as written or, side by side, the longest first."""
        ready = self._ready(waiting)
        if jobs > 1:
            ready.sort(key=self.memory.expected_seconds, reverse=True)
        busy = [self.steps[name] for name in running]
        return fitting(ready, busy, jobs - len(busy))

    def _ready(self, waiting: list[Step]) -> list[Step]:
        """Return the steps that may start; each need is looked at until it is met."""
        ready = []
        for step in waiting:
            open_needs = self.open_needs[step.name]
            while open_needs and self._is_met(open_needs[-1]):
                open_needs.pop()
            if not open_needs:
                ready.append(step)
        return ready

    def _is_met(self, need: str) -> bool:
        """Whether a need keeps no step waiting: a plan without it was made knowing that."""
        result = self.keeper[need]
        return result.status.is_good or result.is_left_out

    def _left_out(self, step: Step) -> StepResult:
        reason = self.planned[step.name].reason
        return replace(self.keeper[step.name], status=Status.SKIPPED, reason=reason)

    def _reuse(self, waiting: list[Step]) -> None:
        """Take over the results of steps that are up to date; one may make the next ready."""
        while current := [
            step for step in self._ready(waiting) if not self._plan_again(step).will_run
        ]:
            for step in current:
                waiting.remove(step)
            self._settle(*map(self._reused, current))

    def _plan_again(self, step: Step) -> PlannedStep:
        """Look once more at a step that was up to date, when all that it needs is done."""
        planned = self.planned[step.name]
        if planned.will_run:
            return planned
        not_in = planned.not_in
        planned = decide_in_run(step, self.steps, self.memory, self.keeper)
        while planned.result and planned.result.is_away:
            if here := self.memory.fetch(step, planned.result):
                planned = replace(planned, result=here)
            else:
                planned = decide_in_run(step, self.steps, self.memory, self.keeper)
        planned = replace(planned, not_in=not_in)
        self.planned[step.name] = planned
        return planned

    def _reused(self, step: Step) -> StepResult:
        """Point at an earlier result; its files are copied to this run's folder."""
        if self.planned[step.name].is_left_out:  # By what its needs have come to.
            return self._left_out(step)
        result = self.planned[step.name].result
        assert result is not None and result.executed_in is not None  # noqa: PT018
        former = self.memory.results.place(result)
        for key, here in self.folder.files(step.name).items():
            if (earlier := getattr(result, key)) is not None:
                _copy(former / earlier, here)
        kept = self.folder.kept(step.name)
        if kept["executed_notebook"]:  # Its page is made again if that is not whole.
            kept["html"] = self.folder.page(step.name).name
        return replace(
            result,
            status=Status.CACHED,
            seconds=None,
            startup_seconds=None,
            attempts=0,
            reason=None,
            reused_from=result.executed_in,
            needs=step.needs,
            because=(),
            shared_by=str(result.shared) if result.shared else None,
            **kept,
        )

    def _skip_hopeless(self, waiting: list[Step]) -> None:
        stands = {name: self.keeper[name] for name in self.steps}
        on_its_way = (Status.PENDING, Status.RUNNING, Status.OK, Status.CACHED)
        ended_badly = {
            name
            for name, result in stands.items()
            if result.status not in on_its_way and not result.is_left_out
        }
        for step in list(waiting):
            culprits = tuple(name for name in step.needs if name in ended_badly)
            if culprits:
                waiting.remove(step)
                why = f"it needs {culprits[0]}, which did not succeed"
                skipped = replace(self.keeper[step.name], status=Status.SKIPPED, because=culprits)
                self._settle(replace(skipped, error=StepError(None, "Skipped", why)))
                ended_badly.add(step.name)

    def _settle(self, *results: StepResult) -> None:
        self.keeper.update(*results)
        for result in results:
            self.listener.step_ended(result)

    def _carry_out_step(self, step: Step) -> StepResult:
        """Try a step as often as it may; runs in a thread of its own."""
        for attempt in range(1, step.retries + 2):
            if attempt > 1 and self.is_ending.wait(min(2 ** (attempt - 2), _LONGEST_WAIT)):
                break
            try:
                result = self._attempt(step, attempt)
            except Exception as error:  # Such as a full disk: the step failed, the run ends well.
                problem = StepError(None, type(error).__name__, str(error))
                result = replace(
                    self.keeper[step.name],
                    status=Status.FAILED,
                    error=problem,
                    attempts=attempt,
                    **self.folder.kept(step.name),
                )
            if result.status.is_good or result.status is Status.INTERRUPTED:
                break
            if any(check.verdict == "fail" for check in result.checks):
                break  # The same data fail again.
        return result

    def _attempt(self, step: Step, attempt: int) -> StepResult:
        begun = replace(
            self.keeper[step.name],
            status=Status.RUNNING,
            attempts=attempt,
            reason=self.planned[step.name].reason.replace("which will run", "which ran again"),
            because=self.planned[step.name].because,
        )
        handle = KernelHandle()
        with self.lock:
            self.handles[step.name] = handle
        return self.runner.attempt(
            step,
            begun,
            {name: run for name in step.needs if (run := self.keeper[name].mlflow_run_id)},
            self._sources_before(step),
            handle=handle,
            on_run=self._started,
            on_cell=lambda cell, cells: self.listener.cell_started(step.name, cell, cells),
        )

    def _sources_before(self, step: Step) -> list[str]:
        """Return the labels of the data that a step builds on."""
        names, waiting = set(step.needs), [*step.needs]
        while waiting:
            new = set(self.steps[waiting.pop()].needs) - names
            names |= new
            waiting += new
        return sorted({label for name in names if (label := self.keeper[name].data_source)})

    def _started(self, begun: StepResult) -> None:
        self.keeper.update(begun)
        self.listener.step_started(begun)


def _copy(file: Path, copy: Path) -> None:
    """Copy a file, if it is there: a link would let a change in one run's folder be one in all."""
    with suppress(FileNotFoundError), part_file(copy) as part:
        shutil.copyfile(file, part)
        os.replace(part, copy)
