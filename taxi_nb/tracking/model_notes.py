"""What is noted about a registered model, once for all: nobody can write it again through MLflow.

Tags and descriptions can be changed. A run's parameter is written once: every store refuses a
second value. So the notes are the parameters of a run of their own.

The run's experiment is filled under another name and then renamed: names of experiments are
unique, so that there is one such run, however many processes begin it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from taxi_nb.plain_data import to_json
from taxi_nb.tracking._written_once import write_once
from taxi_nb.tracking.context import Context
from taxi_nb.tracking.names import EXPERIMENT_KIND_TAG, KIND_TAG, MACHINE_LEARNING
from taxi_nb.tracking.store import place_for

if TYPE_CHECKING:
    from mlflow import MlflowClient

_RUN_TAG = "promotion_history.run"
# MLflow takes 6,000 characters for a parameter.
LONGEST_REASON = 2_000
# The series of who protected the champion, and who signed off which version.
APPROVALS = "approval."


class RegistryError(RuntimeError):
    """A registered model, or its history, that cannot be used as asked; says what would be."""


def in_order(notes: Mapping[str, str], series: str = "") -> Iterator[str]:
    """Yield the notes of a series that are numbered from 1."""
    number = 1
    while (written := notes.get(f"{series}{number:05}")) is not None:
        yield written
        number += 1


class ModelNotes:
    """The notes of a registered model in the store: they can be read and added to, nothing else."""

    def __init__(self, client: MlflowClient, name: str) -> None:
        self.client = client
        self.name = name
        self.title = f"{name} promotions"
        self._run_id: str | None = None

    def read(self) -> dict[str, str]:
        """Return all notes by their keys."""
        run_id = self._run_id or self._find()
        return self._params(run_id) if run_id else {}

    def write(self, key: str, value: str) -> bool:
        """Write a note; False if there was another of that key already."""
        from mlflow.exceptions import MlflowException

        run_id = self._run_id or self._find() or self._create()
        try:
            return write_once(self.client, run_id, key, value)
        except MlflowException:
            self._params(run_id)  # Says so where the history was deleted.
            raise

    def add(self, number: int, content: Any, series: str = "") -> bool:
        """Write a note of a series; False if another process has written that number."""
        unique = {**vars(content), "id": uuid4().hex}
        return self.write(f"{series}{number:05}", to_json(unique, ensure_ascii=False))

    def _params(self, run_id: str) -> dict[str, str]:
        run = self.client.get_run(run_id)
        if run.info.lifecycle_stage != "active":
            raise RegistryError(
                f"the promotion history of {self.name} was deleted; get it back with "
                f"`mlflow runs restore --run-id {run_id}`"
            )
        return dict(run.data.params)

    def _find(self) -> str | None:
        experiment = self.client.get_experiment_by_name(self.title)
        if experiment is None:
            return None
        if experiment.lifecycle_stage != "active":
            raise RegistryError(
                f"the experiment {self.title!r}, which holds the promotion history of {self.name}, "
                "was deleted; get it back with "
                f"`mlflow experiments restore -x {experiment.experiment_id}`"
            )
        if _RUN_TAG not in experiment.tags:
            raise RegistryError(
                f"the experiment {self.title!r} is not the promotion history of {self.name}, whose "
                "name it has; rename it"
            )
        self._run_id = experiment.tags[_RUN_TAG]
        return self._run_id

    def _create(self) -> str:
        from mlflow.exceptions import MlflowException

        name = f"{self.title} (aside, {uuid4().hex})"
        kind = {EXPERIMENT_KIND_TAG: MACHINE_LEARNING}
        aside = self.client.create_experiment(name, place_for(self.client), kind)
        own = {KIND_TAG: "promotions", "registered_model": self.name}
        # The source and commit of whoever promoted first.
        tags = {**Context().tags, **own}
        run = self.client.create_run(aside, run_name=self.title, tags=tags)
        self.client.set_terminated(run.info.run_id)
        self.client.set_experiment_tag(aside, _RUN_TAG, run.info.run_id)
        try:
            self.client.rename_experiment(aside, self.title)
        except MlflowException:
            self.client.delete_experiment(aside)
            found = self._find()
            if found is None:
                raise
            return found
        self._run_id = str(run.info.run_id)
        return self._run_id
