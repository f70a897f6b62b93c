"""A recorded pipeline, executed by the code of its own state in a store of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from taxi_nb.located_yaml import written_yaml
from taxi_nb.pipeline.pipeline_file import read_pipeline
from taxi_nb.pipeline.record import RUN_FILE, RunRecord
from taxi_nb.pipeline.report.past import RunOnDisk
from taxi_nb.pipeline.spec import Step
from taxi_nb.plain_data import plain, restored
from taxi_nb.review.verify._registry_state import RegistryBefore, recreate, registry_before
from taxi_nb.review.verify.checkout import Checkout, VerificationError, ignore_in, without_store
from taxi_nb.tracking import names
from taxi_nb.tracking.file_addresses import sqlite_address
from taxi_nb.tracking.run_tree import client_of

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

# By these a run would find its way into a store that is not the scratch one, or into another run.
_OF_OTHER_RUNS = {
    *(names.RUN_VARIABLE, names.EXPERIMENT_VARIABLE, names.EXPERIMENT_ID_VARIABLE),
    *(names.NOTEBOOK_VARIABLE, names.UPSTREAM_VARIABLE, names.STEP_RUN_VARIABLE),
    *(names.ARTIFACT_ROOT_VARIABLE, "MLFLOW_REGISTRY_URI"),
}

# Lines that lead to files of the copy, which is removed at the end.
_OF_THE_COPY = ("page:", "MLflow:", "executed notebook:")


class ScratchExecution:
    """Executes a pipeline in a copy of the project.

    Where steps decided about registered models, the registry is first made to hold what they
    found: the others are executed, then it is filled, then those that decide.

    `variables` of the environment are set as they were; None: not at all. The store of `source`
    has the recorded run; `trees` are its runs for each step, the step's own and those below.
    """

    def __init__(
        self,
        record: RunRecord,
        checkout: Checkout,
        scratch: Path,
        variables: Mapping[str, str | None],
        source: MlflowClient,
        trees: Mapping[str, Sequence[Run]],
        *,
        jobs: int,
        say: Callable[[str], None],
    ) -> None:
        self.record = record
        self.root = checkout.root
        self.uri = sqlite_address(scratch / "mlflow.db")
        self.client = client_of(self.uri, registry=self.uri)
        self.source, self.trees = source, trees
        self.jobs, self.say = jobs, say
        self.file = _file_in(checkout, record.parameter_file)
        self.environment = self._environment(variables)

    def carry_out(self) -> RunOnDisk:
        """Execute all steps."""
        without_store(self.file)
        found = {
            name: states
            for name, tree in self.trees.items()
            if (states := [state for run in tree if (state := registry_before(self.source, run))])
        }
        if any(state.versions for states in found.values() for state in states):
            self._fill_registry(found)
        return self._run(self.file, self.record.settings)

    def _environment(self, variables: Mapping[str, str | None]) -> dict[str, str]:
        left_out = {*_OF_OTHER_RUNS, *variables}
        kept = {name: value for name, value in os.environ.items() if name not in left_out}
        threads = {"OMP_NUM_THREADS": str(self.record.threads)} if self.record.threads else {}
        code = [str(self.root), *filter(None, [os.environ.get("PYTHONPATH")])]
        return {
            **kept,
            **{name: value for name, value in variables.items() if value is not None},
            **threads,
            "PYTHONPATH": os.pathsep.join(code),
            "TAXI_NB_ROOT": str(self.root),
            "TAXI_NB_NOTIFY": "off",  # Nobody is told of a run that only repeats another.
            names.URI_VARIABLE: self.uri,
            # Where the file names none it is the project's name, and the copy's may be another.
            names.EXPERIMENT_VARIABLE: self.record.experiment,
        }

    def _fill_registry(self, found: Mapping[str, Sequence[RegistryBefore]]) -> None:
        same_runs: dict[str, str] = {}
        if first := self._file_before(set(found)):
            done = self._run(first, ())
            same_runs = {
                str(step.mlflow_run_id): run_id
                for step in self.record.steps
                if step.name in done.steps and (run_id := done.steps[step.name].mlflow_run_id)
            }
            first.unlink()
        states = {state.name: state for kept in found.values() for state in kept}
        for state in states.values():
            recreate(state, self.source, self.client, same_runs)

    def _file_before(self, deciding: set[str]) -> Path | None:
        """Write a pipeline file of the steps before the first that decides; None without any."""
        pipeline = read_pipeline(self.file, self.root, self.record.overrides)
        left_out = {step.name for step in self.record.left_out}
        steps = [step for step in pipeline.steps if step.name not in left_out]
        before = list(takewhile(lambda step: step.name not in deciding, steps))
        if not before:
            return None
        content = {"experiment": pipeline.experiment, "steps": [*map(_written_out, before)]}
        path = self.file.with_name(f"before-deciding-{self.file.name}")
        ignore_in(self.root, path.name)
        path.write_text(written_yaml(content), "utf-8")
        return path

    def _run(self, file: Path, settings: Sequence[str]) -> RunOnDisk:
        command = [sys.executable, "-m", "taxi_nb", "run", str(file), "--jobs", str(self.jobs)]
        lines: list[str] = []
        with subprocess.Popen(
            [*command, *settings],
            cwd=self.root,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            assert process.stdout is not None
            try:
                for line in map(str.rstrip, process.stdout):
                    lines.append(line)
                    if line and not line.strip().startswith(_OF_THE_COPY):
                        self.say(f"  {line}")
            except BaseException:
                process.terminate()  # It ends its kernels before it ends.
                raise
        folder = (self.root / "runs" / "latest").resolve()
        if process.returncode not in (0, 1) or not (folder / RUN_FILE).is_file():
            raise VerificationError("\n".join(["this state could not be executed:", *lines[-15:]]))
        return RunOnDisk.read(folder)


def _file_in(checkout: Checkout, name: str) -> Path:
    """Return the pipeline file in a copy of the project; one from outside is copied there."""
    source = checkout.root / name
    if ".." in source.parts:
        raise VerificationError(f"the run's file {name!r} is none of the project's")
    if not source.is_file():
        raise VerificationError(f"{checkout.state} has no {name}")
    if not os.path.isabs(name):
        return source
    return Path(shutil.copyfile(source, checkout.root / source.name))


def _written_out(step: Step) -> dict[str, Any]:
    """Return an entry of a pipeline file that is this very step."""
    known = {
        "notebook": str(step.notebook),
        "name": step.name,
        "params": restored(plain(step.parameters)),
        "needs": list(step.needs) if step.needs_are_declared else None,
        "timeout": step.timeout,
        "retries": step.retries,
    }
    return {name: value for name, value in known.items() if value is not None}
