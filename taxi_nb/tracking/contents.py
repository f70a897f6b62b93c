"""What is logged to a run: trips, figures, tables."""

from __future__ import annotations

import io
import json
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from taxi_nb.secrets.known import KNOWN
from taxi_nb.tracking.names import SOURCE_TAG, SYNTHETIC_TAG, Role
from taxi_nb.tracking.store_errors import again_if_another_was_first

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from mlflow.data.filesystem_dataset_source import FileSystemDatasetSource
    from mlflow.entities import DatasetInput

_DPI = 110


@dataclass
class RunContents:
    """What goes to a run together: one transaction and one copy, not one for each thing.

    Attributes
    ----------
    files : dict
        Path below the run's artifacts -> content.
    """

    params: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    inputs: list[DatasetInput] = field(default_factory=list)

    def add_trips(self, trips: pd.DataFrame, role: Role) -> None:
        """Add which trips are used: data set, digest, paths, cleaning; see `log_trips`."""
        from taxi_nb.trips.origin import provenance

        origin = provenance(trips)
        paths = [file.path for file in origin.files]
        self.params |= {
            f"{role}_months": ",".join(origin.months),
            f"{role}_data": ",".join(paths),
            f"{role}_digest": origin.digest,
        }
        # A frame drawn from larger months stands for all their trips.
        all_trips = origin.cleaning.rows_kept if origin.drawn == len(trips) else len(trips)
        self.metrics[f"{role}_trips"] = all_trips
        label = f"{origin.source} (synthetic)" if origin.synthetic else origin.source
        self.tags |= {SOURCE_TAG: label, SYNTHETIC_TAG: str(origin.synthetic).lower()}
        self.files[f"data/{role}.json"] = json.dumps(origin.to_dict(), indent=2).encode()
        self.files[f"data/{role}_cleaning.txt"] = str(origin.cleaning).encode()
        self.inputs.append(_dataset_input(trips, paths[0], origin.title, origin.digest, role))

    def add_figure(self, figure: Figure, name: str) -> None:
        """Add a figure as ``figures/<name>.png``."""
        self.files[f"figures/{name}.png"] = _png(figure)

    def log(self, run_id: str) -> None:
        """Log all of it."""
        from mlflow import MlflowClient
        from mlflow.entities import Metric, Param, RunTag

        client, now = MlflowClient(), int(time.time() * 1000)
        params, tags = KNOWN.hide_in(self.params), KNOWN.hide_in(self.tags)
        if params or tags or self.metrics:
            client.log_batch(
                run_id,
                [Metric(name, value, now, 0) for name, value in self.metrics.items()],
                [Param(name, str(value)) for name, value in params.items()],
                [RunTag(name, value) for name, value in tags.items()],
            )
        if self.inputs:
            again_if_another_was_first(lambda: client.log_inputs(run_id, self.inputs))
        if self.files:
            log_contents(run_id, self.files)


def _png(figure: Figure) -> bytes:
    """Draw a figure once: ``savefig`` draws it twice where a layout engine is at work."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    before, content = (figure.dpi, figure.canvas), io.BytesIO()
    figure.dpi = _DPI
    try:
        FigureCanvasAgg(figure).print_png(content)  # type: ignore[no-untyped-call]
    finally:
        figure.dpi = before[0]
        figure.set_canvas(before[1])
    return content.getvalue()


def log_contents(run_id: str, files: Mapping[str, bytes]) -> None:
    """Log artifacts by their paths and contents, all at once."""
    from mlflow import MlflowClient

    with tempfile.TemporaryDirectory(prefix="taxi-nb-") as folder:
        for name, content in files.items():
            file = Path(folder, name)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        MlflowClient().log_artifacts(run_id, folder)


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
    contents = RunContents()
    contents.add_trips(trips, role)
    contents.log(_active_run())


def _dataset_input(
    trips: pd.DataFrame, path: str, name: str, digest: str, role: Role
) -> DatasetInput:
    """Describe trips to MLflow, without its remarks on nullable integers."""
    import warnings

    import mlflow.data
    from mlflow.data.sources import LocalArtifactDatasetSource  # type: ignore[attr-defined]
    from mlflow.entities import DatasetInput, InputTag
    from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT

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
        entity = dataset._to_mlflow_entity()
    return DatasetInput(entity, [InputTag(MLFLOW_DATASET_CONTEXT, role)])


def log_figure(figure: Figure, name: str) -> None:
    """Log a figure to the active run as ``figures/<name>.png``."""
    contents = RunContents()
    contents.add_figure(figure, name)
    contents.log(_active_run())


def log_tables(**tables: pd.DataFrame) -> None:
    """Log tables to the active run as ``tables/<name>.csv``."""
    contents = RunContents()
    for name, table in tables.items():
        contents.files[f"tables/{name}.csv"] = KNOWN.hide_in(table.to_csv()).encode()
    contents.log(_active_run())


def _active_run() -> str:
    """Return the run that MLflow logs to; like MLflow's own calls, open one where there is none."""
    import mlflow

    run = mlflow.active_run() or mlflow.start_run()
    return str(run.info.run_id)
