"""Reading runs, the runs nested in them, and their artifacts; nothing is written here."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from taxi_nb.tracking.experiments import bring_home
from taxi_nb.tracking.file_addresses import folder_of, sqlite_file
from taxi_nb.tracking.held_folder import HeldFolder
from taxi_nb.tracking.measuring import measures_the_machine
from taxi_nb.tracking.model_address import NOT_THERE
from taxi_nb.tracking.names import PARENT_TAG

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

_ID_LENGTH = 32


def client_of(uri: str, registry: str | None = None) -> MlflowClient:
    """Return a store's client; its registry is ``MLFLOW_REGISTRY_URI``, else the store's."""
    # Downloads print nothing.
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    from mlflow import MlflowClient

    bring_home(uri)
    return MlflowClient(uri, registry)


def is_there(uri: str) -> bool:
    """Whether a store can be asked without making one: MLflow makes what is not there."""
    file = sqlite_file(uri)
    return file is None or file.exists()


def find_run(client: MlflowClient, run_id: str) -> Run | None:
    """Return a run, one that is deleted too (`deleted`); None if the store does not have it."""
    from mlflow.exceptions import MlflowException

    try:
        return client.get_run(run_id)
    except MlflowException as error:
        if error.error_code in NOT_THERE:
            return None
        raise


def with_those_above(client: MlflowClient, run: Run | None) -> Iterator[Run]:
    """Yield a run and the runs that it is nested in, as far up as the store has them."""
    while run is not None:
        yield run
        parent = run.data.tags.get(PARENT_TAG)
        run = find_run(client, parent) if parent else None


def deleted(run: Run) -> str | None:
    """Say that a run is deleted, and how to have it back, or return None."""
    if run.info.lifecycle_stage == "active":
        return None
    return f"it is deleted in MLflow; `mlflow runs restore --run-id {run.info.run_id}` undoes it"


def nested_runs(client: MlflowClient, run: Run) -> Iterator[Run]:
    """Yield all runs below a run, deleted ones too, each before those below it, oldest first."""
    from mlflow.entities import ViewType

    children = client.search_runs(
        [run.info.experiment_id],
        f"tags.`{PARENT_TAG}` = '{run.info.run_id}'",
        ViewType.ALL,
        order_by=["attributes.start_time ASC"],
        max_results=10_000,
    )
    for child in children:
        yield child
        yield from nested_runs(client, child)


def artifact_bytes(client: MlflowClient, run: Run, path: str) -> bytes | None:
    """Return an artifact's content; None if the run has none of that name, or it is gone."""
    from mlflow.exceptions import MlflowException

    with HeldFolder() as folder:
        try:
            return Path(client.download_artifacts(run.info.run_id, path, str(folder))).read_bytes()
        except (MlflowException, OSError):
            return None


def artifact_paths(client: MlflowClient, run_id: str, folder: str | None = None) -> Iterator[str]:
    """Yield the paths of all files among a run's artifacts."""
    for found in client.list_artifacts(run_id, folder):
        if found.is_dir:
            yield from artifact_paths(client, run_id, found.path)
        else:
            yield found.path


def local_artifacts(client: MlflowClient, run_id: str) -> Iterator[tuple[Path, int]]:
    """Yield the files on this machine of a run, the runs below it, and the models of all.

    Each with its size in bytes.
    """
    from mlflow.exceptions import MlflowException

    run = client.get_run(run_id)
    runs = [run, *nested_runs(client, run)]
    places = [folder_of(one.info.artifact_uri) for one in runs]
    if not any(places):
        return
    for outputs in (one.outputs for one in runs):
        for made in outputs.model_outputs if outputs else ():
            try:
                model = client.get_logged_model(made.model_id)
            except MlflowException as error:
                if error.error_code not in NOT_THERE:
                    raise
                continue  # The notebook has deleted it again.
            places.append(folder_of(model.artifact_location))
    for place in filter(None, places):
        yield from ((file, file.stat().st_size) for file in place.rglob("*") if file.is_file())


def runs_by_prefix(client: MlflowClient, beginning: str) -> list[Run]:
    """Return the runs of all experiments whose ids begin so."""
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    if len(beginning) == _ID_LENGTH:
        run = find_run(client, beginning)
        return [run] if run else []
    return list(client.search_runs(experiments, f"attributes.run_id LIKE '{beginning}%'"))


def logged_at(client: MlflowClient, run: Run) -> dict[str, int]:
    """Return when each metric that a cell logged came into the store: milliseconds since 1970."""
    histories = {
        name: client.get_metric_history(run.info.run_id, name)
        for name in run.data.metrics
        if not measures_the_machine(name)  # The pipeline logs those.
    }
    return {name: history[-1].timestamp for name, history in histories.items() if history}
