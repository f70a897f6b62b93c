"""Model versions: registered once for a run, found by alias, checked before they are used."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from taxi_nb.tracking import names
from taxi_nb.tracking.experiments import bring_home
from taxi_nb.tracking.model_address import NOT_THERE, ModelAddress
from taxi_nb.tracking.model_files import expect_digests, note_files, require_same_files
from taxi_nb.tracking.model_notes import RegistryError
from taxi_nb.tracking.run_tree import with_those_above
from taxi_nb.tracking.store import connect, tracking_uri
from taxi_nb.tracking.store_errors import again_if_another_was_first
from taxi_nb.training.logged_model import model_uri
from taxi_nb.training.used_trips import digests_of

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion

DEFAULT_NAME = "nyc-taxi-duration"
CHALLENGER = "challenger"

_FROM_TAGS = {
    "lineage.commit": names.COMMIT_TAG,
    "lineage.dirty": names.DIRTY_TAG,
    "lineage.notebook": names.NOTEBOOK_TAG,
    "lineage.step": names.STEP_TAG,
    "lineage.pipeline_run": names.PIPELINE_RUN_TAG,
    "lineage.lock_sha256": names.LOCK_TAG,
}
_FROM_PARAMS = {f"lineage.{name}": name for name in ("training_digest", "validation_digest")}


def registry_client() -> MlflowClient:
    """Return a client of the store, without making an experiment in it."""
    import mlflow
    from mlflow import MlflowClient

    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    bring_home(tracking_uri())
    mlflow.set_tracking_uri(tracking_uri())
    return MlflowClient()


def usual_model() -> str:
    """Return the model that is meant where none is named: the store's, if it has only one."""
    names = [model.name for model in registry_client().search_registered_models(max_results=2)]
    return names[0] if len(names) == 1 else DEFAULT_NAME


def champion(name: str) -> ModelVersion | None:
    """Return the version that the alias ``champion`` names; None if there is none."""
    return ModelAddress(name, alias=names.CHAMPION).find(registry_client())


@dataclass(frozen=True)
class Champion:
    """The model that people should use."""

    version: str
    run_id: str
    metrics: Mapping[str, float]
    comparable: bool  # Judged on the same validation data as the run that is asked about.


def champion_run(name: str, run_id: str) -> Champion | None:
    """Return the champion of a registered model, seen from a training run; None without one."""
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    connect()
    client = MlflowClient()
    try:
        version = ModelAddress(name, alias=names.CHAMPION).look_up(client)
        run = client.get_run(str(version.run_id))
    except MlflowException:  # No such model, no alias, or its run was deleted.
        return None
    judged_on = digests_of(client.get_run(run_id), "validation")
    return Champion(
        version=ModelAddress.of(version).title,
        run_id=run.info.run_id,
        metrics=dict(run.data.metrics),
        comparable=bool(digests_of(run, "validation") & judged_on),
    )


def is_synthetic(version: ModelVersion) -> bool:
    """Return whether the version learned from synthetic trips."""
    return version.tags.get(names.SYNTHETIC_TAG) == "true"


def register(
    client: MlflowClient, run: Run, name: str, *, moves_aliases: bool = True
) -> ModelVersion:
    """Register a run's model, or find the version that it already is; it is challenger then."""
    expect_digests(client, name)
    version = _version_of(client, run, name) or _new_version(client, run, name)
    if moves_aliases:
        set_alias(client, name, CHALLENGER, str(version.version))
    return version


def set_alias(client: MlflowClient, name: str, alias: str, version: str) -> None:
    """Let an alias name a version, also while another process gives the same one its first."""
    again_if_another_was_first(lambda: client.set_registered_model_alias(name, alias, version))


def make_version(
    client: MlflowClient, name: str, known: Callable[[], ModelVersion | None], **about: Any
) -> ModelVersion:
    """Make a version, or return the one that another process has made meanwhile.

    `known` looks for the first version that is the same; `about` is what MLflow is told of it.
    """
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    made = client.create_model_version(name, **about)
    # Two processes may have looked for it at once: both take the first.
    first = known() or made
    if int(first.version) < int(made.version):
        client.delete_model_version(name, made.version)
    return first


def _version_of(client: MlflowClient, run: Run, name: str) -> ModelVersion | None:
    found = client.search_model_versions(f"name = '{name}' and run_id = '{run.info.run_id}'")
    return min(found, key=lambda version: int(version.version), default=None)


def _new_version(client: MlflowClient, run: Run, name: str) -> ModelVersion:
    address = model_uri(run)
    version = make_version(
        client,
        name,
        lambda: _version_of(client, run, name),
        source=address,
        run_id=run.info.run_id,
        model_id=address.removeprefix("models:/"),
        tags={
            "model": run.data.params["model"],
            names.SYNTHETIC_TAG: run.data.tags.get(names.SYNTHETIC_TAG, "unknown"),
            **_lineage_tags(client, run),
        },
    )
    note_files(client, version)
    return version


def _lineage_tags(client: MlflowClient, run: Run) -> dict[str, str]:
    """Return where a training run's model came from, as tags of its version.

    Some of it only the runs above know, such as the step of a refit after a search.
    """
    tags = {"lineage.run_id": str(run.info.run_id)}
    for one in with_those_above(client, run):
        found = {name: one.data.tags.get(source) for name, source in _FROM_TAGS.items()}
        found |= {name: one.data.params.get(source) for name, source in _FROM_PARAMS.items()}
        tags = {**{name: value for name, value in found.items() if value}, **tags}
    return tags


def usable(name: str, version: str, *, as_it_is: bool = False) -> ModelVersion:
    """Return a version; `RegistryError` if there is none, it is archived, or its files are gone.

    So it is where they are not those that were registered. `as_it_is`: somebody has decided that
    it is to be used, so that its files are noted where they are not.
    """
    import mlflow
    from mlflow.exceptions import MlflowException

    client = registry_client()
    try:
        found = client.get_model_version(name, version)
    except MlflowException as error:
        if error.error_code not in NOT_THERE:
            raise
        there = sorted(int(v.version) for v in client.search_model_versions(f"name = '{name}'"))
        hint = "Nothing is registered under this name: run the notebooks first"
        if there:
            hint = f"There are versions {', '.join(map(str, there))}"
        raise RegistryError(
            f"{name} has no version {version}: it was deleted, or never registered. {hint}"
        ) from error
    if found.current_stage == "Archived":
        raise RegistryError(f"{name} version {version} is archived; take it out of the archive")
    try:
        mlflow.models.Model.load(str(ModelAddress(name, version)))
    except (MlflowException, OSError) as error:
        raise RegistryError(
            f"{name} version {version} cannot be loaded, its files are gone: "
            f"{str(error).splitlines()[0]}"
        ) from error
    if as_it_is:
        expect_digests(client, name)
        note_files(client, found)
    require_same_files(client, found)
    return found


@dataclass(frozen=True)
class RegisteredVersion:
    """A version, as a list of versions shows it."""

    version: str
    aliases: tuple[str, ...]
    model: str
    synthetic: bool
    valid_rmse: float | None  # Of its own run, in minutes; None if that is gone.
    created: int  # Milliseconds since 1970.
    tags: Mapping[str, str]


def registered_versions(name: str) -> list[RegisteredVersion]:
    """Return all versions of a registered model, newest first; `RegistryError` if it has none."""
    from mlflow.exceptions import MlflowException

    client = registry_client()
    try:
        aliases = client.get_registered_model(name).aliases
    except MlflowException as error:
        if error.error_code not in NOT_THERE:
            raise
        others = [model.name for model in client.search_registered_models()]
        there = f"as {name!r}; there are {', '.join(others)}" if others else "in this store yet"
        raise RegistryError(
            f"nothing is registered {there}: a notebook of the pipeline does that"
        ) from error
    found = client.search_model_versions(f"name = '{name}'")
    return [
        RegisteredVersion(
            version=str(one.version),
            aliases=tuple(sorted(a for a, v in aliases.items() if str(v) == str(one.version))),
            model=one.tags.get("model", ""),
            synthetic=is_synthetic(one),
            valid_rmse=_valid_rmse(client, one),
            created=int(one.creation_timestamp),
            tags=dict(one.tags),
        )
        for one in sorted(found, key=lambda version: int(version.version), reverse=True)
    ]


def _valid_rmse(client: MlflowClient, version: ModelVersion) -> float | None:
    from mlflow.exceptions import MlflowException

    try:
        return client.get_run(str(version.run_id)).data.metrics.get("valid_rmse")
    except MlflowException:
        return None
