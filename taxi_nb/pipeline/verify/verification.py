"""Executes a recorded pipeline run again and says for each step whether it is the same."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from taxi_nb import tracking
from taxi_nb.credentials import variable_without_credentials, without_credentials
from taxi_nb.pipeline.file_digest import FileDigests
from taxi_nb.pipeline.inputs import Inputs, file_difference, installed_versions
from taxi_nb.pipeline.record import RunRecord, Status, StepResult
from taxi_nb.pipeline.remote_file import is_remote, remote_digest
from taxi_nb.pipeline.report.past import RunOnDisk
from taxi_nb.pipeline.verify.cells import CellComparison, Normalise, compare_cells
from taxi_nb.pipeline.verify.checkout import Checkout, CheckoutError, check_out, link_files
from taxi_nb.pipeline.verify.execution import ScratchExecution, VerificationError
from taxi_nb.tracking.run_tree import artifact_bytes, client_of, find_run, nested_runs

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

DIFF_ARTIFACT = "source/uncommitted.diff"

# Measurements of the machine, which no code can make the same again.
_OF_THE_MACHINE = re.compile(r"(^|_)seconds$|^peak_memory_mb$")
# Variables by which a run is told where it is; all others that a step read are recorded values.
_OWN_VARIABLES = ("MLFLOW_", "TAXI_NB_ROOT", "TAXI_NB_NOTEBOOK", "TAXI_NB_UPSTREAM")


@dataclass(frozen=True)
class StepVerdict:
    """What became of one step.

    Attributes
    ----------
    differences : tuple of str
        Each with what differs and by how much.
    left_out : tuple of str
        What was not compared, by which rule.
    metrics, figures, outputs : int
        How many were compared.
    reused_from : str or None
        The pipeline run that had made the results which were compared.
    """

    name: str
    differences: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    metrics: int = 0
    figures: int = 0
    outputs: int = 0
    reused_from: str | None = None

    @property
    def is_same(self) -> bool:
        """Whether nothing differs."""
        return not self.differences


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
    jobs: int | None = None,
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
        Steps at the same time; 1 if left out.
    say : callable
        Is told line by line what is going on, what is not as recorded before anything else.

    Raises
    ------
    VerificationError
        If the run did not succeed, or cannot be executed again.
    """
    return _Verifier(folder, project, scratch, say).verify(jobs or 1)


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
        self.client = client_of(_store_of(self.record))

    def verify(self, jobs: int) -> Verification:
        if self.record.status is not Status.OK:
            raise VerificationError(
                f"{self.record.id} is {self.record.status}: only a run that succeeded has results "
                "to be the same as"
            )
        with tracking.store_problems_told():
            pipeline_run = find_run(self.client, self.record.mlflow_run_id or "")
            trees = trees_of(self.client, self.record)
            diff = pipeline_run and artifact_bytes(self.client, pipeline_run, DIFF_ARTIFACT)
        checkout = self._check_out(diff or None)
        given = "".join(f" --set {override}" for override in self.record.overrides)
        self.say(f"{self.record.id}: {checkout.state}, {self.record.parameter_file}{given}")
        data = tuple(self._changed_data())
        others = (*data, *self._changed_packages(), *checkout.remarks, *self._not_known(trees))
        for line in others:
            self.say(f"not as recorded: {line}")
        execution = ScratchExecution(self.record, checkout, self.scratch, self.client, trees)
        again = execution.carry_out(jobs, self._variables(), self.say)
        steps = tuple(self._verdicts(checkout, again, trees, execution))
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
        """Return the variables that steps read, as they were; None: not set."""
        recorded: dict[str, str | None] = {}
        for inputs in self.inputs.values():
            recorded |= inputs.variables
        return {
            name: value
            for name, value in recorded.items()
            if not name.startswith(_OWN_VARIABLES) and variable_without_credentials(name) != value
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

    # --- comparing ------------------------------------------------------------------------

    def _verdicts(
        self,
        checkout: Checkout,
        again: RunOnDisk,
        trees: Mapping[str, Sequence[Run]],
        execution: ScratchExecution,
    ) -> Iterator[StepVerdict]:
        new_trees = trees_of(execution.client, again.record)
        names = (
            _common_names(self.project, self.record, trees),
            _common_names(checkout.root, again.record, new_trees),
        )
        for step in self.record.steps:
            new = again.steps.get(step.name)
            if new is None or not new.status.is_good:
                why = f"{new.status}: {new.error}" if new else "this state has no such step"
                yield StepVerdict(step.name, (why,), reused_from=step.reused_from)
                continue
            found = _Findings()
            if json.dumps(step.parameters) != json.dumps(new.parameters):
                found.differences.append(f"parameters {step.parameters} -> {new.parameters}")
            found.compare_metrics("", step.metrics, new.metrics)
            if trees[step.name]:
                found.compare_trees(trees[step.name], new_trees[step.name])
            cells = self._cells(step, again, names)
            yield StepVerdict(
                step.name,
                (*found.differences, *cells.differences),
                (
                    *(f"metric {name}: measures the machine" for name in found.left_out),
                    *(f"cell {left.cell} varies: {left.what}" for left in cells.left_out),
                ),
                found.metrics,
                cells.figures,
                cells.outputs,
                step.reused_from,
            )

    def _cells(
        self, step: StepResult, again: RunOnDisk, names: tuple[Normalise, Normalise]
    ) -> CellComparison:
        if step.name not in self.recorded.notebooks:
            return CellComparison(differences=["its executed notebook is gone"])
        return compare_cells(self.recorded.notebooks[step.name], again.notebooks[step.name], names)


@dataclass
class _Findings:
    """What comparing numbers found."""

    differences: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    metrics: int = 0

    def compare_metrics(
        self, where: str, old: Mapping[str, float], new: Mapping[str, float]
    ) -> None:
        for name in dict.fromkeys([*old, *new]):
            if _OF_THE_MACHINE.search(name):
                self.left_out.append(where + name)
                continue
            self.metrics += 1
            before, after = old.get(name), new.get(name)
            if before is None or after is None:
                gone = "is new" if before is None else "is no longer logged"
                self.differences.append(f"metric {where}{name} {gone}")
            elif before != after and not (math.isnan(before) and math.isnan(after)):
                change = f"{before!r} -> {after!r} ({after - before:+.3g})"
                self.differences.append(f"metric {where}{name} {change}")

    def compare_trees(self, old: Sequence[Run], new: Sequence[Run]) -> None:
        """Compare runs nested in a step's; the first of each is the step's own."""
        before, after = [[str(run.info.run_name) for run in tree[1:]] for tree in (old, new)]
        if before != after:
            self.differences.append(f"nested runs {before} -> {after}")
            return
        for name, one, other in zip(before, old[1:], new[1:], strict=True):
            self.compare_metrics(f"{name}: ", one.data.metrics, other.data.metrics)


def trees_of(client: MlflowClient, record: RunRecord) -> dict[str, list[Run]]:
    """Return for each step its run and all below it; none where the store has it no longer."""
    runs = {step.name: find_run(client, step.mlflow_run_id or "") for step in record.steps}
    return {
        name: [run, *nested_runs(client, run)] if run is not None else []
        for name, run in runs.items()
    }


def _store_of(record: RunRecord) -> str:
    """Return the store of a run: the present address has the credentials that a record lacks."""
    present = tracking.tracking_uri()
    return present if without_credentials(present) == record.tracking_uri else record.tracking_uri


def _common_names(root: Path, record: RunRecord, trees: Mapping[str, Sequence[Run]]) -> Normalise:
    """Give what is another in each execution a common name: folders, ids of runs and models."""
    ids = {record.mlflow_run_id, *(step.mlflow_run_id for step in record.steps)}
    ids |= {run.info.run_id for tree in trees.values() for run in tree}
    names = {known: "<run id>" for known in ids if known}
    names |= {record.id: "<pipeline run>", str(root): "<project>"}
    pattern = re.compile("|".join(map(re.escape, sorted(names, key=len, reverse=True))))

    def normalise(text: str) -> str:
        text = pattern.sub(lambda found: names[found[0]], text)
        text = re.sub(r"\bm-[0-9a-f]{32}\b", "<model id>", text)
        return re.sub(r"/\S*/ipykernel_\d+/\d+\.py", "<cell>", text)

    return normalise


def _digest(path: str, project: Path, digests: FileDigests) -> str | None:
    if not is_remote(path):
        return digests.content(project / path)
    try:
        return remote_digest(path)
    except OSError as error:
        raise VerificationError(f"data {path} cannot be read: {error}") from None


def _brief(digest: str | None) -> str:
    return digest[:12] if digest else "none"
