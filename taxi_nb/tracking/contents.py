"""What is logged to a run: trips, figures, tables."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from taxi_nb.stores import again_if_another_was_first
from taxi_nb.tracking.names import SOURCE_TAG, SYNTHETIC_TAG, Role

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from mlflow.data.filesystem_dataset_source import FileSystemDatasetSource


def log_trips(trips: pd.DataFrame, role: Role) -> None:
    """Log to the active run which trips it uses: data set, digest, paths, cleaning.

    Parameters
    ----------
    trips : DataFrame
        As `load_trips` returned them.
    role : {"training", "validation"}
        What they are used for; the prefix of the parameters and the context
        of the MLflow data set.
    """
    import mlflow

    from taxi_nb.trips import provenance

    origin = provenance(trips)
    paths = [file.path for file in origin.files]
    mlflow.log_params(
        {
            f"{role}_months": ",".join(origin.months),
            f"{role}_data": ",".join(paths),
            f"{role}_digest": origin.digest,
        }
    )
    # A frame drawn from larger months stands for all their trips.
    all_trips = origin.cleaning.rows_kept if origin.drawn == len(trips) else len(trips)
    mlflow.log_metric(f"{role}_trips", all_trips)
    label = f"{origin.source} (synthetic)" if origin.synthetic else origin.source
    mlflow.set_tags({SOURCE_TAG: label, SYNTHETIC_TAG: str(origin.synthetic).lower()})
    mlflow.log_dict(origin.to_dict(), f"data/{role}.json")
    mlflow.log_text(str(origin.cleaning), f"data/{role}_cleaning.txt")
    dataset = _dataset(trips, paths[0], origin.title, origin.digest)
    again_if_another_was_first(lambda: mlflow.log_input(dataset, context=role))


def _dataset(trips: pd.DataFrame, path: str, name: str, digest: str) -> Any:
    """Describe trips to MLflow, without its remarks on nullable integers."""
    import warnings

    import mlflow.data
    from mlflow.data.sources import LocalArtifactDatasetSource  # type: ignore[attr-defined]

    # Named, since MLflow finds two kinds of source that a local path could be.
    source: FileSystemDatasetSource | str = (
        path if "://" in path else LocalArtifactDatasetSource(path)
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*integer column.*", category=UserWarning)
        describe = partial(
            mlflow.data.from_pandas,  # type: ignore[attr-defined]
            source=source,
            name=name,
            digest=digest,
        )
        dataset = describe(trips)
        # Of all rows MLflow would look at each date; the types are those of the first ones.
        dataset.schema = describe(trips.head(100)).schema
        dataset.to_dict()
    return dataset


def log_figure(figure: Figure, name: str) -> None:
    """Log a figure to the active run as ``figures/<name>.png``."""
    import mlflow

    mlflow.log_figure(figure, f"figures/{name}.png", save_kwargs={"dpi": 110})


def log_tables(**tables: pd.DataFrame) -> None:
    """Log tables to the active run as ``tables/<name>.csv``."""
    import mlflow

    for name, table in tables.items():
        mlflow.log_text(table.to_csv(), f"tables/{name}.csv")
