"""`%reopen`: a step of a run in this kernel, as it stood before the cell that failed."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from taxi_nb.lab._params import read, set_variables
from taxi_nb.lab._report import folder_of
from taxi_nb.lab._words import usage
from taxi_nb.project import project_file, project_root
from taxi_nb.tracking.names import PROMOTE_VARIABLE, UPSTREAM_VARIABLE

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from taxi_nb.pipeline.record import StepResult
    from taxi_nb.pipeline.report.past import RunOnDisk

USAGE = "%reopen [STEP [RUN]], such as %reopen 03_train[lasso]; the newest run if none is named"
_MOST_FILES = 5


@dataclass(frozen=True)
class Cell:
    """A cell of code of an executed notebook; numbers count all cells, from 1."""

    number: int
    source: str
    seconds: float | None  # In the pipeline, where it is known.
    may_fail: bool = False


def reopen(shell: InteractiveShell, line: str) -> None:
    """Bring a step into a shell: parameters, upstream runs, and the cells that went well.

    What it will execute, and how long that took, is said before. The cell that failed is put
    below, to be looked at. Mistakes are a `UsageError`, which IPython shows without a traceback.
    """
    words = line.split()
    if len(words) > 2:
        raise usage(USAGE)
    run = _run(words[1] if len(words) == 2 else None)
    step = _chosen(run, words[0] if words else None)
    cells, failed = _cells(run, step)
    root = project_root()
    for note in (*_before(run, step, cells, failed), *_code(run, step, root)):
        print(note)
    for note in _enter(shell, run, step, root):
        print(note)
    if _execute(shell, cells) and failed is not None:
        shell.set_next_input(failed.source)
        print(f"Cell {failed.number}, which failed, is below, and has not been executed.")


def _run(named: str | None) -> RunOnDisk:
    from taxi_nb.pipeline.report.past import RunOnDisk

    folder = folder_of(named)
    try:
        return RunOnDisk.read(folder)
    except (OSError, ValueError) as error:
        raise usage(f"{folder}: {error}") from None


def _chosen(run: RunOnDisk, wanted: str | None) -> StepResult:
    """Return the step that is meant: of several, and where none is named, the one that failed."""
    steps = run.record.steps
    found = [s for s in steps if wanted in (None, s.name, s.name.partition("[")[0])]
    if not found:
        names = ", ".join(step.name for step in steps)
        raise usage(f"the run {run.record.id} has no step {wanted!r}; it has {names}")
    if len(found) > 1:
        found = [step for step in found if _has_failed(step)] or found
    if len(found) > 1:
        names = ", ".join(step.name for step in found)
        raise usage(f"several steps of the run {run.record.id} could be meant; name one of {names}")
    (step,) = found
    if step.status in ("skipped", "pending"):
        why = f": {step.error.message}" if step.error else ""
        raise usage(f"{step.name} was not executed in the run {run.record.id}{why}")
    if step.status == "running":
        raise usage(f"{step.name} is still being executed in the run {run.record.id}")
    return step


def _has_failed(step: StepResult) -> bool:
    return not step.status.is_good and step.status not in ("skipped", "pending", "running")


def _cells(run: RunOnDisk, step: StepResult) -> tuple[list[Cell], Cell | None]:
    """Return the cells of code that went well, and the one that did not."""
    from taxi_nb.pipeline.report.executed import started_and_ended

    notebook = run.notebooks.get(step.name)
    if notebook is None or not notebook.is_readable:
        raise usage(f"the run {run.record.id} has no executed notebook of {step.name} any more")
    good: list[Cell] = []
    for number, cell in enumerate(notebook.content["cells"], 1):
        tags = cell["metadata"].get("tags") or []
        if cell["cell_type"] != "code" or not cell["source"].strip() or "skip-execution" in tags:
            continue
        times = started_and_ended(cell["metadata"])
        seconds = (times[1] - times[0]).total_seconds() if times else None
        here = Cell(number, cell["source"], seconds, "raises-exception" in tags)
        if step.error and step.error.cell == number:
            return good, here
        if cell.get("execution_count") is None:  # Those after it were not executed, either.
            return good, None if step.status.is_good else here
        good.append(here)
    return good, None


def _before(
    run: RunOnDisk, step: StepResult, cells: Sequence[Cell], failed: Cell | None
) -> Iterator[str]:
    seconds = sum(cell.seconds or 0 for cell in cells)
    ended = f"ended as {step.status.in_words}" if step.status.is_good else f"{step.status}"
    at = f" in cell {failed.number}" if failed else ""
    why = f": {step.error.type}: {step.error.message}" if step.error else ""
    yield f"{step.name} of the run {run.record.id} {ended}{at}{why}"
    count = f"{len(cells)} cell{'s' if len(cells) != 1 else ''} of code"
    where = " before it" if failed else ""
    yield f"In the pipeline its {count}{where} took {seconds:.1f} s; now they are executed here."


def _code(run: RunOnDisk, step: StepResult, root: Path) -> Iterator[str]:
    """Say whether what the cells import is what the pipeline had."""
    from taxi_nb.tracking.git import python_changed_since

    commit = run.record.commit
    if commit is None:
        yield "The run knows no commit: whether code has changed since cannot be told."
    elif (changed := python_changed_since(root, commit)) is None:
        yield f"The run's commit {commit[:10]} is not in this checkout: code may have changed."
    elif changed:
        shown = ", ".join(changed[:_MOST_FILES])
        more = f" and {len(changed) - _MOST_FILES} more" if len(changed) > _MOST_FILES else ""
        yield f"Code differs from the run's commit {commit[:10]}: {shown}{more}. Today's is used."
    else:
        yield f"Code that git knows is as in the run's commit {commit[:10]}."
    if commit and run.record.dirty:
        yield "The run itself had changes that were not committed; its MLflow run has them."
    elif commit and run.record.dirty is None:
        yield "Whether the run had changes that were not committed is not known."
    if _code_of(root / step.notebook) != [cell.source for cell in _own_cells(run, step)]:
        yield f"{step.notebook} has changed since: the cells are those of the run."


def _own_cells(run: RunOnDisk, step: StepResult) -> Iterator[Cell]:
    """Yield the cells of code as the notebook had them, without that of the pipeline's values."""
    for number, cell in enumerate(run.notebooks[step.name].content["cells"], 1):
        tags = cell["metadata"].get("tags") or []
        if cell["cell_type"] == "code" and "injected-parameters" not in tags:
            yield Cell(number, cell["source"], None)


def _code_of(notebook: Path) -> list[str] | None:
    from taxi_nb.pipeline.report.executed import ExecutedNotebook

    found = ExecutedNotebook(notebook)
    if not found.is_readable:
        return None
    return [cell["source"] for cell in found.content["cells"] if cell["cell_type"] == "code"]


def _enter(shell: InteractiveShell, run: RunOnDisk, step: StepResult, root: Path) -> Iterator[str]:
    """Set what the pipeline gave the step; say what differs here."""
    from taxi_nb.tracking.store import tracking_uri

    record = run.record
    needs = [name for name in run.with_needs(step.name) if name != step.name]
    direct = needs if step.needs is None else [name for name in step.needs if name in run.steps]
    upstream = {name: run.steps[name].mlflow_run_id for name in direct}
    os.environ[UPSTREAM_VARIABLE] = json.dumps({n: id_ for n, id_ in upstream.items() if id_})
    shell.push(dict(step.parameters))  # type: ignore[no-untyped-call]
    try:
        pipeline = read(project_file(Path(record.parameter_file)), record.overrides)
    except Exception as error:  # It may have changed, or be gone: the step is there nevertheless.
        reason = str(error).splitlines()[-1]
        yield f"Checks of the data are not set, since the pipeline file cannot be read: {reason}"
    else:
        set_variables(pipeline)
    os.environ[PROMOTE_VARIABLE] = "no"
    if upstream and record.tracking_uri not in ("", tracking_uri()):
        yield f"The run is in the store {record.tracking_uri}, and this kernel uses another."
    folder = (root / step.notebook).parent
    if folder.is_dir() and not folder.samefile(Path.cwd()):
        os.chdir(folder)
        yield f"The current folder is {folder} now, as it was for the step."
    yield "What it trains or logs are runs of this kernel's own, and no champion changes."


def _execute(shell: Any, cells: Sequence[Cell]) -> bool:
    """Execute cells without showing what they show; whether all went as in the pipeline."""
    from IPython.utils.capture import capture_output

    started = time.monotonic()
    for cell in cells:
        with capture_output() as shown:
            done = shell.run_cell(cell.source, store_history=False, silent=True)
        if not done.success and not cell.may_fail:
            print(shown.stdout, end="")
            error = done.error_before_exec or done.error_in_exec
            print(f"Cell {cell.number} failed here, and did not in the pipeline: {error!r}")
            shell.set_next_input(cell.source)
            return False
    print(f"{len(cells)} cells executed in {time.monotonic() - started:.1f} s.")
    return True
