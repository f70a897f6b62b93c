"""Where a run comes from, as tags and files: developer, notebook, commit, environment."""

from __future__ import annotations

import getpass
import json
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from taxi_nb.project import project_root
from taxi_nb.secrets.known import KNOWN
from taxi_nb.secrets.literals import scrubbed
from taxi_nb.tracking import names
from taxi_nb.tracking.contents import log_contents
from taxi_nb.tracking.environment import host, lock_digest, packages_text
from taxi_nb.tracking.git import GitState, git_state, without_outputs
from taxi_nb.tracking.inputs import not_inputs
from taxi_nb.tracking.origin import Origin, executed_cells, is_step, notebook_parameters

# A notebook beyond this is kept without its outputs.
MAX_SOURCE = 5_000_000


@dataclass(frozen=True)
class Context:
    """Where a run, and those within it, come from; git is asked once, when it is first needed."""

    origin: Origin = field(default_factory=Origin.here)

    @cached_property
    def git(self) -> GitState:
        """The state of the project's checkout."""
        with not_inputs():
            return git_state(project_root())

    @property
    def developer(self) -> str:
        """Git's user, else the system's."""
        return self.git.user or _system_user()

    @cached_property
    def tags(self) -> dict[str, str]:
        """The tags of a run from here, those that MLflow's own pages read among them."""
        with not_inputs():  # A step's results come from the packages, not from the lock's text.
            lock = lock_digest()
        tags = {
            names.DEVELOPER_TAG: self.developer,
            names.PYTHON_TAG: platform.python_version(),
            names.LOCK_TAG: lock,
            "mlflow.user": self.developer,
            names.SOURCE_NAME_TAG: self.origin.name,
            names.SOURCE_TYPE_TAG: self.origin.kind,
            **self._git_tags(),
        }
        if self.origin.kind == "NOTEBOOK":
            tags[names.NOTEBOOK_TAG] = self.origin.name
        return tags

    def _git_tags(self) -> dict[str, str]:
        if self.git.commit is None:
            return {names.COMMIT_TAG: f"none ({self.git.missing})"}
        dirty = str(self.git.is_dirty).lower()
        if not self.git.is_known:
            dirty = f"unknown ({self.git.missing})"
        tags = {
            names.COMMIT_TAG: self.git.commit,
            names.DIRTY_TAG: dirty,
            "mlflow.source.git.commit": self.git.commit,
        }
        if self.git.branch:
            tags |= dict.fromkeys((names.BRANCH_TAG, "mlflow.source.git.branch"), self.git.branch)
        if self.git.remote:
            places = (names.REMOTE_TAG, "mlflow.source.git.repoURL")
            tags |= dict.fromkeys(places, self.git.remote)
        return tags

    def log_files(self, run_id: str) -> None:
        """Log source, uncommitted changes, packages and machine to a run, all at once."""
        with not_inputs():
            log_contents(run_id, dict(self._files()))

    def _files(self) -> Iterator[tuple[str, bytes]]:
        if self.origin.file is not None:
            yield f"{names.SOURCE_FOLDER}/{self.origin.file.name}", source_content(self.origin.file)
        if diff := self.git.diff:
            yield names.DIFF_ARTIFACT, diff.encode()
        yield f"{names.ENVIRONMENT_FOLDER}/{names.PACKAGES_FILE}", packages_text().encode()
        yield f"{names.ENVIRONMENT_FOLDER}/{names.HOST_FILE}", json.dumps(host(), indent=1).encode()
        if (cells := executed_cells()) is not None:
            yield f"{names.SOURCE_FOLDER}/{names.EXECUTED_FILE}", scrubbed(cells)[0].encode()
        # Of a step the pipeline knows them.
        if not is_step() and (parameters := notebook_parameters(self.origin)):
            from taxi_nb.located_yaml import written_yaml

            yield names.PARAMETERS_FILE, written_yaml(parameters).encode()


# Of the run that is open; runs within it share it.
_open_context: ContextVar[Context | None] = ContextVar("_open_context", default=None)


def open_context() -> Context | None:
    """Return the context of the block that is open, if one is."""
    return _open_context.get()


@contextmanager
def context_of_run(*, is_new: bool) -> Iterator[Context]:
    """Give the context of a run; a run within another has that one's."""
    known = None if is_new else open_context()
    context = known or Context()
    token = _open_context.set(context)
    try:
        yield context
    finally:
        _open_context.reset(token)


def source_content(file: Path) -> bytes:
    """Return a source file as it is on disk, but for secrets."""
    content = file.read_bytes()
    if file.suffix == ".ipynb" and len(content) > MAX_SOURCE:
        content = without_outputs(content)
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        return content
    code, count = scrubbed(text) if len(content) <= MAX_SOURCE else (KNOWN.hide_in(text), 1)
    return code.encode() if count else content


def authorship() -> dict[str, Any]:
    """Return who runs something from which state of the project."""
    now = Context()
    known = now.git.commit is not None
    return {
        "developer": now.developer,
        "commit": now.git.commit,
        "branch": now.git.branch or None if known else None,
        "dirty": now.git.is_dirty if known and now.git.is_known else None,
    }


def _system_user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # A container's user may have no name.
        return "unknown"
