"""The model that months are scored with, and what its training run logged about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from taxi_nb.evaluation.drift import FEATURES, REFERENCE_FILE, DriftReference
from taxi_nb.evaluation.intervals import INTERVALS_FILE, ConformalIntervals
from taxi_nb.project import command
from taxi_nb.scoring._month_records import AT_PICKUP
from taxi_nb.tracking.model_address import NOT_THERE, ModelAddress
from taxi_nb.tracking.model_files import place_to_load
from taxi_nb.tracking.model_notes import RegistryError
from taxi_nb.tracking.names import SYNTHETIC_TAG
from taxi_nb.tracking.run_tree import find_run
from taxi_nb.tracking.store import tracking_uri
from taxi_nb.tracking.store_errors import StoreError, errors_of_store
from taxi_nb.training.logged_model import TRAINING_FILE
from taxi_nb.training.used_trips import Role, load_logged_trips, logged_trips
from taxi_nb.trips.errors import TripsError
from taxi_nb.trips.origin import Provenance

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion

_USED: tuple[Role, ...] = ("training", "validation")


class ModelError(RuntimeError):
    """A model cannot be used for scoring; the message names it, the reason and the remedy."""


@dataclass(frozen=True)
class ScoredModel:
    """A loaded model, the run that trained it, and the distributions that it has to expect."""

    # Where MLflow has it; names the version, so that an alias that moves changes nothing.
    address: str
    title: str  # How people call it.
    columns: tuple[str, ...]  # The columns that it reads, of `AT_PICKUP`.
    run_id: str
    # ``rmse`` and ``mae`` on the validation trips when it was trained, in minutes.
    errors: Mapping[str, float]
    reference: DriftReference
    # The trips that it learned from, ``training``, and those that it was chosen by, ``validation``;
    # None where its run does not say.
    used: Mapping[Role, Provenance | None]
    intervals: ConformalIntervals | None  # None where none have been calibrated.
    synthetic: bool  # Whether it learned from synthetic trips.
    predictor: Any
    lost_run: bool = False  # Whether its run is no longer in the store.

    @property
    def features(self) -> tuple[str, ...]:
        """The names of the features that it uses, of `FEATURES`."""
        return tuple(name for name, one in FEATURES.items() if one.column in self.columns)

    def predict(self, columns: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[np.float64]:
        """Predict minutes; `ModelError` if the model does not give a number for each trip.

        Those of a model with intervals stay in the range that the intervals stay in.
        """
        import pandas as pd

        trips = pd.DataFrame({name: columns[name] for name in self.columns})
        minutes = predicted_minutes(self.predictor, trips, self.address)
        return self.intervals.within_range(minutes) if self.intervals else minutes


def load_scored_model(address: str) -> ScoredModel:
    """Load a model by its address in MLflow: that of an alias, a version or a run's model.

    `ModelError` if it cannot be had or used, or nothing can be compared with what it learned from.
    """
    from mlflow import MlflowClient

    client = MlflowClient()
    with _as_model_error(address):
        pinned, version_run = _pinned(client, address)
    with _as_model_error(pinned):
        predictor, columns = _loaded(client, pinned, address)
        # The registry knows better than the model's own files which run made it.
        run_id = version_run or predictor.metadata.run_id
        if not run_id:
            raise ModelError(
                f"the model {address} was logged outside a run: what it learned from is not known"
            )
        run = find_run(client, run_id)
        if run is None:
            return _without_run(client, pinned, predictor, columns, run_id)
    intervals = kept_with(client, run, INTERVALS_FILE)
    kept = kept_with(client, run, REFERENCE_FILE)
    errors = _errors(run, address)
    reference = DriftReference.from_dict(kept) if kept else None
    reference = reference or _reference_again(run, predictor, columns, address)
    return ScoredModel(
        address=pinned,
        title=_title(pinned),
        columns=columns,
        run_id=run.info.run_id,
        errors=errors,
        reference=reference,
        used={role: logged_trips(run.info.run_id, role) for role in _USED},
        intervals=ConformalIntervals.from_dict(intervals, predictor) if intervals else None,
        synthetic=run.data.tags.get(SYNTHETIC_TAG) == "true",
        predictor=predictor,
    )


def load_predictor(version: ModelVersion) -> tuple[Any, tuple[str, ...]]:
    """Load a version, and the columns that it reads; `RegistryError` if it cannot be asked.

    Its files are compared with those that were registered, before any of its code runs.
    """
    from mlflow import MlflowClient

    address = str(ModelAddress.of(version))
    try:
        return _loaded(MlflowClient(), address, address)
    except ModelError as error:
        raise RegistryError(str(error)) from None


def _loaded(client: Any, pinned: str, address: str) -> tuple[Any, tuple[str, ...]]:
    """Load a model, once its files are known to be its own, and the columns that it reads."""
    import mlflow.pyfunc

    predictor = mlflow.pyfunc.load_model(place_to_load(client, pinned))
    return predictor, _columns(predictor.metadata.signature, address)


def _without_run(
    client: Any, pinned: str, predictor: Any, columns: tuple[str, ...], run_id: str
) -> ScoredModel:
    """Make it of what the model carries itself: its run was deleted for good, by `mlflow gc`."""
    import mlflow
    from mlflow.exceptions import MlflowException

    try:
        place = place_to_load(client, pinned)
        if "://" in place or place.startswith(("models:", "runs:")):
            # Below a registered model's address a file cannot be asked for.
            model = mlflow.get_logged_model(predictor.metadata.model_id)
            place = str(model.artifact_location)
        kept = mlflow.artifacts.load_dict(f"{place}/{TRAINING_FILE}")
    except (MlflowException, OSError):
        raise ModelError(
            f"the model {pinned} loads, but its training run {run_id} is no longer in the store "
            "(`mlflow gc` deletes runs for good), and with it the error and the distributions "
            "that a month is compared with: train a model again and make it champion, by a "
            "pipeline or with `taxi-nb registry promote`"
        ) from None
    used = {role: Provenance.from_dict(kept[role]) for role in _USED}
    return ScoredModel(
        address=pinned,
        title=_title(pinned),
        columns=columns,
        run_id=run_id,
        errors=kept["errors"],
        reference=DriftReference.from_dict(kept["reference"]),
        used=used,
        intervals=None,
        synthetic=used["training"].synthetic,
        predictor=predictor,
        lost_run=True,
    )


def _title(address: str) -> str:
    registered = ModelAddress.parse(address)
    return registered.title if registered else address


@contextmanager
def _as_model_error(address: str) -> Iterator[None]:
    """Turn what MLflow says of a model that it cannot give into one `ModelError`."""
    from mlflow.exceptions import MlflowException

    try:
        with errors_of_store(tracking_uri()):
            yield
    except RegistryError as error:
        raise ModelError(str(error)) from None
    except StoreError as error:
        cause = error.__cause__
        if not isinstance(cause, MlflowException) or cause.error_code not in NOT_THERE:
            raise
        raise ModelError(_no_such_model(address, str(cause))) from None
    except OSError as error:
        raise ModelError(f"the model {address} cannot be read: {error}") from None


def _no_such_model(address: str, reason: str) -> str:
    asked = ModelAddress.parse(address)
    if asked is None or asked.alias is None:
        return f"there is no model {address}: {reason.strip().splitlines()[0]}"
    return (
        f"there is no {asked.alias} of {asked.name} yet: the registration at the end of the "
        f"pipeline makes one ({command('run', 'run-notebooks')}); or name another model, such as "
        "models:/name/1 or runs:/id/name"
    )


def _pinned(client: Any, address: str) -> tuple[str, str | None]:
    """Return an address that goes on naming the same model, and the run that made it if known."""
    asked = ModelAddress.parse(address)
    if asked is None:
        return address, None
    version = asked.look_up(client)
    return str(ModelAddress.of(version)), version.run_id


def _columns(signature: Any, address: str) -> tuple[str, ...]:
    if signature is None or not signature.inputs.has_input_names():
        raise ModelError(
            f"the model {address} does not say which columns it reads: log it with a signature, "
            "as taxi_nb.train does"
        )
    names = tuple(signature.inputs.input_names())
    unknown = [name for name in names if name not in AT_PICKUP]
    if unknown:
        raise ModelError(
            f"the model {address} reads {', '.join(unknown)}, which nobody knows at pick-up; "
            f"a model for scoring reads some of {', '.join(AT_PICKUP)}"
        )
    return names


def _errors(run: Run, address: str) -> dict[str, float]:
    metrics = run.data.metrics
    if "valid_rmse" not in metrics or "valid_mae" not in metrics:
        raise ModelError(
            f"the run {run.info.run_id} of the model {address} has logged no valid_rmse and "
            "valid_mae to compare with; train it with taxi_nb.train"
        )
    return {"rmse": metrics["valid_rmse"], "mae": metrics["valid_mae"]}


def kept_with(client: Any, run: Run, name: str) -> dict[str, Any] | None:
    """Return the content of an artifact of a training run; None if it has no such."""
    import mlflow

    run_id, folder = run.info.run_id, name.rpartition("/")[0]
    if name not in {file.path for file in client.list_artifacts(run_id, folder)}:
        return None
    return dict(mlflow.artifacts.load_dict(f"runs:/{run_id}/{name}"))


def _reference_again(
    run: Run, predictor: Any, columns: tuple[str, ...], address: str
) -> DriftReference:
    """Make the reference of a model that was logged without one, from the trips it recorded."""
    try:
        training = load_logged_trips(run.info.run_id, "training")
        validation = load_logged_trips(run.info.run_id, "validation")
    except (TripsError, LookupError) as error:
        raise ModelError(
            f"the model {address} was logged without the distributions that drift is measured "
            f"from, and they cannot be made now: {error}. Train it again"
        ) from None
    predicted = predicted_minutes(predictor, validation[list(columns)], address)
    return DriftReference.of(training, validation, predicted)


def predicted_minutes(predictor: Any, trips: pd.DataFrame, address: str) -> npt.NDArray[np.float64]:
    """Let a model predict; `ModelError` if it does not give a number for each trip."""
    from mlflow.exceptions import MlflowException

    try:
        minutes = np.asarray(predictor.predict(trips), np.float64)
    except (MlflowException, ValueError, TypeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ModelError(f"the model {address} refuses the trips: {reason}") from None
    if minutes.shape != (len(trips),) or not np.isfinite(minutes).all():
        raise ModelError(
            f"the model {address} should give a number of minutes for each of {len(trips):,} "
            f"trips, and gave an array of shape {minutes.shape}"
            + ("" if minutes.shape != (len(trips),) else " with values that are none")
        )
    return minutes
