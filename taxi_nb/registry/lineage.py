"""The origin of a model version, as its tags."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from taxi_nb.tracking import names

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

_FROM_TAGS = {
    "lineage.commit": names.COMMIT_TAG,
    "lineage.dirty": names.DIRTY_TAG,
    "lineage.notebook": names.NOTEBOOK_TAG,
    "lineage.step": names.STEP_TAG,
    "lineage.pipeline_run": names.PIPELINE_RUN_TAG,
    "lineage.lock_sha256": names.LOCK_TAG,
}
_FROM_PARAMS = {
    "lineage.training_digest": "training_digest",
    "lineage.validation_digest": "validation_digest",
}


def lineage_tags(client: MlflowClient, run: Run) -> dict[str, str]:
    """Return where a training run's model came from, as tags of its version.

    Some of it only the runs above know, such as the step of a refit after a search. Whatever
    none of them knows is left out.
    """
    tags = {"lineage.run_id": str(run.info.run_id)}
    for one in _run_and_those_above(client, run):
        found = {name: one.data.tags.get(source) for name, source in _FROM_TAGS.items()}
        found |= {name: one.data.params.get(source) for name, source in _FROM_PARAMS.items()}
        tags = {**{name: value for name, value in found.items() if value}, **tags}
    return tags


def _run_and_those_above(client: MlflowClient, run: Run) -> Iterator[Run]:
    from mlflow.exceptions import MlflowException

    yield run
    while parent := run.data.tags.get(names.PARENT_TAG):
        try:
            run = client.get_run(parent)
        except MlflowException:  # The parent was deleted for good.
            return
        yield run
