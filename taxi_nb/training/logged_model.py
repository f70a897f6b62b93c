"""Models in MLflow: logged with signature, requirements and code, and loaded again."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from taxi_nb.models.carried import carried_code, carried_names
from taxi_nb.plain_data import to_json
from taxi_nb.tracking.context import open_context
from taxi_nb.tracking.held_folder import HeldFolder
from taxi_nb.tracking.inputs import not_inputs
from taxi_nb.tracking.model_files import place_to_load
from taxi_nb.tracking.names import SOURCE_TAGS
from taxi_nb.tracking.store import connect

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.entities import Run
    from mlflow.models import ModelSignature
    from sklearn.pipeline import Pipeline

    from taxi_nb.models.choice import ModelChoice
    from taxi_nb.models.specs import ModelSpec

MODEL_URI_TAG = "model.uri"

# What a logged model needs where it is loaded. Named here rather than guessed by
# MLflow, which loads the model again in a subprocess for it: seconds a run.
_REQUIREMENTS = ("mlflow", "numpy", "pandas", "scikit-learn", "scipy", "skops")

_ZONES = ("PULocationID", "DOLocationID")
_COLUMN_TYPES = dict.fromkeys(_ZONES, "long")
_COLUMN_TYPES |= {"pickup_datetime": "datetime", "trip_distance": "double"}


# What scoring has to know of a model's training, beside its run: a run can be deleted.
TRAINING_FILE = "training.json"


def log_model(
    choice: ModelChoice, estimator: Pipeline, trips: pd.DataFrame, training: Mapping[str, Any]
) -> str:
    """Log a fitted model to the active run, without pickle, and return its address.

    `training` is what the model carries of its training, as `TRAINING_FILE`.
    """
    import mlflow
    import mlflow.sklearn

    example = trips[list(choice.spec.reads)].head(5).astype(dict.fromkeys(_ZONES, "int64"))
    # The code is copied, and no result depends on the copy.
    with not_inputs(), carried_names(), _as_installed():
        info = mlflow.sklearn.log_model(
            estimator,
            name=choice.name,
            tags=_source(),
            signature=model_signature(choice.spec),
            input_example=example,
            pip_requirements=model_requirements(choice.spec),
            code_paths=[str(carried_code())],
            serialization_format="skops",
            skops_trusted_types=choice.trusted_types(),
        )
        with HeldFolder() as folder:
            (folder / TRAINING_FILE).write_text(to_json(training), "utf-8")
            mlflow.MlflowClient().log_model_artifacts(info.model_id, str(folder))
    mlflow.set_tag(MODEL_URI_TAG, info.model_uri)
    return str(info.model_uri)


@contextmanager
def _as_installed() -> Iterator[None]:
    """Spare MLflow comparing requirements with what is installed: they were read there just now.

    It would go through the files of every installed package for that, and again in each process:
    half of what logging a model takes.
    """
    from mlflow.utils import requirements_utils

    library: Any = requirements_utils
    known = getattr(library, "_check_requirement_satisfied", None)
    if known is None:  # A later MLflow, which then compares.
        yield
        return
    library._check_requirement_satisfied = lambda _: None
    try:
        yield
    finally:
        library._check_requirement_satisfied = known


def _source() -> dict[str, str]:
    """Return the tags by which MLflow's pages name the notebook, and not the kernel's program."""
    tags = context.tags if (context := open_context()) else {}
    return {name: tags[name] for name in SOURCE_TAGS if name in tags}


def model_signature(spec: ModelSpec) -> ModelSignature:
    """Return the columns that a model reads, and what it gives: minutes."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    return ModelSignature(
        inputs=Schema([ColSpec(_COLUMN_TYPES[name], name) for name in spec.reads]),
        outputs=Schema([ColSpec("double", "minutes")]),
    )


def model_requirements(spec: ModelSpec) -> list[str]:
    """Return the packages that the model needs, pinned to the versions that made it.

    In the environment that ``make setup`` makes these are the lock's.
    """
    return [f"{name}=={_installed_version(name)}" for name in (*_REQUIREMENTS, *spec.requires)]


def _installed_version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        # Some install the GPU build of XGBoost in place of the smaller one.
        return importlib.metadata.version({"xgboost-cpu": "xgboost"}.get(name, name))


def load_model(model: str) -> Pipeline:
    """Load a trained model as the scikit-learn Pipeline that it was.

    A model carries code, which loading it runs. So the files of a registered version are compared
    with the digests that were noted when it was registered, and only then loaded, from a copy.
    Versions that older commits registered have none, which is said once.

    Parameters
    ----------
    model : str
        The id of a training run, or an address such as ``models:/nyc-taxi-duration@champion``.

    Returns
    -------
    sklearn.pipeline.Pipeline
        Fitted; it predicts minutes from raw trips.

    Raises
    ------
    LookupError
        If the run has logged no model.
    RegistryError
        If a file is not what was registered, or nobody noted what was.

    Examples
    --------
    >>> result = train("linear", training, validation)
    >>> same = load_model(result.run_id).predict(validation) == result.estimator.predict(validation)
    >>> bool(same.all())
    True
    """
    import mlflow
    import mlflow.sklearn

    connect()
    address = model if ":/" in model else model_uri(mlflow.get_run(model))
    return mlflow.sklearn.load_model(place_to_load(mlflow.MlflowClient(), address))


def model_uri(run: Run) -> str:
    """Return the address of a training run's model; raise `LookupError` if it has logged none."""
    found = run.data.tags.get(MODEL_URI_TAG)
    if found is None:
        raise LookupError(f"run {run.info.run_id} ({run.info.run_name}) has logged no model")
    return str(found)
