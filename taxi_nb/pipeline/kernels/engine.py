"""A papermill engine that runs notebooks in the kernels of a pool."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import Engine, NotebookExecutionManager
from papermill.log import logger

from taxi_nb.pipeline.kernels.pool import KernelKind, KernelPool, default_kind


class KernelPoolEngine(Engine):  # type: ignore[misc]
    """Runs a notebook in a kernel of the running interpreter, forked or spawned.

    Named "taxi-nb" in papermill: ``papermill --engine taxi-nb in.ipynb out.ipynb`` or
    ``papermill.execute_notebook(..., engine_name="taxi-nb", kernel_pool=pool)``.
    """

    @classmethod
    def execute_managed_notebook(
        cls,
        nb_man: NotebookExecutionManager,
        kernel_name: str,
        *,
        kernel_pool: KernelPool | None = None,
        kernel_kind: KernelKind | None = None,
        kernel_env: Mapping[str, str] | None = None,
        start_timeout: int = 60,
        execution_timeout: int | None = None,
        **kwargs: Any,
    ) -> None:
        """Execute the notebook.

        Parameters
        ----------
        nb_man
            Papermill's wrapper of the notebook.
        kernel_name
            Only recorded: the kernel is always one of the running interpreter.
        kernel_pool
            Where the kernel comes from (default: a pool for this notebook alone).
        kernel_kind
            "fork" or "spawn", for a pool of its own (default: what `default_kind` says).
        kernel_env
            The kernel's whole environment (default: that of this process).
        start_timeout, execution_timeout
            Seconds for the kernel's start and for each cell (default: no limit).
        **kwargs
            Further settings of papermill's notebook client.
        """
        settings = {k: v for k, v in kwargs.items() if k not in ("input_path", "timeout")}
        with contextlib.ExitStack() as stack:
            if kernel_pool is None:
                kernel_pool = stack.enter_context(KernelPool(kernel_kind or default_kind()))
            client = PapermillNotebookClient(
                nb_man,
                km=kernel_pool.manager(kernel_env),
                kernel_name=kernel_name,
                startup_timeout=start_timeout,
                timeout=execution_timeout or kwargs.get("timeout"),
                log=logger,
                **settings,
            )
            # So that the client stops the kernel at the end.
            client.owns_km = True
            client.execute()
