"""A registry as it was at an earlier moment, made again in another store."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import takewhile
from typing import TYPE_CHECKING

from taxi_nb.tracking.model_files import note_digests, noted_files, require_same_files
from taxi_nb.tracking.model_notes import APPROVALS, ModelNotes, in_order
from taxi_nb.tracking.names import CHAMPION, REGISTERED_PARAM
from taxi_nb.tracking.run_tree import artifact_bytes, artifact_paths, find_run

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion

# The files of a champion's run that later steps read; its model stays where it is.
_COPIED = (".json", ".txt")


@dataclass(frozen=True)
class RegistryBefore:
    """A registered model as a run found it: the champion's number, and the versions in order."""

    name: str
    champion: str | None
    versions: tuple[ModelVersion, ...]
    # As they were noted: what protected the champion, who signed off.
    approvals: tuple[str, ...] = ()


def registry_before(client: MlflowClient, run: Run) -> RegistryBefore | None:
    """Return the registry as a run found it that decided about a model; None if it did not."""
    name = run.data.params.get(REGISTERED_PARAM)
    written = artifact_bytes(client, run, "promotion.json") if name else None
    if name is None or written is None:
        return None
    found = client.search_model_versions(f"name = '{name}'")
    versions = [one for one in found if one.creation_timestamp < run.info.start_time]
    versions.sort(key=lambda version: int(version.version))
    champion = json.loads(written).get("champion_version")
    noted = in_order(ModelNotes(client, name).read(), APPROVALS)
    approvals = takewhile(lambda one: _milliseconds(one) < run.info.start_time, noted)
    return RegistryBefore(name, champion, tuple(versions), tuple(approvals))


def _milliseconds(approval: str) -> float:
    return datetime.fromisoformat(json.loads(approval)["at"]).timestamp() * 1000


def recreate(
    state: RegistryBefore, source: MlflowClient, target: MlflowClient, same_runs: Mapping[str, str]
) -> None:
    """Make a registered model in a store that does not have it.

    Versions keep their numbers and point at the same files; the champion comes with a copy of
    its run. `RegistryError` if its files are not those that were registered. `same_runs` are the
    ids in `source` -> `target` of runs that both have.
    """
    for number, approval in enumerate(state.approvals, 1):
        ModelNotes(target, state.name).write(f"{APPROVALS}{number:05}", approval)
    if not state.versions:
        return
    for one in state.versions:
        if str(one.version) == state.champion:
            require_same_files(source, one)
    target.create_registered_model(state.name)
    by_number = {int(version.version): version for version in state.versions}
    for number in range(1, max(by_number) + 1):
        version = by_number.get(number)
        if version is None:  # It was deleted; the next has to get its number all the same.
            made = target.create_model_version(state.name, source="file:///deleted")
            target.delete_model_version(state.name, made.version)
            continue
        run_id = same_runs.get(str(version.run_id))
        if run_id is None and str(number) == state.champion:
            run_id = _copied_run(source, target, str(version.run_id))
        copy = target.create_model_version(
            state.name,
            source=source.get_model_version_download_uri(state.name, version.version),
            run_id=run_id,
            tags=version.tags,
        )
        if (files := noted_files(source, version)) is not None:
            note_digests(target, copy, files)
    if state.champion:
        target.set_registered_model_alias(state.name, CHAMPION, state.champion)


def _copied_run(source: MlflowClient, target: MlflowClient, run_id: str) -> str | None:
    """Copy a run with its files of JSON and text, such as those about its data."""
    from mlflow.entities import Metric, Param

    run = find_run(source, run_id)
    if run is None:
        return None
    copy = target.create_run("0", run_name=run.info.run_name, tags=run.data.tags)
    new_id = str(copy.info.run_id)
    metrics = [Metric(key, value, 0, 0) for key, value in run.data.metrics.items()]
    params = [Param(key, value) for key, value in run.data.params.items()]
    target.log_batch(new_id, metrics, params)
    for path in artifact_paths(source, run_id):
        content = artifact_bytes(source, run, path) if path.endswith(_COPIED) else None
        if content is not None:
            target.log_text(new_id, content.decode(), path)
    target.set_terminated(new_id)
    return new_id
