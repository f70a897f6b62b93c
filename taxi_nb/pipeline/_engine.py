"""The papermill engine that executes a step and reports what really happened."""

from __future__ import annotations

import time
from typing import IO, Any

from nbclient.exceptions import CellExecutionError
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import Engine
from papermill.log import logger

from taxi_nb.pipeline._execution import CellLog, KernelHandle
from taxi_nb.pipeline.kernels.processes import usage_of
from taxi_nb.secrets.known import KNOWN


class _StepClient(PapermillNotebookClient):  # type: ignore[misc]
    """Papermill's client, with a cell's end taken from the kernel's reply."""

    cell_log: CellLog
    handle: KernelHandle
    before_cells: str

    def process_message(self, msg: Any, cell: Any, cell_index: int) -> Any:
        """Take an output without secrets: what the kernel could not hide is hidden here."""
        return super().process_message(_without_secrets(msg), cell, cell_index)

    async def _check_raise_for_error(self, cell: Any, cell_index: int, exec_reply: Any) -> None:
        await super()._check_raise_for_error(cell, cell_index, _without_secrets(exec_reply))

    def papermill_execute_cells(self) -> None:
        self.handle.attach(self.km)
        self.cell_log.kernel_is_ready()
        # The kernel takes requests in turn: this one is done before the first cell.
        self.kc.execute(self.before_cells, silent=True, store_history=False)
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


class StepEngine(Engine):  # type: ignore[misc]
    """Executes a notebook with a kernel that the caller configured."""

    name = "taxi-nb-step"

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
        before_cells: str = "",
        start_timeout: int = 60,
        **_: Any,
    ) -> Any:
        client = _StepClient(
            nb_man,
            km=km,
            kernel_name=kernel_name,
            startup_timeout=start_timeout,
            timeout=None,
            log=logger,
            resources={"metadata": {"path": working_folder}},
        )
        client.owns_km = True  # So that it stops the kernel at the end.
        client.cell_log, client.handle, client.before_cells = cell_log, handle, before_cells
        return client.execute(stdout=raw_output, stderr=raw_output)
