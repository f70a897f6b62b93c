"""All that a project remembers of a pipeline's steps, for planning: digests and kept results."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from taxi_nb.pipeline._results import KeptResults
from taxi_nb.pipeline.file_digest import FileDigests
from taxi_nb.pipeline.inputs import Inputs
from taxi_nb.pipeline.record import StepResult
from taxi_nb.pipeline.spec import Pipeline, Step
from taxi_nb.plain_data import plain
from taxi_nb.project import path_within
from taxi_nb.secrets.addresses import without_credentials
from taxi_nb.tracking.environment import installed_versions
from taxi_nb.tracking.experiments import artifact_root
from taxi_nb.tracking.file_addresses import folder_of, sqlite_file
from taxi_nb.tracking.store import said_experiment, tracking_uri
from taxi_nb.tracking.stored_runs import finished_runs

if TYPE_CHECKING:
    from taxi_nb.pipeline.shared_results import Entry, SharedResults

RUNS = "runs"
# Where results are shared.
RESULTS_VARIABLE = "TAXI_NB_RESULTS"


class Memory:
    """Digests of files, results of earlier runs, and which of these the store still has.

    It is read once, at one moment; `recall` reads it anew. Raises StoreError if the store is
    there and cannot be asked for runs.
    """

    def __init__(self, pipeline: Pipeline, digests: FileDigests | None = None) -> None:
        self.pipeline = pipeline
        self.uri = pipeline.tracking_uri or tracking_uri()
        self.store = without_credentials(self.uri)
        self.experiment = said_experiment(pipeline.experiment) or ""
        self.results = KeptResults(pipeline.root / RUNS)
        self.digests = digests or known_digests(pipeline.root)
        self.shared = _shared(pipeline)
        # Step -> why its result could not be shared.
        self.not_shared: dict[str, str] = {}
        self._paths: dict[str, Path] = {}
        self.recall()

    def recall(self) -> None:
        """Read the results that may be used again, and ask the store for all of them at once."""
        self.candidates: dict[str, list[StepResult]] = {
            step.name: self.results.candidates(
                self.pipeline.name, step.name, self.inputs_before(step).key
            )
            for step in self.pipeline.steps
        }
        kept = [result for results in self.candidates.values() for result in results]
        ids = {result.mlflow_run_id for result in kept if result.mlflow_run_id}
        self.finished = finished_runs(self.uri, ids)
        self._shared: dict[str, list[Entry]] | None = None

    def shared_results(self, step: Step) -> list[Entry]:
        """Return the results of a step that other machines shared; all steps are asked at once.

        ObjectStoreError if the place cannot be used.
        """
        if self.shared is None:
            return []
        if self._shared is None:
            inputs = [self.inputs_before(step) for step in self.pipeline.steps]
            self._shared = self.shared.of_steps(inputs)
            entries = [entry.result for found in self._shared.values() for entry in found]
            ids = {found.mlflow_run_id for found in entries if found and found.mlflow_run_id}
            self.finished |= finished_runs(self.uri, ids - self.finished)
        return self._shared[step.name]

    def known_results(self, step: Step) -> list[StepResult]:
        """Return all results of a step, those that others shared among them."""
        shared = (entry.result for entry in self.shared_results(step))
        return [*self.candidates[step.name], *(result for result in shared if result)]

    def share(self, result: StepResult, files: Mapping[str, Path]) -> None:
        """Share a result, if this pipeline shares any; a failure costs nothing that is here."""
        if self.shared:
            from taxi_nb.pipeline.object_store import ObjectStoreError
            from taxi_nb.pipeline.shared_results import NotSharedError

            try:
                self.shared.share(result, files, self.digests)
            except (ObjectStoreError, NotSharedError) as error:
                self.not_shared[result.name] = str(error)

    def fetch(self, step: Step, result: StepResult) -> StepResult | None:
        """Bring a shared result here and keep it; None if that fails: it is not asked for again."""
        from taxi_nb.pipeline.object_store import ObjectStoreError
        from taxi_nb.pipeline.shared_results import DamagedResultError

        assert self.shared is not None and self._shared is not None  # noqa: PT018
        assert result.shared is not None and result.used is not None  # noqa: PT018
        try:
            here = self.shared.fetch(result, self.results.runs)
        except (DamagedResultError, ObjectStoreError) as error:
            self._shared[step.name] = [
                replace(entry, problem=str(error)) if entry.name == result.shared.entry else entry
                for entry in self._shared[step.name]
            ]
            return None
        # Its run is in this store, which may have another address here.
        here = replace(here, used=replace(result.used, store=self.store))
        self.results.keep(self.pipeline.name, here)
        self.candidates[step.name].insert(0, here)
        return here

    def path(self, shown: str) -> Path:
        """Return the file of a path that is relative to the project; many steps name the same."""
        return self._paths.get(shown) or self._paths.setdefault(shown, self.pipeline.root / shown)

    def inputs_before(self, step: Step) -> Inputs:
        """Return the inputs that are known before a step runs, as they are at this moment."""
        notebook = self.digests.notebook(step.notebook)
        return Inputs(
            step=step.name,
            notebook=path_within(self.pipeline.root, step.notebook),
            cells=notebook["cells"],
            parameters={**notebook["defaults"], **plain(step.parameters)},
            store=self.store,
            experiment=self.experiment,
        )

    def last_seconds(self, step: Step) -> float | None:
        """Return how long a step took when it ran last; None if it has not, as far as is known."""
        took = (result.seconds for result in self.candidates[step.name] if result.seconds)
        return next(took, None)

    def expected_seconds(self, step: Step) -> float:
        """Return how long a step took when it ran last; before that, how long it may take."""
        return self.last_seconds(step) or step.timeout or 0.0

    @cached_property
    def versions(self) -> dict[str, str]:
        """The installed packages."""
        return installed_versions()

    @cached_property
    def last_writers(self) -> dict[str, str]:
        """Path -> the step that wrote it last, as far as results tell."""
        return {
            path: step.name
            for step in self.pipeline.steps
            for result in self.candidates[step.name]
            if result.used
            for path in result.used.outputs
        }

    @cached_property
    def has_artifacts(self) -> bool:
        """Whether any artifact may be there, as far as can be told without the store.

        Of results that older commits kept no more is known.
        """
        database = sqlite_file(self.uri)
        if database is None or artifact_root(self.pipeline.artifact_root):
            return True
        return any((database.absolute().parent / n).is_dir() for n in ("mlartifacts", "mlruns"))

    @cached_property
    def made_by_runs(self) -> tuple[Path, ...]:
        """Files and folders below the project that runs make: never inputs."""
        root = beside = self.pipeline.root
        names = ["mlartifacts", "mlruns"]
        if (database := sqlite_file(self.uri)) is not None:
            beside = database.absolute().parent
            endings = ("", "-wal", "-shm", "-journal", ".lock")
            names += [f"{database.name}{ending}" for ending in endings]
        made = [root / RUNS, *(beside / name for name in names)]
        if artifacts := folder_of(artifact_root(self.pipeline.artifact_root) or ""):
            made.append(artifacts)
        return tuple(made)


def known_digests(root: Path) -> FileDigests:
    """Return what a project's digests were when they were saved last."""
    return FileDigests(KeptResults(root / RUNS).folder / "digests.json")


def _shared(pipeline: Pipeline) -> SharedResults | None:
    if not (address := pipeline.results or os.environ.get(RESULTS_VARIABLE)):
        return None
    from taxi_nb.pipeline.shared_results import SharedResults

    return SharedResults(address, pipeline.root)
