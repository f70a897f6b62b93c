"""The models that have been trained and validated on the same trips, the best one first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from taxi_nb.models.specs import MODELS
from taxi_nb.tracking.names import KIND_TAG
from taxi_nb.tracking.store import connect
from taxi_nb.tracking.upstream import upstream_runs
from taxi_nb.training.logged_model import load_model, model_uri
from taxi_nb.trips.origin import provenance

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.entities import Run
    from sklearn.pipeline import Pipeline

_COLUMNS = ("valid_rmse", "valid_mae", "valid_r2", "train_rmse", "fit_seconds")


@dataclass(frozen=True)
class TrainedModel:
    """A model that a training run has logged.

    Attributes
    ----------
    name : str
        Of the run, such as ``"tuning"``.
    model : str
        Its name in `MODELS`.
    run_id, uri : str
        Where MLflow has the run and the model.
    params : mapping of str to str
        As the run has logged them.
    metrics : mapping of str to float
        ``train_rmse``, ``valid_rmse`` and so on; minutes, ``r2`` without a unit.

    Examples
    --------
    >>> best = TrainedModel("tuning", "xgboost", "4f1c", {}, {"valid_rmse": 5.2}, "models:/m-1")
    >>> best.metrics["valid_rmse"]
    5.2
    """

    name: str
    model: str
    run_id: str
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    uri: str

    @classmethod
    def of(cls, run: Run) -> TrainedModel:
        """Make it of MLflow's run."""
        info, params = run.info, dict(run.data.params)
        metrics, uri = dict(run.data.metrics), model_uri(run)
        return cls(str(info.run_name), params["model"], str(info.run_id), params, metrics, uri)

    def load(self) -> Pipeline:
        """Load the scikit-learn Pipeline that predicts minutes from raw trips."""
        return load_model(self.run_id)


class TrainedModels(tuple[TrainedModel, ...]):
    """Trained models, best validation RMSE first; a notebook shows them as their table."""

    @property
    def best(self) -> TrainedModel:
        """The model with the smallest validation RMSE."""
        return self[0]

    def title(self, model: TrainedModel) -> str:
        """Return the model's name, with its run's where several have it: ``xgboost (tuning)``."""
        is_alone = sum(one.model == model.model for one in self) == 1
        return model.model if is_alone else f"{model.model} ({model.name})"

    @property
    def different(self) -> int:
        """How many there are, the same again not counted."""
        return number_different((one.params, one.metrics) for one in self)

    def with_and_without(self, column: str) -> tuple[TrainedModel, TrainedModel] | None:
        """Return the best model that reads a raw column, and the same one without it.

        The two have the same estimator with the same parameters and learned from the same trips
        in the same way: only the column makes a difference. None if no two are so alike.
        """
        pairs = ((one, other) for one in self for other in self if _same_but(column, one, other))
        return next(pairs, None)

    def table(self) -> pd.DataFrame:
        """Return the metrics, one row a model by its title; errors are in minutes."""
        import pandas as pd

        rows = {self.title(one): [one.metrics.get(name) for name in _COLUMNS] for one in self}
        return pd.DataFrame.from_dict(rows, orient="index", columns=list(_COLUMNS), dtype=float)

    def __repr__(self) -> str:
        return self._shown().to_string(float_format="{:.4f}".format)

    def _repr_html_(self) -> str:
        return self._shown().to_html(float_format="{:.4f}".format)

    def _shown(self) -> pd.DataFrame:
        # How long a fit took is another number each time.
        return self.table().drop(columns="fit_seconds")


def number_different(runs: Iterable[tuple[Mapping[str, str], Mapping[str, float]]]) -> int:
    """Return how many of some runs' parameters and metrics are of different models."""
    return len({(tuple(sorted(params.items())), logged["valid_rmse"]) for params, logged in runs})


def _same_but(column: str, one: TrainedModel, other: TrainedModel) -> bool:
    if not {one.model, other.model} <= set(MODELS):  # One of another commit.
        return False
    first, second = MODELS[one.model], MODELS[other.model]
    settings = [
        {name: value for name, value in of.params.items() if name not in ("model", "features")}
        for of in (one, other)
    ]
    return (
        set(first.reads) - set(second.reads) == {column}
        and set(second.groups) < set(first.groups)
        and first.estimator == second.estimator
        and settings[0] == settings[1]
    )


def trained_models(training: pd.DataFrame, validation: pd.DataFrame) -> TrainedModels:
    """Find the models that were trained and validated on these trips.

    In a pipeline those of the steps before this one; in JupyterLab the newest of each name.

    Parameters
    ----------
    training, validation : DataFrame
        As `load_trips` or `load_split` returned them.

    Returns
    -------
    TrainedModels
        A sequence of `TrainedModel`, best validation RMSE first.

    Raises
    ------
    LookupError
        If there is none; it says what to run first.

    Examples
    --------
    >>> models = trained_models(training, validation)
    >>> models.best.load().predict(validation).shape == (len(validation),)
    True
    """
    sets = provenance(training), provenance(validation)
    try:
        runs = training_runs(*(origin.digest for origin in sets))
    except LookupError:
        # Runs of before trips had a digest of their own know their files.
        runs = training_runs(*(origin.files_digest for origin in sets))
    return TrainedModels(TrainedModel.of(run) for run in runs)


def training_runs(training_digest: str, validation_digest: str) -> list[Run]:
    """Find the runs that `trained_models` is made of.

    Parameters
    ----------
    training_digest, validation_digest : str
        ``provenance(trips).digest`` of the two sets.

    Returns
    -------
    list of mlflow.entities.Run
        Best validation RMSE first.

    Raises
    ------
    LookupError
        As `trained_models`.

    Examples
    --------
    >>> runs = training_runs(provenance(training).digest, provenance(validation).digest)
    >>> runs[0].data.params["model"]
    'lasso'
    """
    chosen = list(candidate_runs(training_digest, validation_digest))
    if upstream_runs("training", {run.info.run_id for run in chosen}) is None:
        newest: dict[str, Run] = {}
        for run in chosen:
            newest.setdefault(str(run.info.run_name), run)
        chosen = list(newest.values())
    if not chosen:
        raise LookupError(
            "no model has been trained on these data yet: run the training notebook with the "
            "same source, months and cleaning first"
        )
    return sorted(chosen, key=lambda run: float(run.data.metrics["valid_rmse"]))


def candidate_runs(training_digest: str, validation_digest: str) -> list[Run]:
    """Return all runs that trained and validated a model on these trips, newest first.

    In a pipeline those of the steps before this one, the last first as this one needs them: which
    of them ended first says nothing, and would decide between models that are equally good.
    """
    import mlflow

    experiment = connect()
    wanted = (
        f"tags.`{KIND_TAG}` = 'training' and attributes.status = 'FINISHED' "
        f"and params.training_digest = '{training_digest}' "
        f"and params.validation_digest = '{validation_digest}'"
    )
    found: Sequence[Run] = mlflow.search_runs(
        [experiment], wanted, order_by=["attributes.start_time DESC"], output_format="list"
    )
    upstream = upstream_runs("training", {str(run.info.run_id) for run in found})
    if upstream is None:
        return list(found)
    by_id = {str(run.info.run_id): run for run in found}
    return [by_id[run_id] for run_id in reversed(upstream.values())]
