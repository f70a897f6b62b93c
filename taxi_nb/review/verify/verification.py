"""Executes a recorded pipeline run again and says for each step whether it is the same."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from taxi_nb.pipeline.differences import file_difference
from taxi_nb.pipeline.file_digest import FileDigests
from taxi_nb.pipeline.inputs import Inputs
from taxi_nb.pipeline.record import RunRecord, Status
from taxi_nb.pipeline.remote_file import is_remote, remote_digest
from taxi_nb.pipeline.report.past import RunOnDisk
from taxi_nb.plain_data import from_plain
from taxi_nb.review.verify._execution import ScratchExecution
from taxi_nb.review.verify.checkout import VerificationError, check_out, link_files
from taxi_nb.review.verify.comparison import Execution, StepVerdict, compare_executions
from taxi_nb.secrets.addresses import variable_without_credentials, without_credentials
from taxi_nb.tracking.environment import installed_versions
from taxi_nb.tracking.names import DIFF_ARTIFACT
from taxi_nb.tracking.run_tree import artifact_bytes, client_of, deleted, find_run, is_there
from taxi_nb.tracking.store import tracking_uri
from taxi_nb.tracking.store_errors import errors_of_store

if TYPE_CHECKING:
    from mlflow.entities import Run


@dataclass(frozen=True)
class Verification:
    """The result of executing a run again."""

    run: str  # The id of the run that was verified.
    state: str  # Which state of the project was executed, in words.
    circumstances: tuple[str, ...]  # Data, packages, files that are not as they were recorded.
    data_changed: bool  # Whether data are among them.
    steps: tuple[StepVerdict, ...] = ()

    @property
    def is_same(self) -> bool:
        """Whether every step is the same, from the same data."""
        return not self.data_changed and all(step.is_same for step in self.steps)


def verify_run(
    folder: Path, project: Path, scratch: Path, *, jobs: int = 1, say: Callable[[str], None]
) -> Verification:
    """Execute a recorded run, in the folder ``runs/<id>``, again in a scratch copy, and compare.

    Nothing in the project is changed: copy, store and runs go to `scratch`, an empty folder.
    `say` takes lines on what is going on. A `VerificationError` says that the run did not
    succeed, or cannot be executed again.
    """
    run = RunOnDisk.read(folder)
    run.require_own_files()
    record, uri = run.record, _store_of(run.record)
    if not is_there(uri):
        raise VerificationError(f"the store of {record.id} is gone: {uri}")
    if record.status is not Status.OK:
        raise VerificationError(
            f"{record.id} is {record.status}: only a run that succeeded has results "
            "to be the same as"
        )
    client = client_of(uri)
    with errors_of_store(tracking_uri()):
        pipeline_run = find_run(client, record.mlflow_run_id or "")
        recorded = Execution.of(run, project, client)
        diff = artifact_bytes(client, pipeline_run, DIFF_ARTIFACT) if pipeline_run else None
    inputs = {name: from_plain(Inputs, known) for name, known in run.inputs.items()}
    checkout = check_out(project, record, diff or None, scratch / "project")
    written = {path for read in inputs.values() for path in read.outputs}
    for read in inputs.values():
        link_files(read.files, written, project, checkout.root)
    say(f"{record.id}: {checkout.state}, {' '.join([record.parameter_file, *record.settings])}")
    if record.part:
        say(f"part of the pipeline: {record.part}")
    data = tuple(_changed_data(inputs.values(), project, FileDigests(scratch / "digests.json")))
    circumstances = (
        *data,
        *_changed_packages(inputs.values()),
        *checkout.remarks,
        *_not_known(record, inputs, recorded.trees),
    )
    for line in circumstances:
        say(f"not as recorded: {line}")
    variables = {
        name: value
        for name, value in run.variables().items()
        if variable_without_credentials(name) != value
    }
    execution = ScratchExecution(
        record, checkout, scratch, variables, client, recorded.trees, jobs=jobs, say=say
    )
    again = Execution.of(execution.carry_out(), checkout.root, execution.client)
    steps = tuple(compare_executions(recorded, again))
    return Verification(record.id, checkout.state, circumstances, bool(data), steps)


def _store_of(record: RunRecord) -> str:
    """Return the store of a run: the present address has the credentials that a record lacks."""
    present = tracking_uri()
    return present if without_credentials(present) == record.tracking_uri else record.tracking_uri


def _changed_data(inputs: Iterable[Inputs], project: Path, digests: FileDigests) -> Iterator[str]:
    data = {
        path: used for read in inputs for path, used in read.files.items() if used.name is not None
    }
    for path, used in data.items():
        new = _digest(path, project, digests)
        is_made_again = new is None and not is_remote(path) and not os.path.isabs(path)
        if new != used.digest and not is_made_again:
            old_and_new = " -> ".join((digest or "none")[:12] for digest in (used.digest, new))
            yield f"{file_difference(path, used, new)} since: {old_and_new}"


def _digest(path: str, project: Path, digests: FileDigests) -> str | None:
    if not is_remote(path):
        return digests.content(project / path)
    try:
        return remote_digest(path)
    except OSError as error:
        raise VerificationError(f"data {path} cannot be read: {error}") from None


def _changed_packages(inputs: Iterable[Inputs]) -> Iterator[str]:
    installed = installed_versions()
    recorded = {package: version for read in inputs for package, version in read.packages.items()}
    for package, version in sorted(recorded.items()):
        if installed.get(package) != version:
            yield f"{package} {version} -> {installed.get(package, 'not installed')}"


def _not_known(
    record: RunRecord, inputs: Mapping[str, Inputs], trees: Mapping[str, Sequence[Run]]
) -> Iterator[str]:
    has = [step for step in record.steps if not step.is_left_out]
    without = [step.name for step in has if step.name not in inputs]
    if without:
        yield f"what {', '.join(without)} read was not kept: data and packages may be others"
    gone = [name for name, tree in trees.items() if not tree]
    if gone:
        yield f"MLflow no longer has {', '.join(gone)}: what is nested there is not compared"
    for name, tree in trees.items():
        if tree and deleted(tree[0]):
            yield f"the run of {name} is deleted in MLflow; what it still holds is compared"
