"""Which trips a run used: written to the run and read from it, here alone."""

from __future__ import annotations

import json
import warnings
from typing import TYPE_CHECKING, Any, Literal

from taxi_nb.plain_data import to_json
from taxi_nb.tracking.contents import RunContents
from taxi_nb.tracking.inputs import not_inputs
from taxi_nb.tracking.names import SOURCE_TAG, SYNTHETIC_TAG, UNITS_TAG
from taxi_nb.trips.batches import reopen
from taxi_nb.trips.loading import MAX_TRIPS
from taxi_nb.trips.origin import Provenance, is_part, provenance

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.entities import DatasetInput, Run

Role = Literal["training", "validation", "test", "scored"]
# How the names of metrics end that are durations.
_IN_MINUTES = ("rmse", "mae")


def log_trips(trips: pd.DataFrame, role: Literal["training", "validation"]) -> None:
    """Log to the active run which trips it uses: data set, digest, paths, cleaning.

    Parameters
    ----------
    trips : DataFrame
        As `load_trips` returned them.
    role : {"training", "validation"}
        The prefix of the parameters and the context of MLflow's data set.

    Raises
    ------
    TripsError
        If the frame does not say where its trips came from.

    Examples
    --------
    >>> from taxi_nb import load_trips, log_trips, tracked_run
    >>> trips = load_trips("green", ["2021-01"], "sample", sample_rows=1_000)
    >>> with tracked_run("ingest"):
    ...     log_trips(trips, "training")
    """
    contents = RunContents()
    add_trips(contents, provenance(trips), role, trips)
    contents.log()


def add_trips(
    contents: RunContents, origin: Provenance, role: Role, trips: pd.DataFrame | None = None
) -> None:
    """Add what `log_trips` logs; without a frame their number and schema are left out."""
    contents.params |= {
        f"{role}_months": ",".join(origin.months),
        f"{role}_data": ",".join(file.path for file in origin.files),
        f"{role}_digest": origin.digest,
        f"{role}_files_digest": origin.files_digest,
    }
    if trips is not None:
        # A frame drawn from larger months stands for all their trips.
        all_trips = origin.cleaning.rows_kept if is_part(trips) else len(trips)
        contents.metrics[f"{role}_trips"] = all_trips
    label = f"{origin.source} (synthetic)" if origin.synthetic else origin.source
    contents.tags |= {SOURCE_TAG: label, SYNTHETIC_TAG: str(origin.synthetic).lower()}
    contents.tags[UNITS_TAG] = json.dumps(dict.fromkeys(_IN_MINUTES, "minutes"))
    contents.files[_file(role)] = to_json(origin.to_dict(), indent=2).encode()
    contents.files[f"data/{role}_cleaning.txt"] = str(origin.cleaning).encode()
    contents.inputs.append(_input(origin, role, trips))


def logged_trips(run_id: str | None, role: Role) -> Provenance | None:
    """Return where the trips of a run came from; None if the run says nothing of them."""
    import mlflow
    from mlflow.exceptions import MlflowException

    if not run_id:
        return None
    try:
        with not_inputs():
            text = mlflow.artifacts.load_text(f"runs:/{run_id}/{_file(role)}")
    except (MlflowException, OSError):
        return None
    return Provenance.from_dict(json.loads(text))


def digests_of(run: Run, role: Role) -> set[str]:
    """Return the digests by which a run knows its trips: two runs that share one used the same.

    Runs of before trips had a digest of their own know that of the files alone.
    """
    names = (f"{role}_digest", f"{role}_files_digest")
    return {run.data.params[name] for name in names if name in run.data.params}


def load_logged_trips(run_id: str, role: Role) -> pd.DataFrame:
    """Load the trips that a run used once more.

    `LookupError` if it does not say which; `TripsError` if a file is gone or no longer what it was.
    """
    origin = logged_trips(run_id, role)
    if origin is None:
        raise LookupError(f"its run {run_id} does not say which {role} trips it used")
    return reopen(origin).one_frame(MAX_TRIPS)


def _file(role: Role) -> str:
    return f"data/{role}.json"


def _input(origin: Provenance, role: Role, trips: pd.DataFrame | None) -> DatasetInput:
    """Describe trips to MLflow, with the frame's schema if there is a frame."""
    import mlflow.data
    from mlflow.data.dataset_source_registry import resolve_dataset_source
    from mlflow.data.meta_dataset import MetaDataset
    from mlflow.data.sources import LocalArtifactDatasetSource  # type: ignore[attr-defined]
    from mlflow.entities import DatasetInput, InputTag
    from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT

    path = origin.files[0].path
    # Named, since MLflow finds two kinds of source that a local path could be.
    source = resolve_dataset_source(path) if "://" in path else LocalArtifactDatasetSource(path)
    known: dict[str, Any] = {"source": source, "name": origin.title, "digest": origin.digest}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*integer column.*", category=UserWarning)
        if trips is None:
            dataset: Any = MetaDataset(**known)  # type: ignore[abstract]
        else:
            dataset = mlflow.data.from_pandas(trips, **known)  # type: ignore[attr-defined]
            # Of all rows MLflow would look at each date; the types are those of the first ones.
            first = mlflow.data.from_pandas(trips.head(100), **known)  # type: ignore[attr-defined]
            dataset.schema = first.schema
        entity = dataset._to_mlflow_entity()
    context = "scoring" if role == "scored" else role
    return DatasetInput(entity, [InputTag(MLFLOW_DATASET_CONTEXT, context)])
