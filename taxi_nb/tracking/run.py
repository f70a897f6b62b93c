"""Opening the run that a block of code is logged to."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from taxi_nb.tracking.context import source_tags
from taxi_nb.tracking.lifecycle import close_abandoned, owner
from taxi_nb.tracking.names import KIND_TAG, OWNER_TAG, RUN_VARIABLE, Kind
from taxi_nb.tracking.store import connect

if TYPE_CHECKING:
    import mlflow

# The step's run once this process has joined it: MLflow forgets it after that.
_joined_run: str | None = None


@contextmanager
def tracked_run(
    name: str | None = None,
    *,
    kind: Kind = "exploration",
    params: Mapping[str, Any] | None = None,
    tags: Mapping[str, str] | None = None,
) -> Iterator[mlflow.ActiveRun]:
    """Open the run that everything in the block is logged to.

    In a pipeline step the first such block joins the step's run; a later one
    in the same notebook, or one inside another, is a child of it. In
    JupyterLab or a script it is a run of its own.

    Parameters
    ----------
    name : str, optional
        Name of a run that is not a step's.
    kind : str
        What the run is; written to the tag ``taxi_nb.kind``.
    params, tags : mapping, optional
        Logged at once.

    Yields
    ------
    mlflow.ActiveRun
        FINISHED when the block ends, FAILED when it raises.
    """
    import mlflow

    global _joined_run
    nested = mlflow.active_run() is not None
    experiment = None if nested else connect()
    step_run = None if nested else os.environ.get(RUN_VARIABLE)
    parent = None if nested or step_run else _joined_run
    # Of what the pipeline opens, the pipeline is the owner.
    own = not (nested or step_run or parent)
    if own and experiment:
        close_abandoned(mlflow.MlflowClient(), experiment)
    with mlflow.start_run(
        run_id=step_run,
        run_name=None if step_run else name,
        nested=nested,
        parent_run_id=parent,
    ) as run:
        if step_run:
            _joined_run = step_run
            # A second block must not join again, nor a subprocess of the kernel.
            os.environ.pop(RUN_VARIABLE, None)
        mine = {OWNER_TAG: owner()} if own else {}
        mlflow.set_tags({**source_tags(), **mine, KIND_TAG: kind, **(tags or {})})
        mlflow.log_params(dict(params or {}))
        yield run
