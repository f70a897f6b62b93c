"""`tracked_run`, the run that a block of code is logged to."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from taxi_nb.secrets.addresses import has_credentials, without_credentials
from taxi_nb.secrets.known import KNOWN
from taxi_nb.secrets.literals import require_no_literal_secrets
from taxi_nb.tracking._cell_order import top_to_bottom
from taxi_nb.tracking._lifecycle import close_abandoned, lease, leased, owner
from taxi_nb.tracking.context import context_of_run
from taxi_nb.tracking.measuring import measured
from taxi_nb.tracking.names import (
    KIND_TAG,
    LEASE_TAG,
    OWNER_TAG,
    RUN_VARIABLE,
    TOP_TO_BOTTOM_TAG,
    Kind,
)
from taxi_nb.tracking.origin import is_step
from taxi_nb.tracking.plain_mlflow import StepRun
from taxi_nb.tracking.store import connect

if TYPE_CHECKING:
    import mlflow


@contextmanager
def tracked_run(
    name: str | None = None,
    *,
    kind: Kind = "exploration",
    params: Mapping[str, Any] | None = None,
    tags: Mapping[str, str] | None = None,
) -> Iterator[mlflow.ActiveRun]:
    """Open the run that everything in the block is logged to.

    In a pipeline step the first such block joins the step's run; a later one in the notebook,
    or one inside another, is its child. In JupyterLab or a script it is a run of its own.

    A run of its own says where it comes from: notebook or script and its source, commit, branch,
    remote and uncommitted changes, developer, Python, packages, lock, machine; and the time and
    memory of the block. A child has the tags of that. A step's run has it from the pipeline.
    One from a notebook that a person runs says, too, whether its cells ran from the top down, and
    if they did not, why: the tag ``taxi_nb.top_to_bottom``.

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

    Raises
    ------
    SecretError
        If one of `params` is a secret written out; it says what to write instead.

    Examples
    --------
    >>> import mlflow
    >>> from taxi_nb import tracked_run
    >>> with tracked_run("what-if", params={"rows": 3}):
    ...     mlflow.log_metric("answer", 42)
    """
    import mlflow

    require_no_literal_secrets(params or {})
    nested = mlflow.active_run() is not None
    step = StepRun.here()
    experiment = None if nested else step.connect() if step else connect()
    step_run = None if nested else os.environ.get(RUN_VARIABLE)
    parent = step.run_id if step and not (nested or step_run) else None
    # Of what the pipeline opens, the pipeline is the owner.
    own = not (nested or step_run or parent)
    given = {KIND_TAG: kind, **KNOWN.hide_in(dict(tags or {}))}
    with context_of_run(is_new=not nested) as context, ExitStack() as holding:
        if own and experiment:
            close_abandoned(mlflow.MlflowClient(), experiment)
        if not step_run:
            mine = {OWNER_TAG: owner(), LEASE_TAG: lease()} if own else {}
            if kind != "trial" and (order := top_to_bottom(context.origin)):
                mine[TOP_TO_BOTTOM_TAG] = order
            given = {**context.tags, **mine, **given}
        with mlflow.start_run(
            run_id=step_run,
            run_name=None if step_run else name,
            nested=nested,
            parent_run_id=parent,
            tags=given,
        ) as run:
            if step_run:
                StepRun.join(step_run)
            if own:
                holding.enter_context(leased(mlflow.MlflowClient(), run.info.run_id))
                context.log_files(run.info.run_id)
            mlflow.log_params(_loggable(params or {}))
            if step_run or kind == "trial":  # The pipeline measures what a step takes.
                yield run
                return
            # Measuring memory resets a mark of the process that the pipeline reads.
            with measured(run.info.run_id, with_memory=not is_step()):
                yield run


def _loggable(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters without secrets, and addresses without credentials."""
    return {
        name: without_credentials(value)
        if isinstance(value, str) and has_credentials(value)
        else KNOWN.hide_in(value)
        for name, value in params.items()
    }
