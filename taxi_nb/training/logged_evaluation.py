"""Logging an evaluation: figures, tables and metrics in one run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from taxi_nb.tracking.contents import RunContents
from taxi_nb.tracking.run import tracked_run
from taxi_nb.training.used_trips import add_trips
from taxi_nb.trips.origin import provenance

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from taxi_nb.training.trained_models import TrainedModel

EVALUATED_RUN_TAG = "evaluated_run"
"""The tag of an evaluation that names the training run of the model that it is about."""


def log_evaluation(
    *,
    figures: Mapping[str, Figure] | None = None,
    tables: Mapping[str, pd.DataFrame] | None = None,
    metrics: Mapping[str, float] | None = None,
    of: TrainedModel | None = None,
    training: pd.DataFrame | None = None,
    test: pd.DataFrame | None = None,
    name: str = "evaluate",
) -> None:
    """Open a run and log figures, tables and metrics to it, all at once.

    Parameters
    ----------
    figures, tables : mapping of str to Figure or DataFrame, optional
        Logged as ``figures/<name>.png`` and ``tables/<name>.csv``.
    metrics : mapping of str to float, optional
    of : TrainedModel, optional
        The model that they are about; the run says so in its tag ``evaluated_run``.
    training : DataFrame, optional
        The training trips that were looked at; the run says which, and whether they are synthetic.
    test : DataFrame, optional
        The trips that were used once, after the choice; the run says which.
    name : str
        Of the run, where it is not a pipeline step's.

    Examples
    --------
    >>> figures = {"durations": plots.durations(training)}
    >>> log_evaluation(figures=figures, training=training, name="explore")
    """
    contents = RunContents(metrics=dict(metrics or {}))
    if training is not None:
        add_trips(contents, provenance(training), "training", training)
    if test is not None:
        add_trips(contents, provenance(test), "test", test)
    for title, figure in (figures or {}).items():
        contents.add_figure(figure, title)
    for title, table in (tables or {}).items():
        contents.add_table(table, title)
    tags = {EVALUATED_RUN_TAG: of.run_id} if of else {}
    with tracked_run(name, tags=tags) as run:
        contents.log(run.info.run_id)
