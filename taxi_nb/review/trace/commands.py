"""The commands that do again what a run did."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from taxi_nb.tracking.names import (
    DIFF_ARTIFACT,
    DIFF_FILE,
    EXECUTED_FILE,
    PARAMETERS_FILE,
    SOURCE_FOLDER,
)


@dataclass(frozen=True)
class Recipe:
    """How a run was made, as far as that is known.

    Attributes
    ----------
    commit : str or None
        None outside git.
    remote : str or None
        Where the repository can be cloned from.
    diff_run : str or None
        The MLflow run that keeps the uncommitted changes.
    variables : mapping
        Environment variables that it was made with.
    parameter_file : str or None
        Of a pipeline.
    notebook_run : str or None
        Of a run without a pipeline: the MLflow run that keeps its notebook and parameters.
    """

    commit: str | None
    remote: str | None
    tracking_uri: str
    diff_run: str | None = None
    variables: Mapping[str, str] = field(default_factory=dict)
    parameter_file: str | None = None
    overrides: Sequence[str] = ()
    notebook_run: str | None = None
    notebook: str | None = None
    has_parameters: bool = False

    def commands(self) -> Iterator[str]:
        """Yield the commands, for a shell; none without a commit to start from."""
        if self.commit is None:
            return
        if self.remote:
            yield f"git clone {shlex.quote(self.remote)} again && cd again"
        else:
            yield "git clone . ../again && cd ../again"
        yield f"git checkout {self.commit}"
        yield "make setup"
        if self.diff_run:
            yield self._download(self.diff_run, DIFF_ARTIFACT)
            yield f"git apply .git/{DIFF_FILE} && make setup"
        if self.parameter_file:
            yield self._run()
        elif self.notebook_run and self.notebook:
            yield from self._execute()

    def remarks(self) -> Iterator[str]:
        """Yield what the commands cannot do."""
        if self.commit is None:
            yield "without a commit the code cannot be had again"
        if self.parameter_file is None and self.notebook is None:
            yield "it was made neither by a pipeline nor by a notebook: its command is not known"
        elif self.parameter_file is None:
            yield f"cells may have been executed in another order: see the artifact {EXECUTED_FILE}"

    def _run(self) -> str:
        command = [".venv/bin/taxi-nb", "run", str(self.parameter_file)]
        for override in self.overrides:
            command += ["--set", override]
        return " ".join([*self._settings(), shlex.join(command)])

    def _execute(self) -> Iterator[str]:
        """Yield what executes a notebook with the parameters that a person had given it."""
        assert self.notebook_run is not None
        assert self.notebook is not None
        name = self.notebook.rpartition("/")[2]
        yield self._download(self.notebook_run, f"{SOURCE_FOLDER}/{name}")
        given = ""
        if self.has_parameters:
            yield self._download(self.notebook_run, PARAMETERS_FILE)
            given = f" -f .git/{PARAMETERS_FILE}"
        command = f".venv/bin/papermill {shlex.quote(f'.git/{name}')} {shlex.quote(name)}"
        yield " ".join([*self._settings(), f"{command}{given} -k python3 --cwd notebooks"])

    def _download(self, run_id: str, path: str) -> str:
        store = f"MLFLOW_TRACKING_URI={shlex.quote(self.tracking_uri)}"
        # Into .git, so that the checkout stays clean.
        return f"{store} .venv/bin/mlflow artifacts download -r {run_id} -a {path} -d .git"

    def _settings(self) -> list[str]:
        return [f"{name}={shlex.quote(value)}" for name, value in self.variables.items()]
