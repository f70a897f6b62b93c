"""Fit, evaluate, log: one call."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from taxi_nb import plots
from taxi_nb.evaluation.drift import REFERENCE_FILE, DriftReference
from taxi_nb.evaluation.metrics import regression_metrics
from taxi_nb.models.carried import require_unchanged
from taxi_nb.models.choice import ModelChoice
from taxi_nb.models.specs import LIVE
from taxi_nb.tracking.contents import Picture, RunContents
from taxi_nb.tracking.run import tracked_run
from taxi_nb.training._batches import fit_in_batches, metrics_in_batches, require_learns_in_batches
from taxi_nb.training.logged_model import log_model
from taxi_nb.training.used_trips import add_trips
from taxi_nb.trips.origin import is_part, provenance
from taxi_nb.trips.split import require_disjoint

if TYPE_CHECKING:
    import pandas as pd
    from sklearn.pipeline import Pipeline

# Each set, and how the names of its metrics begin.
_SETS = {"training": "train", "validation": "valid"}
_METRICS = ("rmse", "mae", "r2")


@dataclass(frozen=True)
class TrainingResult:
    """A fitted, evaluated and logged model.

    Attributes
    ----------
    model : str
        Its name in `MODELS`.
    estimator : sklearn.pipeline.Pipeline
        Predicts minutes from raw trips.
    metrics : dict
        ``train_rmse``, ``valid_rmse`` and so on; minutes, ``r2`` without a unit.
    run_id, model_uri : str
        Where MLflow has it.
    figures : dict of str to Picture
        ``predicted_against_actual`` and ``residuals`` of the validation trips, as they were
        logged; a notebook shows one as its picture.

    Examples
    --------
    >>> names = [f"{part}_{name}" for part in ("train", "valid") for name in ("rmse", "mae", "r2")]
    >>> result = TrainingResult("linear", {}, None, dict.fromkeys(names, 0.5), "4f1c", "m-1")
    >>> result.to_frame().index.tolist()
    ['training', 'validation']
    """

    model: str
    params: Mapping[str, Any]
    estimator: Pipeline
    metrics: Mapping[str, float]
    run_id: str
    model_uri: str
    figures: Mapping[str, Picture] = field(default_factory=dict, repr=False)

    def __repr__(self) -> str:
        # What is shown is the result alone: no times and ids, which are others each time.
        return self.to_frame().to_string(float_format="{:.4f}".format)

    def _repr_html_(self) -> str:
        return self.to_frame().to_html(float_format="{:.4f}".format)

    def to_frame(self) -> pd.DataFrame:
        """Return the metrics as a table: one row each for training and validation."""
        import pandas as pd

        rows = {
            label: [self.metrics[f"{prefix}_{name}"] for name in _METRICS]
            for label, prefix in _SETS.items()
        }
        table = pd.DataFrame.from_dict(rows, orient="index", columns=list(_METRICS))
        return table.rename_axis(self.model)


def train(
    model: str,
    training: pd.DataFrame,
    validation: pd.DataFrame,
    *,
    params: Mapping[str, Any] | None = None,
    seed: int = 42,
) -> TrainingResult:
    """Fit a model by name, evaluate it on both sets, and log all of it to MLflow.

    Logged are the parameters, the data sets with digests and cleaning reports, the metrics, two
    figures, and the model with its signature, an input example and pinned requirements, saved
    without pickle. In a pipeline step this joins the step's run.

    Where `load_trips` drew a frame from months too large for it, the model learns from all their
    trips and is measured on all, batch by batch; only the figures are of those in the frame.

    Parameters
    ----------
    model : str
        A key of `MODELS`.
    training, validation : DataFrame
        As `load_trips` returned them.
    params : mapping, optional
        Estimator parameters that replace or add to the model's defaults.
    seed : int
        For the models that draw random numbers.

    Returns
    -------
    TrainingResult
        The fitted model, its metrics, and where MLflow has it; a notebook shows the metrics.

    Raises
    ------
    ValueError
        If the model or a parameter is unknown, the sets share a month, or the training months are
        too large for a model that cannot learn in batches.

    Examples
    --------
    >>> result = train("ridge", training, validation, params={"alpha": 2.0})
    >>> result.model, result.params["alpha"], "valid_rmse" in result.metrics
    ('ridge', 2.0, True)
    """
    choice = ModelChoice(model, params or {}, seed)
    require_disjoint(training, validation)
    require_learns_in_batches(choice, training)
    with tracked_run(name=model, kind="training") as run:
        return fit_and_log(choice, training, validation, run.info.run_id)


def fit_and_log(
    choice: ModelChoice, training: pd.DataFrame, validation: pd.DataFrame, run_id: str
) -> TrainingResult:
    """Fit a model, measure it on both sets, and log all of it to the active run."""
    require_unchanged()
    started = time.perf_counter()
    estimator, learned = fitted(choice, training)
    fit_seconds = time.perf_counter() - started
    predicted = estimator.predict(validation)
    metrics = {
        **_metrics("train", training, estimator),
        **_metrics("valid", validation, estimator, predicted),
        **_live_metrics(choice, estimator, validation),
        "fit_seconds": fit_seconds,
    }
    params = {
        "model": choice.name,
        "seed": choice.seed,
        "features": choice.spec.features_summary,
        **choice.estimator_params,
        **learned,
    }
    contents = RunContents(params, metrics, {"model": choice.name})
    add_trips(contents, provenance(training), "training", training)
    add_trips(contents, provenance(validation), "validation", validation)
    draws = (plots.predicted_against_actual, plots.residuals)
    figures = {
        draw.__name__: contents.add_figure(draw(validation, predicted), draw.__name__)
        for draw in draws
    }
    reference = DriftReference.of(training, validation, predicted)
    contents.files[REFERENCE_FILE] = reference.to_json().encode()
    contents.log(run_id)
    # After that: MLflow gives the model the parameters and metrics that its run has by then.
    used = {"training": provenance(training), "validation": provenance(validation)}
    kept = {
        "errors": {name: metrics[f"valid_{name}"] for name in ("rmse", "mae")},
        "reference": reference.to_dict(),
        **{role: origin.to_dict() for role, origin in used.items()},
    }
    model_uri = log_model(choice, estimator, validation, kept)
    return TrainingResult(
        choice.name, choice.estimator_params, estimator, metrics, run_id, model_uri, figures
    )


def fitted(choice: ModelChoice, training: pd.DataFrame) -> tuple[Pipeline, dict[str, str]]:
    """Fit a model to all training trips; say how it learned, where that is not from the frame."""
    if is_part(training):
        estimator, how = fit_in_batches(choice, training)
        return estimator, {"learned": how}
    return choice.pipeline().fit(training, training["duration"]), {}


def _live_metrics(
    choice: ModelChoice, estimator: Pipeline, validation: pd.DataFrame
) -> dict[str, float]:
    """Measure a model that reads recent trips once more, with those that had ended by then."""
    if LIVE not in choice.spec.groups or is_part(validation):
        return {}
    from taxi_nb.models.trip_features import with_recent

    predicted = with_recent(estimator, validation).predict(validation)
    found = regression_metrics(validation["duration"], predicted)
    return {f"valid_live_{name}": value for name, value in found.items()}


def _metrics(
    prefix: str, trips: pd.DataFrame, estimator: Pipeline, predicted: Any = None
) -> dict[str, float]:
    if is_part(trips):
        found = metrics_in_batches(estimator, trips)
    else:
        predicted = estimator.predict(trips) if predicted is None else predicted
        found = regression_metrics(trips["duration"], predicted)
    return {f"{prefix}_{name}": value for name, value in found.items()}
