"""Executes a recorded pipeline run again and says for each step whether it is the same."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from taxi_nb.pipeline.file_digest import FileDigests
from taxi_nb.pipeline.inputs import Inputs, file_difference, installed_versions
from taxi_nb.pipeline.record import RunRecord, Status
from taxi_nb.pipeline.remote_file import is_remote, remote_digest
from taxi_nb.pipeline.report.past import RunOnDisk
from taxi_nb.review.verify.checkout import Checkout, CheckoutError, check_out, link_files
from taxi_nb.review.verify.comparison import Execution, StepVerdict, compare_executions
from taxi_nb.review.verify.execution import ScratchExecution, VerificationError
from taxi_nb.secrets.addresses import variable_without_credentials, without_credentials
from taxi_nb.tracking.names import DIFF_ARTIFACT
from taxi_nb.tracking.run_tree import artifact_bytes, client_of, find_run, is_there
from taxi_nb.tracking.store import store_problems_told, tracking_uri

if TYPE_CHECKING:
    from mlflow.entities import Run


@dataclass(frozen=True)
class Verification:
    """What executing a run again has shown.

    Attributes
    ----------
    run : str
        The id of the run that was verified.
    state : str
        Which state of the project was executed, in words.
    circumstances : tuple of str
        What is not as it was recorded: data, packages, the project's files.
    data_changed : bool
        Whether data are among them.
    """

    run: str
    state: str
    circumstances: tuple[str, ...]
    data_changed: bool
    steps: tuple[StepVerdict, ...] = field(default=())

    @property
    def is_same(self) -> bool:
        """Whether every step is the same, from the same data."""
        return not self.data_changed and all(step.is_same for step in self.steps)


def verify_run(
    folder: Path,
    project: Path,
    scratch: Path,
    *,
    jobs: int = 1,
    say: Callable[[str], None],
) -> Verification:
    """Execute a recorded run again in a scratch copy, and compare.

    Parameters
    ----------
    folder : Path
        The run's folder, ``runs/<id>``.
    project : Path
        The project's folder; nothing in it is changed.
    scratch : Path
        An empty folder for the copy, its store and its runs.
    jobs : int, optional
        Steps at the same time.
    say : callable
        Is told line by line what is going on, what is not as recorded before anything else.

    Raises
    ------
    VerificationError
        If the run did not succeed, or cannot be executed again.
    """
    return _Verifier(folder, project, scratch, say).verify(jobs)


class _Verifier:
    def __init__(
        self, folder: Path, project: Path, scratch: Path, say: Callable[[str], None]
    ) -> None:
        self.recorded = RunOnDisk.read(folder)
        self.record = self.recorded.record
        self.project = project
        self.scratch = scratch
        self.say = say
        self.inputs = {
            name: Inputs.from_dict(known) for name, known in self.recorded.inputs.items()
        }
        uri = _store_of(self.record)
        if not is_there(uri):
            raise VerificationError(f"the store of {self.record.id} is gone: {uri}")
        self.client = client_of(uri)

    def verify(self, jobs: int) -> Verification:
        if self.record.status is not Status.OK:
            raise VerificationError(
                f"{self.record.id} is {self.record.status}: only a run that succeeded has results "
                "to be the same as"
            )
        with store_problems_told():
            pipeline_run = find_run(self.client, self.record.mlflow_run_id or "")
            recorded = Execution.of(self.recorded, self.project, self.client)
            diff = pipeline_run and artifact_bytes(self.client, pipeline_run, DIFF_ARTIFACT)
        checkout = self._check_out(diff or None)
        given = "".join(f" --set {override}" for override in self.record.overrides)
        self.say(f"{self.record.id}: {checkout.state}, {self.record.parameter_file}{given}")
        data = tuple(self._changed_data())
        others = (
            *data,
            *self._changed_packages(),
            *checkout.remarks,
            *self._not_known(recorded.trees),
        )
        for line in others:
            self.say(f"not as recorded: {line}")
        execution = ScratchExecution(
            self.record, checkout, self.scratch, self.client, recorded.trees
        )
        made = execution.carry_out(jobs, self._variables(), self.say)
        again = Execution.of(made, checkout.root, execution.client)
        steps = tuple(compare_executions(recorded, again))
        return Verification(self.record.id, checkout.state, others, bool(data), steps)

    # --- what is not as it was ------------------------------------------------------------

    def _changed_data(self) -> Iterator[str]:
        digests = FileDigests(self.scratch / "digests.json")
        data = {
            path: used
            for inputs in self.inputs.values()
            for path, used in inputs.files.items()
            if used.name is not None
        }
        for path, used in data.items():
            new = _digest(path, self.project, digests)
            is_made_again = new is None and not is_remote(path) and not os.path.isabs(path)
            if new != used.digest and not is_made_again:
                change = file_difference(path, used, new)
                yield f"{change} since: {_brief(used.digest)} -> {_brief(new)}"

    def _changed_packages(self) -> Iterator[str]:
        installed = installed_versions()
        recorded: dict[str, str] = {}
        for inputs in self.inputs.values():
            recorded |= inputs.packages
        for package, version in sorted(recorded.items()):
            if installed.get(package) != version:
                yield f"{package} {version} -> {installed.get(package, 'not installed')}"

    def _not_known(self, trees: Mapping[str, Sequence[Run]]) -> Iterator[str]:
        without = [step.name for step in self.record.steps if step.name not in self.inputs]
        if without:
            yield f"what {', '.join(without)} read was not kept: data and packages may be others"
        gone = [name for name, tree in trees.items() if not tree]
        if gone:
            yield f"MLflow no longer has {', '.join(gone)}: what is nested there is not compared"

    def _variables(self) -> dict[str, str | None]:
        """Return the variables that steps read and that are others now; None: not set."""
        return {
            name: value
            for name, value in self.recorded.variables().items()
            if variable_without_credentials(name) != value
        }

    def _check_out(self, diff: bytes | None) -> Checkout:
        try:
            checkout = check_out(self.project, self.record, diff, self.scratch / "project")
        except CheckoutError as error:
            raise VerificationError(str(error)) from None
        written = {path for inputs in self.inputs.values() for path in inputs.outputs}
        for inputs in self.inputs.values():
            link_files(inputs.files, written, self.project, checkout.root)
        return checkout


def _store_of(record: RunRecord) -> str:
    """Return the store of a run: the present address has the credentials that a record lacks."""
    present = tracking_uri()
    return present if without_credentials(present) == record.tracking_uri else record.tracking_uri


def _digest(path: str, project: Path, digests: FileDigests) -> str | None:
    if not is_remote(path):
        return digests.content(project / path)
    try:
        return remote_digest(path)
    except OSError as error:
        raise VerificationError(f"data {path} cannot be read: {error}") from None


def _brief(digest: str | None) -> str:
    return digest[:12] if digest else "none"
