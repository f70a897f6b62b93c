"""One notebook in one fresh kernel, by papermill: what happened is returned, not raised."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from taxi_nb.pipeline._execution import CellLog, Execution, KernelHandle, OnCell
from taxi_nb.pipeline._notebook_file import BANNER
from taxi_nb.pipeline.record import Status, StepError
from taxi_nb.project import publish
from taxi_nb.secrets.known import KNOWN

if TYPE_CHECKING:
    from jupyter_client import AsyncKernelManager


def execute_notebook(
    source: Path,
    target: Path,
    parameters: Mapping[str, Any],
    manager: AsyncKernelManager,
    *,
    timeout: float | None = None,
    handle: KernelHandle | None = None,
    on_cell: OnCell = lambda number, total: None,
    before_cells: Sequence[str] = (),
) -> Execution:
    """Execute a notebook and keep what it showed, however it ends.

    `target` is made under another name and renamed when it is whole. What the kernel says past
    Jupyter, such as the stack of a crash, stays beside it as ``.log`` after a failure.

    `manager` is of a kernel that has not been started; its working folder will be the
    notebook's, as in JupyterLab. `handle` takes charge of it, for another thread to end it.
    The whole notebook may take `timeout` seconds. `before_cells` are pieces of code
    that the kernel executes before the first cell; they leave no trace in the notebook.
    """
    from taxi_nb.pipeline._engine import StepEngine
    from taxi_nb.pipeline._prepared_notebook import prepared_notebook

    handle = handle or KernelHandle()
    log = CellLog(on_cell)
    aside = target.with_name(f".{target.stem}.part.ipynb")
    started = time.perf_counter()
    timer = threading.Timer(timeout or 0, handle.kill, [Status.TIMEOUT])
    timer.daemon = True
    if timeout:
        timer.start()
    failure: BaseException | None = None
    notebook = None
    raw_output = target.with_suffix(".log")
    try:
        with raw_output.open("wb") as raw:
            notebook = prepared_notebook(source, parameters)
            StepEngine.execute_notebook(
                notebook,
                "python3",
                aside=aside,
                km=manager,
                cell_log=log,
                handle=handle,
                working_folder=str(source.parent),
                raw_output=raw,
                before_cells=before_cells,
            )
    except Exception as error:  # Whatever ended it is the step's result.
        failure = error
    finally:
        timer.cancel()
    seconds = time.perf_counter() - started
    status, problem = _outcome(failure, log, handle, timeout)
    _keep_if_telling(raw_output, status)
    try:
        _keep(notebook, aside, target, log, status, problem)
    finally:
        aside.unlink(missing_ok=True)
    return Execution(status, seconds, problem, tuple(log.timings), log.startup_seconds, log.usage)


def _keep_if_telling(raw_output: Path, status: Status) -> None:
    """Keep what a kernel said past Jupyter, such as a crash's stack, where it may explain."""
    if status is Status.OK or raw_output.stat().st_size == 0:
        raw_output.unlink()
    else:
        KNOWN.hide_in_file(raw_output)


def _outcome(
    failure: BaseException | None, log: CellLog, handle: KernelHandle, timeout: float | None
) -> tuple[Status, StepError | None]:
    """Decide from exceptions and replies how it ended."""
    from nbclient.exceptions import CellExecutionError, DeadKernelError

    cause = log.failed or failure
    if cause is None:
        return Status.OK, None
    if handle.killed_because is Status.TIMEOUT:
        message = f"the notebook took longer than its {timeout:g} seconds"
        return Status.TIMEOUT, StepError(log.current, "Timeout", message)
    if handle.memory:
        message = f"{handle.memory} when it was killed"
        return Status.KERNEL_DIED, StepError(log.current, "MemoryLimit", message)
    if handle.killed_because:
        return handle.killed_because, StepError(log.current, "Interrupted", "ended from outside")
    if isinstance(cause, CellExecutionError):
        return Status.FAILED, StepError(log.current, cause.ename, cause.evalue)
    if isinstance(cause, DeadKernelError):
        return Status.KERNEL_DIED, StepError(log.current, "KernelDied", str(cause))
    return Status.FAILED, StepError(log.current, type(cause).__name__, str(cause))


def _keep(
    notebook: Any, aside: Path, target: Path, log: CellLog, status: Status, error: StepError | None
) -> None:
    """Write the executed notebook, with the truth about each cell in it."""
    import nbformat

    if notebook is None:
        return
    # Papermill calls cells completed that never ran.
    for cell in notebook.cells[log.current or 0 :] if error or log.ended_early else ():
        cell.metadata.papermill.update(status="pending", exception=None)
    if error is not None and log.current is not None:
        _mark(notebook, log.current, status, error)
    nbformat.write(notebook, aside)
    KNOWN.hide_in_file(aside)
    publish(aside, target)


def _mark(notebook: Any, number: int, status: Status, error: StepError) -> None:
    """Show in the failing cell why it ended, and papermill's banners that lead there."""
    import nbformat
    from papermill.execute import ERROR_ANCHOR_MSG, ERROR_MESSAGE_TEMPLATE

    failing = notebook.cells[number - 1]
    notebook.metadata.papermill["exception"] = True
    failing.metadata.papermill.update(status="failed", exception=True)
    if status is not Status.FAILED and failing.cell_type == "code":
        shown = {"ename": error.type, "evalue": error.message}
        traceback = [f"{error.type}: {error.message}"]
        failing.outputs.append(nbformat.v4.new_output("error", **shown, traceback=traceback))
    place = failing.get("execution_count") or f"cell {number}"
    for at, text in ((number - 1, ERROR_ANCHOR_MSG), (0, ERROR_MESSAGE_TEMPLATE % place)):
        banner = nbformat.v4.new_markdown_cell(text, metadata={"tags": [BANNER]})
        notebook.cells.insert(at, banner)
