"""A version goes from one registry to another: staging to production, with where it came from.

MLflow's own `copy_model_version` stays within a registry. All is read, and the model compared with
what was registered, before anything is written. What is written may be written again, and the
version comes last: a call after a kill finds what is there and adds the rest.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from taxi_nb.registry.card import CARD_FILE
from taxi_nb.registry.versions import (
    DEFAULT_NAME,
    RegistryError,
    make_version,
    registry_client,
    usable,
)
from taxi_nb.secrets.addresses import without_credentials
from taxi_nb.tracking import names
from taxi_nb.tracking.held_folder import HeldFolder
from taxi_nb.tracking.inputs import not_inputs
from taxi_nb.tracking.model_address import ModelAddress
from taxi_nb.tracking.model_files import (
    digest_of,
    expect_digests,
    files_as_registered,
    files_of_model,
    note_digests,
    noted_files,
    require_same_files,
)
from taxi_nb.tracking.other_store import open_there, other_store, require_other, require_place
from taxi_nb.tracking.run_tree import artifact_paths, find_run
from taxi_nb.tracking.store import experiment_name, tracking_uri
from taxi_nb.tracking.store_errors import again_if_another_was_first
from taxi_nb.training.logged_model import MODEL_URI_TAG

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Run
    from mlflow.entities.model_registry import ModelVersion

_ORIGIN_RUN, _ORIGIN_FILES = "origin.run_id", "origin.files"
# What a run says of other runs, and of processes, that the other store knows nothing of.
_LEFT_OUT = {
    *(names.PARENT_TAG, names.OWNER_TAG, names.LEASE_TAG, names.PIPELINE_RUN_TAG),
    *(MODEL_URI_TAG, "mlflow.log-model.history"),
}
_LONGEST_DESCRIPTION = 5_000


@dataclass(frozen=True)
class CopiedVersion:
    """A version in another registry."""

    store: str  # Its address, without credentials.
    version: str
    is_new: bool  # Whether this call made it.


@dataclass(frozen=True)
class _Original:
    """A version and its training run, all of it read; files lie below `folder`."""

    version: ModelVersion
    files: dict[str, str]
    folder: Path
    store: str
    run: Run | None  # None where it was deleted for good.
    experiment: str
    metrics: list[Metric] = field(default_factory=list)

    @property
    def run_id(self) -> str:
        return str(self.version.run_id or "unknown")

    @property
    def digest(self) -> str:
        return digest_of(self.files)

    @property
    def tags(self) -> dict[str, str]:
        """Where it came from."""
        return {
            "origin.registry": self.store,
            "origin.version": ModelAddress.of(self.version).title,
            _ORIGIN_RUN: self.run_id,
            _ORIGIN_FILES: self.digest,
        }


def copy_version(
    version: str, to: str, *, name: str = DEFAULT_NAME, artifact_root: str | None = None
) -> CopiedVersion:
    """Copy a version into another registry: model, card, tags, and its training run.

    The model's files are those that were registered, by their digests, before and after. No alias
    moves: whoever has the other registry promotes. A version whose files are there already, copied
    or not, is not copied again.

    Parameters
    ----------
    version, name : str
        Of the registered model.
    to : str
        The other store: ``https://…``, ``sqlite:///…``, ``postgresql://…``, or ``env:NAME``, the
        variable that holds such an address.
    artifact_root : str, optional
        Where artifacts go, for a database that does not have the experiment yet.

    Returns
    -------
    CopiedVersion
        Its number there, and whether it is new.

    Raises
    ------
    RegistryError
        If there is no such version, or a file of it is not what was registered.
    StoreError
        If the other store cannot be used, or is the same one.
    """
    with HeldFolder() as folder, not_inputs():
        client, present = registry_client(), tracking_uri()
        found = usable(name, version)
        with other_store(to) as uri:  # Asked before files are read, which may take long.
            require_other(uri, present, str(found.run_id))
        original = _read(client, found, folder)
        with other_store(to, artifact_root) as uri:
            require_place(uri, original.experiment)
            target, experiment_id = open_there(original.experiment)
            copy = _copy_in(target, original)
            is_new = copy is None
            if copy is None:
                run_id = _copied_run(target, experiment_id, original)
                model_id = _copied_model(target, experiment_id, run_id, original)
                copy = _new_version(target, run_id, model_id, original)
            _complete(target, copy, original)
    return CopiedVersion(without_credentials(uri), str(copy.version), is_new)


def _read(client: MlflowClient, version: ModelVersion, folder: Path) -> _Original:
    files = files_as_registered(client, version, folder / "model")
    run = find_run(client, version.run_id) if version.run_id else None
    metrics: list[Metric] = []
    experiment = experiment_name()
    if run is not None:
        run_id = run.info.run_id
        experiment = client.get_experiment(run.info.experiment_id).name
        (folder / "artifacts").mkdir()
        if any(artifact_paths(client, run_id)):
            client.download_artifacts(run_id, "", str(folder / "artifacts"))
        for name in run.data.metrics:
            metrics += client.get_metric_history(run_id, name)
    store = without_credentials(tracking_uri())
    return _Original(version, files, folder, store, run, experiment, metrics)


def _copy_in(target: MlflowClient, original: _Original) -> ModelVersion | None:
    """Return the version in a registry that has the same files; None if there is none."""

    def same() -> Iterator[ModelVersion]:
        for one in target.search_model_versions(f"name = '{original.version.name}'"):
            files = noted_files(target, one)
            # Without: a call was killed just before it noted them.
            known = digest_of(files) if files else one.tags.get(_ORIGIN_FILES)
            if known == original.digest:
                yield one

    return min(same(), key=lambda version: int(version.version), default=None)


def _copied_run(target: MlflowClient, experiment_id: str, original: _Original) -> str | None:
    """Return the copy of the training run; it is made, or made whole."""
    from mlflow.entities import Param, RunTag

    run = original.run
    if run is None:
        return None
    known = f"tags.`{_ORIGIN_RUN}` = '{run.info.run_id}'"
    found = target.search_runs([experiment_id], known, order_by=["attributes.start_time"])
    whole = [one for one in found if one.info.status != "RUNNING"]
    if whole:
        return str(whole[0].info.run_id)
    copy = (
        found[0]
        if found
        else target.create_run(experiment_id, run.info.start_time, original.tags, run.info.run_name)
    )
    copied = str(copy.info.run_id)
    tags = {name: value for name, value in run.data.tags.items() if name not in _LEFT_OUT}
    target.log_batch(
        copied,
        original.metrics,
        [Param(name, value) for name, value in run.data.params.items()],
        [RunTag(name, value) for name, value in {**tags, **original.tags}.items()],
    )
    if (inputs := run.inputs) and inputs.dataset_inputs:
        datasets = inputs.dataset_inputs
        again_if_another_was_first(lambda: target.log_inputs(copied, datasets))
    target.log_artifacts(copied, str(original.folder / "artifacts"))
    target.set_terminated(copied, run.info.status, run.info.end_time)
    return copied


def _copied_model(
    target: MlflowClient, experiment_id: str, run_id: str | None, original: _Original
) -> str:
    """Return the copied model's id; `RegistryError` if its files did not arrive as they are."""
    from mlflow.entities import LoggedModelOutput, LoggedModelStatus

    known = f"tags.`{_ORIGIN_FILES}` = '{original.digest}'"
    found = target.search_logged_models([experiment_id], known)
    run_tags = original.run.data.tags if original.run else {}
    source = {name: run_tags[name] for name in names.SOURCE_TAGS if name in run_tags}
    name = original.version.tags.get("model", "model")
    model = (
        found[0]
        if found
        else target.create_logged_model(experiment_id, name, run_id, {**source, **original.tags})
    )
    model_id = str(model.model_id)
    if model.status != LoggedModelStatus.READY:
        target.log_model_artifacts(model_id, str(original.folder / "model"))
        if files_of_model(target, model_id) != original.files:
            raise RegistryError(
                f"the files of {ModelAddress.of(original.version).title} did not arrive as they "
                "are; nothing was registered: copy it again"
            )
        target.finalize_logged_model(model_id, LoggedModelStatus.READY)
    if run_id is not None:
        outputs = target.get_run(run_id).outputs
        made = {one.model_id for one in outputs.model_outputs} if outputs else set()
        if model_id not in made:
            target.log_outputs(run_id, [LoggedModelOutput(model_id, step=0)])
        target.set_tag(run_id, MODEL_URI_TAG, f"models:/{model_id}")
    return model_id


def _new_version(
    target: MlflowClient, run_id: str | None, model_id: str, original: _Original
) -> ModelVersion:
    version = original.version
    expect_digests(target, version.name)
    return make_version(
        target,
        version.name,
        lambda: _copy_in(target, original),
        source=f"models:/{model_id}",
        run_id=run_id,
        model_id=model_id,
        tags={**version.tags, **original.tags},
    )


def _complete(target: MlflowClient, copy: ModelVersion, original: _Original) -> None:
    """Add what a version has beside its files, and compare these with the original's."""
    note_digests(target, copy, original.files)
    require_same_files(target, copy)
    description = original.version.description
    if not description or copy.description:
        return
    card = original.folder / "artifacts" / CARD_FILE
    if copy.run_id and card.is_file():
        target.log_text(copy.run_id, _as_of(copy, original, card.read_text("utf-8")), CARD_FILE)
    shown = _as_of(copy, original, description)[:_LONGEST_DESCRIPTION]
    target.update_model_version(copy.name, copy.version, description=shown)


def _as_of(copy: ModelVersion, original: _Original, card: str) -> str:
    """Return a card with the copy's number, and where it came from."""
    before, after = ModelAddress.of(original.version), ModelAddress.of(copy)
    title, _, rest = card.partition("\n")
    if title != f"# {before.title}":  # It is another's: a run may be registered under two names.
        return card
    rest = re.sub(rf"{re.escape(str(before))}(?!\d)", str(after), rest)
    return f"# {after.title}\n\nCopied from {before.title} in `{original.store}`.\n{rest}"
