"""The papermill engine that executes a step and reports what really happened."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import nbformat
from nbclient.exceptions import CellExecutionError
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import Engine, NotebookExecutionManager
from papermill.log import logger

from taxi_nb.pipeline._execution import CellLog, KernelHandle
from taxi_nb.pipeline.kernels.processes import usage_of
from taxi_nb.secrets.known import KNOWN

# What it logs, such as that a kernel died, a step's outcome says; it is no line on a terminal.
logger.addHandler(logging.NullHandler())

# How often a notebook that is being executed is saved, and the share of time that may take.
SAVE_SECONDS = 5.0
SAVE_SHARE = 0.05

# Where a stream's text is continued in another output: adding to a long one copies it.
STREAM_LENGTH = 2**16

# What a cell ends with that means to end the notebook there, and well: as papermill has it.
_GOOD_EXITS = ("", "0", "None")

# A kernel's socket for outputs drops what is past 1,000 messages that were not read yet.
# 23 is ZMQ_SNDHWM; 0 is no limit.
_KEEP_ALL_OUTPUTS = """
from IPython.core.getipython import get_ipython
outputs = get_ipython().kernel.iopub_thread
outputs.schedule(lambda: outputs.socket.setsockopt(23, 0))
"""


class _StepClient(PapermillNotebookClient):  # type: ignore[misc]
    """Papermill's client, with a cell's end taken from the kernel's reply."""

    cell_log: CellLog
    handle: KernelHandle
    before_cells: Sequence[str]

    def process_message(self, msg: Any, cell: Any, cell_index: int) -> Any:
        """Take an output without secrets: what the kernel could not hide is hidden here."""
        return super().process_message(_without_secrets(msg), cell, cell_index)

    def output(self, outs: list[Any], msg: Any, display_id: Any, cell_index: int) -> Any:
        """Add to a stream's text where one goes on, as JupyterLab does: a print is no output."""
        last, content = outs[-1] if outs else {}, msg["content"]
        goes_on = msg["msg_type"] == "stream" and last.get("name") == content["name"]
        if (
            goes_on
            and len(last["text"]) < STREAM_LENGTH
            and not self.clear_before_next_output
            and not self.output_hook_stack[msg["parent_header"].get("msg_id")]
        ):
            last["text"] += content["text"]
            return last
        return super().output(outs, msg, display_id, cell_index)

    async def _check_raise_for_error(self, cell: Any, cell_index: int, exec_reply: Any) -> None:
        await super()._check_raise_for_error(cell, cell_index, _without_secrets(exec_reply))

    def papermill_execute_cells(self) -> None:
        self.handle.attach(self.km)
        self.cell_log.kernel_is_ready()
        # The kernel takes requests in turn: these are done before the first cell.
        for code in (_KEEP_ALL_OUTPUTS, *self.before_cells):
            self.kc.execute(f"exec({code!r}, {{}})", silent=True, store_history=False)
        try:
            self._execute_cells()
        finally:
            pid = getattr(self.km.provisioner, "pid", None)
            self.cell_log.usage = {} if pid is None else usage_of(pid)

    def _execute_cells(self) -> None:
        total = len(self.nb.cells)
        for index, cell in enumerate(self.nb.cells):
            self.nb_man.cell_start(cell, index)
            self.cell_log.start(index + 1, total)
            started = time.perf_counter()
            try:
                self.execute_cell(cell, index)
            except CellExecutionError as error:
                self.cell_log.finish(time.perf_counter() - started)
                if error.ename == "SystemExit" and error.evalue in _GOOD_EXITS:
                    self.cell_log.ended_early = True
                else:
                    self.cell_log.failed = error
                    self.nb_man.cell_exception(cell, cell_index=index, exception=error)
                self.nb_man.cell_complete(cell, cell_index=index)
                return
            except Exception as error:
                self.cell_log.failed = error
                raise
            self.cell_log.finish(time.perf_counter() - started)
            self.nb_man.cell_complete(cell, cell_index=index)


def _without_secrets(message: Any) -> Any:
    return message and {**message, "content": KNOWN.hide_in(message["content"])}


class _SavedNowAndThen(NotebookExecutionManager):  # type: ignore[misc]
    """Keeps papermill's metadata, and saves what is there yet to look at while it runs."""

    def __init__(self, notebook: nbformat.NotebookNode, path: Path) -> None:
        super().__init__(notebook, progress_bar=False)
        self._path = path
        self._next = time.monotonic() + SAVE_SECONDS

    def save(self, **_: Any) -> None:
        """Write the notebook if that was not done a moment ago; papermill asks at each change."""
        started = time.monotonic()
        if started < self._next:
            return
        with suppress(OSError):  # The file that counts is written at the end.
            self._path.write_text(nbformat.writes(self.nb), "utf-8")
        ended = time.monotonic()
        self._next = ended + max(SAVE_SECONDS, (ended - started) / SAVE_SHARE)

    autosave_cell = save


class StepEngine(Engine):  # type: ignore[misc]
    """Executes a notebook with a kernel that the caller configured."""

    @classmethod
    def execute_notebook(
        cls, nb: nbformat.NotebookNode, kernel_name: str, *, aside: Path, **given: Any
    ) -> nbformat.NotebookNode:
        """Execute `nb` in place; `aside` is where it can be looked at meanwhile."""
        manager = _SavedNowAndThen(nb, aside)
        manager.notebook_start()
        try:
            cls.execute_managed_notebook(manager, kernel_name, **given)
        finally:
            manager.notebook_complete()
        return nb

    @classmethod
    def execute_managed_notebook(
        cls,
        nb_man: Any,
        kernel_name: str,
        *,
        km: Any,
        cell_log: CellLog,
        handle: KernelHandle,
        working_folder: str,
        raw_output: IO[bytes],
        before_cells: Sequence[str] = (),
        start_timeout: int = 60,
    ) -> Any:
        client = _StepClient(
            nb_man,
            km=km,
            kernel_name=kernel_name,
            startup_timeout=start_timeout,
            timeout=None,
            # A reader that is slower than the kernel is no failure; a dead kernel is noticed.
            iopub_timeout=2**31,
            log=logger,
            resources={"metadata": {"path": working_folder}},
        )
        client.owns_km = True  # So that it stops the kernel at the end.
        client.cell_log, client.handle, client.before_cells = cell_log, handle, before_cells
        return client.execute(stdout=raw_output, stderr=raw_output)
