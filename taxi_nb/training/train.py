"""Fit, evaluate, log: one call."""

from __future__ import annotations

import importlib.metadata
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from taxi_nb import plots
from taxi_nb.evaluation.drift import REFERENCE_FILE, DriftReference
from taxi_nb.evaluation.metrics import regression_metrics
from taxi_nb.models.carried import carried_code, carried_names, require_unchanged
from taxi_nb.models.specs import MODELS, ModelChoice
from taxi_nb.tracking.contents import RunContents
from taxi_nb.tracking.inputs import not_inputs
from taxi_nb.tracking.run import tracked_run
from taxi_nb.tracking.store import connect
from taxi_nb.training.batches import (
    fit_in_batches,
    is_part,
    metrics_in_batches,
    require_learns_in_batches,
)

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.entities import Run
    from mlflow.models import ModelSignature
    from sklearn.pipeline import Pipeline

MODEL_URI_TAG = "model.uri"

# What a logged model needs where it is loaded. Named here rather than guessed by
# MLflow, which loads the model again in a subprocess for it: seconds a run.
_REQUIREMENTS = ("mlflow", "numpy", "pandas", "scikit-learn", "scipy", "skops")


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
    """

    model: str
    params: Mapping[str, Any]
    estimator: Pipeline
    metrics: Mapping[str, float]
    run_id: str
    model_uri: str

    def __repr__(self) -> str:
        # What is shown is the result alone: no times and ids, which are others each time.
        return self.to_frame().to_string(float_format="{:.4f}".format)

    def _repr_html_(self) -> str:
        return self.to_frame().to_html(float_format="{:.4f}".format)

    def to_frame(self) -> pd.DataFrame:
        """Return the metrics as a table: one row each for training and validation."""
        import pandas as pd

        names = ("rmse", "mae", "r2")
        rows = {
            label: [self.metrics[f"{prefix}_{name}"] for name in names]
            for label, prefix in (("training", "train"), ("validation", "valid"))
        }
        return pd.DataFrame.from_dict(rows, orient="index", columns=list(names)).rename_axis(
            self.model
        )


def train(
    model: str,
    training: pd.DataFrame,
    validation: pd.DataFrame,
    *,
    params: Mapping[str, Any] | None = None,
    seed: int = 42,
) -> TrainingResult:
    """Fit a model by name, evaluate it on both sets, and log all of it to MLflow.

    Logged are the parameters, the data sets with digests and cleaning reports,
    metrics on training and validation, two figures, and the model with its
    signature, an input example and pinned requirements, saved without pickle.
    In a pipeline step this joins the step's run.

    Where `load_trips` drew a frame from months too large for it, the model learns from all
    their trips and is measured on all, read from the files batch by batch; only the figures
    are of the trips in the frame.

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

    Raises
    ------
    ValueError
        For an unknown model or parameter, when the two sets share a month, or when the
        training months are too large for a model that cannot learn in batches.
    """
    choice = ModelChoice(model, params or {}, seed)
    require_disjoint(training, validation)
    require_learns_in_batches(choice, training)
    with tracked_run(name=model, kind="training") as run:
        return fit_and_log(choice, training, validation, run.info.run_id)


def require_disjoint(training: pd.DataFrame, validation: pd.DataFrame) -> None:
    """Refuse to validate on months that were trained on."""
    from taxi_nb.trips.origin import provenance

    known, new = provenance(training), provenance(validation)
    shared = set(known.months) & set(new.months)
    if shared:
        raise ValueError(
            "`training` and `validation` must not share a month, both have: "
            + ", ".join(sorted(shared))
        )
    copied = {file.sha256 for file in known.files} & {file.sha256 for file in new.files}
    if copied:
        paths = [file.path for file in (*known.files, *new.files) if file.sha256 in copied]
        raise ValueError(
            "`training` and `validation` must not share trips, and these files are the same: "
            + ", ".join(paths)
        )


def fit_and_log(
    choice: ModelChoice, training: pd.DataFrame, validation: pd.DataFrame, run_id: str
) -> TrainingResult:
    """Fit a model and log it to the active run; what `train` and `tune` end in."""
    import mlflow

    require_unchanged()
    started = time.perf_counter()
    estimator = _fitted(choice, training)
    fit_seconds = time.perf_counter() - started
    predicted = estimator.predict(validation)
    metrics = {
        **_metrics("train", training, estimator),
        **_metrics("valid", validation, estimator, predicted),
        "fit_seconds": fit_seconds,
    }
    known = {
        "model": choice.name,
        "seed": choice.seed,
        "features": choice.spec.features_summary,
        **choice.estimator_params,
    }
    if is_part(training):
        known["learned"] = f"in batches, as {choice.spec.in_batches}"
    contents = RunContents(known, metrics, {"model": choice.name})
    contents.add_trips(training, "training")
    contents.add_trips(validation, "validation")
    contents.add_figure(
        plots.predicted_against_actual(validation, predicted), "predicted_against_actual"
    )
    contents.add_figure(plots.residuals(validation, predicted), "residuals")
    reference = DriftReference.of(training, validation, predicted)
    contents.files[REFERENCE_FILE] = reference.to_json().encode()
    contents.log(run_id)
    # After that: MLflow gives the model the parameters and metrics that its run has by then.
    model_uri = _log_model(choice, estimator, validation)
    mlflow.set_tag(MODEL_URI_TAG, model_uri)
    return TrainingResult(
        choice.name, choice.estimator_params, estimator, metrics, run_id, model_uri
    )


def _fitted(choice: ModelChoice, training: pd.DataFrame) -> Pipeline:
    if is_part(training):
        return fit_in_batches(choice, training)
    return choice.pipeline().fit(training, training["duration"])


def _metrics(
    prefix: str, trips: pd.DataFrame, estimator: Pipeline, predicted: Any = None
) -> dict[str, float]:
    if is_part(trips):
        found = metrics_in_batches(estimator, trips)
    else:
        predicted = estimator.predict(trips) if predicted is None else predicted
        found = regression_metrics(trips["duration"], predicted)
    return {f"{prefix}_{name}": value for name, value in found.items()}


def _log_model(choice: ModelChoice, estimator: Pipeline, trips: pd.DataFrame) -> str:
    import mlflow.sklearn

    example = trips[list(choice.spec.reads)].head(5).astype(dict.fromkeys(_ZONES, "int64"))
    with not_inputs(), carried_names():  # The code is copied, and no result depends on the copy.
        info = mlflow.sklearn.log_model(
            estimator,
            name="model",
            signature=model_signature(choice.name),
            input_example=example,
            pip_requirements=model_requirements(choice.name),
            code_paths=[str(carried_code())],
            serialization_format="skops",
            skops_trusted_types=choice.trusted_types(),
        )
    return str(info.model_uri)


_ZONES = ("PULocationID", "DOLocationID")
_COLUMN_TYPES = {
    "pickup_datetime": "datetime",
    "PULocationID": "long",
    "DOLocationID": "long",
    "trip_distance": "double",
}


def model_signature(model: str) -> ModelSignature:
    """Return what the model takes and gives: the raw trip columns it reads, and minutes."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    return ModelSignature(
        inputs=Schema([ColSpec(_COLUMN_TYPES[name], name) for name in MODELS[model].reads]),
        outputs=Schema([ColSpec("double", "minutes")]),
    )


def model_requirements(model: str) -> list[str]:
    """Return the pinned packages that the model needs.

    The pins are the installed versions, since those made the model; in the
    environment that ``make setup`` makes they are the lock's.
    """
    return [
        f"{name}=={_installed_version(name)}" for name in (*_REQUIREMENTS, *MODELS[model].requires)
    ]


def _installed_version(name: str) -> str:
    # Some install the GPU build of XGBoost in place of the smaller one.
    alternatives = {"xgboost-cpu": "xgboost"}
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return importlib.metadata.version(alternatives.get(name, name))


def load_model(run_id: str) -> Pipeline:
    """Load the model of a training run as the scikit-learn Pipeline that it was."""
    import mlflow
    import mlflow.sklearn

    connect()
    return mlflow.sklearn.load_model(model_uri(mlflow.get_run(run_id)))


def model_uri(run: Run) -> str:
    """Return the address of a training run's model.

    Raises
    ------
    LookupError
        If the run has logged none.
    """
    found = run.data.tags.get(MODEL_URI_TAG)
    if found is None:
        raise LookupError(f"run {run.info.run_id} ({run.info.run_name}) has logged no model")
    return str(found)
