"""The commands that do again what a run did."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from taxi_nb.pipeline.record import RunRecord
from taxi_nb.project import make_targets
from taxi_nb.tracking import names
from taxi_nb.tracking.environment import lock_files


def setup_command(project: Path) -> str:
    """Return what makes a project's .venv, by its Makefile or else by its first lock file."""
    if "setup" in make_targets(project):
        return "make setup"
    locks = [file.name for file in lock_files(project)]
    match locks:
        case ["uv.lock", *_]:
            return "uv sync --frozen"
        case ["poetry.lock", *_]:
            return "POETRY_VIRTUALENVS_IN_PROJECT=true poetry install"
        case [("conda-lock.yml" | "conda-lock.yaml") as file, *_]:
            return f"conda-lock install --prefix .venv {file}"
    listed = [f"-r {shlex.quote(name)}" for name in locks if name.startswith("requirements")]
    packages = " ".join(listed or ["taxi-nb"])
    return f"python3 -m venv .venv && .venv/bin/python -m pip install {packages}"


@dataclass(frozen=True)
class Recipe:
    """How a run was made, as far as that is known."""

    commit: str | None
    remote: str | None  # To clone the repository from, if not from the project's folder.
    setup: str  # Makes the checkout's .venv.
    tracking_uri: str
    diff_run: str | None  # The MLflow run that keeps the uncommitted changes.
    variables: Mapping[str, str]
    record: RunRecord | None  # A pipeline run's.
    # Its files that the commit does not have -> the MLflow run that keeps them, if one does.
    uncommitted: Mapping[str, str | None]
    notebook_run: str | None  # Without a pipeline: the run that keeps notebook and parameters.
    notebook: str | None
    has_parameters: bool

    def commands(self) -> Iterator[str]:
        """Yield the commands, for a shell; none without a commit to start from."""
        if self.commit is None:
            return
        source, folder = (shlex.quote(self.remote), "again") if self.remote else (".", "../again")
        yield f"git clone {source} {folder} && cd {folder}"
        yield f"git checkout {self.commit}"
        yield self.setup
        if self.diff_run:
            yield self._download(self.diff_run, names.DIFF_ARTIFACT)
            yield f"git apply .git/{names.DIFF_FILE} && {self.setup}"
        for file, run_id in self.uncommitted.items():
            if run_id:
                folder, _, name = file.rpartition("/")
                kept = f"{names.SOURCE_FOLDER}/{name}"
                yield self._download(run_id, kept, folder or ".")
        if self.record:
            command = [".venv/bin/taxi-nb", "run", self.record.parameter_file]
            command += self.record.settings
            yield self._with_variables(shlex.join(command))
        elif self.notebook_run and self.notebook:
            yield from self._execute(self.notebook_run, self.notebook.rpartition("/")[2])

    def remarks(self) -> Iterator[str]:
        """Yield what the commands cannot do."""
        if self.commit is None:
            yield "without a commit the code cannot be had again"
        for file, run_id in self.uncommitted.items():
            if not run_id:
                yield f"{file} is in no commit and was not kept: put it there first"
        if self.record is None and self.notebook is None:
            yield "it was made neither by a pipeline nor by a notebook: its command is not known"
        elif self.record is None:
            file = names.EXECUTED_FILE
            yield f"cells may have been executed in another order: see the artifact {file}"

    def _execute(self, run_id: str, notebook: str) -> Iterator[str]:
        """Yield what executes a notebook with the parameters that a person had given it."""
        yield self._download(run_id, f"{names.SOURCE_FOLDER}/{notebook}")
        given = ""
        if self.has_parameters:
            yield self._download(run_id, names.PARAMETERS_FILE)
            given = f" -f .git/{names.PARAMETERS_FILE}"
        command = f".venv/bin/papermill {shlex.quote(f'.git/{notebook}')} {shlex.quote(notebook)}"
        yield self._with_variables(f"{command}{given} -k python3 --cwd notebooks")

    def _download(self, run_id: str, path: str, folder: str = ".git") -> str:
        """Return what fetches an artifact; into .git, so that the checkout stays clean."""
        store = f"MLFLOW_TRACKING_URI={shlex.quote(self.tracking_uri)}"
        place = f"-a {shlex.quote(path)} -d {shlex.quote(folder)}"
        return f"{store} .venv/bin/mlflow artifacts download -r {run_id} {place}"

    def _with_variables(self, command: str) -> str:
        settings = [f"{name}={shlex.quote(value)}" for name, value in self.variables.items()]
        return " ".join([*settings, command])
